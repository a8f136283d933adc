"""CA certificates on a host, one in each file: strongSwan reads only the first certificate of a file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from runbook.resources.file import File
from runbook.script import embed, quote
from runbook.step import Change, Finding, Part
from steps.ipsec.style import OUR_CA_FILES as OURS
from steps.pki import public_fingerprint
from steps.x509_reading import is_self_signed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography import x509

    from runbook.script import Reading


REMOVED: Final = "/run/ipsec-runbook-ca-removed"
"""Touched when a CA certificate is taken away: a charon that has read its files before that must read them anew."""


def ca_name(certificate: x509.Certificate) -> str:
    """The file name of a CA certificate: what it says it is, and what it is.

    A root is what its key is: one that is made anew for the same key is the same wherever it is named.
    """
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    common = str(names[0].value) if names else "ca"
    words = re.sub(r"[^a-z0-9]+", "-", common.lower()).strip("-")[:40]
    root = is_self_signed(certificate)
    what = public_fingerprint(certificate) if root else certificate.fingerprint(hashes.SHA256()).hex()
    return f"ipsec-runbook-{words}-{what[:8]}.pem"


_UNDO: Final = """\
for kept in "$image/kept.$index"/*; do
    [ ! -e "$kept" ] || (
        path={directory}/${{kept##*/}}
        new=$(rb_beside "$path")
        rb_note "$new"
        rm -rf -- "$new" && cp -a -- "$kept" "$new" && rb_settle "$path" "$new"
    )
done
for file in {ours}; do
    [ ! -e "$file" ] || [ -e "$image/kept.$index/${{file##*/}}" ] || rb_remove "$file"
done"""
"""Each file as it was, at once; then those go that were not there. A chain can be verified at any moment between."""


@dataclass(frozen=True)
class CaCertificates(Part):
    """The files of ours in strongSwan's directory of CA certificates: these and no others."""

    directory: str
    wanted: Mapping[str, bytes] = field(repr=False)
    unless_named_in: str = ""
    """A directory whose files may name them: those that they do are not taken away, for the files stay as they are."""

    @property
    def key(self) -> str:
        """The directory."""
        return f"CA certificates in {self.directory}"

    @property
    def _ours(self) -> str:
        return f"{quote(self.directory)}/{OURS}"

    def probe(self) -> str:
        """Name and state of each file of ours, but for those that are to stay whatever they are."""
        spare = ""
        if self.unless_named_in:
            kept = "|".join(map(quote, self.wanted)) or quote("")
            named = f'grep -rqsF -- "$name" {quote(self.unless_named_in)}'
            spare = f"    name=${{file##*/}}; case $name in {kept}) ;; *) ! {named} || continue ;; esac\n"
        return (
            f"for file in {self._ours}; do\n"
            f'    [ -e "$file" ] || continue\n{spare}'
            '    printf \'%s %s\\n\' "${file##*/}" "$(rb_state "$file")"\ndone'
        )

    def judge(self, found: Reading) -> Finding:
        """In order when each is there with its content, and no other."""
        there = dict(line.split(" ", 1) for line in found.text.splitlines())
        files = {name: File(f"{self.directory}/{name}", pem) for name, pem in self.wanted.items()}
        put = [name for name, file in files.items() if there.get(name) != file.state]
        stale = [name for name in there if name not in files]
        if not put and not stale:
            return self.in_order()
        within = quote(f"{self.directory}/ca.pem")
        summary = ", ".join([f"{len(put)} to write"] * bool(put) + [f"{len(stale)} stale to remove"] * bool(stale))
        change = Change(
            summary=f"CA certificates, one a file: {summary}",
            save=(
                f'mkdir "$image/kept.$index"\n'
                f'for file in {self._ours}; do [ ! -e "$file" ] || cp -a -- "$file" "$image/kept.$index"/; done'
            ),
            apply="\n".join(
                [
                    f"rb_parents {within}",
                    *(f"{{ {embed(files[n].content)}}} | rb_put {quote(files[n].path)} 644 root:root" for n in put),
                    *(f"rb_remove {quote(f'{self.directory}/{name}')}" for name in stale),
                    *([f": >{REMOVED}"] if stale else []),
                ]
            ),
            undo=_UNDO.format(directory=quote(self.directory), ours=self._ours),
            settle=f"rb_tidy {within}",
            diff="\n".join([*(f"+ {self.directory}/{n}" for n in put), *(f"- {self.directory}/{n}" for n in stale)]),
        )
        return self.drift(change) if there else self.absent(change)
