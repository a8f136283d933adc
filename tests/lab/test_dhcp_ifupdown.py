"""Hosts whose eth0 ifupdown has lent addresses, by the client that each release brings: dhclient, and dhcpcd."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

import pytest
from leases import leased
from managers import LINK, SITES, pictures, reach, reboot
from product import Product

from lab import Lab, content, snapshot
from lab.layout import HOSTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from survival import Pictures

pytestmark = [pytest.mark.lab, pytest.mark.slow]

CLIENT = {"home": "dhcpcd", "vps4": "dhclient"}
PACKAGE = {"home": "dhcpcd-base", "vps4": "isc-dhcp-client"}
"""What ifupdown recommends on Debian 13, and on 12."""
ASKING = """\
auto eth0
iface eth0 inet dhcp
iface eth0 inet6 auto
iface eth0 inet6 static
    address {}/64
"""
"""The address in IPv6 is the host's own, and the default route is advertised."""
PATIENCE = 120.0
"""Seconds; half of the shortest lease that dnsmasq gives is one minute."""
LEASES = re.compile(r"file:/var/lib/dhcp|file:/etc/resolv.conf")
"""The clients' own notes."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab(f"dhcp-ifupdown-{os.getpid()}")
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
        install = (
            f"apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qy install {PACKAGE[host]} >/dev/null 2>&1"
        )
        stanzas = content.interfaces(HOSTS[host])
        eth0, eth1 = stanzas.index("auto eth0"), stanzas.find("auto eth1")
        text = stanzas[:eth0] + ASKING.format(HOSTS[host].ipv6) + (f"\n{stanzas[eth1:]}" if eth1 > 0 else "")
        lab.root(host, f"{install}\ncat >/etc/network/interfaces <<'END'\n{text}END\n")
    reboot(lab)
    settle(lab)
    return Product(lab)


def settle(lab: Lab) -> None:
    """Wait until the host has what is lent, and a default route in either family."""
    deadline = time.monotonic() + PATIENCE
    for host in SITES:
        has_all = (
            f"pidof {CLIENT[host]} && ip -4 -o address show dev eth0 | grep -q 'inet {HOSTS[host].ipv4}/24' && "
            "ip -4 route show default | grep -q ^default && ip -6 route show default | grep -q 'proto ra'"
        )
        while lab.root(host, has_all, check=False).returncode:
            assert time.monotonic() < deadline, lab.root(host, "ip address; ip route; ip -6 route; ps ax").stdout
            time.sleep(0.2)


@pytest.fixture(scope="module")
def before(product: Product) -> Pictures:
    """The hosts as they are when the firewall's turn comes, which has them forward; then all is applied."""
    found: Pictures = {}
    code, said = product.apply_at_a_terminal(
        lambda step: found.update(pictures(product.lab)) if step == "ipsec-firewall" else None
    )
    assert code == 0, said
    return found


def test_with_ours_beside_them_leases_are_renewed(product: Product, log: Path, before: Pictures) -> None:
    assert set(before) == {*SITES}
    settle(product.lab)
    begun = len(log.read_text())
    deadline = time.monotonic() + PATIENCE
    for host in SITES:
        while f"DHCPACK(eth0) {HOSTS[host].ipv4} " not in log.read_text()[begun:]:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
    settle(product.lab)
    reach(product.lab)
    for host in SITES:
        assert LINK[host] in product.lab.root(host, "ip -6 address show dev eth0").stdout


@pytest.mark.usefixtures("before")
def test_an_audit_changes_nothing_and_a_second_apply_neither(product: Product) -> None:
    was = pictures(product.lab)
    audit = product.audit()
    assert audit.code == 0, audit.not_in_order
    again = product.apply()
    assert (again.code, again.changes) == (0, {})
    now = pictures(product.lab)
    left = {site: [each for each in snapshot.diff(was[site], now[site]) if not LEASES.search(each)] for site in SITES}
    assert left == {"home": [], "vps4": []}


@pytest.mark.usefixtures("before")
def test_after_a_reboot_of_both_hosts_leases_and_tunnel_are_back(product: Product) -> None:
    reboot(product.lab)
    settle(product.lab)
    reach(product.lab)
    audit = product.audit()
    assert audit.code == 0, audit.not_in_order


def test_rollback_leaves_the_hosts_as_they_were_when_they_boot(product: Product, before: Pictures) -> None:
    done = product.run("rollback", "--to", "credentials", "--yes")
    assert done.code == 0, done.out + done.err
    reboot(product.lab)  # dhcpcd makes eth0's link-local address as it brings it up, where nothing of ours did before
    settle(product.lab)
    now = pictures(product.lab)
    left = {site: snapshot.diff(before[site], now[site]) for site in SITES}
    # where both the kernel and dhcpcd listen to advertisements, either may have made the first route of them, or both
    passing = re.compile(f"{LEASES.pattern}|unit:systemd-udev|route:inet6 default .*proto ra")
    assert {site: [each for each in left[site] if not passing.search(each)] for site in SITES} == {
        "home": [],
        "vps4": [],
    }
