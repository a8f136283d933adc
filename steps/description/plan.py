"""The plan of the private network: its prefix, a subnet for each site, one for the links; and what is in its way.

The article's plan, with its accidents taken out: a random /48 (RFC 4193), and as a site's subnet id the last four
hexadecimal digits of its interface's MAC address. Such digits can be the same on two hosts, or zero, which no site may
have, so that what is chosen is written down in `sites.yaml` and never worked out again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from steps.network import Network, Site

Subnet = IPv4Network | IPv6Network

FIRST_LINK_SUBNET: Final = 3
"""The article's; any would do, and a small number keeps the addresses short."""
CHARONS_TABLE: Final = "220"
"""strongSwan's own routing table (strongswan.conf(5), charon.routing_table)."""
_LAST_SUBNET: Final = 0xFFFF
_PREFIX_LENGTH: Final = 48


@dataclass(frozen=True)
class SubnetId:
    """A proposed subnet id, and why it is this one."""

    value: int
    reason: str


@dataclass(frozen=True)
class Route:
    """What a host has a route to already, over which interface, in which of its tables (ip-route(8))."""

    destination: Subnet
    interface: str
    table: str = "main"

    def __str__(self) -> str:
        """The route in words."""
        over = f" over {self.interface}" if self.interface else ""
        return f"{self.destination}{over}{'' if self.table == 'main' else f' (table {self.table})'}"


def random_prefix() -> IPv6Network:
    """Make a ULA prefix (RFC 4193, section 3.2.2, with a better source of randomness)."""
    return IPv6Network((b"\xfd" + secrets.token_bytes(5) + bytes(10), _PREFIX_LENGTH))


def subnet_from_mac(interface: str, mac: str, taken: Mapping[int, str]) -> SubnetId:
    """Propose a site's subnet id: the last four digits of its interface's MAC address, else the next that is free.

    Args:
        interface: The interface's name.
        mac: Its address, as ip(8) prints it; empty where it has none (a tunnel, PPP).
        taken: Who has an id already, by id.
    """
    if not mac:
        free = next_free(1, taken)
        return SubnetId(free, f"the first that is free; {interface} has no MAC address to take one from")
    digits = mac.replace(":", "")[-4:]
    wanted = int(digits, 16)
    from_mac = f"the end of {interface}'s MAC address, {mac}"
    if wanted and wanted not in taken:
        return SubnetId(wanted, from_mac)
    why = f"is that of {taken[wanted]}" if wanted else "is reserved"
    return SubnetId(next_free(wanted + 1, taken), f"the next that is free: {digits}, {from_mac}, {why}")


def next_free(first: int, taken: Collection[int]) -> int:
    """The first id from `first` on that nobody has; after ffff it goes on at 1.

    Raises:
        ValueError: All 65535 are taken.
    """
    candidates: list[int] = [*range(first, _LAST_SUBNET + 1), *range(1, first)]
    free = next((each for each in candidates if each not in taken), None)
    if free is None:
        raise ValueError("every subnet id is taken")
    return free


def in_the_way(network: Network, site: Site, routes: Iterable[Route]) -> Iterator[Route]:
    """Those of a host's routes that lead into the network otherwise than the network does.

    A wider route is not in the way: ours are the longer match. The site's own subnets on its own LAN are how a gateway
    should look, its link address is ours, and so is the refusal of the whole prefix (step `addresses`). What strongSwan
    routes to another site is that tunnel itself.
    """
    own = network.selectors(site)
    others = [each for other in network.sites.values() if other != site for each in network.selectors(other)]
    refusal = {Route(network.prefix, interface) for interface in ("", "lo")}
    for route in routes:
        inside = any(_within(route.destination, each) for each in (network.prefix, *others))
        tunnel = route.table == CHARONS_TABLE and route.destination in others
        at_home = any(_within(route.destination, each) for each in own)
        if inside and not tunnel and not at_home and route not in refusal:
            yield route


def _within(inner: Subnet, outer: Subnet) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type] # of one version
