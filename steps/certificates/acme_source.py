"""Certificates from an authority that speaks ACME (RFC 8555), such as Let's Encrypt."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

from runbook.step import CONTROLLER
from steps import pki
from steps.certificates import chains
from steps.certificates.webroot import Webroot
from steps.vault import put

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cryptography import x509

    from runbook.step import Part
    from runbook.target import Target
    from steps.certificates.certificate_options import Certificates
    from steps.certificates.renewals import Suggestion
    from steps.network import Network, Site
    from steps.vault import Vault

MEANING: Final = "from an authority that speaks ACME, as `certificates` says"
SECTION: Final = "certificates"
OVER_HTTP: Final = True
_ONE_ACCOUNT: Final = Lock()
"""Sites are served side by side; the first of them makes the account that all have."""
COST: Final = "an order counts against the authority's limits; the certificate is set aside, not revoked"


def files(vault: Vault) -> Mapping[Path, str]:
    """The account's key."""
    return {vault.account_key: "The key of the account at the ACME authority, 0600."}


def parts(network: Network, vault: Vault) -> Sequence[Part]:  # noqa: ARG001 - nothing: the account is made by the way
    """Nothing: an account is made where there is none, when something is ordered."""
    return ()


def anchors(network: Network, vault: Vault) -> Sequence[x509.Certificate]:  # noqa: ARG001 - they are the authority's
    """The roots that sites.yaml names, or Let's Encrypt's."""
    named = _options(network).trust_anchors
    return chains.load_anchors(named) if named else chains.builtin_anchors()


def settled(network: Network, vault: Vault) -> bool:  # noqa: ARG001 - sites.yaml says what they are
    """They are the authority's to make anew."""
    return True


def standing(vault: Vault) -> str:  # noqa: ARG001 - nothing is here
    """Nothing of it is here."""
    return ""


def issued(vault: Vault, leaf: x509.Certificate) -> bool:  # noqa: ARG001 - who issued it tells nothing
    """Which of the world's authorities is meant, only the anchors say."""
    return False


def offer(network: Network, site: Site) -> str:
    """An order."""
    return f"order a certificate for {site.fqdn} from {_options(network).directory_url}"


def issue(
    network: Network, vault: Vault, site: Site, hosts: Mapping[str, Target], replaced: x509.Certificate | None
) -> bytes:
    """Order one, answering the challenge on the site that serves it; all chains that the authority offers."""
    from steps.certificates.acme_order import order, register  # noqa: PLC0415 - a third of what a run that orders nothing would load

    options = _options(network)
    controller = hosts[CONTROLLER]
    controller.tell(f"asking {options.directory_url} for a certificate for {site.fqdn}")
    with _ONE_ACCOUNT:
        key = _account_key(vault, controller)
        account = register(options.directory_url, key, options.contact, options.ca_bundle)
    serving = hosts[options.challenge_site or site.name]
    offered = order(account, vault.csr(site).read_bytes(), Webroot(serving, controller.tell), replaced)
    return b"".join(dict.fromkeys(pki.to_pem(each) for chain in offered for each in chain))


def suggestion(network: Network, vault: Vault, leaf: x509.Certificate) -> Suggestion | None:  # noqa: ARG001 - no account
    """The authority's renewal information (RFC 9773), where it has any."""
    from steps.certificates.acme_order import ask_renewal  # noqa: PLC0415 - see above

    options = _options(network)
    return ask_renewal(options.directory_url, leaf, options.ca_bundle)


def _account_key(vault: Vault, controller: Target) -> bytes:
    from steps.certificates.acme_order import new_account_key  # noqa: PLC0415 - see above

    path = vault.account_key
    if not path.is_file():
        controller.run(put(path, new_account_key(), "600"), purpose="write the account key")
    return path.read_bytes()


def _options(network: Network) -> Certificates:
    if network.certificates is None:
        raise ValueError("sites.yaml has been read without the section that this source needs")
    return network.certificates
