"""A private key that is kept on the controller: made once, judged by loading it, never shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runbook.errors import RunbookError
from runbook.script import quote
from runbook.step import CONTROLLER, Change, Finding, Part
from steps import catalogue, pki
from steps.vault import put, set_aside

if TYPE_CHECKING:
    from pathlib import Path

    from runbook.script import Reading
    from runbook.target import Target

Guard = Callable[[Mapping[str, "Target"]], None]
"""Asked before a key is made; raises StepError where another one is in use that it would take the place of."""


@dataclass(frozen=True)
class PrivateKey(Part):
    """A private key, for its owner's eyes only. One that is there is never made again, and never turned into a form."""

    path: Path
    guard: Guard | None = field(default=None, repr=False)
    lost: RunbookError | None = None
    """Why one that is not there must have been: another one is not made then."""
    serves: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The key's file."""
        return f"private key {self.path}"

    def probe(self) -> str:
        """One line of state; of what a link leads to, which may be a drive that is taken away."""
        return f'key={quote(str(self.path))}\n[ ! -f "$key" ] || key=$(readlink -f -- "$key")\nrb_state "$key"'

    def judge(self, found: Reading) -> Finding:
        """In order when it loads and is for its owner's eyes only."""
        path = quote(str(self.path))
        if found.text.strip() == "absent" and self.lost:
            return self.unknown(self.lost)
        if found.text.strip() == "absent":
            change = Change(
                summary=f"make a secp384r1 key in {self.path}",
                obtain=self._make,
                undo=set_aside(self.path),
                diff=f"+ private key {self.path} (never shown)",
            )
            return self.absent(change)
        try:
            pki.load_key(self.path.read_bytes())
        except (RunbookError, OSError) as error:
            return self.unknown(pki.CertificateError(catalogue.KEY_UNUSABLE, path=self.path, why=error, at=""))
        kind, mode, *_ = found.text.split()
        if (kind, mode) == ("file", "600"):
            return self.in_order()
        was = f"chmod {quote(mode)} -- {path}"
        return self.drift(Change(f"make {self.path} readable by you alone (it is {mode})", f"chmod 600 -- {path}", was))

    def _make(self, hosts: Mapping[str, Target]) -> None:
        if self.guard:
            self.guard(hosts)
        hosts[CONTROLLER].run(put(self.path, pki.new_key(), "600"), purpose="write a private key")
