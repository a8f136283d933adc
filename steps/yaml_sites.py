"""`sites` of `sites.yaml`: the hosts, one section each."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Address
from typing import TYPE_CHECKING

import yaml

from steps.marked_yaml import meant
from steps.network import Site
from steps.yaml_words import LABEL, LABEL_RULE, Taken, ip_or_none, read_fqdn, read_interface, read_subnet_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv6Network

    from steps.marked_yaml import Value
    from steps.yaml_words import Address

_SSH = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9._+-]*@)?"
    r"(?:(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*)|\[(?P<ipv6>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_THIS_NETWORK = IPv4Network("0.0.0.0/8")  # RFC 1122, section 3.2.1.3
_SSH_PORT = 22
_LAST_PORT = 65535


def read_sites(value: Value, prefix: IPv6Network, link_subnet: Value) -> Mapping[str, Site]:
    """Read the section: the sites by name, in the order of the file, none of which overlaps another."""
    entries = value.entries()
    if len(entries) <= 1:
        raise value.wrong("there must be at least two sites; describe both ends of a link")
    taken = Taken()
    taken.claim(link_subnet, "subnet id", read_subnet_id(link_subnet))
    return {name: _site(name, entry, prefix, taken) for name, entry in entries.items()}


def _site(name: str, value: Value, prefix: IPv6Network, taken: Taken) -> Site:
    if not LABEL.fullmatch(name):
        raise value.wrong(f"`{name}` is no DNS label; {LABEL_RULE}")
    keys = value.keys(("ssh", "fqdn", "address", "subnet", "interface"), ("lan_interface", "lan_host"))
    return Site(
        name=name,
        ssh=_ssh(keys["ssh"], taken),
        fqdn=read_fqdn(keys["fqdn"], taken),
        addresses=_addresses(keys["address"], prefix, taken),
        subnet_id=_site_subnet_id(keys["subnet"], taken),
        interface=read_interface(keys["interface"]),
        lan_interface=read_interface(keys["lan_interface"]) if "lan_interface" in keys else None,
        lan_host=_ssh(keys["lan_host"], taken) if "lan_host" in keys else None,
    )


def _ssh(value: Value, taken: Taken) -> str:
    """Read an SSH target; no two may be one machine, and a site's LAN host proves nothing if it is a site."""
    text = value.text()
    match = _SSH.fullmatch(text)
    port = int(match["port"] or _SSH_PORT) if match else 0
    host = (match["name"] or ip_or_none(match["ipv6"])) if match else None
    if not host or port > _LAST_PORT:
        raise value.wrong(f"`{text}` is no SSH target; write [user@]host[:port], with an IPv6 address in brackets")
    taken.claim(value, "host", (str(host).lower(), port))
    return text


def _addresses(value: Value, prefix: IPv6Network, taken: Taken) -> tuple[Address, ...]:
    if isinstance(value.node, yaml.ScalarNode):
        if value.text() == "dynamic":
            return ()
        values = [value]
    else:
        values = value.items()
    addresses = []
    for each in values:
        address = ip_or_none(each.text())
        if address is None:
            raise each.wrong(f"`{each.text()}` is no IP address; write dynamic, or an address, or a list of addresses")
        if problem := _unreachable(address, prefix):
            raise each.wrong(f"`{each.text()}` is {problem}; write the address that the other sites reach this one at")
        taken.claim(each, "address", address)
        addresses.append(address)
    return tuple(addresses)


def _unreachable(address: Address, prefix: IPv6Network) -> str | None:
    """Say why no peer could reach a host at this outer address; None where it could."""
    kinds = {
        "unspecified": address.is_unspecified,
        "a loopback address": address.is_loopback,
        "an IPv4 address written as IPv6": isinstance(address, IPv6Address) and address.ipv4_mapped is not None,
        "a multicast address": address.is_multicast,
        "a link-local address": address.is_link_local,
        "a reserved address": address.is_reserved or address in _THIS_NETWORK,
        f"inside the network to be tunnelled, {prefix}": address in prefix,
    }
    return next((kind for kind, applies in kinds.items() if applies), None)


def _site_subnet_id(value: Value, taken: Taken) -> int:
    subnet_id = read_subnet_id(value)
    if subnet_id == 0:
        # RFC 4291, section 2.6.1: an address that ends in zeros only is any router's of its subnet
        raise value.wrong(
            "0 is reserved: the site's link address would be the routers' anycast address; write 1 to ffff"
        )
    taken.claim(value, "subnet id", subnet_id)
    return subnet_id


def site_of(value: Value, sites: Mapping[str, Site]) -> Site:
    """Read the name of a site, written elsewhere in the file."""
    name = value.text()
    if name not in sites:
        raise value.wrong(f"there is no site `{name}`; {meant(name, sites)}")
    return sites[name]
