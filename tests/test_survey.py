"""What is read of a host, what it means, and how it is said."""

from __future__ import annotations

import json
from ipaddress import IPv6Network
from pathlib import Path

import pytest
from netns import shellcheck
from surveyed import MAC, link, surveyed

from runbook.script import Reading
from steps.description.plan import Route
from steps.interview.survey import FRAGMENTS, Survey, parse
from steps.interview.survey_words import words

DATA = Path(__file__).parent / "data"
SERVER = link("eth0", "192.0.2.1/24", "2001:db8::1/64", "fe80::1/64")


def texts(found: Survey, now: float = 0) -> dict[str, tuple[str, bool]]:
    return {each.what: (each.text, each.wrong) for each in words(found, now)}


def test_a_server_with_addresses_of_its_own() -> None:
    found = surveyed(SERVER)
    assert [str(each.address) for each in found.public] == ["192.0.2.1", "2001:db8::1"]
    assert (found.uplink, found.macs, found.hostname, found.full_name) == (
        "eth0",
        {"eth0": MAC},
        "home",
        "home.example.org",
    )
    assert not any(wrong for _, wrong in texts(found).values())


def test_addresses_behind_a_nat_are_not_public() -> None:
    found = surveyed(link("eth0", "192.168.1.2/24", "fd12:3456:789a::2/64"))
    assert found.outer
    assert not found.public
    assert "192.168.1.2 (private: behind a NAT)" in texts(found)["addresses"][0]


@pytest.mark.parametrize("address", ["10.1.2.3/8", "172.31.0.1/16", "192.168.0.1/24", "100.64.0.9/10", "fd12::1/64"])
def test_what_nobody_outside_can_be_told(address: str) -> None:
    assert surveyed(link("eth0", address)).public == []


@pytest.mark.parametrize("flag", ["temporary", "deprecated", "tentative", "dadfailed"])
def test_an_address_that_does_not_last_is_none_to_be_reached_at(flag: str) -> None:
    assert surveyed(link("eth0", "2001:db8::77/64", **{flag: True})).outer == []


def test_an_address_that_is_lent_is_known_for_it() -> None:
    assert surveyed(link("eth0", "192.0.2.1/24", dynamic=True)).public[0].lent


def test_the_uplink_is_that_of_the_main_tables_best_default_route() -> None:
    routes = [
        {"dst": "default", "dev": "wg0", "table": "51820", "flags": []},
        {"dst": "default", "dev": "wlan0", "metric": 600, "flags": []},
        {"dst": "default", "dev": "eth0", "metric": 100, "flags": []},
        {"dst": "default", "dev": "lo", "type": "unreachable", "metric": 1, "flags": []},
    ]
    found = surveyed(SERVER, link("wlan0", "192.0.2.7/24"), routes4=json.dumps(routes), routes6="[]")
    assert found.uplinks == {4: "eth0"}


def test_interfaces_that_may_lead_to_a_lan() -> None:
    others = [link(name, f"10.{number}.0.1/24") for number, name in enumerate(("docker0", "br-1a2b", "wg0", "eth1"))]
    found = surveyed(SERVER, *others, link("eth2", "10.9.0.1/24", up=False), link("eth3", "198.51.100.9/24"))
    assert list(found.lans) == ["eth1"]


def test_its_routes_but_for_those_to_itself() -> None:
    routes = [
        {"dst": "fd12:3456:789a:1::/64", "dev": "wg0", "flags": []},
        {"dst": "fd12:3456:789a:2::5", "dev": "ipsec0", "table": "220", "flags": []},
        {"dst": "2001:db8::1", "dev": "eth0", "table": "local", "type": "local", "flags": []},
        {"dst": "fe80::/64", "dev": "eth0", "flags": []},
        {"dst": "ff00::/8", "dev": "eth0", "flags": []},
        {"dst": "default", "dev": "eth0", "flags": []},
    ]
    assert surveyed(SERVER, routes6=json.dumps(routes)).routes == [
        Route(IPv6Network("fd12:3456:789a:1::/64"), "wg0"),
        Route(IPv6Network("fd12:3456:789a:2::5/128"), "ipsec0", "220"),
    ]


@pytest.mark.parametrize("name", ["5.9.8-list-conns-fixed", "6.0.1-list-conns-dynamic"])
def test_what_cannot_be_understood_is_no_connection(name: str) -> None:
    pretty = (DATA / "swanctl" / f"{name}.pretty.txt").read_text()
    assert surveyed(SERVER, connections=pretty).connections == []


SWANCTL = """\
ula-net-vps4: IKEv2, no reauthentication, rekeying every 14400s, dpd delay 30s
  local:  %any
  remote: 192.0.2.1
  ula-net-vps4: TUNNEL, rekeying every 3600s
"""
STROKE = """\
Status of IKE charon daemon (strongSwan 5.9.8, Linux 6.1.0, x86_64):
  uptime: 3 seconds, since Nov 23 10:00:00 2026
Listening IP addresses:
  192.0.2.2
Connections:
ula-net-home:  192.0.2.2...home.example.org,%any  IKEv2
ula-net-home:   local:  [vps4.example.org] uses public key authentication
ula-net-home:   child:  fdd7:5938:e2e6:8e71::/64 === fdd7:5938:e2e6:1::/64 TUNNEL
Security Associations (0 up, 0 connecting):
  none
"""


def test_connections_of_the_daemon_that_is_used_are_named_and_stay() -> None:
    text, wrong = texts(surveyed(SERVER, ipsec="running charon-systemd\n", connections=SWANCTL))["IPsec"]
    assert text == "strongSwan, with the connections ula-net-vps4; they stay, but for one with the name of a link"
    assert not wrong


def test_connections_of_ipsec_conf_are_named_and_stay() -> None:
    text, wrong = texts(surveyed(SERVER, ipsec="running charon\n", connections=STROKE))["IPsec"]
    assert (
        text
        == "strongSwan by ipsec.conf, with the connections ula-net-home; they stay, but for one with the name of a link"
    )
    assert not wrong


def test_a_daemon_that_is_replaced_and_has_nothing_to_lose_is_no_trouble() -> None:
    text, wrong = texts(surveyed(SERVER, ipsec="running charon\n"))["IPsec"]
    assert "the step strongswan puts charon-systemd in its place" in text
    assert not wrong


@pytest.mark.parametrize(
    ("readings", "what", "said", "wrong"),
    [
        ({"ipsec": "running pluto\n"}, "IPsec", "libreswan", True),
        ({"ipsec": "file /etc/ipsec.conf\n"}, "IPsec", "not running, but there is /etc/ipsec.conf", False),
        ({"web": "apache2\n"}, "port 80", "apache2 listens there", True),
        ({"web": "nginx\n"}, "port 80", "nginx", False),
        ({"firewall": "firewall_managers=ufw firewalld\n"}, "firewall", "both at work: leave one of them", True),
        ({"esp": "no\n"}, "kernel", "without ESP", False),
        ({"release": "ubuntu\nnoble\nUbuntu 24.04\n"}, "system", "Ubuntu 24.04: tested is Debian", True),
        ({"clock": "600\n"}, "clock", "10 minutes ahead of this machine's", True),
        ({"addresses": "[]"}, "addresses", "none", True),
        ({"network": "addresses_by_ifupdown=lo eth0\n"}, "network", "ifupdown", False),
        ({"network": "addresses_by_systemd-networkd=eth0 \n"}, "network", "systemd-networkd", False),
        ({"network": "addresses_by_NetworkManager=eth0 \n"}, "network", "NetworkManager, which is not touched", True),
        (
            {"network": "addresses_by_ifupdown=eth0\naddresses_by_NetworkManager=eth0\n"},
            "network",
            "ifupdown and NetworkManager, both at work",
            True,
        ),
        ({"network": "addresses_by_ifupdown=lo \n"}, "network", "nothing known keeps its addresses", True),
    ],
)
def test_what_is_said_of_a_host(readings: dict[str, str], what: str, said: str, *, wrong: bool) -> None:
    found = texts(surveyed(SERVER, **readings))[what]
    assert said in found[0]
    assert found[1] is wrong


def test_clocks_that_agree_are_no_news() -> None:
    assert "clock" not in texts(surveyed(SERVER, clock="60\n"))


def test_what_could_not_be_read_is_empty() -> None:
    found = parse({"addresses": Reading('Object "-j" is unknown\n', 255)})
    assert not any((found.addresses, found.routes, found.uplink, found.macs, found.connections))
    assert texts(found)["addresses"][1]


@pytest.mark.parametrize("what", FRAGMENTS)
def test_each_piece_is_sound_shell(what: str) -> None:
    shellcheck(FRAGMENTS[what])
