"""What follows from four backends that are one module and one line each, where they have been added.

`tests/test_new_backend.py` adds them, and runs this.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from firewalled import target_of, vps4
from netns import needs_root
from scratch import Witness
from surveyed import link, surveyed

from checkpoints import Journal
from runbook.errors import UsageError
from runbook.executor import Executor
from runbook.init import with_flags
from runbook.interview import AUTHORITIES, HELP
from runbook.local import LocalHost
from runbook.step import CONTROLLER, Told, Verdict
from runbook.target import Target
from steps.addresses import AddingAddresses
from steps.certificate import CertificateCreation
from steps.certificates import private_ca
from steps.connection import Connection
from steps.credentials import Credentials
from steps.csr import CsrGeneration
from steps.description.sites_yaml import load
from steps.interview.answers import Answers, Known, SiteAnswers, complete
from steps.interview.reasons import site_reasons
from steps.interview.survey_words import words
from steps.interview.yaml_text import described, text
from steps.ipsec_firewall import IpsecFirewall
from steps.keys import KeyGeneration
from steps.pki import new_key, split_chain
from steps.strongswan import IpsecInstallation
from steps.tunnel.tunnel_lesson import lesson
from steps.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netns import Namespace

    from runbook.events import Plan
    from steps.network import Network

ROOT = Path(__file__).parents[2]
SITES = """\
ula_prefix: fdd7:5938:e2e6::/48
link_subnet: 3
certificate_authority: toy
sites:
  home: {ssh: home, fqdn: home.example.org, address: dynamic, subnet: 1, interface: eth0}
  vps4:
    config: toy
    ssh: vps4
    fqdn: vps4.example.org
    address: [192.0.2.10, "2001:db8::10"]
    subnet: 8e71
    interface: eth0
links:
  - between: [home, vps4]
"""
TOYCTL = """\
#!/bin/sh
cd /etc/toy || exit 1
case $1 in
    load) rm -rf .loaded; mkdir .loaded; cp -- *.conn *.pem *.key ca/*.pem .loaded/ 2>/dev/null || : ;;
    list) cat .loaded/*.conn 2>/dev/null || : ;;
    certs)
        for each in .loaded/*.pem; do
            [ -e "$each" ] || continue
            mark=$(openssl x509 -noout -fingerprint -sha1 -in "$each" | sed 's/.*=//; s/://g' | tr A-F a-f)
            if [ -e "${each%.pem}.key" ]; then echo "$mark key"; else echo "$mark -"; fi
        done ;;
esac
"""
TOYFW = """\
#!/bin/sh
case $1 in
    version) echo 1 ;;
    load) cat >"/etc/toyfw/.$2" ;;
    show) cat "/etc/toyfw/.$2" 2>/dev/null || : ;;
    forget) rm -f "/etc/toyfw/.$2" ;;
esac
"""
THERE = """\
find /etc/toy /etc/toyfw /etc/toynet /etc/sysctl.d
ip -6 -o address show dev eth0 scope global | awk '{ print $4 }'
sysctl net.ipv6.conf.all.forwarding
"""


@pytest.fixture
def network(tmp_path: Path) -> Network:
    (tmp_path / "sites.yaml").write_text(SITES)
    return load(tmp_path / "sites.yaml")


def told(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split())


# --- sites.yaml, init, the reference ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "slip", "known"),
    [("config", "toi", "swanctl, stroke, toy"), ("certificate_authority", "zzz", "acme, private, toy")],
)
def test_sites_yaml_takes_the_names_and_offers_them_where_another_is_written(
    tmp_path: Path, network: Network, key: str, slip: str, known: str
) -> None:
    assert (network.sites["vps4"].config, network.certificate_authority) == ("toy", "toy")
    (tmp_path / "wrong.yaml").write_text(SITES.replace(f"{key}: toy", f"{key}: {slip}"))
    with pytest.raises(UsageError) as refused:
        load(tmp_path / "wrong.yaml")
    assert known in str(refused.value) or "did you mean `toy`?" in str(refused.value)


def test_init_offers_them_and_takes_them_by_flag() -> None:
    assert "or `toy`, by toy.conn" in HELP["config"]
    assert "from a tray into which somebody puts them" in AUTHORITIES["toy"]
    sites = tuple(SiteAnswers(ssh=name, name=name) for name in ("home", "vps4"))
    flagged = with_flags(Answers(sites), {"config": ["vps4=toy"]}, {"certificate_authority": "toy"}, Path("sites.yaml"))
    assert (flagged.sites[1].config, flagged.certificate_authority) == ("toy", "toy")
    assert not flagged.source.OVER_HTTP


def test_init_proposes_what_a_host_has_and_writes_why() -> None:
    readings = {
        "ipsec": "running toyd\n",
        "connections": "road-warriors: IKEv2\n",
        "network": "addresses_by_toynet=eth0\n",
        "firewall": "firewall_managers=toyfw\n",
    }
    host = surveyed(link("eth0", "192.0.2.10/24"), **readings)
    said = {each.what: each for each in words(host, 0)}
    assert said["IPsec"].text.startswith("strongSwan by toy.conn, with the connections road-warriors; they stay")
    assert (said["network"].text, said["firewall"].text) == ("toynet", "toyfw")
    assert not any(each.wrong for each in said.values())
    sites = tuple(SiteAnswers(ssh=name, name=name, fqdn=f"{name}.example.org") for name in ("home", "vps4"))
    other = surveyed(link("eth0", "192.0.2.2/24"))
    known = Known({"home": other, "vps4": host}, {})
    plan = complete(Answers(sites, certificate_authority="toy"), known)
    assert [site.config for site in plan.sites] == ["swanctl", "toy"]
    assert site_reasons(plan, plan.sites[1], known)["config"] == "by toy.conn, where road-warriors is now"
    written = text(plan, known)
    assert "# from a tray into which somebody puts them" in written
    assert "certificates:" not in written
    assert described(plan, known, Path("sites.yaml")).sites["vps4"].config == "toy"


def test_the_reference_and_explain_have_them() -> None:
    for page in (
        told("-c", "import sys; sys.path.insert(0, 'docs'); import generate; print(generate.reference())"),
        told("-m", "runbook", "explain", "sites.yaml"),
    ):
        assert "or `toy`, by toy.conn." in page
        assert "or `toy`, from a tray into which somebody puts them." in page
    reference = told("-c", "import sys; sys.path.insert(0, 'docs'); import generate; print(generate.reference())")
    for path in ("toy/ula-net-SITE.conn", "toy/FQDN.key", "toy/ca/ipsec-runbook-*.pem", "toyfw/PURPOSE.rules"):
        assert f"`/etc/{path}`" in reference
    assert "`/etc/toynet/ipsec-runbook`" in reference
    assert "`.runbook/toy` | The tray." in reference


def test_the_lesson_on_a_tunnel_has_its_commands(network: Network) -> None:
    (only,) = network.links
    there = replace(network, links=(replace(only, initiator="vps4"),))
    assert "toyctl list\n" in lesson(there, width=80, unicode=True)


# --- hosts that have others -------------------------------------------------------------------------------------------


def test_where_a_site_has_another_style_nothing_of_it_is_to_be_there(network: Network) -> None:
    home = network.sites["home"]
    keys = {
        each.key for step in (Credentials, Connection, IpsecInstallation) for each in step(network).parts("home", {})
    }
    assert home.config == "swanctl"
    assert keys >= {
        "no file /etc/toy/home.example.org.key",
        "no file /etc/toy/ula-net-vps4.conn",
        "masked service toyd.service",
    }


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        (("toynet", "ifupdown"), "toynet and ifupdown both manage eth0 of vps4"),
        (("dhcpcd",), "leave eth0 to ifupdown or systemd-networkd or toynet"),
        ((), "no file of ifupdown or systemd-networkd or toynet has eth0"),
    ],
)
def test_two_managers_or_none_are_told_with_it(network: Network, claims: tuple[str, ...], says: str) -> None:
    facts = {"host_addresses": "192.0.2.10 2001:db8::10"} | {f"addresses_by_{name}": "eth0" for name in claims}
    (found,) = [each for each in AddingAddresses(network).parts("vps4", facts) if isinstance(each, Told)]
    assert not isinstance(found.note, str)
    assert says in " ".join([str(found.note), found.note.likely, found.note.hint])


def test_where_another_manager_has_the_addresses_its_file_goes(network: Network) -> None:
    facts = {"host_addresses": "192.0.2.10 2001:db8::10", "addresses_by_ifupdown": "eth0", "ifupdown_sources": "yes"}
    assert "no file /etc/toynet/ipsec-runbook" in {each.key for each in AddingAddresses(network).parts("vps4", facts)}


# --- a host that has them all -----------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Namespace]:
    with vps4(tmp_path) as host:
        for name, script in (("toyctl", TOYCTL), ("toyfw", TOYFW), ("journalctl", "#!/bin/sh\n")):
            (host.tools / name).write_text(script)
            (host.tools / name).chmod(0o755)
        host.sh("mkdir -p /etc/toy /etc/toyfw /etc/toynet; echo eth0 >/etc/toynet/interfaces")
        yield host


def hand_in(network: Network, vault: Vault) -> None:
    """Sign what is asked for, as whoever fills the tray does."""
    key = new_key()
    root = private_ca.new_ca(key, "example.org")
    (ca,) = split_chain(root)
    (vault.directory / "toy").mkdir()
    (vault.directory / "toy" / "root.pem").write_bytes(root)
    for site in network.sites.values():
        signed = private_ca.sign(vault.csr(site).read_bytes(), site.fqdn, ca, key)
        (vault.directory / "toy" / f"{site.name}.pem").write_bytes(signed)


def not_in_order(plans: list[Plan]) -> list[str]:
    return [
        f"{plan.step.name}: {each.key}: {each.note or each.change}"
        for plan in plans
        for found in plan.findings.values()
        for each in found
        if each.verdict is not Verdict.IN_ORDER
    ]


@needs_root
def test_a_host_that_has_them_is_audited_applied_and_rolled_back(
    network: Network, host: Namespace, tmp_path: Path
) -> None:
    vault = Vault(network)
    vault.directory.mkdir(mode=0o700)  # as each run of the command does, for its log
    kinds = (
        *(KeyGeneration, CsrGeneration, CertificateCreation, Credentials),
        *(IpsecFirewall, AddingAddresses, Connection),
    )
    steps = [kind(network, vault) for kind in kinds]
    targets: Mapping[str, Target] = {
        CONTROLLER: Target(LocalHost(CONTROLLER), str(tmp_path / "here")),
        "home": Target(LocalHost("home"), str(tmp_path / "home")),  # only looked at, for a key
        "vps4": target_of(host, tmp_path),
    }

    def executor(*some: object) -> Executor:
        witness = Witness()
        made = Executor(some or steps, targets, Journal(tmp_path / "journal"), witness.events.append, witness.confirm)
        made.limit_to({CONTROLLER, "vps4"})
        for target in targets.values():
            target.readings.clear()
        made.connect()
        return made

    before = host.sh(THERE)
    first = executor(*steps[:2])
    first.apply()
    assert not first.failures
    hand_in(network, vault)

    audit = not_in_order(executor().audit())
    for part in (
        "certificate: certificate vps4.example.org",
        "credentials: file /etc/toy/vps4.example.org.key",
        "ipsec-firewall: file /etc/toyfw/ipsec.rules",
        "addresses: file /etc/toynet/ipsec-runbook",
        "connection: file /etc/toy/ula-net-home.conn",
    ):
        assert any(each.startswith(part) for each in audit), (part, audit)

    run = executor()
    run.apply()
    assert not run.failures, run.failures
    assert "let through IPv6 input udp port 500" in host.sh("toyfw show ipsec")
    assert "up ip -6 address replace fdd7:5938:e2e6:3::8e71/128 dev eth0" in host.sh("cat /etc/toynet/ipsec-runbook")
    assert host.sh("toyctl list") == "ula-net-home vps4.example.org home.example.org\n"
    assert not_in_order(executor().audit()) == []

    host.sh("rm /etc/toy/.loaded/*.conn")
    (left,) = not_in_order(executor().audit())
    assert left.startswith("connection: loaded connection ula-net-home")
    host.sh("toyctl load")

    undo = executor()
    for step in reversed(steps):
        found = {
            target: [each for each in images if each.step == step.name] for target, images in undo.images().items()
        }
        undo.rollback(step.name, {target: images for target, images in found.items() if images})
    assert not undo.failures, undo.failures
    host.sh("rm -rf /etc/toy/.loaded")  # what the toy's own program has left
    assert host.sh(THERE) == before
