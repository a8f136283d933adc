"""Transferring the private key and the certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from runbook.resources.file import File
from runbook.step import Later, Part
from steps import inherited, pki
from steps.certificates.key_places import place_of
from steps.certificates.site_certificate import settled_chain, trust_anchors, verified_chain
from steps.ipsec.authorities import CaCertificates, ca_name
from steps.ipsec.styles import others, style_of
from steps.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steps.network import Network, Site
    from steps.vault import Vault


class Credentials(Section):
    """Put each site's private key and certificates where strongSwan looks for them. Only root may read the key.

    The certificate goes alone into one file and each CA certificate into one of its own, since strongSwan reads only
    the first certificate of a file: the chain in one piece, as every CA hands it out, ends in `no issuer certificate
    found`. CA files of an earlier chain are removed, or they would go on being trusted; so are expired
    ones in /etc/ipsec.d. Keys by hand in /etc/ssl are no longer for others to read or to replace.

        scp home.key root@home:/etc/swanctl/private/      (0400 from the start)
        scp home.pem root@home:/etc/swanctl/x509/
        scp root.pem intermediate-1.pem root@home:/etc/swanctl/x509ca/

    With `config: stroke` the key and the certificate, its chain behind it, lie in /etc/ssl/NAME as in the article, the
    CA certificates in /etc/ipsec.d/cacerts, and a line in /etc/ipsec.secrets names the key. What is of ours in the
    places of the other style is taken away.

    To check by hand: `swanctl --load-creds` names each file that it loads, or why not; or `ipsec rereadall`, and the
    journal.

    What can go wrong: a CA certificate is missing on one end, which then says `no issuer certificate found`; a key
    that belongs to another certificate (`openssl pkey -pubout -in` the key, `openssl x509 -noout -pubkey -in` the
    certificate: they must be the same).
    """

    name: ClassVar[str] = "credentials"
    title: ClassVar[str] = "Private key and certificates on the host"
    needs: ClassVar[tuple[str, ...]] = ("certificate", "strongswan")

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - the same everywhere
        """The key, the leaf, the CA certificates of both ends."""
        site = self.site(target)
        style = style_of(site)
        key_path, leaf_path = style.key_path(site), style.leaf_path(site)
        chain = settled_chain(self.network, site, self.vault)
        certified = verified_chain(self.network, site, self.vault)  # a renewed certificate is for the same key
        key = place_of(self.network).installed(self.vault, site, key_path) if certified else None
        settled = all(settled_chain(self.network, each, self.vault) for each in neighbours(self.network, site))
        authorities = ca_files(self.network, site, self.vault) if settled else {}
        shown = [chain.leaf, *chain.intermediates] if chain and style.chained else [chain.leaf] if chain else []
        later = {path: Later("file", path, "certificate") for path in (key_path, leaf_path)}
        elsewhere = [part for other in others(style) for part in other.no_credentials(site)]
        return [
            *elsewhere,
            key or later[key_path],
            *style.secrets(site),
            File(leaf_path, b"".join(map(pki.to_pem, shown))) if shown else later[leaf_path],
            CaCertificates(style.ca_directory, authorities, style.naming)  # those go once connections do without them
            if authorities
            else Later("CA certificates in", style.ca_directory, "certificate"),
            *inherited.credentials(site),
        ]

    def give_up(self, target: str) -> None:
        """The other ends of its tunnels are not to go over to what it does not trust yet."""
        self.vault.not_given.add(target)


def neighbours(network: Network, site: Site) -> Sequence[Site]:
    """The site, and those that it is linked to."""
    return [site, *(end.there for end in network.ends(site))]


def ca_files(network: Network, site: Site, vault: Vault) -> Mapping[str, bytes]:
    """Each CA certificate needed to verify the site and its peers, PEM by file name; none while one is not known."""
    wanted = trust_anchors(network, vault)
    for chain in (verified_chain(network, each, vault) for each in neighbours(network, site)):
        if chain is None:
            return {}
        wanted = [*wanted, *chain.intermediates]
    # of two of one name, which are for one key, the one that lives longer
    return {ca_name(each): pki.to_pem(each) for each in sorted(wanted, key=lambda each: each.not_valid_after_utc)}
