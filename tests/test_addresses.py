"""Addresses and the route of last resort, in a network namespace's kernel."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import TYPE_CHECKING

import pytest
from netns import Namespace, in_order, look, make, needs_root
from scratch import unmake
from ula_network import ends

from runbook.resources.address import Address, UnreachableRoute
from runbook.resources.file import File
from runbook.step import Told, Verdict
from runbook.target import Target
from steps.addresses import AddingAddresses
from steps.addressing.address_managers import MANAGERS
from steps.addressing.ifupdown import INTERFACES
from steps.addressing.outdated_addresses import Outdated, given_facts, leaving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runbook.step import Part

pytestmark = needs_root

OURS = Address(IPv6Interface("fdd7:5938:e2e6:3::1/128"), "d0")
SETTLED = "while ip -6 address | grep -q tentative; do :; done"
STATE = f"{SETTLED}; ip -6 -o address | sed 's/valid_lft.*//'; ip -6 route show table all"
BEFORE = {
    "nothing": "",
    "with detection": "ip -6 address add fdd7:5938:e2e6:3::1/128 dev d0",
    "another length": "ip -6 address add fdd7:5938:e2e6:3::1/64 dev d0 nodad",
    "another length, with detection": "ip -6 address add fdd7:5938:e2e6:3::1/64 dev d0",
    "others": "ip -6 address add fdd7:5938:e2e6:3::2/64 dev d0 nodad",
}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Namespace]:
    with Namespace(tmp_path) as namespace:
        namespace.sh("ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up")
        yield namespace


@pytest.mark.parametrize("before", BEFORE)
def test_an_address_is_had_at_once_and_given_back(host: Namespace, tmp_path: Path, before: str) -> None:
    host.sh(BEFORE[before] or ":")
    was = host.sh(STATE)
    target = Target(host, str(tmp_path / "images"))
    assert not in_order(look(target, [OURS]))
    assert host.sh(STATE) == was
    assert in_order(make(target, [OURS], "1"))
    unmake(target, "1")
    assert host.sh(STATE) == was


def test_an_address_that_is_in_use_stays_while_it_changes(host: Namespace, tmp_path: Path) -> None:
    """As by the article's line, long settled: its tunnel's routes have it for their source, and keep it."""
    host.sh(f"{BEFORE['with detection']}; {SETTLED}; ip -6 route add fd00:9::/64 dev d1 src fdd7:5938:e2e6:3::1")
    was = host.sh(STATE)
    target = Target(host, str(tmp_path / "images"))
    assert in_order(make(target, [OURS], "1"))
    assert "src fdd7:5938:e2e6:3::1" in host.sh("ip -6 route show fd00:9::/64")
    unmake(target, "1")
    assert host.sh(STATE) == was


@pytest.mark.parametrize("length", [128, 64])
def test_an_address_that_the_admins_files_give_stays_as_they_give_it(
    host: Namespace, tmp_path: Path, length: int
) -> None:
    host.sh(f"ip -6 address add {OURS.address.ip}/{length} dev d0")
    target = Target(host, str(tmp_path / "images"))
    assert in_order(look(target, [replace(OURS, detected=True)]))
    assert not in_order(look(target, [OURS]))


def test_an_address_that_the_admins_files_give_in_a_larger_network_is_left_alone(
    host: Namespace, tmp_path: Path
) -> None:
    host.sh("ip -6 address add fdd7:5938:e2e6:1::1/48 dev d0 nodad")
    wanted = Address(IPv6Interface("fdd7:5938:e2e6:1::1/64"), "d0", detected=True)
    (finding,) = look(Target(host, str(tmp_path / "images")), [wanted])
    assert (finding.verdict, finding.change) == (Verdict.UNKNOWN, None)
    assert "write that in sites.yaml" in finding.note


def test_an_address_that_the_admins_files_give_is_no_duplicate(host: Namespace, tmp_path: Path) -> None:
    with Namespace(tmp_path) as other:
        host.sh(f"ip link set d1 netns {other.name}")
        other.sh(f"ip link set d1 up; ip -6 address add {OURS.address} dev d1 nodad")
        host.sh(f"ip -6 address add {OURS.address} dev d0; while ! ip -6 address | grep -q dadfailed; do :; done")
        target = Target(host, str(tmp_path / "images"))
        parts = [replace(OURS, detected=True)]
        assert not in_order(look(target, parts))
        assert in_order(make(target, parts, "1"))


def test_an_address_on_another_interface_is_left_there(host: Namespace, tmp_path: Path) -> None:
    host.sh("ip -6 address add fdd7:5938:e2e6:3::1/64 dev d1 nodad")
    (finding,) = look(Target(host, str(tmp_path / "images")), [OURS])
    assert finding.verdict is Verdict.UNKNOWN
    assert "is on d1 already" in finding.note


@pytest.mark.parametrize("before", ["", "ip -6 route add unreachable fdd7:5938:e2e6::/48 metric 1024"])
def test_the_route_of_last_resort_is_made_and_unmade_beside_others(
    host: Namespace, tmp_path: Path, before: str
) -> None:
    host.sh(before or ":")
    was = host.sh(STATE)
    target = Target(host, str(tmp_path / "images"))
    parts: list[Part] = [UnreachableRoute("fdd7:5938:e2e6::/48")]
    assert not in_order(look(target, parts))
    assert in_order(make(target, parts, "1"))
    assert host.run("ip -6 route get fdd7:5938:e2e6:9::1").code != 0
    unmake(target, "1")
    assert host.sh(STATE) == was


V4 = Address(IPv4Interface("10.0.1.1/24"), "d0")
V4_STATE = "ip -4 -o address | sed 's/valid_lft.*//'; ip -4 route show table all"


@pytest.mark.parametrize("before", ["", "ip address add 10.0.1.1/32 dev d0", "ip address add 10.0.2.1/24 dev d0"])
def test_an_ipv4_address_and_its_peers_route_are_had_and_given_back(
    host: Namespace, tmp_path: Path, before: str
) -> None:
    host.sh(before or ":")
    was = host.sh(V4_STATE)
    target = Target(host, str(tmp_path / "images"))
    parts: list[Part] = [V4, UnreachableRoute("10.0.9.0/24")]
    assert not in_order(look(target, parts))
    assert in_order(make(target, parts, "1"))
    assert " 10.0.1.1/24 " in host.sh("ip -4 -o address show d0")
    assert host.run("ip route get 10.0.9.1").code != 0
    unmake(target, "1")
    assert host.sh(V4_STATE) == was


@pytest.mark.parametrize("there", ["10.0.1.1/24", "fdd7:5938:e2e6:3::1/64"])
def test_an_address_that_is_there_in_a_network_of_the_admins_stays_in_it(
    host: Namespace, tmp_path: Path, there: str
) -> None:
    host.sh(f"ip address add {there} dev d0")
    wanted = Address(ip_interface(ip_interface(there).ip), "d0", within=ip_interface(there).network)
    target = Target(host, str(tmp_path / "images"))
    assert in_order(make(target, [wanted], "1"))
    assert f" {there} " in host.sh("ip -o address show d0")
    assert str(wanted.address) not in host.sh("ip -o address show d0")


def test_an_ipv4_address_in_a_larger_network_than_planned_is_left_alone(host: Namespace, tmp_path: Path) -> None:
    host.sh("ip address add 10.0.1.1/16 dev d0")
    (finding,) = look(Target(host, str(tmp_path / "images")), [V4])
    assert (finding.verdict, finding.change) == (Verdict.UNKNOWN, None)
    assert "d0 has it as 10.0.1.1/16: write that in sites.yaml" in finding.note


EARLIER = """\
# managed by ipsec-runbook: made from sites.yaml

iface d0 inet6 manual
    up ip -6 address replace fdd7:5938:e2e6:3::1/128 dev d0 nodad
    up ip -6 address replace fdd7:5938:e2e6:1::1/128 dev d0 nodad
    up ip -4 address replace 10.0.1.1/32 dev d0
    up ip -6 route replace unreachable fdd7:5938:e2e6::/48 metric 4294967295
    up ip -4 route replace unreachable 10.0.9.0/24 metric 4294967295
"""
LATER = "".join(line for line in EARLIER.splitlines(keepends=True) if "1::1" not in line and "10.0." not in line)


def outdated(text: str) -> Outdated:
    commands = tuple(line.split("up ", 1)[1] for line in text.splitlines() if " up ip" in line)
    return Outdated(commands, tuple(each.kept for each in MANAGERS.values()))


def test_what_an_earlier_file_had_added_goes_and_comes_back(host: Namespace, tmp_path: Path) -> None:
    (host.etc / "network" / "interfaces.d").mkdir(parents=True)
    (host.etc / "network" / "interfaces.d" / "ipsec-runbook").write_text(EARLIER)
    host.sh("\n".join(line.split("up ", 1)[1] for line in EARLIER.splitlines() if " up ip" in line))
    host.sh("ip -4 address add 10.0.1.2/32 dev d0; ip -4 route add unreachable 10.0.8.0/24 metric 4294967295")
    state = f"{STATE}; {V4_STATE}"
    was = host.sh(state)
    target = Target(host, str(tmp_path / "images"))
    assert in_order(look(target, [outdated(EARLIER)]))
    parts: list[Part] = [outdated(LATER), File(INTERFACES, LATER.encode())]
    assert in_order(make(target, parts, "1"))
    now = host.sh(state)
    gone = ("fdd7:5938:e2e6:1::1", "10.0.1.1/32", "10.0.9.0/24")
    kept = ("fdd7:5938:e2e6:3::1", "10.0.1.2/32", "10.0.8.0/24", "unreachable fdd7:5938:e2e6::/48")
    assert [each for each in (*gone, *kept) if each in now] == list(kept)
    unmake(target, "1")
    assert sorted(host.sh(state).splitlines()) == sorted(was.splitlines())


def test_an_address_that_our_file_has_on_another_interface_moves_and_goes_back(host: Namespace, tmp_path: Path) -> None:
    there = EARLIER.replace("iface d0", "iface d1").replace("dev d0", "dev d1")
    (host.etc / "network" / "interfaces.d").mkdir(parents=True)
    (host.etc / "network" / "interfaces.d" / "ipsec-runbook").write_text(there)
    host.sh("\n".join(line.split("up ", 1)[1] for line in there.splitlines() if " up ip" in line))
    was = host.sh(STATE)
    facts = dict([host.sh(given_facts([INTERFACES])).strip().split("=", 1)])
    leave = leaving([(OURS.address, "d0")], facts)
    assert ("d1", "fdd7:5938:e2e6:3::1/128") in leave
    parts: list[Part] = [outdated(EARLIER), File(INTERFACES, EARLIER.encode()), replace(OURS, leaving=leave)]
    target = Target(host, str(tmp_path / "images"))
    assert in_order(make(target, parts, "1"))
    assert host.sh("ip -6 -o address show to fdd7:5938:e2e6:3::1 | cut -d' ' -f2") == "d0\n"
    unmake(target, "1")
    assert sorted(host.sh(STATE).splitlines()) == sorted(was.splitlines())


def test_what_the_admin_has_it_given_stays_though_an_earlier_file_had_it_too(host: Namespace, tmp_path: Path) -> None:
    """Such as a gateway's address on its LAN, which sites.yaml named a while."""
    (host.etc / "network" / "interfaces.d").mkdir(parents=True)
    (host.etc / "network" / "interfaces.d" / "ipsec-runbook").write_text(EARLIER)
    (host.etc / "network" / "interfaces").write_text(
        "iface d0 inet static\n\taddress 10.0.1.1/32\n# up ip -6 address add fdd7:5938:e2e6:1::1/128 dev d0\n"
    )
    host.sh("\n".join(line.split("up ", 1)[1] for line in EARLIER.splitlines() if " up ip" in line))
    found = make(Target(host, str(tmp_path / "images")), [outdated(LATER)], "1")
    assert in_order(found)
    now = host.sh(f"{STATE}; {V4_STATE}")
    assert [each for each in ("fdd7:5938:e2e6:1::1", "10.0.9.0/24", "10.0.1.1/32") if each in now] == ["10.0.1.1/32"]


@pytest.mark.parametrize(
    ("there", "says"),
    [
        ("192.0.2.4 fdd7:5938:e2e6:1::1", []),
        ("10.0.4.1", []),
        ("10.0.4.9", ["vps4 is 10.0.4.9 in 10.0.4.0/24: write 10.0.4.9/24 in sites.yaml"]),
        ("10.0.5.9", ["vps4 is in it itself, as 10.0.5.9: give one of the two another subnet"]),
    ],
)
def test_a_host_that_is_in_an_ipv4_subnet_already_is_left_alone(there: str, says: list[str]) -> None:
    network = ends()[0].network
    more = {"vps4": "10.0.4.1/24", "home": "10.0.5.1/24"}
    sites = {name: replace(network.sites[name], more_subnets=(IPv4Interface(own),)) for name, own in more.items()}
    facts = {"addresses_by_ifupdown": "eth0", "host_addresses": f"192.0.2.1 {there}"}
    found = AddingAddresses(replace(network, sites=sites)).parts("vps4", facts)
    assert [part.note for part in found if isinstance(part, Told)] == says
