"""What an end can be: of many subnets and both families, moving, behind a NAT, reached over IPv4 or over IPv6."""

from __future__ import annotations

import os
import re
import time
from ipaddress import ip_address
from itertools import product as pairs
from typing import TYPE_CHECKING

import pytest
from laws import Laws
from product import Product, Run

from lab import Lab, services
from lab.layout import BEHIND_ROUTER, ROUTER_INNER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.wire import Counter

pytestmark = pytest.mark.lab

AT_HOME = ("fdd7:5938:e2e6:3::1", "fdd7:5938:e2e6:1::1", "192.168.7.1")
AT_VPS4 = ("fdd7:5938:e2e6:3::8e71", "fdd7:5938:e2e6:8e71::1", "fdd7:5938:e2e6:8e72::1", "10.0.4.1")
AT_LAN = ("fdd7:5938:e2e6:1::10", "192.168.7.10")
PRIVATE_IPV4 = ("10.0.4.0/24", "192.168.7.0/24")
GIVES_ULA = f"""\
printf 'iface eth1 inet6 static\\n    address {AT_HOME[1]}/64\\n' >>/etc/network/interfaces
ip -6 address add {AT_HOME[1]}/64 dev eth1
"""
"""An admin whose LAN has its addresses already, in both families."""
PATIENCE = 60.0


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"ends-{os.getpid()}")
    lab.down()
    lab.up(print)
    lab.root("home", GIVES_ULA)
    describe(lab, "    subnet: 1\n", "    subnet: [1, 192.168.7.1/24]\n")
    describe(lab, "    subnet: 8e71\n", "    subnet: [8e71, 8e72, 10.0.4.0/24]\n")
    yield Product(lab)
    lab.down()


def describe(lab: Lab, old: str, new: str) -> None:
    """Change the network's description."""
    sites = lab.directory / "sites.yaml"
    text = sites.read_text()
    assert text.count(old) == 1
    sites.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def laws(product: Product) -> Laws:
    return Laws.of(product)


@pytest.fixture(scope="module")
def applied(laws: Laws) -> Run:
    return laws.applied()


def evidence(run: Run) -> list[str]:
    return [line for step in run.document["steps"] for check in step["checks"] for line in check["evidence"]]


def reach(lab: Lab, host: str, source: str, destination: str) -> None:
    """Ping until there is an answer."""
    ping = f"ping -n -q -c 1 -W 1 -I {source} {destination} >/dev/null"
    deadline = time.monotonic() + PATIENCE
    while lab.root(host, ping, check=False).returncode:
        assert time.monotonic() < deadline, f"{host}: no answer from {destination} to {source}"


def reach_both_ways(lab: Lab) -> None:
    """Every family, from either end."""
    for here, there in ((AT_HOME[1], AT_VPS4[1]), (AT_HOME[2], AT_VPS4[3])):
        reach(lab, "home", here, there)
        reach(lab, "vps4", there, here)


def leaked(wire: Counter) -> list[tuple[str, str, int]]:
    """What went to a private address in the clear; IKE itself, looking for a way, may try to leave from one."""
    return [each for each in wire.plaintext if any(ip_address(each[1]) in network for network in wire.private)]


def tunnel(lab: Lab) -> dict[str, str]:
    """What vps4 knows of the IKE SA: the number that it keeps as long as it lives, where home is, whether by NAT."""
    said = lab.root("vps4", "swanctl --list-sas --pretty --ike ula-net-home").stdout
    return dict(re.findall(r"^    (uniqueid|remote-host|remote-port|nat-remote) = (.*)$", said, re.MULTILINE))


def test_every_subnet_of_one_site_reaches_every_subnet_of_the_other_in_both_families(applied: Run) -> None:
    told = set(evidence(applied))
    assert told.issuperset(
        f"{site}: {here} -> {there}: 4 packets transmitted, 4 received, 0% packet loss"
        for site, sources, destinations in (("home", AT_HOME, AT_VPS4), ("vps4", AT_VPS4, AT_HOME))
        for here, there in pairs(sources, destinations)
        if (":" in here) == (":" in there)
    )
    assert told.issuperset(
        f"home's LAN host: {here} -> {there}: 4 packets transmitted, 4 received, 0% packet loss"
        for here, there in pairs(AT_LAN, AT_VPS4)
        if (":" in here) == (":" in there)
    )


def in_order_by_itself(product: Product, patience: float = 60.0) -> None:
    """Both ends settle on the new addresses within a moment, and nobody helps them."""
    deadline = time.monotonic() + patience
    while (audit := product.audit()).code:
        assert time.monotonic() < deadline, audit.not_in_order


@pytest.mark.usefixtures("applied")
def test_both_families_are_seen_on_the_wire_as_esp_over_ipv4_and_nothing_else(product: Product) -> None:
    with product.lab.capture(*PRIVATE_IPV4) as wire:
        reach_both_ways(product.lab)
        reach(product.lab, "lan", "192.168.7.10", AT_VPS4[3])
    assert {address for address, _ in wire.esp_from} == {"203.0.113.10", "203.0.113.20"}
    assert leaked(wire) == []


@pytest.mark.usefixtures("applied")
def test_a_tunnel_stays_when_the_dynamic_ends_address_changes_under_it(product: Product) -> None:
    lab = product.lab
    lab.root("home", "ip -6 address del 2001:db8:113::10/64 dev eth0")  # or the tunnel could move there
    before = tunnel(lab)
    assert before["remote-host"] == "203.0.113.10"
    lab.root(
        "home",
        "ip address add 203.0.113.11/24 dev eth0; ip address del 203.0.113.10/24 dev eth0; "
        "ip route replace default via 203.0.113.1 dev eth0",
    )
    with lab.capture(*PRIVATE_IPV4) as wire:
        reach_both_ways(lab)
    after = tunnel(lab)
    assert (after["uniqueid"], after["remote-host"]) == (before["uniqueid"], "203.0.113.11")
    assert wire.esp_from["203.0.113.11", 4500] > 0
    assert leaked(wire) == []
    # its name follows later, as names of such lines do: nothing waits for it
    services.rename(lab.layout, "home.example.test", "203.0.113.11")
    in_order_by_itself(product)


@pytest.mark.usefixtures("applied")
def test_private_ipv4_does_not_leave_by_the_default_route_when_there_is_no_tunnel(product: Product) -> None:
    product.lab.root("home", "systemctl stop strongswan")
    with product.lab.capture(*PRIVATE_IPV4) as wire:
        refused = product.lab.root("home", f"ping -n -c 1 -W 1 {AT_VPS4[3]}", check=False)
    product.lab.root("home", "systemctl start strongswan")
    assert refused.returncode != 0
    assert (wire.esp_packets, wire.plaintext) == (0, {})


@pytest.mark.usefixtures("applied")
def test_ipv6_in_ipv6(product: Product, laws: Laws) -> None:
    product.lab.root("home", "ip -6 address add 2001:db8:113::10/64 dev eth0 nodad")
    describe(product.lab, "    address: 203.0.113.20\n", "    address: [2001:db8:113::20, 203.0.113.20]\n")
    done = product.apply()
    assert done.code == 0, done.err
    with product.lab.capture(*PRIVATE_IPV4) as wire:
        reach_both_ways(product.lab)
    assert {address for address, _ in wire.esp_from} == {"2001:db8:113::10", "2001:db8:113::20"}
    assert leaked(wire) == []
    in_order_by_itself(product)
    laws.kept()


@pytest.mark.usefixtures("applied")
def test_a_tunnel_goes_on_from_ipv6_to_behind_a_nat_that_translates_ports(product: Product) -> None:
    lab = product.lab
    lab.put_behind_router("home")
    lab.root(
        "home",
        "ip -6 address del 2001:db8:113::10/64 dev eth0; ip -4 address flush dev eth0; "
        f"ip address add {BEHIND_ROUTER}/24 dev eth0; ip route replace default via {ROUTER_INNER} dev eth0",
    )
    with lab.capture(*PRIVATE_IPV4) as wire:
        reach_both_ways(lab)
    behind_a_nat(lab, wire.esp_from)
    assert leaked(wire) == []
    in_order_by_itself(product)


@pytest.mark.usefixtures("applied")
def test_a_tunnel_is_brought_up_from_behind_a_nat(product: Product) -> None:
    # home has no IPv6 any more, and the first address is the one that it speaks to
    describe(product.lab, "[2001:db8:113::20, 203.0.113.20]", "[203.0.113.20, 2001:db8:113::20]")
    product.lab.root("home", "swanctl --terminate --ike ula-net-vps4")
    with product.lab.capture(*PRIVATE_IPV4) as wire:
        done = product.apply()
    assert done.code == 0, done.err
    assert {step for step, _, _ in done.not_in_order} == {"nginx", "connection", "ping"}
    behind_a_nat(product.lab, wire.esp_from)


def behind_a_nat(lab: Lab, esp_from: dict[tuple[str, int], int]) -> None:
    """vps4 sees the router's address and a port of its choice, and so does the wire."""
    seen = tunnel(lab)
    assert (seen["remote-host"], seen["nat-remote"]) == ("203.0.113.10", "yes")
    assert 20000 <= int(seen["remote-port"]) < 30000
    assert esp_from["203.0.113.10", int(seen["remote-port"])] > 0


@pytest.mark.usefixtures("applied")
def test_the_laws_hold_for_an_end_that_has_moved_and_is_behind_a_nat(product: Product, laws: Laws) -> None:
    laws.kept()
    product.lab.reboot("home")  # where it was at first, with the addresses that it had
    product.lab.root("home", "systemctl start strongswan.service")  # comes back once it has started
    reach_both_ways(product.lab)
    in_order_by_itself(product)
    laws.undone()  # and the admin's own networking has not failed over an address of ours
