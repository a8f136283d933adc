"""Certificates from an authority of one's own, made and kept on the controller: nobody else is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from runbook.errors import RunbookError, StepError
from runbook.script import Reading, quote
from runbook.step import CONTROLLER, Change, Finding, Part, Verdict
from steps import catalogue, pki
from steps.certificates import private_ca
from steps.certificates.private_key import PrivateKey
from steps.vault import put, read_if_there, set_aside
from steps.x509_reading import is_signed_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cryptography import x509

    from runbook.target import Target
    from steps.certificates.renewals import Suggestion
    from steps.network import Network, Site
    from steps.vault import Vault

MEANING: Final = "from an authority of your own, made and kept here: no web server, no `certificates`"
SECTION: Final = ""
OVER_HTTP: Final = False
COST: Final = ""


def files(vault: Vault) -> Mapping[Path, str]:
    """The authority's own."""
    return {
        vault.ca_key: "The key of an authority of one's own, 0600.",
        vault.ca_certificate: "Its certificate, which the hosts trust.",
    }


def parts(network: Network, vault: Vault) -> Sequence[Part]:
    """The authority's key and its certificate."""
    names = tuple(site.fqdn for site in network.sites.values())
    lost = _lost(vault) if vault.ca_certificate.is_file() else None
    return [PrivateKey(vault.ca_key, lost=lost), CaCertificate(vault, names)]


def anchors(network: Network, vault: Vault) -> Sequence[x509.Certificate]:  # noqa: ARG001 - one for all that is here
    """Its certificate."""
    kept = read_if_there(vault.ca_certificate)
    return pki.split_chain(kept) if kept else []


def settled(network: Network, vault: Vault) -> bool:
    """Whether its certificate can go on as it is."""
    names = tuple(site.fqdn for site in network.sites.values())
    return CaCertificate(vault, names).judge(Reading("")).verdict is Verdict.IN_ORDER


def standing(vault: Vault) -> str:
    """How long its certificate lives, and when it is made anew."""
    kept = read_if_there(vault.ca_certificate)
    if not kept:
        return ""
    try:
        ca = pki.split_chain(kept)[0]
    except RunbookError:
        return "your own authority: its certificate cannot be read"
    left, due = pki.days_left(ca, datetime.now(UTC)), private_ca.due_at(ca)
    return f"your own authority: {left} days left, made anew from {due:%Y-%m-%d} on"


def issued(vault: Vault, leaf: x509.Certificate) -> bool:
    """Whether it is signed by the authority."""
    kept = read_if_there(vault.ca_certificate)
    return kept is not None and is_signed_by(leaf, pki.split_chain(kept)[0])


def offer(network: Network, site: Site) -> str:  # noqa: ARG001 - there is one
    """A signature."""
    return f"sign a certificate for {site.fqdn} by your own authority"


def issue(
    network: Network,
    vault: Vault,
    site: Site,
    hosts: Mapping[str, Target],  # noqa: ARG001 - nobody is asked
    replaced: x509.Certificate | None,  # noqa: ARG001 - a number like any other
) -> bytes:
    """Sign the site's request."""
    authorities = anchors(network, vault)
    if not authorities:
        why = "it is not there, and a renewal makes none (runbook apply does)"
        raise StepError(catalogue.AUTHORITY_UNUSABLE, path=vault.ca_certificate, why=why)
    if not vault.ca_key.is_file():
        raise _lost(vault)
    return private_ca.sign(vault.csr(site).read_bytes(), site.fqdn, authorities[0], vault.ca_key.read_bytes())


def suggestion(network: Network, vault: Vault, leaf: x509.Certificate) -> Suggestion | None:  # noqa: ARG001 - none
    """It has no opinion."""
    return None


def _lost(vault: Vault) -> StepError:
    """What there is to say where the certificate is there, and its key is not."""
    certificate, key = vault.ca_certificate, vault.ca_key
    return StepError(catalogue.AUTHORITY_LOST, certificate=certificate, key=key, directory=key.parent)


@dataclass(frozen=True)
class CaCertificate(Part):
    """The authority's certificate: for its key, for these names, with time left."""

    vault: Vault = field(repr=False)
    names: tuple[str, ...]

    @property
    def key(self) -> str:
        """Its file."""
        return f"certificate authority {self.vault.ca_certificate}"

    def probe(self) -> str:
        """One line of state."""
        return f"rb_state {quote(str(self.vault.ca_certificate))}"

    def judge(self, found: Reading) -> Finding:  # noqa: ARG002 - a certificate is judged by what it is, not by its file
        """In order when it can vouch for all sites, now and for a while."""
        kept, key = read_if_there(self.vault.ca_certificate), read_if_there(self.vault.ca_key)
        if kept is None:
            return self.absent(self._made("make a certificate authority of your own"))
        if key is None:
            return self.unknown(_lost(self.vault))
        try:
            problem = private_ca.ca_problem(pki.split_chain(kept)[0], key, self.names)
        except RunbookError as error:
            path = self.vault.ca_certificate
            return self.unknown(StepError(catalogue.AUTHORITY_UNUSABLE, path=path, why=error))
        if problem:
            return self.drift(self._made(f"make your authority's certificate anew, for the same key ({problem})"))
        return self.in_order()

    def _made(self, summary: str) -> Change:
        path = self.vault.ca_certificate
        domain = private_ca.common_domain(self.names)
        return Change(
            summary=summary,
            obtain=self._make,
            save=f"rb_save {quote(str(path))}",
            undo=f"{set_aside(path)}\nrb_restore {quote(str(path))}",
            diff=f"+ {path} (for names in {domain})"
            if domain
            else f"+ {path} (for any name: the sites share no domain)",
        )

    def _make(self, hosts: Mapping[str, Target]) -> None:
        made = private_ca.new_ca(self.vault.ca_key.read_bytes(), private_ca.common_domain(self.names))
        hosts[CONTROLLER].run(put(self.vault.ca_certificate, made, "644"), purpose="keep the authority's certificate")
