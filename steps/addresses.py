"""Adding IP addresses."""

from __future__ import annotations

from collections import defaultdict
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, ip_address, ip_interface
from typing import TYPE_CHECKING, ClassVar, Final

from runbook.resources.address import Address, UnreachableRoute
from runbook.resources.file import File
from runbook.step import Part, Told, Verdict
from steps import inherited
from steps.outdated_addresses import INTERFACES, Outdated
from steps.section import HOST_ADDRESSES, Section, own_addresses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steps.network import Interface, Site, Subnet


class AddingAddresses(Section):
    """Give each site its addresses in the private network. By them it is reached through the tunnel.

    There is one on the link network, and one in the site's own subnet. The tunnel joins networks; a host takes part
    in it by an address of its own in them, and it must be there before the connection is loaded. They are added
    without duplicate address detection: an address still being checked at boot is why the article's tunnel stayed
    down after a restart. What is for the private network and has no route yet is refused (RFC 4193, 4.3), so that
    it never leaves unencrypted by the default route; likewise what is for another site's IPv4 subnet. Lines by hand
    that add them in /etc/network/interfaces become remarks.

        ip -6 address replace fdd7:5938:e2e6:3::8e71/128 dev eth0 nodad
        nano /etc/network/interfaces.d/ipsec-runbook

    To check by hand: `ip -6 address show` must not call them tentative.

    What can go wrong: another program than ifupdown manages the interface; the address is on another interface already;
    an IPv4 subnet of another site is one that this host is in already.
    """

    name: ClassVar[str] = "addresses"
    title: ClassVar[str] = "Adding IP addresses"
    facts: ClassVar[str] = f"""\
{HOST_ADDRESSES}
if ! command -v ifquery >/dev/null; then echo interfaces=no-ifupdown
elif ! grep -Eqs '^[[:space:]]*source(-directory)?[[:space:]]+(/etc/network/)?interfaces\\.d' /etc/network/interfaces
then echo interfaces=no-source
else echo interfaces=ifupdown; fi
at_boot=$({{ ifquery --list; ifquery --list --allow=hotplug; }} 2>/dev/null | tr '\\n' ' ')
printf 'interfaces_at_boot=%s\\n' "$at_boot"
"""

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """The addresses for every boot, then live."""
        site = self.site(target)
        addresses, refused = self.addresses(site), self.refused(site)
        wanted = _stanzas(addresses, refused)
        stored: Part = File(INTERFACES, wanted.encode())
        if why := _not_at_boot([interface for _, interface in addresses], facts):
            stored = Told(f"file {INTERFACES}", Verdict.UNKNOWN, why)
        missing = [str(each) for each in site.addresses if each not in own_addresses(site, facts)]
        outer = [Told(f"outer address {each}", Verdict.UNKNOWN, f"{target} {_BEHIND_NAT}") for each in missing]
        live = [Address(address, interface) for address, interface in addresses]
        routes = [UnreachableRoute(str(each)) for each in refused]
        by_hand = inherited.addresses([str(address.ip) for address, _ in addresses])
        return [*outer, *self._taken(site, facts), stored, by_hand, *live, *routes, Outdated(wanted)]

    def addresses(self, site: Site) -> Sequence[tuple[Interface, str]]:
        """Each address of the site with the interface that carries it."""
        own = self.network.own_addresses(site)
        in_subnets = [
            (each, site.lan_interface) if site.lan_interface else (ip_interface(each.ip), site.interface)
            for each in own
        ]
        return [(IPv6Interface(self.network.link_address(site)), site.interface), *in_subnets]

    def refused(self, site: Site) -> Sequence[Subnet]:
        """What must not leave by the default route when there is no tunnel."""
        far = dict.fromkeys(each for end in self.network.ends(site) for each in end.remote_ts)
        return [self.network.prefix, *(each for each in far if isinstance(each, IPv4Network))]

    def _taken(self, site: Site, facts: Mapping[str, str]) -> Sequence[Part]:
        """Why an IPv4 subnet cannot be as it is in sites.yaml: the host is in it already, otherwise."""
        here = [ip_address(each) for each in facts.get("host_addresses", "").split() if "." in each]
        found: list[Part] = []
        for own in self.network.own_addresses(site):
            others = [each for each in here if each in own.network and each != own.ip]
            if others and own.ip not in here:
                written = f"{others[0]}/{own.network.prefixlen}"
                why = f"{site.name} is {others[0]} in {own.network}: write {written} in sites.yaml"
                found.append(Told(f"subnet {own.network}", Verdict.UNKNOWN, why))
        for far in self.refused(site)[1:]:
            if inside := [each for each in here if each in far]:
                why = f"{site.name} is in it itself, as {inside[0]}: give one of the two another subnet"
                found.append(Told(f"the other site's subnet {far}", Verdict.UNKNOWN, why))
        return found


def _stanzas(addresses: Sequence[tuple[Interface, str]], refused: Sequence[Subnet]) -> str:
    by_interface = defaultdict(list)
    for address, interface in addresses:
        nodad = "" if isinstance(address, IPv4Interface) else " nodad"
        by_interface[interface].append(f"    up ip -{address.version} address replace {address} dev {interface}{nodad}")
    by_interface[addresses[0][1]] += [
        f"    up ip -{each.version} route replace unreachable {each} metric {UnreachableRoute.metric}"
        for each in refused
    ]
    stanzas = ["\n".join([f"iface {name} inet6 manual", *lines]) for name, lines in by_interface.items()]
    return "\n\n".join(["# managed by ipsec-runbook: made from sites.yaml", *stanzas]) + "\n"


_BEHIND_NAT: Final = (
    "does not have it itself, and strongSwan could not send from it: "
    "behind a NAT, write `address: dynamic` in sites.yaml"
)


def _not_at_boot(interfaces: Sequence[str], facts: Mapping[str, str]) -> str:
    """Why ifupdown would not bring addresses of ours up at boot; empty when it will."""
    found = facts.get("interfaces", "")
    if found == "no-ifupdown":
        return "ifupdown is not installed, and other managers of addresses are not supported yet"
    if found == "no-source":
        return "/etc/network/interfaces has no line `source /etc/network/interfaces.d/*`: add it"
    at_boot = facts.get("interfaces_at_boot", "").split()
    left = [each for each in interfaces if each not in at_boot]
    if left:
        return (
            f"ifupdown does not bring {left[0]} up at boot (no `auto {left[0]}`), so something else may manage it: "
            "other managers of addresses are not supported yet"
        )
    return ""
