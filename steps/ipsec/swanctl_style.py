"""swanctl.conf: strongSwan as it is configured today, by files below /etc/swanctl and the program that loads them."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from cryptography.hazmat.primitives.serialization import Encoding

from runbook.resources.file import Absent, File
from runbook.script import quote
from runbook.step import Later
from steps.ipsec import swanctl
from steps.ipsec.abilities import SEVERAL
from steps.ipsec.authorities import CaCertificates, ca_name
from steps.ipsec.ciphers import ByAbility
from steps.ipsec.loaded import LoadedConnection
from steps.ipsec.negotiated import security_associations
from steps.ipsec.style import MOVED, Confined, Style
from steps.ipsec.swanctl import LOAD
from steps.ipsec.swanctl_leftovers import Leftovers
from steps.ipsec.vici import parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography import x509

    from runbook.step import Part
    from steps.ipsec.ipsec_options import Ipsec
    from steps.ipsec.negotiated import Sa
    from steps.ipsec.style import Wanted
    from steps.network import End, Site


_CONF_D: Final = "/etc/swanctl/conf.d"


class Swanctl(Style):
    """charon-systemd, told by swanctl what is in /etc/swanctl (swanctl(8), FILES)."""

    configured_by: ClassVar[str] = "swanctl.conf"
    packages: ClassVar[tuple[str, ...]] = (
        "charon-systemd",
        "strongswan-swanctl",
        "libstrongswan-standard-plugins",
        "libstrongswan-extra-plugins",
    )
    unit: ClassVar[str] = "strongswan.service"
    process: ClassVar[str] = "charon-systemd"
    journal: ClassVar[str] = f"-u {unit}"
    program: ClassVar[str] = "swanctl"
    ca_directory: ClassVar[str] = "/etc/swanctl/x509ca"
    naming: ClassVar[str] = "/etc/swanctl/conf.d"
    reads_anew: ClassVar[str] = "everything in /etc/swanctl (--load-all)"
    typed: ClassVar[Mapping[str, str]] = {
        "conns": "swanctl --list-conns",
        "ciphers": f"grep -rn proposals {_CONF_D}",
        "sas": "swanctl --list-sas",
        "certs": "swanctl --list-certs",
        "traps": "swanctl --list-pols",
        "algs": "swanctl --list-algs",
        "load": "swanctl --load-all",
        "conf": _CONF_D,
    }

    def key_path(self, site: Site) -> str:
        """Below private/, where swanctl finds a key of any kind."""
        return f"/etc/swanctl/private/{site.fqdn}.key"

    def leaf_path(self, site: Site) -> str:
        """Below x509/, where a connection's `certs` are looked for."""
        return f"/etc/swanctl/x509/{site.fqdn}.pem"

    def files(self, site: Site) -> Mapping[str, str]:
        """And a file for each tunnel."""
        return {**super().files(site), f"{_CONF_D}/ula-net-SITE.conf": "the tunnel to a site"}

    def confined(self, site: Site, ends: Sequence[End]) -> Sequence[Confined]:
        """Swanctl alone: it hands all to the daemon."""
        files = [
            self.key_path(site),
            self.leaf_path(site),
            f"{self.ca_directory}/ca.pem",
            *(_path(end) for end in ends),
        ]
        # swanctl lists these directories; a rule for what is in one does not let it.
        directories = dict.fromkeys(f"{file.rpartition('/')[0]}/" for file in files)
        paths = ("/etc/swanctl/swanctl.conf", *directories, *files)
        return [Confined("/usr/sbin/swanctl", paths, ("/etc/swanctl/** r,",))]

    def connections(self, ends: Sequence[End], wanted: Wanted | None) -> Sequence[Part]:
        """A file for each, and what charon has loaded of it."""
        parts: list[Part] = [Leftovers(tuple(end.connection for end in ends))]
        for end in ends:
            path = _path(end)
            if wanted is None:
                parts += [Later("file", path, "certificate"), Later("loaded connection", end.connection, "certificate")]
                continue
            certificate = self.leaf_path(end.here).rpartition("/")[2]
            anchors = list(dict.fromkeys(map(ca_name, wanted.anchors)))
            made = partial(_file, end, certificate=certificate, anchors=anchors)
            conf = ByAbility(end.network.ipsec, made, ((end.here.name, self.abilities),))
            parts += [conf, LoadedConnection(self, end, path, wanted, follows=(conf.key,))]
        return parts

    def no_credentials(self, site: Site) -> Sequence[Part]:
        """Neither key nor certificates."""
        files = (self.key_path(site), self.leaf_path(site))
        return [*(Absent(path, MOVED) for path in files), CaCertificates(self.ca_directory, {})]

    def no_connections(self, ends: Sequence[End]) -> Sequence[Part]:
        """None of their files."""
        return [Absent(_path(end), MOVED) for end in ends]

    def view(self, connection: str) -> str:
        """As vici has it."""
        listed = f"awk -v name={quote(connection)} '{_CONNECTION}'"
        return f"conns=$(swanctl --list-conns --pretty 2>/dev/null) && printf '%s\\n' \"$conns\" | {listed}"

    def differences(self, end: End, wanted: Wanted, viewed: str) -> list[str] | None:
        """Value by value."""
        loaded = swanctl.loaded_connection(parse(viewed), end.connection)
        if loaded is None:
            return None
        planned = swanctl.wanted_connection(end, certificate=wanted.leaf, anchors=wanted.anchors)
        return swanctl.differences(planned, loaded)

    @property
    def held(self) -> str:
        """By the SHA-256 of its DER in hexadecimal."""
        return (
            f"swanctl --list-certs --pretty 2>/dev/null | awk '{_CERTIFICATES}' | while read -r key der; do\n"
            '    printf \'%s %s\\n\' "$(printf %s "$der" | sha256sum | cut -d\' \' -f1)" "$key"\ndone'
        )

    def mark(self, certificate: x509.Certificate) -> str:
        """The same."""
        return hashlib.sha256(certificate.public_bytes(Encoding.DER).hex().encode()).hexdigest()

    def loading(self, connection: str) -> str:
        """Also where it was the same before."""
        return f"(added|updated|replaced) vici connection: {connection}"

    def trapped(self, connection: str) -> str:
        """By its child."""
        return f"swanctl --list-pols --trap 2>/dev/null | awk -v name={quote(f'{connection}/{connection},')} '{_TRAP}'"

    def load(self, connection: str) -> str:  # noqa: ARG002 - it loads all and comes back when it has
        """With the credentials that are no longer there taken away."""
        return LOAD

    def trap(self, connection: str) -> str:
        """By its child."""
        name = quote(connection)
        return f"swanctl --uninstall --child {name} >&2 || true\nswanctl --install --child {name} >&2"

    @property
    def algorithms(self) -> str:
        """As vici has them, without the plugins that they are from; with one key exchange only, its kind was `dh`."""
        return f"""\
swanctl --list-algs --pretty 2>/dev/null |
    sed -n 's/^    \\([A-Z0-9_]*\\) = .*/\\1/p; s/^  ke {{$/{SEVERAL}/p' | tr '\\n' ' '; echo
swanctl --stats 2>/dev/null | sed -n 's/^loaded plugins: //p'"""

    def settled(self, connection: str) -> str:
        """Without times, counters, numbers, and keys' names after a rekeying."""
        # the other style's daemon answers, too, where swanctl is still installed
        return (
            f"! systemctl is-active --quiet {self.unit} || "
            f"swanctl --list-sas --pretty --ike {quote(connection)} 2>/dev/null | sed -E "
            "'/^list-sas reply/,$d; "
            "/(spi|time|bytes|packets|use|established|uniqueid|reqid|port|host|initiator)[a-z-]* = /d; "
            "/^        (dh-group|ake[1-7]) = /d; s/-[0-9]+ \\{$/ {/; "
            "s/^(    state = )REKEYING$/\\1ESTABLISHED/; s/^(        state = )REKEYING$/\\1INSTALLED/'"
        )

    @property
    def listing(self) -> str:
        """As vici has it."""
        return "swanctl --list-sas --pretty"

    def associations(self, listed: str, connection: str) -> list[Sa]:
        """Each IKE SA is a message."""
        return security_associations(parse(listed), connection)

    def initiate(self, connection: str) -> str:
        """By its child, which has the connection's name."""
        return f"swanctl --initiate --child {quote(connection)}"

    def up(self, connection: str) -> str:
        """With an end to the waiting."""
        return f"{self.initiate(connection)} --timeout 30"

    def rekey(self, connection: str) -> str:
        """Of the tunnel, not of the IKE SA."""
        return f"swanctl --rekey --child {quote(connection)}"

    def numbers(self, connection: str) -> str:
        """Behind the name."""
        listed = f"swanctl --list-sas --ike {quote(connection)} 2>/dev/null"
        return f"{listed} | sed -n 's/^{connection}: #\\([0-9]*\\),.*/\\1/p'"

    def end(self, connection: str, number: str) -> str:  # noqa: ARG002 - numbers are those of all connections
        """With all its children."""
        return f"swanctl --terminate --ike-id {number} --timeout 10"

    def end_tunnel(self, connection: str, number: str) -> str:  # noqa: ARG002 - numbers are those of all connections
        """The IKE SA stays."""
        return f"swanctl --terminate --child-id {number} --timeout 10"

    def reauthenticate(self, connection: str) -> str:
        """Of IKE SAs, `--rekey` knows this kind, too."""
        return f"swanctl --rekey --ike {quote(connection)} --reauth"

    def down(self, connection: str) -> str:
        """With all its children."""
        return f"swanctl --terminate --ike {quote(connection)} --timeout 10"

    @property
    def counting(self) -> str:
        """Of all connections together."""
        return "swanctl --counters --pretty 2>/dev/null || true"

    def counters(self, listed: str) -> Mapping[str, int]:
        """Those that are not one connection's."""
        return swanctl.message_counters(parse(listed))


def _file(end: End, ipsec: Ipsec, *, certificate: str, anchors: Sequence[str]) -> File:
    text = swanctl.render(end.under(ipsec), certificate=certificate, anchors=anchors)
    return File(_path(end), text.encode(), "640")


def _path(end: End) -> str:
    return f"{_CONF_D}/{end.connection}.conf"


_CONNECTION: Final = """\
/^list-conn event/ { event = ""; ours = 0 }
{ event = event $0 "\\n" }
$0 == "  " name " {" { ours = 1 }
/^\\}/ { if (ours) printf "%s", event; event = "" }"""
"""Of all connections that charon lists, the one called `name`."""

_TRAP: Final = """\
/^[^ ]/ { ours = $1 == name }
ours && /^  (local|remote): / { if ($1 == "remote:") print "==="; sub(/^  [a-z]*: */, ""); print }"""
"""Of all packets that charon waits for, those of the connection called `name`."""

_CERTIFICATES: Final = """\
/^list-cert event/ { key = "-" }
/^  has_privkey = yes/ { key = "key" }
/^  data = / { print key, substr($3, 3) }"""
"""Each certificate that charon lists: whether it has its key, and its DER in hexadecimal."""
