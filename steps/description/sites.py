"""`sites` of `sites.yaml`: the hosts, one section each."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from typing import TYPE_CHECKING, Final

import yaml

from runbook.step import CONTROLLER
from steps.description.ipsec import read_config
from steps.description.marked_yaml import Keys, meant
from steps.description.words import LABEL, LABEL_RULE, Taken, ip_or_none, read_fqdn, read_interface, read_subnet_id
from steps.network import Site

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv6Network

    from steps.description.marked_yaml import Value
    from steps.ipsec.ipsec_options import Ipsec
    from steps.network import Address

SITE: Final = Keys(
    {
        "ssh": "What you would give to `ssh`: `[user@]host[:port]`, or a `Host` of your ssh_config.",
        "fqdn": "The name that the certificate is for, and that the other end is told to expect.",
        "address": (
            "Its outer address, or a list of them, which the host has itself; `dynamic` where they change, or behind a "
            "NAT."
        ),
        "subnet": (
            "Its subnet, one to four hexadecimal digits; or several, IPv4 too, each with the site's own address or "
            "`.1`: `[8e71, 8e72, 10.0.4.254/24]`."
        ),
        "interface": "The interface that carries its address in the link network.",
    },
    {
        "lan_interface": "The interface of its subnets, where it is the gateway of a LAN.",
        "lan_host": "An SSH target on that LAN, to prove that it is one.",
        "config": "How its strongSwan is configured, where that is otherwise than `ipsec.config` says.",
    },
)

_SSH = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9._+-]*@)?"
    r"(?:(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*)|\[(?P<ipv6>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_THIS_NETWORK = IPv4Network("0.0.0.0/8")  # RFC 1122, section 3.2.1.3
_LARGEST, _SMALLEST = 8, 30
_SSH_PORT = 22
_LAST_PORT = 65535


def read_sites(value: Value, prefix: IPv6Network, link_subnet: Value, ipsec: Ipsec) -> Mapping[str, Site]:
    """Read the section: the sites by name, in the order of the file, none of which overlaps another."""
    entries = value.entries()
    if len(entries) <= 1:
        raise value.wrong("there must be at least two sites; describe both ends of a link")
    taken = Taken()
    taken.claim(link_subnet, "subnet id", read_subnet_id(link_subnet))
    return {name: _site(name, entry, prefix, taken, ipsec) for name, entry in entries.items()}


def _site(name: str, value: Value, prefix: IPv6Network, taken: Taken, ipsec: Ipsec) -> Site:
    if not LABEL.fullmatch(name):
        raise value.wrong(f"`{name}` is no DNS label; {LABEL_RULE}")
    if name == CONTROLLER:
        raise value.wrong(f"`{name}` is what the machine is called that this runs on; write another name")
    keys = value.keys(SITE)
    subnets = keys["subnet"].items() if isinstance(keys["subnet"].node, yaml.SequenceNode) else [keys["subnet"]]
    return Site(
        name=name,
        ssh=_ssh(keys["ssh"], taken),
        fqdn=read_fqdn(keys["fqdn"], taken),
        addresses=_addresses(keys["address"], prefix, taken),
        subnet_id=_site_subnet_id(subnets[0], taken),
        interface=read_interface(keys["interface"]),
        lan_interface=read_interface(keys["lan_interface"]) if "lan_interface" in keys else None,
        lan_host=_ssh(keys["lan_host"], taken) if "lan_host" in keys else None,
        more_subnets=tuple(_further_subnet(each, taken) for each in subnets[1:]),
        config=read_config(keys, ipsec.config),
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
        if isinstance(address, IPv4Address):
            taken.claim_network(each, IPv4Network(address))
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


def _further_subnet(value: Value, taken: Taken) -> int | IPv4Interface:
    """Read a further subnet of a site: the id of a /64, or an IPv4 subnet, in which the site is `.1` if not said."""
    text = value.text()
    if "/" not in text:
        return _site_subnet_id(value, taken)
    try:
        own = IPv4Interface(text)
    except ValueError:
        own = None
    if own is None or own.ip.is_multicast or own.ip.is_loopback or own.ip.is_link_local or own.ip in _THIS_NETWORK:
        raise value.wrong(f"`{text}` is no subnet; write the hexadecimal id of a /64, or an IPv4 subnet: 10.0.1.0/24")
    if not _LARGEST <= own.network.prefixlen <= _SMALLEST:
        raise value.wrong(f"`{text}` is too large or too small for a site; write a length of {_LARGEST} to {_SMALLEST}")
    if own.ip == own.network.broadcast_address:
        raise value.wrong(f"`{text}` is the subnet's broadcast address; write the site's own address in it")
    taken.claim_network(value, own.network)
    return IPv4Interface((own.ip + 1, own.network.prefixlen)) if own.ip == own.network.network_address else own


def _site_subnet_id(value: Value, taken: Taken) -> int:
    if "/" in value.text():
        raise value.wrong("the first of a site's subnets is its own /64; write its hexadecimal id, this one behind it")
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
