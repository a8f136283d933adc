"""Adding IP addresses."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Interface, ip_address, ip_interface
from typing import TYPE_CHECKING, ClassVar, Final

from runbook.resources.address import Address, UnreachableRoute
from runbook.step import Part, Told, Verdict
from steps import inherited
from steps.addressing.address_managers import FACTS, MANAGERS, stored_parts
from steps.addressing.admins_own import given_by_admin
from steps.addressing.outdated_addresses import Outdated, address_command, given_facts, leaving, route_command
from steps.section import HOST_ADDRESSES, Section, own_addresses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steps.network import Interface, Site, Subnet


_KEPT: Final = tuple(each.kept for each in MANAGERS.values())
"""Patterns of our files, one for each manager of addresses."""


class AddingAddresses(Section):
    """Give each site its addresses in the private network. By them it is reached through the tunnel.

    There is one on the link network, and one in the site's own subnet. The tunnel joins networks; a host takes part
    in it by an address of its own in them, and it must be there before the connection is loaded. They are added
    without duplicate address detection: an address still being checked at boot is why the article's tunnel stayed
    down after a restart. What is for the private network and has no route yet is refused (RFC 4193, 4.3), so that
    it never leaves unencrypted by the default route; likewise what is for another site's IPv4 subnet. Lines by hand
    that add them in /etc/network/interfaces become remarks; what a stanza there gives by its `address` stays with it.

        ip -6 address replace fdd7:5938:e2e6:3::8e71/128 dev eth0 nodad
        nano /etc/network/interfaces.d/ipsec-runbook

    Where systemd-networkd manages the interface, by a file of the admin's or of netplan's, they stand in a drop-in
    beside that file. Another, wherever networkd runs, has it leave charon's rule and routes alone, or the tunnel would
    go with each of its starts. It is started anew to read both, which keeps its own addresses, and asks anew for what
    is lent; those that something else has added to the interface by hand may go. Where an interface has been given to
    the other of the two since, what is ours goes along.

        networkctl status eth0                                            (its Network File)
        nano /etc/systemd/network/10-eth0.network.d/60-ipsec-runbook.conf
        systemctl restart systemd-networkd

    To check by hand: `ip -6 address show` must not call them tentative; `networkctl status eth0` must know of them.

    What can go wrong: another program manages the interface, or two at once; the address is on another interface
    already; an IPv4 subnet of another site is one that this host is in already.
    """

    name: ClassVar[str] = "addresses"
    title: ClassVar[str] = "Adding IP addresses"
    facts: ClassVar[str] = f"{HOST_ADDRESSES}{FACTS}{given_facts(_KEPT)}"

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """What goes; the addresses for every boot, then live. Where these must not be stored, nothing is touched.

        What goes is told by the files that were stored before, so it goes first: whatever cuts the rest off.
        """
        site = self.site(target)
        addresses, refused = self.addresses(site), self.refused(site)
        missing = [str(each) for each in site.addresses if each not in own_addresses(site, facts)]
        outer = [Told(f"outer address {each}", Verdict.UNKNOWN, f"{target} {_BEHIND_NAT}") for each in missing]
        stored = stored_parts(target, addresses, refused, facts)
        if any(isinstance(each, Told) for each in stored):
            return [*outer, *self._taken(site, facts), *stored]
        by_hand = inherited.addresses([str(address.ip) for address, _ in addresses])
        leave = leaving(addresses, facts)
        subnets = {each.ip: each.network for each in self.network.own_addresses(site)}
        live = [
            Address(each, interface, leave, subnets.get(each.ip), given_by_admin(each, interface, facts))
            for each, interface in addresses
        ]
        routes = [UnreachableRoute(str(each)) for each in refused]
        added = (*(address_command(*each) for each in addresses), *map(route_command, refused))
        return [*outer, *self._taken(site, facts), Outdated(added, _KEPT), *stored, by_hand, *live, *routes]

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


_BEHIND_NAT: Final = (
    "does not have it itself, and strongSwan could not send from it: "
    "behind a NAT, write `address: dynamic` in sites.yaml"
)
