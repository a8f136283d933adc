"""nginx from a repository of its own, in place of Debian's: verified first, and taken back whole."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import nginx_repository
import pytest
from nginx_repository import OWN_DIRECTIVE, VERSION, Repository
from product import Product, picture
from told import told_as

from lab import Lab, snapshot
from runbook import complaints
from steps import catalogue
from steps.webserver.nginx_package import KEYRING, PIN, SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from product import Run

pytestmark = pytest.mark.lab

HOSTS = ("home", "vps4")
SHOP = """\
server {
    listen 203.0.113.20:80;
    server_name shop.example.test;
    location / { return 200 "the shop"; }
}
"""
OF_NGINX = re.compile(r"nginx|apt|acme-challenge|/var/www")
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get -qy -o Dpkg::Options::=--force-confold install"
LISTS = "cd /var/lib/apt/lists && ls"
OF_ALL_PACKAGES = {"file:/var/lib/dpkg/status", "file:/var/lib/apt/extended_states"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Product, Repository]]:
    """home has no nginx, vps4 Debian's, which serves a shop."""
    lab = Lab(f"nginx-org-{os.getpid()}")
    lab.down()
    lab.up(print)
    lab.root("home", "apt-get -q update")
    open_shop(lab)
    for made in nginx_repository.served(lab, tmp_path_factory.mktemp("repository")):
        made.new_key("right")
        made.new_key("wrong")
        made.publish("right")
        for host in HOSTS:
            made.add(lab, host)
        product = Product(lab)
        stated(product, made.section)
        yield product, made
    lab.down()


def open_shop(lab: Lab) -> None:
    """Have Debian's nginx serve it on vps4."""
    lab.root("vps4", f"apt-get -q update; {INSTALL} nginx")
    lab.root("vps4", f"cat >/etc/nginx/sites-available/shop <<'END'\n{SHOP}END")
    lab.root("vps4", "ln -s ../sites-available/shop /etc/nginx/sites-enabled/shop; systemctl restart nginx")


def stated(product: Product, section: str) -> None:
    """Have sites.yaml say this of nginx."""
    sites = product.lab.directory / "sites.yaml"
    sites.write_text(f"{sites.read_text().partition('nginx:')[0]}{section}")


@pytest.fixture(scope="module")
def product(repository: tuple[Product, Repository]) -> Product:
    return repository[0]


def pictures(product: Product) -> dict[str, dict[str, str]]:
    """All that has to do with nginx and with where packages come from; the rest is every other test's."""
    found = {}
    for host in HOSTS:
        taken = picture(product.lab, host)
        found[host] = {key: each for key, each in taken.items() if OF_NGINX.search(key) and key not in OF_ALL_PACKAGES}
        found[host]["lists"] = product.lab.root(host, LISTS).stdout
    return found


@pytest.fixture(scope="module")
def before(product: Product) -> dict[str, dict[str, str]]:
    return pictures(product)


def version(product: Product, host: str) -> str:
    return product.lab.root(host, "dpkg-query -W -f '${Version}' nginx").stdout


def shop(product: Product) -> str:
    return product.lab.root("vps4", "curl -s -H 'Host: shop.example.test' http://203.0.113.20/", check=False).stdout


@pytest.fixture(scope="module")
def refused(repository: tuple[Product, Repository], before: dict[str, dict[str, str]]) -> Run:
    assert before
    product, made = repository
    made.sign("wrong")
    return product.apply()


def test_a_repository_that_another_key_has_signed_is_refused(refused: Run) -> None:
    assert refused.code == 1
    told = {each["target"]: each for each in refused.document["failures"] if each["step"] == "nginx"}
    assert {target: each["id"] for target, each in told.items()} == dict.fromkeys(HOSTS, complaints.NOT_SIGNED.id)
    assert "is not signed by a key that is expected of it" in told["vps4"]["error"]


def test_what_was_refused_has_left_nothing_behind(
    product: Product, before: dict[str, dict[str, str]], refused: Run
) -> None:
    assert refused.code == 1
    now = pictures(product)
    assert {host: snapshot.diff(before[host], now[host]) for host in now} == {"home": [], "vps4": []}
    assert shop(product) == "the shop"


@pytest.mark.parametrize("host", ["vps4", pytest.param("home", marks=pytest.mark.slow)])
def test_modules_of_the_nginx_that_is_there_are_named_and_nothing_is_touched(
    product: Product, before: dict[str, dict[str, str]], refused: Run, host: str
) -> None:
    assert refused.code == 1
    product.lab.root(host, f"{INSTALL} nginx\n{nginx_repository.MODULES}")
    there = pictures(product)
    assert ("nginx", host, "modules of the nginx that is there") in product.audit().not_in_order
    done = product.apply()
    assert done.code == 1
    failed = next(each for each in done.document["failures"] if each["target"] == host and each["step"] == "nginx")
    told = told_as(failed, catalogue.NGINX_MODULES)
    assert told["error"].startswith("libnginx-mod-http-echo nginx-full: ")
    assert "apt-get remove libnginx-mod-http-echo nginx-full; " in told["hint"]
    assert snapshot.diff(there[host], pictures(product)[host]) == []
    product.lab.root(host, "apt-get -qy purge libnginx-mod-http-echo nginx-full python3-certbot-nginx")
    if host == "home":
        product.lab.root(host, "apt-get -qy purge nginx nginx-common; rm -r /var/www")
    assert snapshot.diff(before[host], pictures(product)[host]) == []


@pytest.fixture(scope="module")
def applied(repository: tuple[Product, Repository], refused: Run) -> Run:  # noqa: ARG001 - after it
    product, made = repository
    made.sign("right")
    return product.apply()


def test_signed_by_the_right_key_it_is_what_every_host_gets(product: Product, applied: Run) -> None:
    assert applied.code == 0, applied.err
    assert applied.changes["certificate"] == 2
    assert version(product, "home") == f"{VERSION}-1~trixie"
    assert version(product, "vps4") == f"{VERSION}-1~bookworm"
    assert product.audit().code == 0
    assert product.apply().changes == {}


def test_what_debians_served_is_served_on(product: Product, applied: Run) -> None:
    assert applied.code == 0
    assert shop(product) == "the shop"


def test_nothing_else_is_taken_from_there(product: Product, applied: Run) -> None:
    assert applied.code == 0
    policy = product.lab.root("home", "apt-cache policy | grep -B1 o=nginx; apt-cache policy nginx").stdout
    assert re.search(rf"-1 {re.escape('http://203.0.113.100')}", policy), policy
    assert re.search(rf"{VERSION}-1~trixie 900", policy), policy


@pytest.fixture(scope="module")
def left(product: Product, applied: Run) -> Run:  # noqa: ARG001 - after it
    """sites.yaml says nothing of nginx any more."""
    stated(product, "")
    return product.apply()


def test_taken_out_of_sites_yaml_it_is_debians_again(product: Product, applied: Run, left: Run) -> None:
    assert applied.code == left.code == 0, left.err
    assert not re.search("~(trixie|bookworm)$", version(product, "home") + version(product, "vps4"))
    for host in HOSTS:
        assert product.lab.root(host, f"ls {SOURCE} {PIN} {KEYRING} 2>/dev/null", check=False).stdout == ""
        assert product.lab.root(host, "readlink /proc/$(cat /run/nginx.pid)/exe").stdout == "/usr/sbin/nginx\n"
    assert shop(product) == "the shop"
    assert product.audit().code == 0
    assert product.apply().changes == {}


def test_taken_back_each_has_what_it_had(
    product: Product, before: dict[str, dict[str, str]], applied: Run, left: Run
) -> None:
    assert applied.code == left.code == 0
    done = product.run("rollback", "--step", "nginx", "--yes")
    assert done.code == 0, done.out + done.err
    now = pictures(product)
    assert {host: snapshot.diff(before[host], now[host]) for host in now} == {"home": [], "vps4": []}
    assert shop(product) == "the shop"


@pytest.mark.parametrize("host", ["home", pytest.param("vps4", marks=pytest.mark.slow)])
def test_a_repository_of_the_admins_own_is_left_as_it_is(
    repository: tuple[Product, Repository], left: Run, host: str
) -> None:
    product, made = repository
    assert left.code == 0
    made.name_by_hand(product.lab, host)
    if host == "vps4":  # where the other nginx includes it as well
        product.lab.root(host, "ln -s ../sites-available/shop /etc/nginx/conf.d/shop.conf")
    product.lab.root(host, f"{INSTALL} nginx")
    codename = product.lab.releases[host]
    assert version(product, host) == f"{VERSION}-1~{codename}"
    done = product.apply()
    assert done.code == 0, done.err
    assert ("nginx", host, "packages nginx") not in done.changed
    assert version(product, host) == f"{VERSION}-1~{codename}"
    assert product.lab.root(host, "ls /etc/apt/sources.list.d").stdout == "by-hand.sources\n"
    assert shop(product) == "the shop"
    assert product.audit().code == 0
    product.run("rollback", "--step", "nginx", "--yes")
    assert version(product, host) == f"{VERSION}-1~{codename}"
    gone = "rm /etc/apt/sources.list.d/by-hand.sources; apt-get -qy purge nginx nginx-common; apt-get -q update"
    product.lab.root(host, gone)
    if host == "vps4":
        open_shop(product.lab)


@pytest.fixture(scope="module")
def once_more(repository: tuple[Product, Repository], left: Run) -> dict[str, dict[str, str]]:
    """Both hosts have moved over again, and of what was before that nothing is left."""
    product, made = repository
    assert left.code == 0
    stated(product, made.section)
    assert product.apply().code == 0
    assert product.run("forget", "--older-than", "0", "--yes").code == 0
    return pictures(product)


@pytest.mark.slow
@pytest.mark.usefixtures("once_more")
def test_an_nginx_that_would_not_take_the_configuration_is_not_installed(product: Product) -> None:
    file = "/etc/nginx/conf.d/own.conf"
    product.lab.root("vps4", f"echo '{OWN_DIRECTIVE} 8k;' >{file}; nginx -t && systemctl reload nginx")
    stated(product, "")
    failed = product.apply()
    assert failed.code == 1
    told = next(each for each in failed.document["failures"] if each["target"] == "vps4")
    assert f'unknown directive "{OWN_DIRECTIVE}" in {file}' in told["error"]
    assert version(product, "vps4") == f"{VERSION}-1~bookworm"
    assert shop(product) == "the shop"
    product.lab.root("vps4", f"rm {file}; systemctl reload nginx")


@pytest.mark.slow
def test_debians_taken_back_is_the_other_again(product: Product, once_more: dict[str, dict[str, str]]) -> None:
    stated(product, "")
    assert product.apply().code == 0
    done = product.run("rollback", "--step", "nginx", "--yes")
    assert done.code == 0, done.out + done.err
    now = pictures(product)
    assert {host: snapshot.diff(once_more[host], now[host]) for host in now} == {"home": [], "vps4": []}
    assert shop(product) == "the shop"
    assert version(product, "home") == f"{VERSION}-1~trixie"
