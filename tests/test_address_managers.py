"""Who manages a host's addresses, and what becomes of that, by facts alone; tests/lab/test_networkd.py has hosts."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

import pytest
from told import told_as
from ula_network import ends

from runbook.resources.file import Absent, File
from runbook.step import Told, Verdict
from steps import catalogue
from steps.addresses import AddingAddresses
from steps.addressing.ifupdown import INTERFACES
from steps.addressing.networkd import OURS, SPARED, Loaded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.errors import Entry
    from runbook.step import Part

NETWORK = ends()[0].network
NETWORKD = {
    "addresses_by_systemd-networkd": "eth0 eth7",
    "networkd_file_eth0": "/run/systemd/network/10-netplan-eth0.network",
    "networkd_file_eth7": "/etc/systemd/network/20-eth7.network",
}
DROP_IN = f"/etc/systemd/network/10-netplan-eth0.network.d/{OURS}"
ELSEWHERE = f"/etc/systemd/network/10-eth0.network.d/{OURS}"


def parts(facts: Mapping[str, str]) -> Sequence[Part]:
    found = AddingAddresses(NETWORK).parts("vps4", {"host_addresses": "192.0.2.1", **facts})
    return [each for each in found if isinstance(each, Absent | File | Loaded | Told)]


def written(facts: Mapping[str, str]) -> dict[str, str]:
    return {each.path: each.content.decode() for each in parts(facts) if isinstance(each, File)}


def gone(facts: Mapping[str, str]) -> list[str]:
    return [each.path for each in parts(facts) if isinstance(each, Absent)]


def test_ifupdown_has_them_in_a_file_of_ours() -> None:
    facts = {"addresses_by_ifupdown": "lo eth0", "ifupdown_sources": "yes"}
    assert list(written(facts)) == [INTERFACES]
    assert gone({**facts, "networkd_ours": f"{SPARED}:{DROP_IN}:"}) == [SPARED, DROP_IN]
    assert list(written({**facts, "networkd_runs": "yes"})) == [INTERFACES, SPARED], "it takes away what is charon's"
    (told,) = parts({**facts, "ifupdown_sources": "no"})
    assert isinstance(told, Told)
    assert "no line `source /etc/network/interfaces.d/*`" in str(told.note)


def test_what_the_admins_stanza_gives_is_not_given_before_it() -> None:
    facts = {"addresses_by_ifupdown": "lo eth0", "ifupdown_sources": "yes"}
    without = written(facts)[INTERFACES]
    link, own = re.findall(r"address replace ([0-9a-f:]+)/128 dev eth0 nodad", without)
    spelled = IPv6Address(own).exploded
    assert written({**facts, "own_addresses_by_ifupdown": f"eth0,192.0.2.1 eth0,1.2 eth0,{spelled}"})[
        INTERFACES
    ] == "".join(line for line in without.splitlines(keepends=True) if f" {own}/" not in line)
    assert written({**facts, "own_addresses_by_ifupdown": f"eth7,{own}"})[INTERFACES] == without, "on another interface"
    left = written({**facts, "own_addresses_by_ifupdown": f"eth0,{link} eth0,{own}"})[INTERFACES]
    assert "address" not in left.splitlines()[-1]
    assert re.findall("route replace unreachable", left), "what refuses packets is ours at any rate"


def test_networkd_has_them_beside_the_file_that_it_manages_the_interface_by() -> None:
    found = written(NETWORKD)
    assert list(found) == [SPARED, DROP_IN]
    assert found[DROP_IN].count("DuplicateAddressDetection=none") == found[DROP_IN].count("[Address]") == 2
    assert "Type=unreachable" in found[DROP_IN]
    (loaded,) = [each for each in parts(NETWORKD) if isinstance(each, Loaded)]
    assert loaded.files == (SPARED, DROP_IN)
    assert gone({**NETWORKD, "networkd_ours": f"{SPARED}:{ELSEWHERE}:{DROP_IN}:"}) == [INTERFACES, ELSEWHERE]


def test_a_file_of_several_interfaces_is_not_added_to() -> None:
    facts = {**NETWORKD, "networkd_file_eth7": NETWORKD["networkd_file_eth0"]}
    assert not written(facts)
    (told,) = [each for each in parts(facts) if isinstance(each, Told)]
    assert told.verdict is Verdict.UNKNOWN
    assert "is for eth7 too" in str(told.note)


@pytest.mark.parametrize(
    ("claims", "entry", "says"),
    [
        (("ifupdown", "systemd-networkd"), catalogue.ADDRESSES_CLAIMED, "ifupdown and systemd-networkd both manage"),
        (("ifupdown", "NetworkManager"), catalogue.ADDRESSES_CLAIMED, "ifupdown and NetworkManager both manage eth0"),
        (("NetworkManager",), catalogue.ADDRESSES_UNTOUCHED, "NetworkManager manages eth0 of vps4"),
        (("dhcpcd",), catalogue.ADDRESSES_UNTOUCHED, "dhcpcd manages eth0 of vps4"),
        ((), catalogue.ADDRESSES_UNKEPT, "nothing that is known gives eth0 of vps4 its addresses at boot"),
    ],
)
def test_another_manager_or_two_are_named_and_nothing_is_touched(
    claims: tuple[str, ...], entry: Entry, says: str
) -> None:
    (found,) = parts({f"addresses_by_{name}": "lo eth0" for name in claims})
    assert isinstance(found, Told)
    assert found.verdict is Verdict.UNKNOWN
    assert not isinstance(found.note, str)
    assert says in told_as(found.note, entry)["error"]
