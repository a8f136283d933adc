"""Hosts whose addresses systemd-networkd manages: by a file of the admin's on one, as netplan has it on the other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from laws import Laws
from managers import DROP_IN, FILE, LINK, PEER, SITES, networkd_has_it, pictures, reach, reboot, static
from product import Product
from told import told_as

from lab import Lab, snapshot
from steps import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"networkd-{os.getpid()}")
    lab.down()
    lab.up(print)
    for host in SITES:
        networkd_has_it(lab, host, static(host))
    reboot(lab)  # or routes that ifupdown has made would be there as well
    yield Product(lab)
    lab.down()


@pytest.fixture(scope="module")
def laws(product: Product) -> Laws:
    return Laws.of(product)


@pytest.fixture(scope="module")
def before(product: Product, laws: Laws) -> dict[str, dict[str, str]]:  # noqa: ARG001 - the hosts are looked at first
    """The hosts as they are when the addresses' turn comes; then all is applied."""
    found: dict[str, dict[str, str]] = {}
    code, said = product.apply_at_a_terminal(
        lambda step: found.update(pictures(product.lab)) if step == "addresses" else None
    )
    assert code == 0, said
    return found


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("host", SITES)
def test_networkd_itself_gives_the_addresses_and_its_own_files_are_not_touched(product: Product, host: str) -> None:
    said = product.lab.root(host, "networkctl --no-pager status eth0").stdout
    assert LINK[host] in said
    assert product.lab.root(host, f"cat {FILE[host]}").stdout == static(host)
    assert LINK[host] in product.lab.root(host, f"cat {DROP_IN[host]}").stdout
    assert product.lab.root(host, "ip -6 route get fdd7:5938:e2e6:99::1", check=False).returncode != 0


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
def test_the_tunnel_outlives_a_start_of_networkd_as_upgrades_have_it(product: Product) -> None:
    for host in SITES:
        product.lab.root(host, "systemctl restart systemd-networkd; sleep 1")
        rules = product.lab.root(host, "ip -6 rule; ip -6 route show table 220").stdout
        assert "lookup 220" in rules
        assert f"{LINK[PEER[host]]} dev ipsec0 proto static src fdd7:" in rules
    reach(product.lab)
    assert product.audit().code == 0


@pytest.mark.usefixtures("before")
def test_after_a_reboot_of_both_hosts_addresses_and_tunnel_are_back(product: Product) -> None:
    reboot(product.lab)
    reach(product.lab)
    audit = product.audit()
    assert audit.code == 0, audit.not_in_order


def test_rollback_leaves_the_hosts_as_they_were(product: Product, before: dict[str, dict[str, str]]) -> None:
    done = product.run("rollback", "--to", "ipsec-firewall", "--yes")
    assert done.code == 0, done.out + done.err
    now = pictures(product.lab)
    left = [
        line for site in SITES for line in snapshot.diff(before[site], now[site]) if "unit:systemd-udev" not in line
    ]
    assert left == []


NMCLI = """\
cat >/usr/local/bin/nmcli <<'END'
#!/bin/sh
printf '%s\\n' eth0:connected 'lo:connected (externally)' ipsec0:unmanaged
END
chmod 755 /usr/local/bin/nmcli
systemd-run --quiet --unit=NetworkManager sleep infinity
"""
"""What NetworkManager answers, where it has taken eth0."""
CLAIMS = {
    "ifupdown and systemd-networkd": (
        "printf '%s\\n' 'auto eth0' 'iface eth0 inet manual' >>/etc/network/interfaces",
        "sed -i /eth0/d /etc/network/interfaces",
    ),
    "systemd-networkd and NetworkManager": (NMCLI, "systemctl stop NetworkManager; rm /usr/local/bin/nmcli"),
    "systemd-networkd and dhcpcd": ("systemd-run --quiet --unit=dhcpcd sleep infinity", "systemctl stop dhcpcd"),
    "systemd-networkd and connman": ("systemd-run --quiet --unit=connman sleep infinity", "systemctl stop connman"),
}


@pytest.mark.usefixtures("before")
@pytest.mark.slow
@pytest.mark.parametrize("names", CLAIMS)
@pytest.mark.parametrize("host", SITES)
def test_two_managers_of_one_interface_are_named_and_nothing_is_touched(
    product: Product, host: str, names: str
) -> None:
    claim, leave = CLAIMS[names]
    state = "ip address; ip -6 route; ls -R /etc/systemd /etc/network"
    product.lab.root(host, claim)
    was = product.lab.root(host, state).stdout
    failed = product.apply()
    assert product.lab.root(host, state).stdout == was
    product.lab.root(host, leave)
    assert failed.code == 1, failed.out
    (failure,) = failed.document["failures"]
    assert f"{names} both manage eth0 of {host}" in told_as(failure, catalogue.ADDRESSES_CLAIMED)["error"]


@pytest.mark.usefixtures("before")
def test_rolled_back_the_hosts_are_as_they_were_before_any_step(laws: Laws) -> None:
    laws.undone(but="unit:systemd-networkd-wait-online")
