"""Hosts whose addresses systemd-networkd manages: by a file of the admin's on one, as netplan has it on the other."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from product import Product, picture
from survival import as_comparable
from told import told_as

from lab import Lab, content, layout, snapshot
from steps import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

SITES = ("home", "vps4")
LINK = {"home": "fdd7:5938:e2e6:3::1", "vps4": "fdd7:5938:e2e6:3::8e71"}
PEER = {"home": "vps4", "vps4": "home"}
MINUTE = 60.0
"""Seconds that the tunnel may take once both hosts are up."""
NETWORK = """\
[Match]
Name=eth0

[Network]
Address={0.ipv4}/24
Address={0.ipv6}/64
Gateway={1.GATEWAY_IPV4}
Gateway={1.GATEWAY_IPV6}
"""
BY_ADMIN = "cat >/etc/systemd/network/10-eth0.network <<'END'\n{}END\n"
BY_GENERATOR = """\
mkdir -p /etc/systemd/system-generators
cat >/etc/systemd/system-generators/netplan <<'EOF'
#!/bin/sh
mkdir -p /run/systemd/network
cat >/run/systemd/network/10-netplan-eth0.network <<'END'
{}END
EOF
chmod 755 /etc/systemd/system-generators/netplan
systemctl daemon-reload
"""
"""What netplan does at each boot."""
HAS_IT = {"home": BY_GENERATOR, "vps4": BY_ADMIN}
DROP_IN = {
    "home": "/etc/systemd/network/10-netplan-eth0.network.d/60-ipsec-runbook.conf",
    "vps4": "/etc/systemd/network/10-eth0.network.d/60-ipsec-runbook.conf",
}


def go_over(lab: Lab, host: str) -> None:
    """Leave eth0 to systemd-networkd, as an admin does; what else the host has stays with ifupdown."""
    place = layout.HOSTS[host]
    stanzas = content.interfaces(place)
    eth0 = stanzas.index("auto eth0")
    eth1 = stanzas.find("auto eth1")
    left = stanzas[:eth0] + (stanzas[eth1:] if eth1 > 0 else "")
    lab.root(
        host,
        HAS_IT[host].format(NETWORK.format(place, layout))
        + f"cat >/etc/network/interfaces <<'END'\n{left}END\nsystemctl enable --now systemd-networkd 2>&1\n"
        "systemctl start systemd-networkd-wait-online",
    )


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"networkd-{os.getpid()}")
    lab.down()
    lab.up(print)
    for host in SITES:
        go_over(lab, host)
    reboot(lab)  # or routes that ifupdown has made would be there as well
    yield Product(lab)
    lab.down()


def reboot(lab: Lab) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lab.reboot, SITES))


def pictures(lab: Lab) -> dict[str, dict[str, str]]:
    """The hosts, once networkd has settled."""
    for site in SITES:
        lab.root(site, "systemctl start systemd-networkd-wait-online")
    return {site: as_comparable(picture(lab, site)) for site in SITES}


@pytest.fixture(scope="module")
def before(product: Product) -> dict[str, dict[str, str]]:
    """The hosts as they are when the addresses' turn comes; then all is applied."""
    found: dict[str, dict[str, str]] = {}
    code, said = product.apply_at_a_terminal(
        lambda step: found.update(pictures(product.lab)) if step == "addresses" else None
    )
    assert code == 0, said
    return found


def reach(lab: Lab) -> None:
    """Ping either way, until there is an answer; nobody starts anything."""
    deadline = time.monotonic() + MINUTE
    for host in SITES:
        while lab.root(host, f"ping -6 -n -c 1 -W 1 {LINK[PEER[host]]}", check=False).returncode:
            assert time.monotonic() < deadline, lab.root(
                host, "journalctl -b -u strongswan -u systemd-networkd -o cat | tail -n 40; ip -6 address; ip -6 rule"
            ).stdout


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("host", SITES)
def test_networkd_itself_gives_the_addresses_and_its_own_files_are_not_touched(product: Product, host: str) -> None:
    said = product.lab.root(host, "networkctl --no-pager status eth0").stdout
    assert LINK[host] in said
    assert (
        NETWORK.format(layout.HOSTS[host], layout)
        == product.lab.root(
            host,
            "cat /run/systemd/network/10-netplan-eth0.network /etc/systemd/network/10-eth0.network 2>/dev/null || :",
        ).stdout
    )
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
def test_two_managers_of_one_interface_are_named_and_nothing_is_touched(product: Product, names: str) -> None:
    claim, leave = CLAIMS[names]
    product.lab.root("vps4", claim)
    was = product.lab.root("vps4", "ip address; ip -6 route; ls -R /etc/systemd /etc/network").stdout
    failed = product.run("apply", "--yes", "--json")
    assert product.lab.root("vps4", "ip address; ip -6 route; ls -R /etc/systemd /etc/network").stdout == was
    product.lab.root("vps4", leave)
    assert failed.code == 1, failed.out
    (failure,) = failed.document["failures"]
    assert f"{names} both manage eth0 of vps4" in told_as(failure, catalogue.ADDRESSES_CLAIMED)["error"]
