"""What a way of configuring strongSwan is to the steps: which programs, which files, which commands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from steps.ipsec.abilities import PROBE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography import x509

    from runbook.step import Part
    from steps.ipsec.negotiated import Sa
    from steps.network import End, Site

OUR_CA_FILES: Final = "ipsec-runbook-*.pem"
"""A pattern: an admin's own CA certificates are not in files of this form."""
MOVED: Final = "this site's strongSwan is configured in another style"


@dataclass(frozen=True)
class Wanted:
    """The certificates that charon must have loaded, and those roots among them that the other ends must chain to."""

    leaf: x509.Certificate
    authorities: tuple[x509.Certificate, ...]
    anchors: tuple[x509.Certificate, ...]
    roots: Mapping[str, x509.Certificate]
    """Of each other end, by its site: the one of the anchors that its chain leads to."""


@dataclass(frozen=True)
class Confined:
    """A program, what it must be allowed to read, and the lines for its AppArmor profile that allow it."""

    program: str
    paths: tuple[str, ...]
    rules: tuple[str, ...]


class Style(ABC):
    """One way of configuring strongSwan; `steps.ipsec.styles` has them all."""

    configured_by: ClassVar[str]
    """The file that it is known by: `ipsec.conf`."""
    packages: ClassVar[tuple[str, ...]]
    """The daemon's first. By name, never `strongswan`, which means another daemon on each release; the plugins among
    them are only recommended by Debian, and without openssl's no elliptic curve key can be read before Debian 13."""
    unit: ClassVar[str]
    """The systemd unit of the daemon."""
    process: ClassVar[str]
    """The daemon as the kernel calls it (proc(5), comm)."""
    journal: ClassVar[str]
    """What has journalctl show charon's log, each line once."""
    program: ClassVar[str]
    """What the daemon is spoken to by."""
    ca_directory: ClassVar[str]
    """Where it looks for CA certificates."""
    naming: ClassVar[str] = ""
    """The directory of the files that name CA certificates by theirs; empty where none does."""
    chained: ClassVar[bool] = False
    """Whether the certificate's file has its chain behind it; charon reads the first certificate of it only."""
    reads_anew: ClassVar[str]
    """What `load` has the daemon read."""
    typed: ClassVar[Mapping[str, str]]
    """What a person types there to look closer, by what it shows: `conns`, `ciphers`, `sas`, `certs`, `traps`, `algs`;
    `load` has all read anew, and `conf` is where the configuration is."""

    @abstractmethod
    def key_path(self, site: Site) -> str:
        """The site's private key."""

    @abstractmethod
    def leaf_path(self, site: Site) -> str:
        """The site's certificate; whatever else is in the file comes after it."""

    def files(self, site: Site) -> Mapping[str, str]:
        """What of ours lies where on a site's host, with what it is: for the reference."""
        return {
            self.key_path(site): "the private key, 0400",
            self.leaf_path(site): "the certificate with its chain" if self.chained else "the certificate",
            f"{self.ca_directory}/{OUR_CA_FILES}": "the authorities' certificates",
        }

    @abstractmethod
    def confined(self, site: Site, ends: Sequence[End]) -> Sequence[Confined]:
        """The programs that read what is ours."""

    def secrets(self, site: Site) -> Sequence[Part]:  # noqa: ARG002 - for those that need it
        """How the daemon is told of the private key, where it does not find it by itself."""
        return ()

    @abstractmethod
    def connections(self, ends: Sequence[End], wanted: Wanted | None) -> Sequence[Part]:
        """The ends of one site as the daemon is told of them, and what it has loaded; None: no certificate yet."""

    @property
    @abstractmethod
    def algorithms(self) -> str:
        """Shell that prints the names of the daemon's algorithms in one line, and of its plugins in the next.

        Empty ones where no daemon answers.
        """

    @property
    def abilities(self) -> str:
        """Shell that prints what `steps.ipsec.abilities` reads."""
        return f"{self.algorithms}\n(\n{PROBE}\n)"

    @abstractmethod
    def no_credentials(self, site: Site) -> Sequence[Part]:
        """Nothing of ours where keys and certificates lie in this style: for a site that has another."""

    @abstractmethod
    def no_connections(self, ends: Sequence[End]) -> Sequence[Part]:
        """The same of the connections."""

    @property
    def told(self) -> str:
        """Shell that lists the daemon's connections, the admin's too, for people; nothing where it does not answer.

        Each begins with its name, a colon, and that it is of IKEv1 or IKEv2 (`steps.interview.survey`).
        """
        return f"! command -v {self.program} >/dev/null || timeout 10 {self.typed['conns']} 2>/dev/null"

    def by_hand(self, connection: str) -> str:  # noqa: ARG002 - not every style has files that are the admin's
        """Shell that succeeds where the admin has described a connection of that name, too."""
        return "false"

    @abstractmethod
    def view(self, connection: str) -> str:
        """Shell that prints a connection as the daemon lists it, and fails where the daemon does not answer."""

    @abstractmethod
    def differences(self, end: End, wanted: Wanted, viewed: str) -> list[str] | None:
        """What the daemon has other than wanted, in words; None where it knows of no such connection."""

    @property
    @abstractmethod
    def held(self) -> str:
        """Shell that prints a line for each certificate that charon holds: its mark, and `key` where it has its key."""

    @abstractmethod
    def mark(self, certificate: x509.Certificate) -> str:
        """What a certificate is known by in that listing, a word."""

    @abstractmethod
    def loading(self, connection: str) -> str:
        """What charon logs when it reads what a connection is in: an extended regular expression for a whole line."""

    @abstractmethod
    def trapped(self, connection: str) -> str:
        """Shell that prints the networks between which charon waits for a connection's first packet.

        Those of this end, `===`, those of the other; nothing where it does not wait.
        """

    @abstractmethod
    def load(self, connection: str) -> str:
        """Shell that has the daemon read all its files anew, and waits until it has this connection of them."""

    @abstractmethod
    def trap(self, connection: str) -> str:
        """Shell that has charon wait for a connection's first packet, with its routes made anew."""

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
    def initiate(self, connection: str) -> str:
        """The command by which one brings a tunnel up by hand."""

    @abstractmethod
    def up(self, connection: str) -> str:
        """Shell that brings a tunnel up, prints what is said about it, and fails where it does not come up."""

    @abstractmethod
    def rekey(self, connection: str) -> str:
        """Shell that has a tunnel get new keys; whether it got them is only seen by listing it."""

    @abstractmethod
    def numbers(self, connection: str) -> str:
        """Shell that prints the number of each IKE SA of a connection, on a line of its own."""

    @abstractmethod
    def end(self, connection: str, number: str) -> str:
        """Shell that takes down one IKE SA of a connection, by its number (a word of shell)."""

    @abstractmethod
    def end_tunnel(self, connection: str, number: str) -> str:
        """Shell that takes down one tunnel alone, by its number."""

    def reauthenticate(self, connection: str) -> str:  # noqa: ARG002 - not every style can
        """Shell that has both ends of a tunnel that stands prove themselves anew; empty where there is no such command.

        It comes back at once. The new IKE SA is there before the old one goes (`steps.ipsec.charon_settings`).
        """
        return ""

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
