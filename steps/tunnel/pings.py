"""Pings between two sites: from every address that one has in the private network to every one of the other, and back.

Where both have a machine on their LAN, these ping each other, too: as if they were on the same LAN.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from runbook.errors import StepError
from steps import catalogue
from steps.section import lan_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.target import Target
    from steps.network import Address, Network, Site

PINGS: Final = 4
"""As in the article; after a warm-up not one of them may be lost."""
SMALLEST_MTU: Final = 1280
"""Bytes of a packet that every line has to take where there is IPv6 (RFC 8200, 5)."""
LARGE: Final = f"packets of {SMALLEST_MTU} bytes"
_HEADERS: Final = {4: 28, 6: 48}
"""Bytes of IP's and ICMP's headers, by IP's version."""

_ADDRESSES: Final = 'ip -o address show scope global | awk \'{ sub("/.*", "", $4); print $4 }\''


def scripts(network: Network, sites: tuple[Site, Site], hosts: Mapping[str, Target]) -> dict[str, str]:
    """Shell for each target that can ping, by its name, which prints a line for each pair of addresses.

    Raises StepError where a machine that is to prove a gateway is not behind it.
    """
    with ThreadPoolExecutor(max_workers=2) as pool:
        sides = list(pool.map(lambda site: _addresses(network, site, hosts), sites))
    found = {}
    for here, there in (sides, sides[::-1]):
        destinations = [each for addresses in there.values() for each in addresses]
        for target, sources in here.items():
            found[target] = _script(
                [(source, each) for source in sources for each in destinations if source.version == each.version]
            )
    return found


def lost(said: str) -> str:
    """The first line of what a script printed that tells of a loss, of small packets if so; empty without any."""
    told = [line for line in said.splitlines() if line and " 0% packet loss" not in line]
    return next((line for line in told if LARGE not in line), told[0] if told else "")


def _addresses(network: Network, site: Site, hosts: Mapping[str, Target]) -> dict[str, Sequence[Address]]:
    """Who can ping at a site, by target, with the addresses to do it from; a LAN's machine is asked for its own."""
    found: dict[str, Sequence[Address]] = {site.name: network.inner_addresses(site)}
    if not site.lan_host:
        return found
    name = lan_target(site)
    said = hosts[name].run(_ADDRESSES, purpose="look for its addresses").stdout
    subnets = [each.network for each in network.own_addresses(site)]
    found[name] = [each for each in map(ip_address, said.split()) if any(each in subnet for subnet in subnets)]
    if not found[name]:
        within = " or ".join(map(str, subnets))
        raise StepError(catalogue.LAN_HOST_ELSEWHERE, target=name, subnets=within, site=site.name)
    return found


def _script(pairs: Sequence[tuple[Address, Address]]) -> str:
    lines = []
    for source, destination in pairs:
        ping = f"ping -{destination.version} -n -q -I {source} -W 2"
        count = f"{ping} -i 0.2 -c {PINGS} {destination} 2>&1 | grep 'packets transmitted'"
        large = f"{ping} -c 1 -s {SMALLEST_MTU - _HEADERS[destination.version]} {destination} >/dev/null 2>&1"
        lines += [
            "(",
            f"for _ in 1 2 3 4 5; do {ping} -c 1 {destination} >/dev/null 2>&1 && break; done",
            f"result=$({count} || echo 'no answer')",
            f'echo "{source} -> {destination}: ${{result%%, time*}}"',
            f'case "$result" in *" 0% packet loss"*) {large} || {large} || {large} || ',
            f'    echo "{source} -> {destination}: {LARGE} are lost, small ones are not";; esac',
            ") &",
        ]
    return "{\n" + "\n".join(lines) + "\nwait\n} | sort"
