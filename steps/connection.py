"""IPsec configuration: the connection."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from cryptography.hazmat.primitives.serialization import Encoding

from runbook.resources.file import File
from runbook.script import quote
from runbook.step import Change, Finding, Later, Part
from steps import pki, swanctl
from steps.certificate import trust_anchors, verified_chain
from steps.credentials import ca_files, ca_name
from steps.paths import leaf_path
from steps.section import Section
from steps.vici import parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography import x509

    from runbook.script import Reading
    from steps.network import End


class Connection(Section):
    """Describe the tunnel to strongSwan at both ends, from one model, and have the running daemon load it.

    Each end names the other exactly (by its certificate's name, issued under the roots that you trust) and the networks
    behind each; what is one end's own side is the other's far side. Written is not loaded: charon is asked what it
    runs.

        nano /etc/swanctl/conf.d/ula-net-vps4.conf
        swanctl --load-all

    To check by hand: `swanctl --list-conns` and `swanctl --list-certs` (the own one says `has private key`).

    All of /etc/swanctl is read anew then, yours included; a key of yours with a passphrase must be given again by
    `swanctl --load-creds`.

    What can go wrong: a keyword that this release does not know discards the whole connection (`swanctl --load-conns`
    says which); a certificate that was renewed on disk, but not loaded.
    """

    name: ClassVar[str] = "connection"
    title: ClassVar[str] = "IPsec configuration"
    needs: ClassVar[tuple[str, ...]] = ("credentials", "apparmor", "addresses")

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - the same everywhere
        """For each link of the site: its file, and what charon has loaded of it."""
        site = self.site(target)
        chain = verified_chain(self.network, site, self.vault)
        authorities = ca_files(self.network, site, self.vault)
        parts: list[Part] = []
        for end in self.network.ends(site):
            path = f"/etc/swanctl/conf.d/{end.connection}.conf"
            if chain is None or not authorities:
                parts += [Later("file", path, "certificate"), Later("loaded connection", end.connection, "certificate")]
                continue
            anchors = trust_anchors(self.network)
            certificate = leaf_path(site).rsplit("/", 1)[1]
            text = swanctl.render(end, certificate=certificate, anchors=[ca_name(each) for each in anchors])
            conf = File(path, text.encode(), "640")
            credentials = Wanted(chain.leaf, tuple(pki.split_chain(b"".join(authorities.values()))))
            parts += [conf, LoadedConnection(end, path, credentials, tuple(anchors), follows=(conf.key,))]
        return parts


@dataclass(frozen=True)
class Wanted:
    """The certificates that charon must have loaded."""

    leaf: x509.Certificate
    authorities: tuple[x509.Certificate, ...]


TABLE: Final = 220
"""The routing table of charon's own routes (strongswan.conf(5), charon.routing_table)."""
UNSOURCED: Final = "no source address in the private network for what goes to"
"""A route loses its source when that address is removed, and does not get it back with it."""

_LOAD: Final = "swanctl --load-all --clear --noprompt >&2"

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
    anchors: tuple[x509.Certificate, ...] = field(repr=False)
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
        remote = " ".join(map(str, self.end.remote_ts))
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
for there in {remote}; do ip -6 route show table {TABLE} "$there"; done | grep -v ' src ' | cut -d' ' -f1
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
        wanted = swanctl.wanted_connection(self.end, certificate=self.credentials.leaf, anchors=self.anchors)
        loaded = swanctl.loaded_connection(parse(conns), self.end.connection)
        if loaded is None:
            return [f"charon has not loaded {self.end.connection}"]
        stale = ["charon has not read the file since it was changed"] if file.strip() == "stale" else []
        unsourced = [f"{UNSOURCED} {each}" for each in routes.split()]
        return [*swanctl.differences(wanted, loaded), *self._missing(certificates), *stale, *unsourced]

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
            apply=_LOAD + (self._reinstall() if any(each.startswith(UNSOURCED) for each in problems) else ""),
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
            f"    {_LOAD}\n"
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
