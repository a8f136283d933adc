"""The plan of the private network: subnet ids, and what of a host's routes is in the way of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ula_network import ends

from steps.description.plan import Route, in_the_way, next_free, random_prefix, subnet_from_mac

if TYPE_CHECKING:
    from steps.network import Network

ULA = IPv6Network("fd00::/8")
HOME, _ = ends()


@pytest.fixture
def network() -> Network:
    """With an IPv4 network behind vps4."""
    vps4 = replace(HOME.network.sites["vps4"], more_subnets=(IPv4Interface("10.2.0.1/16"),))
    return replace(HOME.network, sites={**HOME.network.sites, "vps4": vps4})


def test_a_prefix_is_a_random_48_of_the_locally_assigned_half() -> None:
    drawn = [random_prefix() for _ in range(100)]
    assert len(set(drawn)) == 100
    assert all(each.prefixlen == 48 and each.subnet_of(ULA) for each in drawn)
    assert len({bits for each in drawn for bits in each.network_address.packed[1:6]}) > 200  # every byte of them


def test_the_articles_way_of_choosing_a_subnet() -> None:
    found = subnet_from_mac("eth0", "02:00:00:00:8e:71", {})
    assert found.value == 0x8E71
    assert "the end of eth0's MAC address, 02:00:00:00:8e:71" in found.reason


def test_a_collision_is_resolved_and_said() -> None:
    found = subnet_from_mac("eth0", "02:00:00:00:8e:71", {0x8E71: "vps4", 0x8E72: "vps5"})
    assert found.value == 0x8E73
    assert "8e71" in found.reason
    assert "is that of vps4" in found.reason


def test_zero_is_nobodys() -> None:
    found = subnet_from_mac("eth0", "02:00:00:00:00:00", {1: "home"})
    assert found.value == 2
    assert "is reserved" in found.reason


def test_an_interface_without_a_mac_address_gets_the_first_that_is_free() -> None:
    found = subnet_from_mac("ppp0", "", {1: "home", 2: "vps4"})
    assert found.value == 3
    assert "ppp0 has no MAC address" in found.reason


def test_after_the_last_id_comes_the_first() -> None:
    assert next_free(0xFFFF, {0xFFFF}) == 1
    with pytest.raises(ValueError, match="taken"):
        next_free(1, range(0x10000))


@given(st.integers(0, 0xFFFF), st.sets(st.integers(0, 0xFFFF), max_size=20))
def test_a_proposed_id_can_be_had(last: int, taken: set[int]) -> None:
    mac = f"02:00:00:00:{last >> 8:02x}:{last & 0xFF:02x}"
    found = subnet_from_mac("eth0", mac, dict.fromkeys(taken, "another"))
    assert 1 <= found.value <= 0xFFFF
    assert found.value not in taken
    assert (found.value == last) == (last != 0 and last not in taken)


@pytest.mark.parametrize(
    ("route", "there"),
    [
        (Route(IPv6Network("fdd7:5938:e2e6:8e71::/64"), "wg0"), True),
        (Route(IPv6Network("fdd7:5938:e2e6:8e71::/64"), "eth0", "220"), False),
        (Route(IPv6Network("fdd7:5938:e2e6:99::/64"), "eth0", "220"), True),
        (Route(IPv6Network("fdd7:5938:e2e6::/48"), "tun0"), True),
        (Route(IPv6Network("fdd7:5938:e2e6:3::8e71/128"), "eth0"), True),
        (Route(IPv6Network("fdd7:5938:e2e6:1::/64"), "eth1"), False),
        (Route(IPv6Network("fdd7:5938:e2e6:1::7/128"), "eth1"), False),
        (Route(IPv6Network("fdd7:5938:e2e6:3::1/128"), "eth0"), False),
        (Route(IPv6Network("fdd7:5938:e2e6::/48"), "lo"), False),
        (Route(IPv6Network("fd00::/8"), "tun0"), False),
        (Route(IPv6Network("fd00:1234::/48"), "tun0"), False),
        (Route(IPv4Network("10.2.1.0/24"), "eth1"), True),
        (Route(IPv4Network("10.0.0.0/8"), "eth1"), False),
        (Route(IPv4Network("192.168.1.0/24"), "eth1"), False),
    ],
)
def test_what_is_in_the_way_of_home(network: Network, route: Route, *, there: bool) -> None:
    assert list(in_the_way(network, network.sites["home"], [route])) == ([route] if there else [])
