"""What makes a host of the lab that host: its addresses, its firewall and its log-in, in files as an admin has them."""

from __future__ import annotations

import ipaddress
import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.layout import (
    ADMIN_USER,
    CA,
    GATEWAY_IPV4,
    GATEWAY_IPV6,
    HOSTS,
    Place,
)

if TYPE_CHECKING:
    from pathlib import Path

FIREWALL_HOOK = """\
#!/bin/sh
# The saved rules are in force before any interface is up.
iptables-restore < /etc/network/iptables.save
ip6tables-restore < /etc/network/ip6tables.save
"""

USERLAND_ESP = """\
# This machine's kernel has no ESP: charon does it itself, over a TUN device.
charon {
    plugins {
        kernel-libipsec {
            load = yes
        }
    }
}
"""

FIREWALL = """\
# {program} rules, loaded at boot by /etc/network/if-pre-up.d/firewall
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:in-new - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -p {icmp} -j ACCEPT
-A INPUT -m conntrack --ctstate NEW -j in-new
### SSH ###
-A in-new -p tcp -m tcp --dport 22 -j ACCEPT
{web}{userland}COMMIT
"""

WEB_IPV4 = """\
### Web ###
# Permit HTTP(S) connections to primary IP
#-A in-new -d {address} -p tcp -m multiport --dports 80,443 -j ACCEPT
"""

WEB_IPV6 = """\
### Let's Encrypt ###
#-A in-new -d {address} -p tcp -m multiport --dports 80 -j ACCEPT
"""

USERLAND_RULES = """\
### Decrypted by charon itself, for want of ESP in the kernel: no rule by policy can match it ###
-A INPUT -i ipsec0 -j ACCEPT
-A FORWARD -i ipsec0 -j ACCEPT
-A FORWARD -o ipsec0 -j ACCEPT
"""

INTERFACES_HEAD = """\
# The interfaces of this host, see interfaces(5).
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback
"""


@dataclass(frozen=True)
class Keys:
    """What a fresh host is given to be known by, and to know its admin by."""

    host_keys: Path
    authorized: str


def interfaces(place: Place) -> str:
    """The host's /etc/network/interfaces."""
    if place.behind:
        inside = ipaddress.IPv6Interface(f"{place.ipv6}/64")
        gateways = HOSTS[place.behind].lan_address, str(inside.network[1])
        return INTERFACES_HEAD + _stanza("eth0", (f"{place.ipv4}/24", gateways[0]), (str(inside), gateways[1]))
    text = INTERFACES_HEAD + _stanza("eth0", (f"{place.ipv4}/24", GATEWAY_IPV4), (f"{place.ipv6}/64", GATEWAY_IPV6))
    if place.lan_address:
        text += f"\nauto eth1\niface eth1 inet static\n    address {place.lan_address}/24\n"
    return text


def _stanza(interface: str, ipv4: tuple[str, str], ipv6: tuple[str, str]) -> str:
    return (
        f"\nauto {interface}\n"
        f"iface {interface} inet static\n    address {ipv4[0]}\n    gateway {ipv4[1]}\n"
        f"iface {interface} inet6 static\n    address {ipv6[0]}\n    gateway {ipv6[1]}\n"
    )


def firewall(place: Place, *, userland_esp: bool) -> dict[str, str]:
    """The host's saved rules, by path."""
    userland = USERLAND_RULES if userland_esp else ""
    web = WEB_IPV4.format(address=place.ipv4), WEB_IPV6.format(address=place.ipv6)
    ipv4 = FIREWALL.format(program="iptables", icmp="icmp", web=web[0], userland=userland)
    ipv6 = FIREWALL.format(program="ip6tables", icmp="ipv6-icmp", web=web[1], userland=userland)
    return {"etc/network/iptables.save": ipv4, "etc/network/ip6tables.save": ipv6}


def furnish(root: Path, place: Place, keys: Keys, *, userland_esp: bool) -> None:
    """Write into a fresh host's disk what makes it that host."""
    _write(root, "etc/hostname", f"{place.name}\n")
    _write(
        root,
        "etc/hosts",
        f"127.0.0.1\tlocalhost\n127.0.1.1\t{place.fqdn}\t{place.name}\n"
        "::1\t\tlocalhost ip6-localhost ip6-loopback\nff02::1\t\tip6-allnodes\nff02::2\t\tip6-allrouters\n",
    )
    _write(root, "etc/resolv.conf", f"nameserver {CA.ipv4}\n")
    _write(root, "etc/machine-id", f"{uuid.uuid4().hex}\n", mode=0o444)
    _write(root, "etc/network/interfaces", interfaces(place))
    for key in keys.host_keys.iterdir():
        _write(root, f"etc/ssh/{key.name}", key.read_text(), mode=0o644 if key.suffix == ".pub" else 0o600)
    _authorize(root, keys.authorized)
    if not place.behind:
        for path, rules in firewall(place, userland_esp=userland_esp).items():
            _write(root, path, rules)
        _write(root, "etc/network/if-pre-up.d/firewall", FIREWALL_HOOK, mode=0o755)
        if userland_esp:
            _write(root, "etc/strongswan.d/zz-kernel-libipsec.conf", USERLAND_ESP)


def _authorize(root: Path, public_key: str) -> None:
    home = root / "home" / ADMIN_USER
    owner = home.stat()
    directory = home / ".ssh"
    directory.mkdir(mode=0o700)
    keys = directory / "authorized_keys"
    keys.write_text(public_key)
    keys.chmod(0o600)
    for path in (directory, keys):
        os.chown(path, owner.st_uid, owner.st_gid)


def _write(root: Path, path: str, text: str, mode: int = 0o644) -> None:
    file = root / path
    for parent in reversed(file.relative_to(root).parents):
        if not (root / parent).is_dir():
            (root / parent).mkdir()
            (root / parent).chmod(0o755)
    file.unlink(missing_ok=True)
    file.write_text(text)
    file.chmod(mode)
