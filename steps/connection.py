"""IPsec configuration: the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from steps import inherited, pki
from steps.credentials import ca_files
from steps.section import Section
from steps.site_certificate import settled_chain, trust_anchors
from steps.style import Wanted
from steps.styles import others, style_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.step import Part


class Connection(Section):
    """Describe the tunnel to strongSwan at both ends, and load it. Each end is told whom to trust and what to send.

    Each end names the other exactly (by its certificate's name, issued under the roots that you trust) and the networks
    behind each; what is one end's own side is the other's far side. Written is not loaded: charon is asked what it
    runs.

        nano /etc/swanctl/conf.d/ula-net-vps4.conf
        swanctl --load-all

    To check by hand: `swanctl --list-conns` and `swanctl --list-certs` (the own one says `has private key`).

    All of /etc/swanctl is read anew then, yours included; a key of yours with a passphrase must be given again by
    `swanctl --load-creds`.

    What can go wrong: a keyword that this release does not know discards the whole connection (`swanctl --load-conns`
    says which); a certificate that was renewed on disk, but not loaded.
    """

    name: ClassVar[str] = "connection"
    title: ClassVar[str] = "IPsec configuration"
    needs: ClassVar[tuple[str, ...]] = ("credentials", "apparmor", "addresses")

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - the same everywhere
        """For each link of the site: its file, and what charon has loaded of it."""
        site = self.site(target)
        chain = settled_chain(self.network, site, self.vault)
        authorities = ca_files(self.network, site, self.vault)
        ends = self.network.ends(site)
        wanted = None
        if chain and authorities:
            loaded = pki.split_chain(b"".join(authorities.values()))
            chains = {end.there.name: settled_chain(self.network, end.there, self.vault) for end in ends}
            roots = {name: each.anchor for name, each in chains.items() if each}
            wanted = Wanted(chain.leaf, tuple(loaded), tuple(trust_anchors(self.network, self.vault)), roots)
        style = style_of(site)
        elsewhere = [part for other in others(style) for part in other.no_connections(ends)]
        by_hand = inherited.connections(end.connection for end in ends)
        return [*by_hand, *elsewhere, *style.connections(ends, wanted)]
