"""Tunnels of connections that an earlier sites.yaml had in our lines of ipsec.conf, and the present one has not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.script import quote
from runbook.step import Change, Finding, Part
from steps.ipsec.conf_by_hand import SECTIONS

if TYPE_CHECKING:
    from runbook.script import Reading


@dataclass(frozen=True)
class Leftovers(Part):
    """No tunnel of ours but those of the site's present links: charon keeps up what it no longer knows of."""

    wanted: tuple[str, ...]
    """The connections' names."""

    @property
    def key(self) -> str:
        """There is one such on a host."""
        return "tunnels of an earlier sites.yaml"

    def probe(self) -> str:
        """The name of each tunnel that is called as ours are, unless the admin's own lines have a connection of it."""
        return f"""\
{SECTIONS}theirs=$(conf_sections)
ipsec statusall 2>/dev/null | sed -n 's/^ *\\(ula-net-[A-Za-z0-9-]*\\)\\[[0-9]*\\]: [A-Z].*/\\1/p' | sort -u |
    while read -r name; do
        printf '%s\\n' "$theirs" | grep -q ":$name$" || echo "$name"
    done"""

    def judge(self, found: Reading) -> Finding:
        """In order when each is for a present link."""
        left = [name for name in found.text.split() if name not in self.wanted]
        if not left:
            return self.in_order()
        change = Change(
            summary=f"end {' and '.join(left)}, for which there is no link in sites.yaml any more",
            apply="\n".join(f"timeout 10 ipsec down {quote(f'{name}[*]')} >&2 || true" for name in left),
            diff="\n".join(f"- tunnel {name}" for name in left),
        )
        return self.drift(change)
