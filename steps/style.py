"""What a way of configuring strongSwan is to the steps: which programs, which files, which commands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography import x509

    from runbook.step import Part
    from steps.negotiated import Sa
    from steps.network import End, Site

OUR_CA_FILES: Final = "ipsec-runbook-*.pem"
"""A pattern: an admin's own CA certificates are not in files of this form."""


@dataclass(frozen=True)
class Wanted:
    """The certificates that charon must have loaded, and those roots among them that the other ends must chain to."""

    leaf: x509.Certificate
    authorities: tuple[x509.Certificate, ...]
    anchors: tuple[x509.Certificate, ...]


@dataclass(frozen=True)
class Confined:
    """A program, what it must be allowed to read, and the lines for its AppArmor profile that allow it."""

    program: str
    paths: tuple[str, ...]
    rules: tuple[str, ...]


class Style(ABC):
    """One way of configuring strongSwan; `steps.styles` has them all."""

    packages: ClassVar[tuple[str, ...]]
    """By name, never `strongswan`, which means another daemon on each release; the plugins among them are only
    recommended by Debian, and without openssl's no elliptic curve key can be read before Debian 13."""
    unit: ClassVar[str]
    """The systemd unit of the daemon, in whose journal charon logs."""
    ca_directory: ClassVar[str]
    """Where it looks for CA certificates."""

    @abstractmethod
    def key_path(self, site: Site) -> str:
        """The site's private key."""

    @abstractmethod
    def leaf_path(self, site: Site) -> str:
        """The site's certificate; whatever else is in the file comes after it."""

    @abstractmethod
    def confined(self, site: Site, ends: Sequence[End]) -> Sequence[Confined]:
        """The programs that read what is ours."""

    @abstractmethod
    def connections(self, ends: Sequence[End], wanted: Wanted | None) -> Sequence[Part]:
        """The ends of one site as the daemon is told of them, and what it has loaded; None: no certificate yet."""

    @abstractmethod
    def settled(self, connection: str) -> str:
        """Shell that lists a connection's security associations without what moves by itself."""

    @property
    @abstractmethod
    def listing(self) -> str:
        """Shell that lists all security associations in full; it fails where the daemon does not answer."""

    @abstractmethod
    def associations(self, listed: str, connection: str) -> list[Sa]:
        """A connection's security associations out of either listing."""

    @abstractmethod
    def up(self, connection: str) -> str:
        """Shell that brings a tunnel up, prints what is said about it, and fails where it does not come up."""

    @abstractmethod
    def down(self, connection: str) -> str:
        """Shell that takes a tunnel down, where it is up."""

    @property
    @abstractmethod
    def counting(self) -> str:
        """Shell that lists how many messages of each kind came and went; nothing where the daemon does not answer."""

    @abstractmethod
    def counters(self, listed: str) -> Mapping[str, int]:
        """Those numbers, by the names that swanctl gives them: `ike-init-in-req`."""
