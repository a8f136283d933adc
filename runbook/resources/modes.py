"""Permissions that are too wide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.script import quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from runbook.script import Reading


@dataclass(frozen=True)
class Withheld(Part):
    """What an admin keeps in a directory, as far as it is there: some may not do with it what they must not."""

    what: str
    where: str
    """What find(1) is given behind `find`: paths, and tests of which files are meant."""
    bits: str
    """The bits that none may have, octal, such as `022`."""
    why: str

    @property
    def key(self) -> str:
        """What it is."""
        return f"permissions of {self.what}"

    def probe(self) -> str:
        """Mode and path of each that has too much."""
        return f"find {self.where} -perm /{self.bits} -printf '%m %p\\n' 2>/dev/null | sort || true"

    def judge(self, found: Reading) -> Finding:
        """In order when there is none."""
        lines = [line.split(" ", 1) for line in found.text.splitlines()]
        if not lines:
            return self.in_order()
        narrowed = [(path, mode, f"{int(mode, 8) & ~int(self.bits, 8):o}") for mode, path in lines]
        change = Change(
            summary=f"set {', '.join(f'{path} from {was} to {now}' for path, was, now in narrowed)}",
            apply="\n".join(f"chmod -- {now:0>5} {quote(path)}" for path, _, now in narrowed),
            undo="\n".join(
                f'[ "$(stat -c %a -- {quote(path)} 2>/dev/null)" != {now} ] || chmod -- {was:0>5} {quote(path)}'
                for path, was, now in narrowed
            ),
            diff="\n".join(line for path, was, now in narrowed for line in (f"- {was} {path}", f"+ {now} {path}")),
        )
        return self.drift(change, self.why)
