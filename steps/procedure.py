"""The sections in order: a new step is its own module, and its line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steps.addresses import AddingAddresses
from steps.apparmor import AppArmor
from steps.certificate import CertificateCreation
from steps.connection import Connection
from steps.credentials import Credentials
from steps.csr import CsrGeneration
from steps.ipsec_firewall import IpsecFirewall
from steps.keys import KeyGeneration
from steps.nginx import NginxForAcme
from steps.ping import PingTest
from steps.strongswan import IpsecInstallation
from steps.upgrade import Upgrade
from steps.vault import Vault
from steps.web_firewall import WebFirewall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steps.network import Network
    from steps.section import Section

PROCEDURE: tuple[type[Section], ...] = (
    KeyGeneration,
    CsrGeneration,
    Upgrade,
    NginxForAcme,
    WebFirewall,
    CertificateCreation,
    IpsecInstallation,
    Credentials,
    AppArmor,
    IpsecFirewall,
    AddingAddresses,
    Connection,
    PingTest,
)


def procedure(network: Network) -> Sequence[Section]:
    """The steps for one network, in order."""
    vault = Vault(network)
    return [section(network, vault) for section in PROCEDURE]
