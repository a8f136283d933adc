"""swanctl.conf: strongSwan as it is configured today, by files below /etc/swanctl and the program that loads them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from cryptography.hazmat.primitives.serialization import Encoding

from runbook.resources.file import File
from runbook.script import quote
from runbook.step import Change, Finding, Later, Part
from steps import swanctl
from steps.authorities import ca_name
from steps.negotiated import security_associations
from steps.style import Confined, Style
from steps.swanctl import LOAD
from steps.swanctl_leftovers import Leftovers
from steps.vici import parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography import x509

    from runbook.script import Reading
    from steps.negotiated import Sa
    from steps.network import End, Site
    from steps.style import Wanted


class Swanctl(Style):
    """charon-systemd, told by swanctl what is in /etc/swanctl (swanctl(8), FILES)."""

    packages: ClassVar[tuple[str, ...]] = (
        "charon-systemd",
        "strongswan-swanctl",
        "libstrongswan-standard-plugins",
        "libstrongswan-extra-plugins",
    )
    unit: ClassVar[str] = "strongswan.service"
    ca_directory: ClassVar[str] = "/etc/swanctl/x509ca"

    def key_path(self, site: Site) -> str:
        """Below private/, where swanctl finds a key of any kind."""
        return f"/etc/swanctl/private/{site.fqdn}.key"

    def leaf_path(self, site: Site) -> str:
        """Below x509/, where a connection's `certs` are looked for."""
        return f"/etc/swanctl/x509/{site.fqdn}.pem"

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
            text = swanctl.render(end, certificate=certificate, anchors=[ca_name(each) for each in wanted.anchors])
            conf = File(path, text.encode(), "640")
            parts += [conf, LoadedConnection(end, path, wanted, follows=(conf.key,))]
        return parts

    def settled(self, connection: str) -> str:
        """Without times, counters, numbers, and keys' names after a rekeying."""
        return (
            f"swanctl --list-sas --pretty --ike {quote(connection)} 2>/dev/null | sed -E "
            "'/(spi|time|bytes|packets|use|established|uniqueid|reqid|port|host|initiator)[a-z-]* = /d; "
            "/^        dh-group/d; s/-[0-9]+ \\{$/ {/'"
        )

    @property
    def listing(self) -> str:
        """As vici has it."""
        return "swanctl --list-sas --pretty"

    def associations(self, listed: str, connection: str) -> list[Sa]:
        """Each IKE SA is a message."""
        return security_associations(parse(listed), connection)

    def up(self, connection: str) -> str:
        """By its child, which has the connection's name."""
        return f"swanctl --initiate --child {quote(connection)} --timeout 30"

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


def _path(end: End) -> str:
    return f"/etc/swanctl/conf.d/{end.connection}.conf"


TABLE: Final = 220
"""The routing table of charon's own routes (strongswan.conf(5), charon.routing_table)."""
UNSOURCED: Final = "no source address in the private network for what goes to"
"""A route loses its source when that address is removed, and does not get it back with it."""

_CONNECTION: Final = """\
/^list-conn event/ { event = ""; ours = 0 }
{ event = event $0 "\\n" }
$0 == "  " name " {" { ours = 1 }
/^\\}/ { if (ours) printf "%s", event; event = "" }"""
"""Of all connections that charon lists, the one called `name`."""

_CERTIFICATES: Final = """\
/^list-cert event/ { key = "-" }
/^  has_privkey = yes/ { key = "key" }
/^  data = / { print key, substr($3, 3) }"""
"""Each certificate that charon lists: whether it has its key, and its DER in hexadecimal."""


@dataclass(frozen=True)
class LoadedConnection(Part):
    """What charon runs of a connection is what its file and its certificates say."""

    end: End
    path: str
    credentials: Wanted = field(repr=False)
    follows: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The connection's name."""
        return f"loaded connection {self.end.connection}"

    def probe(self) -> str:
        """Our connection as the daemon lists it, which of our certificates it holds, and whether it has read the file.

        Nothing that others have loaded is printed: what they change is not a change of ours.
        """
        name, path = quote(self.end.connection), quote(self.path)
        remote = " ".join(f"-{each.version},{each}" for each in self.end.remote_ts)
        ours = " ".join(f"-e {_hash(each)}" for each in (self.credentials.leaf, *self.credentials.authorities))
        return f"""\
command -v swanctl >/dev/null || {{ echo 'not installed'; exit 0; }}
conns=$(swanctl --list-conns --pretty 2>/dev/null) || {{ echo 'not running'; exit 0; }}
printf '%s\\n' "$conns" | awk -v name={name} '{_CONNECTION}'
echo --
swanctl --list-certs --pretty 2>/dev/null | awk '{_CERTIFICATES}' | while read -r key der; do
    printf '%s %s\\n' "$(printf %s "$der" | sha256sum | cut -d' ' -f1)" "$key"
done | grep -F {ours} | sort -u
echo --
for there in {remote}; do
    ip "${{there%,*}}" route show table {TABLE} "${{there#*,}}"
done | grep -v ' src ' | cut -d' ' -f1,3
echo --
[ -e {path} ] || {{ echo 'no file'; exit 0; }}
[ -n "$(journalctl -q -b -n 1 2>/dev/null)" ] || {{ echo 'no journal'; exit 0; }}
journalctl -q -b -u strongswan.service -o short-unix -g '(added|updated|replaced) vici connection: '{name}'$' -n 1 |
    awk -v changed="$(stat -c %.Z {path})" '{{ read = $1 >= changed }} END {{ print read ? "current" : "stale" }}'"""

    def judge(self, found: Reading) -> Finding:
        """In order when charon lists all as wanted, and has read the file since its last change."""
        problems = self._problems(found.text)
        if not problems:
            return self.in_order()
        absent = problems[0].startswith("charon")
        change = self._load(problems)
        return self.absent(change) if absent else self.drift(change)

    def again(self, found: Reading) -> Finding:
        """The file is about to change, so charon must load it."""
        return self.drift(self._load(self._problems(found.text) or ["its file changes"]))

    def _problems(self, text: str) -> list[str]:
        if text.strip() in {"not installed", "not running"}:
            return [f"charon is {text.strip()}"]
        conns, certificates, routes, file = text.split("--\n")
        wanted = swanctl.wanted_connection(
            self.end, certificate=self.credentials.leaf, anchors=self.credentials.anchors
        )
        loaded = swanctl.loaded_connection(parse(conns), self.end.connection)
        if loaded is None:
            return [f"charon has not loaded {self.end.connection}"]
        stale = ["charon has not read the file since it was changed"] if file.strip() == "stale" else []
        unsourced = [f"{UNSOURCED} {each}" for each in self._unsourced(routes)]
        return [*swanctl.differences(wanted, loaded), *self._missing(certificates), *stale, *unsourced]

    def _unsourced(self, routes: str) -> list[str]:
        """Where routes lead that should have a source, and have none.

        Where charon does ESP itself, its route for what a hub passes on has none, and takes the place of the hub's own.
        """
        passes_on = self.end.network.beyond(self.end.link, self.end.here)
        return [each.split()[0] for each in routes.splitlines() if not (passes_on and each.endswith(" ipsec0"))]

    def _missing(self, listing: str) -> list[str]:
        """The certificates that charon does not hold, in words."""
        held = dict(line.split(" ") for line in listing.splitlines())
        leaf = held.get(_hash(self.credentials.leaf))
        own = []
        if leaf is None:
            own = [f"charon has not loaded the certificate of {self.end.here.fqdn}"]
        elif leaf != "key":
            own = [f"charon has no private key for the certificate of {self.end.here.fqdn}"]
        return own + [
            f"charon has not loaded the CA certificate {each.subject.rfc4514_string()}"
            for each in self.credentials.authorities
            if _hash(each) not in held
        ]

    def _load(self, problems: Sequence[str]) -> Change:
        return Change(
            summary=f"have charon load {self.end.connection}: {problems[0]}",
            apply=LOAD + (self._reinstall() if any(each.startswith(UNSOURCED) for each in problems) else ""),
            settle=self._unload(),
            diff="\n".join(
                [
                    *(f"! {problem}" for problem in problems),
                    "! charon reads everything in /etc/swanctl anew (--load-all)",
                ]
            ),
        )

    def _unload(self) -> str:
        """Shell for after the file is put back: what charon no longer knows of must not go on carrying traffic."""
        name = quote(self.end.connection)
        return (
            "if systemctl is-active --quiet strongswan.service; then\n"
            f"    {LOAD}\n"
            f"    swanctl --list-conns | grep -q '^'{name}: ||\n"
            f"        swanctl --terminate --ike {name} --timeout 10 >&2 || true\n"
            "fi"
        )

    def _reinstall(self) -> str:
        """Shell that has charon make its routes anew: loading does not, nor does an address that comes back."""
        name = quote(self.end.connection)
        trap = f"swanctl --uninstall --child {name} >&2 || true\nswanctl --install --child {name} >&2\n"
        return (
            f"\nswanctl --terminate --ike {name} --timeout 10 >&2 || true\n{trap if self.end.initiates else ''}"
            f"swanctl --initiate --child {name} --timeout 30 >&2 || true"
        )


def _hash(certificate: x509.Certificate) -> str:
    """By which a certificate is known among those that charon lists: SHA-256 of its DER in hexadecimal."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER).hex().encode()).hexdigest()
