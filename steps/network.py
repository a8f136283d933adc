"""The network that `sites.yaml` describes: its prefix, its sites, its links.

All that follows from these is derived here and nowhere else, so that the two ends of a link cannot disagree: the
article typed each selector twice, and got one of them wrong at both ends. Pure values; nothing here knows of YAML or
of hosts. `steps.description.sites_yaml` is what builds one, and what refuses a file that makes no sense.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from itertools import combinations
from typing import TYPE_CHECKING

from steps.webserver.nginx_options import DEBIANS, Nginx

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from steps.certificates.certificate_options import Certificates
    from steps.ipsec.ipsec_options import Ipsec, Start

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Subnet = IPv4Network | IPv6Network

ANY_ADDRESS = "%any"
"""What swanctl.conf calls an address that is not known beforehand."""


@dataclass(frozen=True)
class Site:
    """One end of links: a host reached by SSH, with a ULA /64 of its own behind it, and maybe more.

    `ssh` is what one gives to ssh(1); `addresses` are the outer ones, none for a site whose address changes;
    `interface` carries the link address, `lan_interface` the subnets; `lan_host` is the SSH target of a machine on the
    site's LAN, by which a gateway is proven to be one; `config` is how its strongSwan is configured
    (`steps.ipsec.styles`).
    `more_subnets` are further ids of /64s, and IPv4 subnets as the site's own address in them.
    """

    name: str
    ssh: str
    fqdn: str
    addresses: tuple[Address, ...]
    subnet_id: int
    interface: str
    lan_interface: str | None = None
    lan_host: str | None = None
    config: str = "swanctl"
    more_subnets: tuple[int | IPv4Interface, ...] = ()

    @property
    def dynamic(self) -> bool:
        """Whether the outer address is not known beforehand."""
        return not self.addresses


@dataclass(frozen=True)
class Link:
    """A tunnel between two sites, by their names; `initiator` is the one that brings it up.

    Where one of them is the `hub` of several links, the others, its spokes, reach one another through it.
    """

    between: tuple[str, str]
    initiator: str
    hub: str = ""

    @property
    def name(self) -> str:
        """What the link is called in reports and checkpoints: `home-vps4`."""
        return "-".join(self.between)


@dataclass(frozen=True)
class Network:
    """All that `sites.yaml` says; `directory` is where it lies. Sites and links keep the order of the file."""

    prefix: IPv6Network
    link_subnet_id: int
    ssh_config: Path | None
    certificates: Certificates | None
    """None where they come from somewhere that needs no such section."""
    ipsec: Ipsec
    sites: Mapping[str, Site] = field(hash=False)
    links: tuple[Link, ...]
    directory: Path
    certificate_authority: str = "acme"
    """One of `certificate_sources.SOURCES`."""
    keys: str = "controller"
    """One of `key_places.PLACES`: where the sites' keys are made and kept."""
    nginx: Nginx = DEBIANS

    @property
    def challenge_site(self) -> str | None:
        """The one site that serves everybody's challenges; None: each serves its own."""
        return self.certificates.challenge_site if self.certificates else None

    @property
    def link_network(self) -> IPv6Network:
        """The /64 in which every site has one address, its link address."""
        return self._subnet(self.link_subnet_id)

    def subnet(self, site: Site) -> IPv6Network:
        """The site's own /64."""
        return self._subnet(site.subnet_id)

    def own_addresses(self, site: Site) -> tuple[Interface, ...]:
        """The site's address in each of its subnets, with its length; the first is that in its own /64."""
        own = (
            IPv6Interface((self._subnet(each)[1], 64)) if isinstance(each, int) else each
            for each in (site.subnet_id, *site.more_subnets)
        )
        return tuple(own)

    def link_address(self, site: Site) -> IPv6Address:
        """The site's address on the link network, ending in its subnet id: `fdd7:5938:e2e6:3::8e71`."""
        return self.link_network[site.subnet_id]

    def inner_addresses(self, site: Site) -> tuple[Address, ...]:
        """All addresses by which a site itself is reached through its tunnels."""
        return (self.link_address(site), *(each.ip for each in self.own_addresses(site)))

    def selectors(self, site: Site) -> tuple[Subnet, ...]:
        """What there is at a site to be reached through a tunnel."""
        return (*(each.network for each in self.own_addresses(site)), IPv6Network(self.link_address(site)))

    def beyond(self, link: Link, site: Site) -> tuple[Site, ...]:
        """The sites that are reached through this one by its peer on a link: a hub's other spokes."""
        if link.hub != site.name:
            return ()
        return tuple(each for each in self._spokes(link.hub) if each.name not in link.between)

    def joined_by_hubs(self) -> tuple[tuple[Site, Site, Site], ...]:
        """Each two sites that reach each other through a hub, which comes first."""
        hubs = dict.fromkeys(link.hub for link in self.links if link.hub)
        return tuple((self.sites[hub], *pair) for hub in hubs for pair in combinations(self._spokes(hub), 2))

    def _spokes(self, hub: str) -> tuple[Site, ...]:
        return tuple(self.sites[name] for link in self.links if link.hub == hub for name in link.between if name != hub)

    def ends(self, site: Site) -> tuple[End, ...]:
        """The ends that lie at a site, in the order of the links."""
        return tuple(end for link in self.links for end in self.link_ends(link) if end.here.name == site.name)

    def link_ends(self, link: Link) -> tuple[End, End]:
        """Both ends of a link, in the order of `between`."""
        one, other = (self.sites[name] for name in link.between)
        return End(link, one, other, self), End(link, other, one, self)

    def _subnet(self, subnet_id: int) -> IPv6Network:
        """The /64 with this 16-bit subnet id (RFC 4193, section 3.1)."""
        return IPv6Network((int(self.prefix.network_address) | subnet_id << 64, 64))


@dataclass(frozen=True)
class End:
    """One end of a link, as the host there has to be told of it."""

    link: Link
    here: Site
    there: Site
    network: Network = field(repr=False, compare=False)

    def under(self, ipsec: Ipsec) -> End:
        """This end, with other options: those of its options that its host can do."""
        return replace(self, network=replace(self.network, ipsec=ipsec))

    @property
    def connection(self) -> str:
        """The connection's name at this end, after the host at the other, as in the article: `ula-net-vps4`."""
        return f"ula-net-{self.there.name}"

    @property
    def initiates(self) -> bool:
        """Whether it is this end that brings the tunnel up."""
        return self.link.initiator == self.here.name

    @property
    def start(self) -> Start:
        """What this end does by itself: what was asked for, where it is the one that brings the tunnel up."""
        asked = self.network.ipsec.start
        return asked if self.initiates or asked == "ignore" else "add"

    @property
    def mobike(self) -> bool:
        """Whether the tunnel may move to another address while it is up (RFC 4555)."""
        asked = self.network.ipsec.mobike
        return self.here.dynamic or self.there.dynamic if asked is None else asked

    @property
    def local_ts(self) -> tuple[Subnet, ...]:
        """What of this end is reached through the tunnel."""
        return self._reached(self.here)

    @property
    def remote_ts(self) -> tuple[Subnet, ...]:
        """What is reached at the other end: its `local_ts`."""
        return self._reached(self.there)

    @property
    def local_addrs(self) -> tuple[str, ...]:
        """The outer addresses to speak from."""
        return _texts(self.here) or (ANY_ADDRESS,)

    @property
    def remote_addrs(self) -> tuple[str, ...]:
        """The outer addresses to speak to.

        A dynamic peer is its name, then any: a trap needs something concrete to go to, and a responder must still
        take the peer when its name is behind the times.
        """
        return _texts(self.there) or (self.there.fqdn, ANY_ADDRESS)

    def _reached(self, site: Site) -> tuple[Subnet, ...]:
        sites = (site, *self.network.beyond(self.link, site))
        return tuple(subnet for each in sites for subnet in self.network.selectors(each))


def _texts(site: Site) -> tuple[str, ...]:
    return tuple(str(address) for address in site.addresses)
