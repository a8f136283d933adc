"""Certificates that somebody hands in: by .runbook/toy/SITE.pem, under .runbook/toy/root.pem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from steps import pki
from steps.vault import read_if_there
from steps.x509_reading import is_signed_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cryptography import x509

    from runbook.step import Part
    from runbook.target import Target
    from steps.certificates.renewals import Suggestion
    from steps.network import Network, Site
    from steps.vault import Vault

MEANING: Final = "from a tray into which somebody puts them"
SECTION: Final = ""
OVER_HTTP: Final = False
COST: Final = ""


def files(vault: Vault) -> Mapping[Path, str]:
    return {vault.directory / "toy": "The tray."}


def parts(network: Network, vault: Vault) -> Sequence[Part]:  # noqa: ARG001
    return ()


def anchors(network: Network, vault: Vault) -> Sequence[x509.Certificate]:  # noqa: ARG001
    root = read_if_there(vault.directory / "toy" / "root.pem")
    return pki.split_chain(root) if root else ()


def settled(network: Network, vault: Vault) -> bool:  # noqa: ARG001
    return True


def standing(vault: Vault) -> str:  # noqa: ARG001
    return ""


def issued(vault: Vault, leaf: x509.Certificate) -> bool:
    root = read_if_there(vault.directory / "toy" / "root.pem")
    return root is not None and is_signed_by(leaf, pki.split_chain(root)[0])


def offer(network: Network, site: Site) -> str:  # noqa: ARG001
    return f"take what is in the tray for {site.fqdn}"


def issue(
    network: Network,  # noqa: ARG001
    vault: Vault,
    site: Site,
    hosts: Mapping[str, Target],  # noqa: ARG001
    replaced: x509.Certificate | None,  # noqa: ARG001
) -> bytes:
    return (vault.directory / "toy" / f"{site.name}.pem").read_bytes()


def suggestion(network: Network, vault: Vault, leaf: x509.Certificate) -> Suggestion | None:  # noqa: ARG001
    return None
