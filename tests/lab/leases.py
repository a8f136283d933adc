"""A DHCP server and a router that advertises itself, in the lab's internet, and hosts that ask them."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lab.layout import CA, GATEWAY_IPV4, HOSTS, NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lab import Lab

SHORT = "2m"
"""A lease, the shortest that dnsmasq gives."""


def mac(lab: Lab, host: str) -> str:
    """What the server knows a host by."""
    return lab.root(host, "cat /sys/class/net/eth0/address").stdout.strip()


@contextmanager
def leased(lab: Lab, hosts: Sequence[str], directory: Path) -> Iterator[Path]:
    """Each of these hosts is lent the addresses that it has had before, in both families; the server's log."""
    log = directory / "log"
    # what does not say of itself that it is a router is no default route for long (RFC 4861, 7.2.5)
    forward = ["sysctl", "--quiet", "--write", "net.ipv6.conf.all.forwarding=1"]
    subprocess.run(["ip", "netns", "exec", lab.layout.namespace(CA.name), *forward], check=True)
    places = [(mac(lab, host), HOSTS[host]) for host in hosts]
    argv = [
        *("nsenter", f"--net={NAMESPACES / lab.layout.namespace(CA.name)}", "dnsmasq", "--keep-in-foreground"),
        *("--conf-file=/dev/null", "--pid-file=", "--user=root", "--group=root", "--port=0", "--interface=eth0"),
        *(f"--dhcp-leasefile={directory / 'leases'}", f"--log-facility={log}", "--dhcp-authoritative", "--enable-ra"),
        *(f"--dhcp-range=203.0.113.0,static,255.255.255.0,{SHORT}", f"--dhcp-range=2001:db8:113::,static,64,{SHORT}"),
        *(f"--dhcp-option=option:router,{GATEWAY_IPV4}", f"--dhcp-option=option:dns-server,{CA.ipv4}"),
        *(f"--dhcp-host={address},{place.ipv4},[{place.ipv6}]" for address, place in places),
    ]
    with subprocess.Popen(argv) as server:
        try:
            yield log
        finally:
            server.terminate()
