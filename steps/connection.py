"""IPsec configuration: the connection."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from runbook.step import Later
from steps import pki
from steps.certificates import earlier_names
from steps.certificates.renewals import renewal_of
from steps.certificates.site_certificate import settled_chain, trust_anchors, verified_chain
from steps.credentials import ca_files, neighbours
from steps.ipsec import conf_by_hand
from steps.ipsec.authorities import CaCertificates
from steps.ipsec.loaded import LoadedConnection
from steps.ipsec.routing_rule import RoutingRule
from steps.ipsec.style import OUR_CA_FILES, Wanted
from steps.ipsec.styles import STYLES, others, style_of
from steps.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from runbook.step import Part
    from steps.certificates.earlier_names import EarlierName
    from steps.network import End, Site

_NAMING: Final = " ".join(f"{each.naming}/*" for each in STYLES.values() if each.naming)
_NAMED: Final = f"""\
printf 'named_authorities=%s\\n' "$(cat {_NAMING} 2>/dev/null |
    grep -o '{OUR_CA_FILES.replace(".", "[.]").replace("*", "[A-Za-z0-9-]*")}' | sort -u | tr '\\n' ' ')"
"""
"""The fact `named_authorities`: the CA files of ours that connections name."""


class Connection(Section):
    """Describe the tunnel to strongSwan at both ends, and load it. Each end is told whom to trust and what to send.

    Each end names the other exactly (by its certificate's name, issued under the roots that you trust) and the networks
    behind each; what is one end's own side is the other's far side. Written is not loaded: charon is asked what it
    runs. Where a site has another `fqdn` than before, the key and the certificate that were put here for the earlier
    one go once the connections name the present one.

        nano /etc/swanctl/conf.d/ula-net-vps4.conf
        swanctl --load-all

    and with `config: stroke`, as in the article, by lines of ours among yours in /etc/ipsec.conf:

        nano /etc/ipsec.conf
        ipsec rereadall
        ipsec reload

    To check by hand: `swanctl --list-conns` and `swanctl --list-certs` (the own one says `has private key`); or
    `ipsec statusall` and `ipsec listcerts`.

    A connection of the same name that you have by hand, in ipsec.conf or in a file that it includes, becomes remarks;
    the tunnel that stands by it ends, for ours to take its place.

    All of /etc/swanctl is read anew then, yours included, and a key of yours with a passphrase must be given again by
    `swanctl --load-creds`; all of ipsec.conf likewise, which leaves tunnels that are up as they are.

    `start` says what the end that brings the tunnel up does by itself (auto= of ipsec.conf); the other waits:

        trap     (auto=route) the first packet for the other side brings the tunnel up, again and again. The default.
        start    it comes up when strongSwan starts, and again after the other end was silent or has closed it.
        add      it is loaded, and you bring it up by hand: swanctl --initiate --child, or ipsec up.
        ignore   it stays written, and strongSwan is not told of it, at neither end.

    What the article sets and what is set here unless you say otherwise, by the names of ipsec.conf:

        ikelifetime   60m  4h, and every 24h both ends prove themselves anew; with `config: stroke` 24h, for ipsec.conf
                           has one time for both. Only a new proof looks at certificates; a new IKE SA is there before
                           the old one goes (make_before_break, set in /etc/strongswan.d/ipsec-runbook.conf).
        keylife       20m  1h: still far from the 2^32 packets that end a key (RFC 4303, 3.3.3).
        rekeymargin   3m   9m: a successor is made one to two times this before the end.
        keyingtries   1    forever: after one try, a tunnel whose other end was away stays down.
        mobike        no   yes where an end's address changes: the tunnel goes along. It speaks on UDP port 4500 only.
        sendcert      always (`ifasked` does as well; the other end knows only who issued it, so never is refused)
        type          tunnel (transport mode is between two hosts, and joins no networks)

    What can go wrong: a keyword that this release does not know discards the whole connection (`swanctl --load-conns`
    says which; of ipsec.conf, the journal); a certificate that was renewed on disk, but not loaded; a trap that is not
    set because the other end's name did not resolve when the connection was loaded; charon's rule for routing table
    220, which leads packets to its routes, is gone (systemd-networkd, started anew, takes away what it did not make).
    """

    name: ClassVar[str] = "connection"
    title: ClassVar[str] = "IPsec configuration"
    needs: ClassVar[tuple[str, ...]] = ("credentials", "apparmor", "addresses")
    facts: ClassVar[str] = f"{conf_by_hand.FACTS}{_NAMED}{earlier_names.FACTS}"

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """That charon's routes are found; for each link of the site, its file and what charon has loaded of it."""
        site = self.site(target)
        chain = verified_chain(self.network, site, self.vault)
        authorities = ca_files(self.network, site, self.vault)
        ends = self.network.ends(site)
        wanted = None
        if chain and authorities:
            loaded = pki.split_chain(b"".join(authorities.values()))
            chains = {end.there.name: verified_chain(self.network, end.there, self.vault) for end in ends}
            roots = {name: each.anchor for name, each in chains.items() if each}
            wanted = Wanted(chain.leaf, tuple(loaded), tuple(trust_anchors(self.network, self.vault)), roots)
        style = style_of(site)
        elsewhere = [part for other in others(style) for part in other.no_connections(ends)]
        rule = RoutingRule(style.unit)
        by_hand = conf_by_hand.connections((end.connection for end in ends), facts)
        earlier = earlier_names.of_earlier_names(site, facts)
        moved = tuple(each.key for each in (*by_hand, *earlier))
        ours = [self._settled(each, moved) for each in style.connections(ends, wanted)]
        loading = [each for each in ours if each.key.startswith("loaded connection ")]
        described = [each for each in ours if each not in loading]
        named = set(facts.get("named_authorities", "").split())
        # what charon could not have loaded the connections of before without goes once they are described anew
        outdated = [*self._unnamed(site, authorities, named), *_unneeded(earlier, ours)]
        return [*by_hand, *elsewhere, rule, *described, *outdated, *loading]

    def reads(self, target: str) -> Sequence[str]:
        """What strongSwan can do there, by which it is told what to offer."""
        return (style_of(self.site(target)).abilities,)

    def _unnamed(self, site: Site, authorities: Mapping[str, bytes], named: AbstractSet[str]) -> Sequence[Part]:
        """No roots that connections have named so far: without their files those could not have been loaded before."""
        style, sites = style_of(site), neighbours(self.network, site)
        if not named or not style.naming:
            return []
        if not authorities or not all(settled_chain(self.network, each, self.vault) for each in sites):
            return [Later("CA certificates in", style.ca_directory, "certificate")]
        return [CaCertificates(style.ca_directory, authorities)] if named - authorities.keys() else []

    def _alone(self, end: End) -> bool:
        """Whether the other end would be shown a certificate that it could not be prepared for."""
        chain = verified_chain(self.network, end.here, self.vault)
        new = chain and end.link.name in renewal_of(self.vault, end.here, chain.leaf).to_show
        return bool(new) and end.there.name in self.vault.not_given

    def _settled(self, part: Part, moved: tuple[str, ...]) -> Part:
        """The part; what is to be loaded is known later where a certificate is about to be renewed.

        Nor is a renewed one loaded where the other end could not be given what it will be verified by.
        """
        if not isinstance(part, LoadedConnection):
            return part
        if self._alone(part.end):
            return Later("loaded connection", part.end.connection, "credentials")
        sites = neighbours(self.network, part.end.here)
        settled = all(settled_chain(self.network, each, self.vault) for each in sites)
        if not settled:
            return Later("loaded connection", part.end.connection, "certificate")
        return replace(part, follows=(*part.follows, *moved))


def _unneeded(earlier: Sequence[EarlierName], ours: Sequence[Part]) -> Sequence[Part]:
    """Nothing of an earlier name, once all connections are described by the present one: till then they need it."""
    after = next((each.after for each in ours if isinstance(each, Later)), "")
    return [Later(each.kind, each.path, after) for each in earlier] if after else earlier
