"""Addresses and the route of last resort, in a network namespace's kernel."""

from __future__ import annotations

from ipaddress import IPv6Interface
from typing import TYPE_CHECKING

import pytest
from netns import Namespace, in_order, look, make, needs_root

from runbook.resources.address import Address, UnreachableRoute
from runbook.step import Verdict
from runbook.target import Target

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
    target.unmake("1", frozenset())
    assert host.sh(STATE) == was


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
    target.unmake("1", frozenset())
    assert host.sh(STATE) == was
