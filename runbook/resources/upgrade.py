"""Debian packages of which there are newer ones. They are offered, and nothing is out of order without them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from runbook.resources.package import APT
from runbook.script import quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from runbook.script import Reading

FRESH: Final = timedelta(days=1)
"""So old may package lists be that what could be upgraded is told by them."""
FLAG: Final = "--upgrade"

_NEWER: Final = "apt-get -s -q -o APT::Get::Show-User-Simulation-Note=false dist-upgrade"
_LINES: Final = r"""
s/^Inst \([^ ]*\) \[\([^]]*\)\] (\([^ ]*\) .*/+ \1 \2 -> \3/p
s/^Inst \([^ ]*\) (\([^ ]*\) .*/+ \1 \2 (new)/p
s/^Remv \([^ ]*\).*/- \1/p
"""
_UPGRADE: Final = "dist-upgrade -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"


@dataclass(frozen=True)
class PackageLists(Part):
    """The lists of what can be installed: where they are old, nobody knows what could be upgraded."""

    @property
    def key(self) -> str:
        """There is one such thing on a host."""
        return "package lists"

    def probe(self) -> str:
        """When they were last brought up to date, in seconds since the epoch; nothing where there are none."""
        return (
            'set -- /var/lib/apt/lists/*_Packages*; [ -e "$1" ] || exit 0\n'
            "stat -c %Y /var/lib/apt/lists /var/lib/apt/lists/partial 2>/dev/null | sort -n | tail -n 1"
        )

    def judge(self, found: Reading) -> Finding:
        """Offered to be brought up to date when they are older than a day."""
        there = found.text.strip()
        age = datetime.now(UTC) - datetime.fromtimestamp(int(there), UTC) if there.isdigit() else None
        if age is not None and age < FRESH:
            return self.in_order()
        update = Change(
            summary="bring the package lists up to date",
            apply=f"{APT} update >&2",
            irreversible="the lists stay as new as they are",
            flag=FLAG,
        )
        old = "there are no package lists" if age is None else f"the package lists are {age.days} days old"
        return self.offers(update, f"{old}, so what could be upgraded is not known")


@dataclass(frozen=True)
class Upgrades(Part):
    """Installed packages of which the lists have newer ones."""

    @property
    def key(self) -> str:
        """There is one such thing on a host."""
        return "upgrades"

    def probe(self) -> str:
        """What `apt-get dist-upgrade` would install and remove, a line each; `unknown` where it cannot say."""
        return (
            f"newer=$({_NEWER} 2>/dev/null) || {{ echo unknown; exit 0; }}\n"
            f"printf '%s\\n' \"$newer\" | sed -n {quote(_LINES)}"
        )

    def judge(self, found: Reading) -> Finding:
        """Offered when there are any."""
        lines = found.text.splitlines()
        new, old = ([line for line in lines if line.startswith(mark)] for mark in "+-")
        if not new + old:
            return self.in_order("apt cannot tell what could be upgraded" if lines else "")
        count = f"{len(new)} package{'' if len(new) == 1 else 's'}" + (f", removing {len(old)}" if old else "")
        upgrade = Change(
            summary=f"upgrade {count}",
            apply=f"{APT} {_UPGRADE} >&2",
            diff="\n".join(lines),
            irreversible="what was upgraded stays so, and what runs of it may be restarted",
            flag=FLAG,
        )
        return self.offers(upgrade, f"{count} can be upgraded")
