"""Debian packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.script import quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from runbook.script import Reading

LOCK_SECONDS = 300
"""How long another package manager at work is waited for."""

_LIST = "dpkg-query -W -f '${db:Status-Status} ${Package}:${Architecture}\\n' | sed -n 's/^installed //p' | sort"
_APT = f"DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout={LOCK_SECONDS}"


@dataclass(frozen=True)
class Packages(Part):
    """Packages that are to be installed, with what they depend on and nothing that they only recommend."""

    names: tuple[str, ...]

    @property
    def key(self) -> str:
        """The packages' names."""
        return f"packages {' '.join(self.names)}"

    def probe(self) -> str:
        """The names of those that are not installed, a line each."""
        names = " ".join(quote(name) for name in self.names)
        return (
            f"for name in {names}; do\n"
            '    [ "$(dpkg-query -W -f \'${db:Status-Status}\' "$name" 2>/dev/null)" = installed ] || echo "$name"\n'
            "done"
        )

    def judge(self, found: Reading) -> Finding:
        """In order when all are installed."""
        missing = found.text.split()
        if not missing:
            return self.in_order()
        names = " ".join(quote(name) for name in missing)
        change = Change(
            summary=f"install {' '.join(missing)}",
            save=f'{_LIST} >"$image/packages.$index"',
            apply=(
                f"{_APT} update >&2\n"
                f"{_APT} install --no-install-recommends --no-remove "
                f"-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -- {names} >&2"
            ),
            undo=(
                f'gone=$({_LIST} | comm -13 "$image/packages.$index" -)\n'
                "# shellcheck disable=SC2086 # a list of names\n"
                f'[ -z "$gone" ] || {_APT} purge -- $gone >&2'
            ),
            diff="\n".join(f"+ package {name}, and what it depends on" for name in missing),
        )
        return self.absent(change)
