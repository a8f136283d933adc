"""Renewal: the steps of the procedure that make a certificate take another's place, and of each only what does.

Whatever else has changed in sites.yaml, or on a host, waits for an apply: a timer must not decide about it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runbook.errors import RunbookError, UsageError
from runbook.step import Check
from steps.certificate import CertificateCreation
from steps.certificates.certificate_sources import source_of
from steps.certificates.renewals import is_due, renewal_of, standing
from steps.certificates.site_certificate import SiteCertificate, good_leaf, rootless, verified_chain
from steps.connection import Connection
from steps.credentials import Credentials
from steps.ipsec.loaded import LoadedConnection
from steps.ipsec.styles import style_of
from steps.ping import PingTest, Tunnel
from steps.renewing.certificates_in_use import seen
from steps.tunnel.strongest import StrongestCiphers
from steps.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runbook.step import Part
    from runbook.target import Target
    from steps.network import Network
    from steps.section import Section


class RenewedCertificates(CertificateCreation):
    """Have the certificates that are due issued anew, for the same requests, and an authority of your own with them."""

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """Those of the sites whose turn it is, and what their authority needs; a new one is made by an apply alone."""
        every = [each for each in super().parts(target, facts) if isinstance(each, SiteCertificate)]
        made = [] if rootless(self.network, self.vault) else source_of(self.network).parts(self.network, self.vault)
        return [
            *made,
            *(replace(each, same_authority=True) for each in every if each.site.name not in self.vault.not_renewed),
        ]


class RenewedCredentials(Credentials):
    """Put the new certificates where strongSwan looks for them, with the CA certificates that belong to them."""

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """All but the key."""
        site = self.site(target)
        style = style_of(site)
        ours = {f"file {style.leaf_path(site)}", f"CA certificates in {style.ca_directory}"}
        return [each for each in super().parts(target, facts) if each.key in ours]


class RenewedConnections(Connection):
    """Have charon load the new certificates."""

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """What is loaded, with an eye to the certificates alone."""
        every = super().parts(target, facts)
        return [replace(each, certificates_only=True) for each in every if isinstance(each, LoadedConnection)]


class RenewedTunnels(PingTest):
    """Have each tunnel stand by the new certificates, and see that packets pass, both ways.

    The new IKE SA is there, and proved by both ends, before the old one goes: the tunnel is not interrupted.
    """

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """What it stands by; a tunnel that is down comes up by what is loaded."""
        return [each for each in super().parts(target, facts) if not isinstance(each, Tunnel | StrongestCiphers)]

    def checks(self) -> Sequence[Check]:
        """What each end has seen of the other's certificate, then that the tunnel carries packets."""
        links = [(link, self.network.link_ends(link)) for link in self.network.links]
        named = [Check(f"certificates of {link.name}", link.between, seen(ends, self.vault)) for link, ends in links]
        return [*named, *super().checks()]


def renewal(network: Network, *, only: str, force: bool) -> Sequence[Section]:
    """The steps of a renewal, for the sites that have a certificate and the links between them.

    Args:
        network: What sites.yaml says.
        only: The one site whose certificate's turn it is; empty for all.
        force: The user wants it now, and is there to see what else has changed of the connections: they are described
            as `apply` does, for other certificates may need other words, such as the name of their root.

    Raises:
        UsageError: There is nothing to renew.
    """
    if only and only not in network.sites:
        raise UsageError(f"there is no site {only!r}", hint=f"the sites are: {', '.join(network.sites)}")
    vault = Vault(network)
    sites = {name: site for name, site in network.sites.items() if vault.certificate(site).is_file()}
    if not (sites if not only else only in sites):
        raise UsageError("there is no certificate yet that could be renewed", hint="get there first: runbook apply")
    links = tuple(link for link in network.links if sites.keys() >= set(link.between))
    vault.not_renewed.update(sites.keys() - {only} if only else ())
    certified = replace(network, sites=sites, links=links)
    described = (RenewedCredentials, Connection if force else RenewedConnections)
    steps = (RenewedCertificates, *described, RenewedTunnels)
    return [section(certified, vault) for section in steps]


def ask_authorities(network: Network, controller: Target, *, only: str, force: bool) -> Iterator[str]:
    """Note what each certificate's authority says of its renewal, or with `force` that it is due; yields what is odd.

    A word once had holds until the authority has said to ask again: the audit goes by it, too.
    """
    vault, now = Vault(network), datetime.now(UTC)
    for site in network.sites.values():
        chain = verified_chain(network, site, vault)
        leaf = chain.leaf if chain else good_leaf(network, site, vault)
        if leaf is None or only not in {"", site.name}:
            continue
        known = renewal_of(vault, site, leaf)
        if force:
            known.asked_for(now).keep(vault, site, controller)
        elif chain and not is_due(leaf, known) and not (known.ask_again and now < known.ask_again):
            try:
                told = known.suggested(source_of(network).suggestion(network, vault, leaf))
            except RunbookError as error:
                yield f"{site.name}: {error}; until it can be asked, its certificate is renewed by its lifetime"
                continue
            if told != known:
                told.keep(vault, site, controller)


def standings(network: Network) -> Iterator[str]:
    """How each site's certificate stands, in words, and an authority of one's own."""
    vault = Vault(network)
    for site in network.sites.values():
        if chain := verified_chain(network, site, vault):
            yield f"certificate of {site.fqdn}: {standing(chain.leaf, renewal_of(vault, site, chain.leaf))}"
    if authority := source_of(network).standing(vault):
        yield authority
