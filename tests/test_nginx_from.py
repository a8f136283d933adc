"""Where nginx comes from, as sites.yaml says it; and who has port 80 where it is not nginx."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runbook.errors import UsageError
from runbook.resources.file import Absent, File
from runbook.resources.package import Packages
from runbook.resources.package_back import PackagesBack
from runbook.resources.package_from import PackagesFrom
from runbook.resources.signing_key import SigningKey
from runbook.step import Told
from steps.description.sites_yaml import load
from steps.nginx import NginxForAcme
from steps.webserver.nginx_package import FACTS, KEYRING, PIN, SOURCE
from steps.webserver.nginx_sites import strangers

if TYPE_CHECKING:
    from runbook.step import Part
    from steps.network import Network

ARTICLE = (Path(__file__).parent / "data/sites/article.yaml").read_text()
MINE = "1A23EA44DEF8D1A441C45A2559F3D8DCD5917033"


def network(directory: Path, section: str) -> Network:
    (directory / "sites.yaml").write_text(f"{ARTICLE}\n{section}")
    return load(directory / "sites.yaml")


def stated(directory: Path, section: str, **facts: str) -> list[Part]:
    return list(NginxForAcme(network(directory, section)).parts("vps4", {"codename": "trixie", **facts}))


def test_it_is_debians_where_nothing_else_is_said(tmp_path: Path) -> None:
    for section in ("", "nginx:\n  repository: debian\n"):
        kinds = {type(part) for part in stated(tmp_path, section)}
        assert Packages in kinds
        assert not kinds & {SigningKey, PackagesFrom}


def test_nginx_orgs_mainline_is_verified_by_its_three_keys(tmp_path: Path) -> None:
    parts = stated(tmp_path, "nginx:\n  repository: nginx.org\n")
    (key,) = (part for part in parts if isinstance(part, SigningKey))
    assert key.url == "https://nginx.org/keys/nginx_signing.key"
    assert len(set(key.fingerprints)) == 3
    (source,) = (part for part in parts if isinstance(part, File) and part.path.endswith(".sources"))
    assert source.content.decode().splitlines()[1:] == [
        "Types: deb",
        "URIs: https://nginx.org/packages/mainline/debian",
        "Suites: trixie",
        "Components: nginx",
        f"Signed-By: {key.path}",
    ]
    assert parts[0].key == "packages ca-certificates"  # without which apt has no HTTPS
    order = [type(part) for part in parts]
    assert order.index(SigningKey) < order.index(File) < order.index(PackagesFrom)


def test_a_mirror_has_the_keys_of_what_it_mirrors_or_its_own(tmp_path: Path) -> None:
    mirror = "nginx:\n  repository: http://mirror.example:8080/nginx/\n"
    theirs = network(tmp_path, mirror).nginx
    assert (theirs.url, len(theirs.fingerprints)) == ("http://mirror.example:8080/nginx", 3)
    spaced = " ".join(MINE[at : at + 4] for at in range(0, 40, 4)).lower()
    own = network(tmp_path, f"{mirror}  signing_key: http://mirror.example/key\n  fingerprints: [{spaced}]\n").nginx
    assert (own.signing_key, own.fingerprints) == ("http://mirror.example/key", (MINE,))


def test_a_default_server_that_is_the_admins_own_is_left_alone(tmp_path: Path) -> None:
    default = "no file /etc/nginx/conf.d/default.conf"
    section = "nginx:\n  repository: nginx.org\n"
    assert default in [part.key for part in stated(tmp_path, section)]
    assert default not in [part.key for part in stated(tmp_path, section, web_own="/etc/nginx/conf.d/default.conf ")]


BAD = {
    "nginx: nginx.org": "nginx: ",
    "nginx:\n  repository: nginx.com": "did you mean `nginx.org`?",
    "nginx:\n  repository: ftp://mirror.example/nginx": "is no URL that apt can be given",
    "nginx:\n  repository: https://mirror.example/a b": "is no URL that apt can be given",
    "nginx:\n  repository: nginx.org\n  fingerprints: [D5917033]": "write all 40 hexadecimal digits",
    "nginx:\n  repository: nginx.org\n  signing_key: https://mirror.example/key": "nginx.fingerprints: is missing",
    f"nginx:\n  repository: debian\n  fingerprints: [{MINE}]": "nginx.fingerprints: Debian's own repository",
    "nginx:\n  from: nginx.org": "nginx.from",
}


@pytest.mark.parametrize("section", BAD)
def test_what_makes_no_sense_is_refused_in_one_sentence(tmp_path: Path, section: str) -> None:
    with pytest.raises(UsageError, match=re.escape(BAD[section])):
        network(tmp_path, section)


def test_who_has_port_80_is_named_with_its_unit() -> None:
    said = ["nginx(nginx.service)", "apache2(apache2.service)", "docker-proxy(docker.service)", "caddy(process-7)"]
    assert strangers(said) == ["apache2 (apache2.service)", "docker-proxy (docker.service)", "caddy (process-7)"]
    assert strangers(["nginx(docker-4bc8.scope)"]) == ["nginx (docker-4bc8.scope)"]


ORG = "https://nginx.org/packages/mainline/debian"
OURS = {"nginx_ours": f"{SOURCE} {PIN} {KEYRING} ", "nginx_origin": ORG}


@pytest.mark.parametrize("section", ["", "nginx:\n  repository: debian\n"])
def test_where_we_had_put_another_repository_it_is_debians_again(tmp_path: Path, section: str) -> None:
    parts = stated(tmp_path, section, **OURS)
    (package,) = (part for part in parts if isinstance(part, PackagesBack))
    assert package.origin == ORG
    gone = [part.path for part in parts if isinstance(part, Absent) and part.path.startswith("/etc/apt/")]
    assert gone == [SOURCE, PIN, KEYRING]
    assert parts.index(package) == 0, "its source goes once nothing is from there any more"


def told_of(directory: Path, files: dict[str, str]) -> dict[str, str]:
    """The facts of a host that has these files below /etc/apt."""
    for name, text in files.items():
        path = directory / "apt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    script = FACTS.replace("/etc/apt", str(directory / "apt"))
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    pairs = (line.partition("=") for line in said.replace(str(directory), "/etc").splitlines())
    return {name: value for name, _, value in pairs}


def test_a_repository_that_the_admin_has_named_is_his(tmp_path: Path) -> None:
    named = f"URIs: {ORG}\n"
    ours = {SOURCE.removeprefix("/etc/apt/"): named, KEYRING.removeprefix("/etc/apt/"): ""}
    found = told_of(tmp_path / "ours", ours)
    assert (found["nginx_origin"], found["nginx_ours"].split()) == (ORG, [SOURCE, KEYRING])
    assert told_of(tmp_path / "his", {"sources.list.d/nginx.sources": named})["nginx_ours"] == ""
    both = told_of(tmp_path / "both", {**ours, "sources.list": f"deb {ORG} trixie nginx\n"})
    assert (both["nginx_origin"], both["nginx_ours"].split()) == ("", [SOURCE, KEYRING])


def test_modules_stand_in_the_way_of_the_other_nginx_alone(tmp_path: Path) -> None:
    bound = {"nginx_bound": "libnginx-mod-http-echo nginx-full "}
    (told,) = stated(tmp_path, "nginx:\n  repository: nginx.org\n", **bound)
    assert isinstance(told, Told)
    assert "libnginx-mod-http-echo nginx-full: " in str(told.note)
    assert len(stated(tmp_path, "", **bound)) > 1
    theirs = {"nginx_bound": "nginx-module-njs "}
    assert len(stated(tmp_path, "nginx:\n  repository: nginx.org\n", **theirs, **OURS)) > 1
    (told,) = stated(tmp_path, "", **theirs, **OURS)
    assert "nginx-module-njs: " in str(told.note)
    assert len(stated(tmp_path, "", **theirs)) > 1
