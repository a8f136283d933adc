"""An interface that another program has been given since the last apply: from ifupdown to systemd-networkd, or back."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from managers import DROP_IN, LINK, SITES, ifupdown_has_it, networkd_has_it, pictures, reach, reboot, static
from product import Product

from lab import Lab, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from product import Run
    from survival import Pictures

pytestmark = [pytest.mark.lab, pytest.mark.slow]

IFUPDOWN, NETWORKD = "ifupdown", "systemd-networkd"
OURS = {
    IFUPDOWN: "/etc/network/interfaces.d/ipsec-runbook",
    NETWORKD: "/etc/systemd/networkd.conf.d/60-ipsec-runbook.conf",
}


@dataclass(frozen=True)
class Movable:
    """Hosts where all is done but the addresses and what needs them, and what they are like then, by manager."""

    product: Product
    before: dict[str, Pictures] = field(default_factory=dict)

    @property
    def lab(self) -> Lab:
        return self.product.lab

    def move(self, manager: str) -> None:
        """As an admin does: to networkd at once, to ifupdown by a reboot, for it does not take over what is up."""
        for host in SITES:
            if manager == NETWORKD:
                networkd_has_it(self.lab, host, static(host))
            else:
                ifupdown_has_it(self.lab, host)
        if manager == IFUPDOWN:
            reboot(self.lab)

    def taken_back(self, manager: str) -> None:
        """What this manager's hosts are like once the addresses and what needs them are taken back."""
        done = self.product.run("rollback", "--to", "ipsec-firewall", "--yes")
        assert done.code == 0, done.out + done.err
        now = pictures(self.lab)
        left = {site: snapshot.diff(self.before[manager][site], now[site]) for site in SITES}
        assert {site: [each for each in left[site] if "unit:systemd-udev" not in each] for site in SITES} == {
            "home": [],
            "vps4": [],
        }


@pytest.fixture(scope="module")
def movable() -> Iterator[Movable]:
    lab = Lab(f"manager-changes-{os.getpid()}")
    lab.down()
    lab.up(print)
    movable = Movable(Product(lab))
    assert movable.product.apply().code == 0
    done = movable.product.run("rollback", "--to", "ipsec-firewall", "--yes")
    assert done.code == 0, done.out + done.err
    for manager in (NETWORKD, IFUPDOWN):
        movable.move(manager)
        reboot(lab)
        movable.before[manager] = pictures(lab)
    yield movable
    lab.down()


def has_them(lab: Lab, manager: str, host: str) -> None:
    """The new manager's files have the addresses, and the old one's nothing of eth0."""
    said = lab.root(host, f"cat {DROP_IN[host]} {OURS[NETWORKD]} 2>/dev/null", check=False).stdout
    assert (LINK[host] in said, "ManageForeignRoutes=no" in said) == (manager == NETWORKD,) * 2
    said = lab.root(host, f"cat {OURS[IFUPDOWN]} 2>/dev/null", check=False).stdout
    assert ("eth0" in said, LINK[host] in said) == (manager == IFUPDOWN,) * 2


def addresses_of(run: Run) -> set[tuple[str, str]]:
    """Where something is to be done for which of the files of addresses."""
    return {(target, part) for step, target, part in run.not_in_order if step == "addresses" and "file /" in part}


@pytest.mark.parametrize("to", [NETWORKD, IFUPDOWN])
def test_an_interface_that_has_moved_is_seen_and_its_addresses_go_along(movable: Movable, to: str) -> None:
    lab, product = movable.lab, movable.product
    if to == IFUPDOWN:
        movable.move(NETWORKD)
        reboot(lab)
    assert product.apply().code == 0
    movable.move(to)
    was = pictures(lab)
    audit = product.audit()
    assert audit.code == 3
    for host in SITES:
        old = f"no file {OURS[NETWORKD]}" if to == IFUPDOWN else f"file {OURS[IFUPDOWN]}"
        new = f"file {OURS[IFUPDOWN]}" if to == IFUPDOWN else f"file {DROP_IN[host]}"
        has_eth1 = host == "home" and to == NETWORKD  # which stays with ifupdown, and in its file
        assert {(host, new), (host, old if has_eth1 or to == IFUPDOWN else f"no {old}")} <= addresses_of(audit)
    now = pictures(lab)
    assert {site: snapshot.diff(was[site], now[site]) for site in SITES} == {"home": [], "vps4": []}
    done = product.apply()
    assert done.code == 0, done.err
    reach(lab)
    for host in SITES:
        has_them(lab, to, host)
    assert (product.audit().code, product.apply().changes) == (0, {})
    reboot(lab)
    reach(lab)
    assert product.audit().code == 0
    movable.taken_back(to)


def test_where_networkd_runs_beside_ifupdown_it_takes_nothing_of_charons_away(movable: Movable) -> None:
    """As where it has another interface: what it does not know, it takes away at each start."""
    lab, product = movable.lab, movable.product
    movable.move(IFUPDOWN)
    assert product.apply().code == 0
    for host in SITES:
        lab.root(host, "systemctl enable --now systemd-networkd 2>&1")
    audit = product.audit()
    assert audit.code == 3
    assert {(host, f"file {OURS[NETWORKD]}") for host in SITES} == addresses_of(audit)
    assert product.apply().code == 0
    for host in SITES:
        lab.root(host, "systemctl restart systemd-networkd; networkctl --no-pager list >/dev/null")
        assert "lookup 220" in lab.root(host, "ip -6 rule").stdout
    reach(lab)
    assert (product.audit().code, product.apply().changes) == (0, {})
    done = product.run("rollback", "--to", "ipsec-firewall", "--yes")
    assert done.code == 0, done.out + done.err
    for host in SITES:
        lab.root(host, "systemctl disable --now systemd-networkd 2>&1")
    now = pictures(lab)
    left = {site: snapshot.diff(movable.before[IFUPDOWN][site], now[site]) for site in SITES}
    assert {site: [each for each in left[site] if "unit:systemd-" not in each] for site in SITES} == {
        "home": [],
        "vps4": [],
    }
