"""ipsec.conf: strongSwan as the article configures it, by the legacy starter and the commands of ipsec(8)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from cryptography.x509 import SubjectKeyIdentifier

from runbook.resources.block import Block
from runbook.resources.file import Absent
from runbook.script import quote
from runbook.step import Later
from steps.ipsec import conf_by_hand, ipsec_conf, statusall
from steps.ipsec.abilities import SEVERAL
from steps.ipsec.authorities import CaCertificates
from steps.ipsec.ciphers import ByAbility
from steps.ipsec.loaded import LoadedConnection
from steps.ipsec.stroke_leftovers import Leftovers
from steps.ipsec.style import MOVED, Confined, Style
from steps.x509_reading import serial_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography import x509

    from runbook.step import Part
    from steps.ipsec.ipsec_options import Ipsec
    from steps.ipsec.negotiated import Sa
    from steps.ipsec.style import Wanted
    from steps.network import End, Site

CONF: Final = "/etc/ipsec.conf"
SECRETS: Final = "/etc/ipsec.secrets"


class Stroke(Style):
    """charon under the starter, told by stroke what is in /etc/ipsec.conf (ipsec(8)).

    Both files are the admin's; ours are lines between two markers in each.
    """

    configured_by: ClassVar[str] = "ipsec.conf"
    packages: ClassVar[tuple[str, ...]] = (
        "strongswan-charon",
        "strongswan-starter",
        "libstrongswan-standard-plugins",
        "libstrongswan-extra-plugins",
    )
    unit: ClassVar[str] = "strongswan-starter.service"
    process: ClassVar[str] = "charon"
    journal: ClassVar[str] = f"-u {unit} -t charon -t ipsec_starter"
    program: ClassVar[str] = "ipsec"
    ca_directory: ClassVar[str] = "/etc/ipsec.d/cacerts"
    chained: ClassVar[bool] = True
    reads_anew: ClassVar[str] = f"{CONF}, {SECRETS} and /etc/ipsec.d (ipsec rereadall, ipsec reload)"
    typed: ClassVar[Mapping[str, str]] = {
        "conns": "ipsec statusall",
        "ciphers": f"grep -nE '^ *(ike|esp) *=' {CONF}",
        "sas": "ipsec statusall",
        "certs": "ipsec listcerts; ipsec listcacerts",
        "traps": "ipsec statusall",
        "algs": "ipsec listalgs",
        "load": "ipsec rereadall; ipsec reload",
        "conf": CONF,
    }

    def key_path(self, site: Site) -> str:
        """Where the article has it."""
        return f"/etc/ssl/{site.fqdn}/{site.fqdn}.key"

    def leaf_path(self, site: Site) -> str:
        """Beside it, with its chain."""
        return f"/etc/ssl/{site.fqdn}/{site.fqdn}.chained.pem"

    def files(self, site: Site) -> Mapping[str, str]:
        """And our lines in the admin's files."""
        ours = {
            CONF: "the tunnels, in a marked block; your own lines stay",
            SECRETS: "the name of the private key, in a marked block",
        }
        return {**ours, **super().files(site)}

    def confined(self, site: Site, ends: Sequence[End]) -> Sequence[Confined]:  # noqa: ARG002 - the starter reads those
        """The daemon itself; stroke only speaks to it, and the starter, which reads ipsec.conf, has no profile."""
        ours = (self.key_path(site), self.leaf_path(site))
        paths = (SECRETS, f"{self.ca_directory}/", f"{self.ca_directory}/ca.pem", *ours)
        return [Confined("/usr/lib/ipsec/charon", paths, tuple(f"{path} r," for path in ours))]

    def secrets(self, site: Site) -> Sequence[Part]:
        """A line with the key's path; PKCS8 is the form that a key of any kind has."""
        return [Block(SECRETS, f": PKCS8 {self.key_path(site)}\n")]

    def connections(self, ends: Sequence[End], wanted: Wanted | None) -> Sequence[Part]:
        """A section for each in one block, and what charon has loaded of it."""
        if wanted is None:
            later = [Later("loaded connection", end.connection, "certificate") for end in ends]
            return [Later("block in", CONF, "certificate"), *later]
        can = ((ends[0].here.name, self.abilities),)
        block = ByAbility(ends[0].network.ipsec, partial(self._block, ends, wanted), can)
        loaded = [LoadedConnection(self, end, CONF, wanted, follows=(block.key,)) for end in ends]
        return [block, *loaded, Leftovers(tuple(end.connection for end in ends))]

    def _block(self, ends: Sequence[End], wanted: Wanted, ipsec: Ipsec) -> Block:
        conns = [
            ipsec_conf.conn(end.under(ipsec), certificate=self.leaf_path(end.here), root=wanted.roots[end.there.name])
            for end in ends
        ]
        lines = ["# made from sites.yaml; the next apply overwrites what is changed here", *conns]
        return Block(CONF, "\n".join(lines))

    def no_credentials(self, site: Site) -> Sequence[Part]:
        """Neither key nor certificates, nor the line that names the key."""
        files = (self.key_path(site), self.leaf_path(site))
        return [Block(SECRETS, None), *(Absent(path, MOVED) for path in files), CaCertificates(self.ca_directory, {})]

    def no_connections(self, ends: Sequence[End]) -> Sequence[Part]:  # noqa: ARG002 - all of them are in one block
        """No block."""
        return [Block(CONF, None)]

    @property
    def told(self) -> str:
        """By the program that libreswan has, too, and that asks another daemon there."""
        return f"grep -qsx pluto /proc/[0-9]*/comm || {super().told}"

    def by_hand(self, connection: str) -> str:
        """In ipsec.conf, or in what it includes."""
        return conf_by_hand.stands(connection)

    def view(self, connection: str) -> str:
        """What is listed below `Connections:`."""
        return (
            f'status=$(ipsec statusall {quote(connection)} 2>/dev/null) && [ -n "$status" ] && '
            "printf '%s\\n' \"$status\" | sed -n '/^Connections:/,/^[A-Z]/{/^[A-Z]/d;p}'"
        )

    def differences(self, end: End, wanted: Wanted, viewed: str) -> list[str] | None:
        """Line by line."""
        found = statusall.viewed(viewed, end.connection)
        return statusall.unlike(ipsec_conf.planned(end, wanted), found) if found else None

    @property
    def held(self) -> str:
        """By serial number and key."""
        return f"{{ ipsec listcerts; ipsec listcacerts; }} 2>/dev/null | awk '{_CERTIFICATES}'"

    def mark(self, certificate: x509.Certificate) -> str:
        """The same, as strongSwan writes it."""
        key = SubjectKeyIdentifier.from_public_key(certificate.public_key())
        return f"{serial_of(certificate)}/{key.digest.hex(':')}"

    def loading(self, connection: str) -> str:  # noqa: ARG002 - `ipsec update` reads all, and tells what has changed
        """Starting, updating and reloading, of any connection: the file is read whole."""
        return "(added configuration|deleted connection) .*"

    def trapped(self, connection: str) -> str:
        """What is listed below `Routed Connections:`."""
        routed = "sed -n '/^Routed Connections:/,/^Security/s/^[^ ]*{[0-9]*}:   //p'"
        return f"ipsec statusall {quote(connection)} 2>/dev/null | {routed}"

    def load(self, connection: str) -> str:
        """The starter is only told to, and comes back at once: charon's journal tells when it is done."""
        return _LOAD.format(name=connection, conf=CONF, journal=self.journal)

    def trap(self, connection: str) -> str:
        """Which the article calls a route."""
        name = quote(connection)
        return f"ipsec unroute {name} >&2 || true\nipsec route {name} >&2"

    @property
    def algorithms(self) -> str:
        """Without the plugin behind each that it is from; the first line of the status has the version."""
        return f"""\
{{
    ipsec listalgs 2>/dev/null | grep -oE '[A-Z0-9_]+\\[' | tr -d '['
    ipsec statusall 2>/dev/null | sed -nE '1s/.*strongSwan ([6-9]|[1-9][0-9])\\..*/{SEVERAL}/p'
}} | tr '\\n' ' '; echo
ipsec statusall 2>/dev/null | sed -n 's/^ *loaded plugins: //p'"""

    def settled(self, connection: str) -> str:
        """Without times, counters, numbers, and keys' names after a rekeying."""
        return f"ipsec statusall {quote(connection)} 2>/dev/null | sed -nE '{_SETTLED}'"

    @property
    def listing(self) -> str:
        """Of all connections."""
        return "ipsec statusall"

    def associations(self, listed: str, connection: str) -> list[Sa]:
        """What is listed below `Security Associations`."""
        return statusall.associations(listed, connection)

    def initiate(self, connection: str) -> str:
        """As in the article."""
        return f"ipsec up {quote(connection)}"

    def up(self, connection: str) -> str:
        """Whether it came up is told in words alone."""
        return (
            f"said=$(timeout 30 {self.initiate(connection)} 2>&1) || true\n"
            "printf '%s\\n' \"$said\"\n"
            "printf '%s\\n' \"$said\" | grep -q 'established successfully$'"
        )

    def rekey(self, connection: str) -> str:
        """Of the tunnel, not of the IKE SA: stroke tells these apart by the brackets."""
        return f"ipsec stroke rekey {quote(f'{connection}{{}}')}"

    def down(self, connection: str) -> str:
        """Each IKE SA of that name."""
        return f"timeout 10 ipsec down {quote(f'{connection}[*]')}"

    def numbers(self, connection: str) -> str:
        """In brackets behind the name."""
        listed = f"ipsec statusall {quote(connection)} 2>/dev/null"
        return f"{listed} | sed -n 's/^ *{connection}\\[\\([0-9]*\\)\\]: ESTABLISHED.*/\\1/p'"

    def end(self, connection: str, number: str) -> str:
        """With all its children."""
        return f"timeout 10 ipsec down {connection}[{number}]"

    def end_tunnel(self, connection: str, number: str) -> str:
        """The IKE SA stays."""
        return f"timeout 10 ipsec down {quote(f'{connection}{{{number}}}')}"

    @property
    def counting(self) -> str:
        """Of all connections together."""
        return "ipsec listcounters 2>/dev/null || true"

    def counters(self, listed: str) -> Mapping[str, int]:
        """Under swanctl's names."""
        return statusall.counters(listed)


_CERTIFICATES: Final = """\
$1 == "subject:" { serial = "-"; key = "-" }
$1 == "serial:" { serial = $2 }
$1 == "pubkey:" { key = /has private key/ ? "key" : "-" }
$1 == "subjkey:" { print serial "/" $2, key }"""
"""Each certificate that charon lists: its serial number, its key's SHA-1, and whether it has its private key."""

_LOAD: Final = """\
cursor=$(journalctl -q -n 0 --show-cursor | sed -n 's/^-- cursor: //p')
awaited=
if ipsec statusall '{name}' 2>/dev/null | grep -q '^ *{name}:'; then awaited="deleted connection '{name}'"; fi
if sed -n '/^conn {name}$/,/^[a-z]/s/^[[:space:]]*auto = //p' {conf} | grep -qvx ignore
then awaited="added configuration '{name}'"; fi
ipsec rereadall >&2
ipsec reload >&2
if [ -n "$awaited" ]; then
    for _ in $(seq 100); do
        ! journalctl -q {journal} -o cat --after-cursor="$cursor" | grep -qF "$awaited" || break
        sleep 0.1
    done
fi"""

_SETTLED: Final = r"""
/^Security/,$ {
    s/^( *[^ []+\[[0-9]+\]: )REKEYING/\1ESTABLISHED/
    s/^( *[^ {]+\{[0-9]+\}:  )REKEYING,/\1INSTALLED,/
    s/^ *([^ []+)\[[0-9]+\]: ([A-Z]+)( .* ago)?, [^[]*(\[[^]]*\]\.\.\.)[^[]*(\[.*\])$/\1[0]: \2, \4\5/p
    s/^ *([^ []+)\[[0-9]+\]: (IKE proposal: .*)$/\1[0]: \2/p
    s/^ *([^ {]+)\{[0-9]+\}:  (INSTALLED, [A-Z]+), reqid [0-9]+(, ESP( in UDP)? SPIs: ).*/\1{0}:  \2, reqid 0\30_i 0_o/p
    s/^ *([^ {]+)\{[0-9]+\}:  ([A-Z][A-Z0-9_/]*), [0-9]+ bytes_i.*/\1{0}:  \2, 0 bytes_i, 0 bytes_o, /
    s/\/(ECP|MODP|CURVE|ML_KEM)[A-Z0-9_]*(, 0 bytes_i)/\2/
    /, 0 bytes_i, 0 bytes_o, $/p
    s/^ *([^ {]+)\{[0-9]+\}:   (.* === .*)$/\1{0}:   \2/p
}"""
