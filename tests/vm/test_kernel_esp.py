"""IPsec by the kernel: what the policy-match rules count, and what becomes of packets that only pretend."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from steps.addresses import AddingAddresses
from steps.apparmor import AppArmor
from steps.connection import Connection
from steps.credentials import Credentials
from steps.ipsec_firewall import IpsecFirewall
from steps.ping import PingTest
from steps.strongswan import IpsecInstallation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Sites

pytestmark = [pytest.mark.vm, pytest.mark.slow]

HOME_LAN, HOME_LINK = "fdd7:5938:e2e6:1::10", "fdd7:5938:e2e6:3::1"
VPS4_LINK = "fdd7:5938:e2e6:3::8e71"
HOMES_CARD = "52:54:00:00:00:01"

COUNT_DROPPED = """\
ip6tables -A INPUT -p udp --dport 4242 -m comment --comment dropped
ip6tables -A FORWARD -p ipv6-icmp -m comment --comment dropped
"""
"""Rules that only count, at the very end: what comes as far as this is dropped by the chain's policy."""

UDP = f"for each in 1 2 3 4 5; do echo hello >/dev/udp/{HOME_LINK}/4242; done"
PING = f"ping -6 -n -q -i 0.5 -W 5 -c 5 {HOME_LAN}"


@pytest.fixture(scope="module")
def tunnel(with_lan: Sites) -> Sites:
    with_lan.apply(IpsecInstallation, Credentials, AppArmor, IpsecFirewall, AddingAddresses, Connection, PingTest)
    with_lan.sh("home", COUNT_DROPPED)
    return with_lan


@dataclass(frozen=True)
class Counted:
    """Packets so far at home: by our policy rules, by those that only count what is dropped, and on the wire."""

    let_in: Counter[str]
    dropped: Counter[str]
    esp: int
    plain: int

    @classmethod
    def now(cls, sites: Sites) -> Counted:
        rules = sites.sh("home", "ip6tables-save -c")
        wire = sites.pair.seen_on_the_wire()
        return cls(
            _packets(rules, r"--dir (in|out) --pol ipsec --proto esp"),
            _packets(rules, r"--comment (dropped)"),
            wire.esp_packets,
            wire.plaintext_packets,
        )

    def since(self, before: Counted) -> Counted:
        return Counted(
            self.let_in - before.let_in,
            self.dropped - before.dropped,
            self.esp - before.esp,
            self.plain - before.plain,
        )


def _packets(rules: str, what: str) -> Counter[str]:
    found = re.findall(rf"^\[(\d+):\d+\] -A (\w+) .*{what}", rules, re.MULTILINE)
    return sum((Counter({f"{chain} {word}": int(packets)}) for packets, chain, word in found), Counter())


def refused_by_kernel(sites: Sites) -> int:
    """How many packets that should have been encrypted home's kernel has refused, by its own policies."""
    return int(sites.sh("home", "awk '/^XfrmInTmplMismatch/ { print $2 }' /proc/net/xfrm_stat"))


@pytest.fixture
def plain(tunnel: Sites) -> Iterator[Sites]:
    """vps4 sends to home in the clear what it should encrypt, from and to the very same addresses."""
    to = {HOME_LINK: "udp", HOME_LAN: "ipv6-icmp"}
    # With the protocol in it, it is another selector than charon's, which stays.
    policies = [f"src {VPS4_LINK} dst {each} proto {protocol} dir out" for each, protocol in to.items()]
    routes = [f"{each} dev eth0 src {VPS4_LINK} table 220" for each in to]
    lines = [f"ip xfrm policy add {each} priority 1 action allow" for each in policies]
    lines += [f"ip -6 neigh replace {each} lladdr {HOMES_CARD} dev eth0" for each in to]
    tunnel.sh("vps4", "\n".join(["set -e", *lines, *(f"ip -6 route replace {each}" for each in routes)]))
    yield tunnel
    lines = [f"ip xfrm policy delete {each}" for each in policies] + [f"ip -6 route del {each}" for each in routes]
    tunnel.sh("vps4", "\n".join(lines))


@pytest.fixture
def no_policies(tunnel: Sites) -> Iterator[None]:
    """home's kernel knows of no tunnel, so the firewall alone stands before its networks."""
    tunnel.sh("home", "systemctl stop strongswan; test -z \"$(ip xfrm policy | grep 'dir fwd')\"")
    yield
    tunnel.sh("home", "systemctl start strongswan")


def test_esp_is_the_kernels(tunnel: Sites) -> None:
    for host in ("home", "vps4"):
        states = tunnel.sh(host, "ip xfrm state")
        assert "proto esp" in states
        assert "rfc4106(gcm(aes))" in states
        assert "encap" not in states


def test_the_first_packet_brings_the_tunnel_up_and_none_leaves_in_the_clear(tunnel: Sites) -> None:
    before = Counted.now(tunnel)
    down = tunnel.sh("home", "swanctl --terminate --ike ula-net-vps4 >/dev/null; swanctl --list-sas; ip xfrm state")
    assert not down
    waiting = "for _ in $(seq 60); do ! ping -6 -n -q -c 1 -W 1 -I {} {} >/dev/null || exit 0; done; exit 1"
    tunnel.sh("home", waiting.format(HOME_LINK, VPS4_LINK))
    assert "ESTABLISHED" in tunnel.sh("home", "swanctl --list-sas")
    found = Counted.now(tunnel).since(before)
    assert (found.esp > 0, found.plain) == (True, 0)


def test_what_comes_out_of_the_tunnel_is_let_in_by_policy_match(tunnel: Sites) -> None:
    before = Counted.now(tunnel)
    tunnel.sh("vps4", f"bash -c '{UDP}'")
    found = Counted.now(tunnel).since(before)
    assert (found.let_in, found.dropped) == ({"INPUT in": 5}, {})
    assert (found.esp >= 5, found.plain) == (True, 0)


def test_what_passes_through_home_to_its_lan_is_let_through_both_ways(tunnel: Sites) -> None:
    before = Counted.now(tunnel)
    assert " 0% packet loss" in tunnel.sh("vps4", f"{PING} -I {VPS4_LINK}")
    found = Counted.now(tunnel).since(before)
    assert (found.let_in, found.dropped) == ({"FORWARD in": 5, "FORWARD out": 5}, {})
    assert (found.esp >= 10, found.plain) == (True, 0)


def test_what_only_pretends_to_come_out_of_the_tunnel_is_dropped(plain: Sites) -> None:
    before, refused = Counted.now(plain), refused_by_kernel(plain)
    plain.sh("vps4", f"bash -c '{UDP}'")
    assert " 100% packet loss" in plain.sh("vps4", f"{PING} -I {VPS4_LINK} || true")
    found = Counted.now(plain).since(before)
    assert (found.let_in, found.dropped) == ({}, {"INPUT dropped": 5})
    # What is to be forwarded meets the kernel's own policies before it meets the chain FORWARD.
    assert refused_by_kernel(plain) - refused == 5
    assert found.plain == 10


@pytest.mark.usefixtures("no_policies")
def test_it_is_dropped_by_the_firewall_alone_while_there_is_no_tunnel(plain: Sites) -> None:
    before = Counted.now(plain)
    plain.sh("vps4", f"bash -c '{UDP}'")
    assert " 100% packet loss" in plain.sh("vps4", f"{PING} -I {VPS4_LINK} || true")
    found = Counted.now(plain).since(before)
    assert (found.let_in, found.dropped) == ({}, {"INPUT dropped": 5, "FORWARD dropped": 5})
    assert found.plain == 10
