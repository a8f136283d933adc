"""A way of configuring strongSwan of nobody's: lines in /etc/toy/NAME.conn, which `toyctl` has its daemon load."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from cryptography.hazmat.primitives import hashes

from runbook.resources.file import Absent, File
from runbook.step import Later
from steps.ipsec.authorities import CaCertificates
from steps.ipsec.loaded import LoadedConnection
from steps.ipsec.style import MOVED, Confined, Style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography import x509

    from runbook.step import Part
    from steps.ipsec.negotiated import Sa
    from steps.ipsec.style import Wanted
    from steps.network import End, Site


class Toy(Style):
    configured_by: ClassVar[str] = "toy.conn"
    packages: ClassVar[tuple[str, ...]] = ("toyd",)
    unit: ClassVar[str] = "toyd.service"
    process: ClassVar[str] = "toyd"
    journal: ClassVar[str] = "-u toyd"
    program: ClassVar[str] = "toyctl"
    ca_directory: ClassVar[str] = "/etc/toy/ca"
    reads_anew: ClassVar[str] = "all of /etc/toy"
    typed: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("conns", "ciphers", "sas", "certs", "traps", "algs"), "toyctl list"),
        "load": "toyctl load",
        "conf": "/etc/toy",
    }

    def key_path(self, site: Site) -> str:
        return f"/etc/toy/{site.fqdn}.key"

    def leaf_path(self, site: Site) -> str:
        return f"/etc/toy/{site.fqdn}.pem"

    def files(self, site: Site) -> Mapping[str, str]:
        return {**super().files(site), "/etc/toy/ula-net-SITE.conn": "the tunnel to a site"}

    def confined(self, site: Site, ends: Sequence[End]) -> Sequence[Confined]:  # noqa: ARG002
        return ()

    def connections(self, ends: Sequence[End], wanted: Wanted | None) -> Sequence[Part]:
        parts: list[Part] = []
        for end in ends:
            if wanted is None:
                parts += [Later("file", _path(end), "certificate")]
                continue
            file = File(_path(end), _line(end).encode())
            parts += [file, LoadedConnection(self, end, file.path, wanted, follows=(file.key,))]
        return parts

    @property
    def algorithms(self) -> str:
        return "echo; echo"

    def no_credentials(self, site: Site) -> Sequence[Part]:
        files = (self.key_path(site), self.leaf_path(site))
        return [*(Absent(path, MOVED) for path in files), CaCertificates(self.ca_directory, {})]

    def no_connections(self, ends: Sequence[End]) -> Sequence[Part]:
        return [Absent(_path(end), MOVED) for end in ends]

    def view(self, connection: str) -> str:
        return f"toyctl list | grep '^{connection} ' || :"

    def differences(self, end: End, wanted: Wanted, viewed: str) -> list[str] | None:  # noqa: ARG002
        return None if not viewed else [] if viewed == _line(end) else ["its line is another"]

    @property
    def held(self) -> str:
        return "toyctl certs"

    def mark(self, certificate: x509.Certificate) -> str:
        return certificate.fingerprint(hashes.SHA1()).hex()  # noqa: S303 - as openssl prints it

    def loading(self, connection: str) -> str:
        return f"loaded {connection}"

    def trapped(self, connection: str) -> str:
        return f"toyctl list | grep -q '^{connection} '"

    def load(self, connection: str) -> str:  # noqa: ARG002
        return "toyctl load >&2"

    def trap(self, connection: str) -> str:  # noqa: ARG002
        return "toyctl load >&2"

    def settled(self, connection: str) -> str:  # noqa: ARG002
        return "toyctl sas"

    @property
    def listing(self) -> str:
        return "toyctl sas"

    def associations(self, listed: str, connection: str) -> list[Sa]:  # noqa: ARG002
        return []

    def initiate(self, connection: str) -> str:
        return f"toyctl up {connection}"

    def up(self, connection: str) -> str:
        return self.initiate(connection)

    def rekey(self, connection: str) -> str:
        return f"toyctl rekey {connection}"

    def numbers(self, connection: str) -> str:  # noqa: ARG002
        return ":"

    def end(self, connection: str, number: str) -> str:  # noqa: ARG002
        return f"toyctl down {connection}"

    def end_tunnel(self, connection: str, number: str) -> str:  # noqa: ARG002
        return f"toyctl down {connection}"

    def down(self, connection: str) -> str:
        return f"toyctl down {connection}"

    @property
    def counting(self) -> str:
        return ":"

    def counters(self, listed: str) -> Mapping[str, int]:  # noqa: ARG002
        return {}


def _path(end: End) -> str:
    return f"/etc/toy/{end.connection}.conn"


def _line(end: End) -> str:
    return f"{end.connection} {end.here.fqdn} {end.there.fqdn}\n"
