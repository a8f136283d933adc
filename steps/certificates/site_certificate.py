"""A site's certificate with its chain: obtained once, judged by verifying it as the other end will, renewed in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runbook.errors import RunbookError, StepError
from runbook.script import quote
from runbook.step import CONTROLLER, Change, Finding, Part
from steps import catalogue, pki
from steps.certificates import chains
from steps.certificates.certificate_sources import SOURCES, source_of
from steps.certificates.key_places import place_of
from steps.certificates.renewals import ASKED_FOR, Renewal, is_due, renewal_of, standing
from steps.ipsec.style import OUR_CA_FILES
from steps.ipsec.styles import style_of
from steps.vault import put, read_if_there, set_aside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cryptography import x509

    from runbook.script import Reading
    from runbook.target import Target
    from steps.network import Network, Site
    from steps.vault import Vault


def trust_anchors(network: Network, vault: Vault) -> Sequence[x509.Certificate]:
    """The roots that the sites' certificates must chain to; none while they are not known."""
    return source_of(network).anchors(network, vault)


def rootless(network: Network, vault: Vault) -> bool:
    """Whether the authority is not there that would have to sign the certificates: one of one's own, not made yet."""
    try:
        return not trust_anchors(network, vault)
    except (RunbookError, OSError):  # it is there, and what is wrong with it is for the certificates to say
        return False


def verify(network: Network, site: Site, vault: Vault, bundle: bytes) -> chains.Chain:
    """The site's certificate in `bundle` with its way to a trust anchor; raises RunbookError where there is none."""
    ours = place_of(network).fingerprint(vault, site)
    anchors = trust_anchors(network, vault)
    return chains.verify_chain(pki.split_chain(bundle), anchors, site.fqdn, ours, datetime.now(UTC))


def verified_chain(network: Network, site: Site, vault: Vault) -> chains.Chain | None:
    """The site's certificate with its chain, if it is there and good now; why not is the certificate step's to say."""
    bundle = read_if_there(vault.certificate(site))
    try:
        return verify(network, site, vault, bundle) if bundle else None
    except (RunbookError, OSError):
        return None


def good_leaf(network: Network, site: Site, vault: Vault) -> x509.Certificate | None:
    """The site's certificate, if it is good by itself, wherever its chain leads; None where there is none such."""
    bundle = read_if_there(vault.certificate(site))
    try:
        leaf = pki.split_chain(bundle)[0] if bundle else None
        if leaf is None or pki.public_fingerprint(leaf) != place_of(network).fingerprint(vault, site):
            return None
        chains.check_leaf(leaf, site.fqdn, datetime.now(UTC))
    except RunbookError:
        return None
    return leaf


def settled_chain(network: Network, site: Site, vault: Vault) -> chains.Chain | None:
    """What the site is to have: the certificate that is good, unless it or its root is about to be another."""
    chain = verified_chain(network, site, vault)
    if chain is None or not vault.not_renewed.isdisjoint((CONTROLLER, site.name)):
        return chain
    if is_due(chain.leaf, renewal_of(vault, site, chain.leaf)) or not source_of(network).settled(network, vault):
        return None
    return chain


@dataclass(frozen=True)
class SiteCertificate(Part):
    """The certificate on the controller, from where its host gets it."""

    network: Network
    site: Site
    vault: Vault = field(repr=False)
    serves: tuple[str, ...] = ()
    same_authority: bool = False
    """A renewal's view: to go over to another authority waits for an apply."""

    @property
    def key(self) -> str:
        """The name that it is for."""
        return f"certificate {self.site.fqdn}"

    @property
    def path(self) -> Path:
        """Where it is kept on the controller."""
        return self.vault.certificate(self.site)

    def probe(self) -> str:
        """One line of state."""
        return f"rb_state {quote(str(self.path))}"

    def judge(self, found: Reading) -> Finding:  # noqa: ARG002 - a certificate is judged by what it is, not by its file
        """In order when it verifies now, and is not due for renewal."""
        bundle = read_if_there(self.path)
        if bundle is None:
            return self.absent(self._issued("no certificate yet"))
        try:
            leaf = verify(self.network, self.site, self.vault, bundle).leaf
        except RunbookError as error:
            return self._unfit(error)
        renewal = renewal_of(self.vault, self.site, leaf)
        stands = standing(leaf, renewal)
        if is_due(leaf, renewal):
            return self.drift(self._change(f"renew the certificate for {self.site.fqdn}: {stands}", stands))
        return self.in_order(stands)

    def _unfit(self, error: RunbookError) -> Finding:
        """The finding that it does not verify; one that costs is not obtained again where that would not help.

        Where it is good by itself, the fault lies with its chain or our anchors: another order would end the same way.
        """
        leaf, source = good_leaf(self.network, self.site, self.vault), source_of(self.network)
        if leaf and not renewal_of(self.vault, self.site, leaf).due:
            moved = any(other.issued(self.vault, leaf) for other in SOURCES.values() if other is not source)
            if source.COST and not moved:
                return self.unknown(StepError(catalogue.CERTIFICATE_UNUSABLE, why=error, path=self.path))
            if self.same_authority:
                return self.unknown(StepError(catalogue.AUTHORITY_CHANGED, fqdn=self.site.fqdn, why=error))
        elif self.same_authority and rootless(self.network, self.vault):
            return self.unknown(StepError(catalogue.AUTHORITY_CHANGED, fqdn=self.site.fqdn, why=error))
        return self.drift(self._issued(str(error)))

    def _issued(self, why: str) -> Change:
        return self._change(source_of(self.network).offer(self.network, self.site), why)

    def _change(self, summary: str, why: str) -> Change:
        return Change(
            summary=summary,
            obtain=self._obtain,
            save=f"rb_save {quote(str(self.path))}",
            undo=f"{set_aside(self.path)}\nrb_restore {quote(str(self.path))}",
            diff=f"+ certificate {self.site.fqdn} ({why})",
            irreversible=source_of(self.network).COST,
        )

    def _obtain(self, hosts: Mapping[str, Target]) -> None:
        """Have it issued. A renewal that fails is noted, and leaves all as it is: the other sites' turn is next."""
        controller = hosts[CONTROLLER]
        replaced = verified_chain(self.network, self.site, self.vault)
        if replaced is None:
            costs = source_of(self.network).COST
            bundle = _held_by_host(self.network, self.site, self.vault, hosts[self.site.name]) if costs else b""
            self._replace(controller, bundle or self._issue(hosts, None))
            return
        try:
            self._renew(hosts, replaced.leaf)
        except RunbookError as error:
            words = " ".join(f"{error} ({error.hint})".split()) if error.hint else " ".join(str(error).split())
            renewal = renewal_of(self.vault, self.site, replaced.leaf)
            renewal.failed(datetime.now(UTC), words).keep(self.vault, self.site, controller)

    def _renew(self, hosts: Mapping[str, Target], leaf: x509.Certificate) -> None:
        """Have another one take its place; what is issued and cannot be used is kept before it, and not ordered again.

        Of all that is kept, the newest that can be used is the site's: `chains.verify_chain`.
        """
        before = self.path.read_bytes()
        bundle = b"" if renewal_of(self.vault, self.site, leaf).because == ASKED_FOR else self._unusable(before, leaf)
        if not bundle:
            bundle = self._issue(hosts, leaf)
            self._keep(hosts[CONTROLLER], bundle + before)
        try:
            verify(self.network, self.site, self.vault, bundle)
        except RunbookError as error:
            why = f"the certificate that was issued cannot be used: {error}"
            raise StepError(catalogue.CERTIFICATE_UNUSABLE, why=why, path=self.path) from error
        self._replace(hosts[CONTROLLER], bundle)

    def _unusable(self, kept: bytes, leaf: x509.Certificate) -> bytes:
        """What was issued after `leaf` for the same key, with what came with it; nothing where nothing was."""
        others = [each for each in pki.split_chain(kept) if each != leaf]
        ours = pki.public_fingerprint(leaf)
        newer = [each for each in others if each.not_valid_before_utc > leaf.not_valid_before_utc]
        if not any(pki.public_fingerprint(each) == ours for each in newer):
            return b""
        return b"".join(map(pki.to_pem, others))

    def _issue(self, hosts: Mapping[str, Target], replaced: x509.Certificate | None) -> bytes:
        return source_of(self.network).issue(self.network, self.vault, self.site, hosts, replaced)

    def _replace(self, controller: Target, bundle: bytes) -> None:
        """Keep it for good. The tunnels stand by the one before it, where there was one, until it is shown there."""
        if self.path.is_file():
            links = tuple(end.link.name for end in self.network.ends(self.site))
            Renewal.of(pki.split_chain(bundle)[0], to_show=links).keep(self.vault, self.site, controller)
        self._keep(controller, bundle)

    def _keep(self, controller: Target, bundle: bytes) -> None:
        """With every chain offered."""
        controller.run(put(self.path, bundle, "644"), purpose="keep a certificate")


def _held_by_host(network: Network, site: Site, vault: Vault, host: Target) -> bytes:
    """The certificate with its chain that the host has for this very key, if it is good: none is ordered then."""
    style = style_of(site)
    leaf, authorities = quote(style.leaf_path(site)), f"{style.ca_directory}/{OUR_CA_FILES}"
    look = f"[ ! -e {leaf} ] || {{ cat {leaf}; cat {authorities} 2>/dev/null; }} || true"
    there = host.run(look, purpose="look for a certificate").stdout
    bundle = there.encode("utf-8", "surrogateescape")
    try:
        chain = verify(network, site, vault, bundle)
    except RunbookError:
        return b""
    return b"" if is_due(chain.leaf, renewal_of(vault, site, chain.leaf)) else bundle
