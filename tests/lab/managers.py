"""Hosts whose eth0 one or the other manager of addresses has, as an admin leaves it to it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from product import picture
from survival import as_comparable

from lab import content, layout

if TYPE_CHECKING:
    from lab import Lab

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
FILE = {"home": "/run/systemd/network/10-netplan-eth0.network", "vps4": "/etc/systemd/network/10-eth0.network"}
DROP_IN = {
    "home": "/etc/systemd/network/10-netplan-eth0.network.d/60-ipsec-runbook.conf",
    "vps4": "/etc/systemd/network/10-eth0.network.d/60-ipsec-runbook.conf",
}


def static(host: str) -> str:
    """A .network file with the host's own addresses."""
    return NETWORK.format(layout.HOSTS[host], layout)


def networkd_has_it(lab: Lab, host: str, network: str) -> None:
    """Leave eth0 to systemd-networkd, by such a file; what else the host has stays with ifupdown."""
    stanzas = content.interfaces(layout.HOSTS[host])
    eth0, eth1 = stanzas.index("auto eth0"), stanzas.find("auto eth1")
    left = stanzas[:eth0] + (stanzas[eth1:] if eth1 > 0 else "")
    lab.root(
        host,
        HAS_IT[host].format(network)
        + f"cat >/etc/network/interfaces <<'END'\n{left}END\nsystemctl enable --now systemd-networkd 2>&1\n"
        "systemctl start systemd-networkd-wait-online",
    )


def reboot(lab: Lab) -> None:
    """Both hosts, at once."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lab.reboot, SITES))


def pictures(lab: Lab) -> dict[str, dict[str, str]]:
    """The hosts, once networkd, where it has anything to do, has settled."""
    for site in SITES:
        lab.root(site, "! systemctl is-active --quiet systemd-networkd || systemctl start systemd-networkd-wait-online")
    return {site: as_comparable(picture(lab, site)) for site in SITES}


def reach(lab: Lab) -> None:
    """Ping either way, until there is an answer; nobody starts anything."""
    deadline = time.monotonic() + MINUTE
    for host in SITES:
        while lab.root(host, f"ping -6 -n -c 1 -W 1 {LINK[PEER[host]]}", check=False).returncode:
            assert time.monotonic() < deadline, lab.root(
                host, "journalctl -b -u strongswan -u systemd-networkd -o cat | tail -n 40; ip -6 address; ip -6 rule"
            ).stdout


def ifupdown_has_it(lab: Lab, host: str) -> None:
    """Leave all interfaces to ifupdown, from the next boot on."""
    lab.root(
        host,
        f"rm -f {FILE[host]} /etc/systemd/system-generators/netplan\nsystemctl disable systemd-networkd 2>&1\n"
        f"cat >/etc/network/interfaces <<'END'\n{content.interfaces(layout.HOSTS[host])}END\n",
    )
