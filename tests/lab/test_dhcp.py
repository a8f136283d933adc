"""Hosts that ask for their addresses, by DHCP and router advertisements: they keep asking, and the tunnel stays."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from leases import leased
from managers import LINK, SITES, networkd_has_it, pictures, reach, reboot
from product import Product

from lab import Lab, snapshot
from lab.layout import HOSTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from survival import Pictures

pytestmark = [pytest.mark.lab, pytest.mark.slow]

BY_DHCP = "[Match]\nName=eth0\n\n[Network]\nDHCP=yes\n"
AS_BY_NETPLAN = f"{BY_DHCP}LinkLocalAddressing=ipv6\n\n[DHCP]\nRouteMetric=100\nUseMTU=true\n"
ASKING = {"home": AS_BY_NETPLAN, "vps4": BY_DHCP}
LETS_DHCPV6_IN = "sed -i '/^### SSH/i -A in-new -p udp -m udp --dport 546 -j ACCEPT' /etc/network/ip6tables.save"
PATIENCE = 60.0
MADE_ANEW = re.compile(
    r"unit:systemd-udev|route:inet6 default .*proto ra|(address:eth0 inet |route:)203\.0\.113\.\d+/24"
)
"""What is lent is made anew at each start of networkd, with another metric, or as another kind of route."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab(f"dhcp-{os.getpid()}")
    lab.down()
    lab.up(print)
    yield lab
    lab.down()


@pytest.fixture(scope="module")
def log(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The server's."""
    with leased(lab, SITES, tmp_path_factory.mktemp("leases")) as log:
        yield log


@pytest.fixture(scope="module")
def product(lab: Lab, log: Path) -> Product:  # noqa: ARG001 - the server is there first
    for host in SITES:
        lab.root(host, LETS_DHCPV6_IN)
        networkd_has_it(lab, host, ASKING[host])
    reboot(lab)
    settle(lab)
    return Product(lab)


def lent(lab: Lab, host: str) -> set[str]:
    """What the host has for a time only: its addresses and its default routes, of both families, by what gave them."""
    said = lab.root(
        host,
        "ip -o address show dev eth0 dynamic | awk '{ print $4 }'; ip route show default; ip -6 route show default",
    ).stdout
    return {line if " " not in line else line.split("proto ")[1].split()[0] for line in said.splitlines()}


def all_of_it(host: str) -> set[str]:
    return {f"{HOSTS[host].ipv4}/24", f"{HOSTS[host].ipv6}/128", "dhcp", "ra"}


def settle(lab: Lab) -> None:
    """Wait until everything is lent."""
    deadline = time.monotonic() + PATIENCE
    for host in SITES:
        while lent(lab, host) != all_of_it(host):
            assert time.monotonic() < deadline, lab.root(
                host, "ip address; ip route; ip -6 route; journalctl -b -u systemd-networkd"
            ).stdout
            time.sleep(0.1)


@pytest.fixture(scope="module")
def before(product: Product) -> Pictures:
    """The hosts as they are when the addresses' turn comes; then all is applied."""
    found: Pictures = {}
    code, said = product.apply_at_a_terminal(
        lambda step: found.update(pictures(product.lab)) if step == "addresses" else None
    )
    assert code == 0, said
    return found


def test_with_ours_beside_them_all_is_still_lent(product: Product, before: Pictures) -> None:
    assert set(before) == {*SITES}
    settle(product.lab)
    for host in SITES:
        assert LINK[host] in product.lab.root(host, "networkctl --no-pager status eth0").stdout


@contextmanager
def granted(log: Path, lease: str) -> Iterator[None]:
    """Wait until the server has granted it since the beginning of this."""
    begun = len(log.read_text())
    yield
    deadline = time.monotonic() + PATIENCE
    while f"{lease} " not in log.read_text()[begun:]:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.mark.usefixtures("before")
def test_leases_are_renewed_and_the_tunnel_stays(product: Product, log: Path) -> None:
    for host in SITES:
        with granted(log, f"DHCPACK(eth0) {HOSTS[host].ipv4}"):
            product.lab.root(host, "networkctl renew eth0")
    reach(product.lab)
    audit = product.audit()
    assert audit.code == 0, audit.not_in_order


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("start", ["first", "second"])
def test_no_start_of_networkd_takes_the_advertised_route(product: Product, log: Path, start: str) -> None:
    """Advertisements are answered by asking for a lease; then it was gone, after each second one."""
    for host in SITES:
        with granted(log, f"DHCPREPLY(eth0) {HOSTS[host].ipv6}"):
            product.lab.root(host, "systemctl restart systemd-networkd")
        product.lab.root(host, "systemctl start systemd-networkd-wait-online")
        assert "ra" in lent(product.lab, host), f"{start} start"
    settle(product.lab)
    reach(product.lab)


@pytest.mark.usefixtures("before")
def test_when_networkd_has_read_its_files_again_all_is_there(product: Product) -> None:
    for host in SITES:
        product.lab.root(host, "networkctl reload")
    settle(product.lab)
    reach(product.lab)


@pytest.mark.usefixtures("before")
def test_an_audit_changes_nothing_and_a_second_apply_neither(product: Product) -> None:
    was = pictures(product.lab)
    audit = product.audit()
    assert audit.code == 0, audit.not_in_order
    again = product.apply()
    assert (again.code, again.changes) == (0, {})
    now = pictures(product.lab)
    assert {site: snapshot.diff(was[site], now[site]) for site in SITES} == {"home": [], "vps4": []}


@pytest.mark.usefixtures("before")
def test_after_a_reboot_of_both_hosts_leases_and_tunnel_are_back(product: Product) -> None:
    reboot(product.lab)
    settle(product.lab)
    reach(product.lab)
    audit = product.audit()
    assert audit.code == 0, audit.not_in_order


def test_rollback_leaves_the_hosts_as_they_were(product: Product, before: Pictures) -> None:
    done = product.run("rollback", "--to", "ipsec-firewall", "--yes")
    assert done.code == 0, done.out + done.err
    settle(product.lab)
    now = pictures(product.lab)
    left = {site: snapshot.diff(before[site], now[site]) for site in SITES}
    assert {site: [each for each in left[site] if not MADE_ANEW.search(each)] for site in SITES} == {
        "home": [],
        "vps4": [],
    }
