"""Every kind of script that is sent to a host, as shellcheck wants it: the whole procedure for the article's two."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from made_pki import issue

from runbook import images, standing
from runbook.frame import new_mark, wrap
from runbook.images import Image, KeptChange
from runbook.resources.block import BEGIN, END
from runbook.resources.file import File
from runbook.script import PRELUDE, Batch, Reading
from runbook.step import CONTROLLER
from steps import pki
from steps.apparmor import Access
from steps.certificates import certificate_request, private_ca
from steps.csr import CsrGeneration
from steps.description.sites_yaml import load
from steps.ipsec.styles import STYLES
from steps.procedure import procedure
from steps.vault import Vault
from steps.webserver.nginx_package import KEYRING, PIN, SOURCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.step import Finding, Part, Step
    from steps.network import Network

EXCLUDED: Final = {
    "SC2016": "shell for another shell, and programs for awk, stand in single quotes on purpose",
    "SC1090": "an image's own scripts are sourced by names that are known on the host only",
    "SC1091": "and they are not here",
    "SC2043": "a list that a loop goes through may have one item",
}
ARTICLE: Final = Path(__file__).parent / "data" / "sites" / "article.yaml"
SURVEY: Final = "INPUT/1/in-new FORWARD/1/- OUTPUT/0/-"
FACTS: Final[Sequence[Mapping[str, str]]] = (
    {},
    {
        "addresses_by_ifupdown": "lo eth0",
        "uplinks_by_ra": "eth0",
        "nginx_by_hand": "/etc/nginx/sites-enabled/default_server.conf",
        "nginx_ours": f"{SOURCE} {PIN} {KEYRING}",
        "nginx_origin": "https://nginx.org/packages/mainline/debian",
        "conf_sections": "/etc/ipsec.d/ours.conf:ula-net-home /etc/ipsec.conf:office",
        "credentials_made": "file /etc/ssl/an older/an older.key;private key /var/lib/ipsec-runbook/keys/old.key;",
        **{f"firewall_{kind}_{family}": SURVEY for kind in ("live", "stored") for family in (4, 6)},
    },
    {
        "addresses_by_systemd-networkd": "eth0",
        "networkd_file_eth0": "/run/systemd/network/10-netplan-an other.network",
        "networkd_ours": "/etc/systemd/network/10-eth0.network.d/60-ipsec-runbook.conf:",
    },
)
SERVICES: Final = ("not-found inactive\n", "disabled inactive\n", "enabled active\n", "masked inactive\n")
READINGS: Final[Mapping[str, Sequence[str]]] = {
    "File": ("absent\n", "file 600 root:root 0\nold\n", "link x\n"),
    "Absent": ("link x\nnone\n", "file 644 root:root 0\ninstalled\n"),
    "Directory": ("absent\n", "directory 777 root:root\n"),
    "Packages": ("nginx\n", "charon-systemd\n-strongswan-charon\n"),
    "PackagesFrom": ("nginx\n", "=nginx\n-nginx-common\n"),
    "PackagesBack": ("nginx\n", "=nginx\n"),
    "SigningKey": ("absent\n", "file 644 root:root\nsome other\n"),
    "StartedByHand": ("running\n",),
    "Service": SERVICES,
    "Masked": SERVICES,
    "NginxLoaded": ("stale\n", "not running\n"),
    "PackageLists": ("", "0\n"),
    "Upgrades": ("+ nginx 1 -> 2\n",),
    "Reboot": ("the host asks for one\n",),
    "PrivateKey": ("absent\n", "file 644 root:root 0\n"),
    "HostKey": ("absent\nno key\n", "file 644 a:b\n0\n"),
    "HostRequest": ("0\n",),
    "InstalledKey": ("absent\nno key\nother\n", "file 644 root:root\n0\nPKCS#8\n"),
    "CaCertificate": ("absent\n",),
    "SiteCertificate": ("absent\n",),
    "NoChallenges": ("/var/lib/acme-challenge/.well-known/acme-challenge/token\n",),
    "CaCertificates": ("", "ipsec-runbook-old.pem file 644 root:root 0\n"),
    "EarlierName": ("file 400 root:root\n",),
    "Block": ("", f"{BEGIN}\n# old\n{END}\n"),
    "Access": (),  # it answers path by path
    "Sysctl": ("0\n",),
    "LiveRules": ("", "*filter\n"),
    "StoredRules": ("", "*filter\n"),
    "RetiredRules": ("*filter\n-A INPUT -p udp -m udp --sport 500 --dport 500 -j ACCEPT\n",),
    "RetiredLines": ("up ip addr add fd00::1/128 dev eth0\n",),
    "SetAside": ("file 644 root:root 0\nabsent\n", "link x\nabsent\n"),
    "Withheld": ("775 /etc/ssl/an other\n",),
    "OldAuthorities": ("gone DST_Root_CA_X3.pem\nexpired old.pem\n",),
    "Address": ("", "eth0 inet6 2001:db8::1/64 scope global \n"),
    "UnreachableRoute": ("absent\n",),
    "Outdated": ("ip -4 route replace unreachable 10.0.9.0/24 metric 4294967295\n",),
    "Loaded": ("/etc/systemd/networkd.conf.d/60-ipsec-runbook.conf\n",),
    "LoadedConnection": ("not running\n", "--\n--\n--\n--\nby hand\n--\ncurrent\n"),
    "RoutingRule": ("4\n6\n",),
    "ByAbility": ("absent\n",),
    "Leftovers": ("file ula-net-vps9\nloaded ula-net-vps9\n",),
    "Tunnel": ("",),
    "LoadedSettings": ("stale\n",),
}
"""What a part may read so that something is to be done; of those not named here, only the reading is sent."""
READ_ONLY: Final = {
    "SoundConf",
    "Borrowed",
    "CertificatesInUse",
    "StrongestCiphers",
    "Later",
    "Told",
    "NotIfupdown",
    "Counterpart",
    "WayIn",
}


NGINX: Final = {"swanctl": "nginx:\n  repository: nginx.org\n", "stroke": ""}
STAGES: Final = ("nothing", "requested", "issued")
"""How far the certificates have come: what then is known of the rest of the procedure."""


def network(directory: Path, stage: str, config: str = "swanctl") -> Network:
    """The article's network with its certificates at a stage, in a style of configuration."""
    now = datetime.now(UTC)
    lasting = {"before": now - timedelta(days=1), "after": now + timedelta(days=60)}
    root = issue("Root", None, **lasting)
    directory.mkdir()
    write(directory / "root.pem", pki.to_pem(root.cert))
    article = ARTICLE.read_text()
    named = article.replace("agree_to_terms: true", "agree_to_terms: true\n  trust_anchors: [root.pem]")
    assert named != article
    write(directory / "sites.yaml", f"{named}\nipsec:\n  config: {config}\n{NGINX[config]}".encode())
    made = load(directory / "sites.yaml")
    vault = Vault(made)
    for site in made.sites.values() if stage != "nothing" else ():
        key = pki.new_key()
        write(vault.key(site), key)
        if stage == "issued":
            leaf = issue(site.fqdn, root, ca=False, names=[site.fqdn], key=pki.load_key(key), **lasting)
            write(vault.certificate(site), pki.to_pem(leaf.cert))
    for request in CsrGeneration(made).parts(CONTROLLER, {}):
        if isinstance(request, File):
            write(Path(request.path), request.content)
    return made


def own_network(directory: Path) -> Network:
    """The same with the keys on the hosts, and an authority of its own."""
    directory.mkdir()
    lines = ARTICLE.read_text().splitlines(keepends=True)
    begin = lines.index("certificates:\n")
    end = lines.index("\n", begin)
    lines[begin:end] = ["certificate_authority: private\n", "keys: host\n"]
    write(directory / "sites.yaml", "".join(lines).encode())
    return load(directory / "sites.yaml")


def vouched(made: Network) -> Network:
    """With a certificate for each site."""
    vault, ca_key = Vault(made), pki.new_key()
    write(vault.ca_key, ca_key)
    write(vault.ca_certificate, private_ca.new_ca(ca_key, "co.uk"))
    (ca,) = pki.split_chain(vault.ca_certificate.read_bytes())
    for site in made.sites.values():
        write(vault.csr(site), certificate_request.new_csr(pki.new_key(), site.fqdn))
        write(vault.certificate(site), private_ca.sign(vault.csr(site).read_bytes(), site.fqdn, ca, ca_key))
    return made


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def stated(step: Step) -> list[Part]:
    """What a step may state of any of its targets."""
    targets = dict.fromkeys([*step.targets(), CONTROLLER] if CONTROLLER in step.targets() else step.targets())
    return [part for target in targets for facts in FACTS for part in step.parts(target, facts)]


def found(part: Part) -> list[Finding]:
    """What a part may find to do."""
    kind = type(part).__name__
    if kind in READ_ONLY:
        return []
    assert kind in READINGS, f"state in READINGS what {kind} may read so that something is to be done, or in READ_ONLY"
    readings = [Reading(text) for text in READINGS[kind]]
    if isinstance(part, Access):
        readings = [Reading("enforce\n" + "".join(f"0x00000000 {path}\n" for path in part.paths))]
    findings = [replace(part.judge(each), probe=part.probe(), found=each) for each in readings]
    if part.follows:
        findings += [replace(part.again(each), probe=part.probe(), found=each) for each in readings]
    return [each.taken() if each.offer else each for each in findings if each.change or each.offer]


def pieces(finding: Finding) -> dict[str, str]:
    """The shell that a finding brings along."""
    change = finding.change
    assert change
    given = {"save": change.save, "apply": change.apply, "undo": change.undo, "settle": change.settle}
    return {name: text for name, text in given.items() if text}


def check(directory: Path, scripts: Mapping[str, str]) -> None:
    """Have shellcheck look at each script; what it says names the script."""
    names = {}
    for number, (text, name) in enumerate({text: name for name, text in scripts.items()}.items()):
        path = directory / f"{number}.sh"
        path.write_text(f"#!/bin/sh\nimage=/i index=0\nexport image index\n{text}\n")
        names[str(path)] = name
    argv = ["shellcheck", "--shell=sh", f"--exclude={','.join(EXCLUDED)}", "--format=json", *names]
    told = json.loads(subprocess.run(argv, capture_output=True, text=True, check=False).stdout)
    assert names
    said = [f"{names[each['file']]}: SC{each['code']} line {each['line']}: {each['message']}" for each in told]
    assert not said, "\n".join(said)


def test_every_part_of_the_procedure(tmp_path: Path) -> None:
    """At every stage: of every kind there is something to do at one of them."""
    scripts, kinds = {}, set()
    networks = [network(tmp_path / f"{stage}-{config}", stage, config) for stage in STAGES for config in STYLES]
    for made in [*networks, own_network(tmp_path / "own"), vouched(own_network(tmp_path / "vouched"))]:
        config = made.ipsec.config
        for step in procedure(made):
            scripts[f"{step.name}: facts"] = step.facts
            scripts |= {f"{config}: {step.name}: reads": text for at in step.targets() for text in step.reads(at)}
            for part in stated(step):
                scripts[f"{config}: {step.name}: {part.key}: probe"] = part.probe()
                for number, finding in enumerate(found(part)):
                    kinds.add(type(part).__name__)
                    for name, text in pieces(finding).items():
                        scripts[f"{config}: {step.name}: {part.key}: {name} {number}"] = text
    assert kinds == set(READINGS)
    check(tmp_path, scripts)


def test_what_is_around_the_parts(tmp_path: Path) -> None:
    """The prelude, the batch, and all that writes, lists and undoes a before-image."""
    steps = procedure(network(tmp_path / "issued", "issued"))
    nginx = next(step for step in steps if step.name == "nginx")
    findings = [each for part in stated(nginx) for each in found(part)]
    risky = [replace(each, change=replace(each.change, risky=True)) for each in findings if each.change]
    changed = "changed since", "", "2/before.0"
    kept = tuple(KeptChange(number, each.key, "", "", *changed[: number + 1]) for number, each in enumerate(findings))
    image = Image("1", "nginx", kept)
    batch = Batch({"a": "echo a", "b": f"cat <<'{END}'\n{BEGIN}\n{END}\n"}, {"image": "/a b"}, frozenset("a"))
    scripts = {
        "prelude": PRELUDE,
        "batch": batch.text,
        "frame": wrap("echo a", new_mark()).decode(),
        "guard": images.guard(findings),
        "keep": images.keep("nginx", risky),
        "arm": images.arm("1"),
        "disarm": images.disarm("1"),
        "record": images.record(0, "echo a"),
        "stood": standing.stood_before("a b", ["file /a b"]),
        "stands": standing.STOOD_AFTER,
        "listing": standing.listing("/a b"),
        "unmake": images.unmake("/a b", image, [0, 1]).text,
        "since": images.since("/a b", [image]).text + ': "$failed"',  # it has no use for it
        "undone": images.undone("/a b", [0, 1]),
        "forget": images.forget("/a b", "1"),
    }
    check(tmp_path, scripts)


def test_the_test_sees_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="bad: SC2086 line 4"):
        check(tmp_path, {"bad": "rm -- $1"})
