"""Kernel parameters, live in the kernel (sysctl(8))."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.script import quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from runbook.script import Reading


@dataclass(frozen=True)
class Sysctl(Part):
    """A parameter's value in the running kernel; a file in /etc/sysctl.d is what keeps it over a reboot.

    Writing a parameter under `conf/all/` may set those of every interface too (ip-sysctl: `forwarding`), so what
    those were is kept with it, and comes back with it. Always made under the timer: packets may stop at once.
    """

    name: str
    """As sysctl(8) takes it: with dots, or with slashes where an interface's name has dots in it."""
    value: str
    note: str = ""

    @property
    def key(self) -> str:
        """The parameter."""
        return f"sysctl {self.name}"

    @property
    def path(self) -> str:
        """The parameter's file."""
        return f"/proc/sys/{self.name if '/' in self.name else self.name.replace('.', '/')}"

    def probe(self) -> str:
        """The value; nothing where this kernel has no such parameter."""
        path = quote(self.path)
        return f"[ ! -e {path} ] || cat -- {path}"

    def judge(self, found: Reading) -> Finding:
        """Compare the value."""
        have = found.text.strip()
        if have == self.value:
            return self.in_order(self.note)
        if not have:
            return self.unknown(f"this host's kernel has no {self.name}; is IPv6 switched off there?")
        change = Change(
            summary=f"set {self.name} from {have} to {self.value}",
            save=self._save(),
            apply=f"printf '%s\\n' {quote(self.value)} >{quote(self.path)}",
            undo=_UNDO,
            diff=f"- {self.name} = {have}\n+ {self.name} = {self.value}",
            risky=True,
        )
        return self.drift(change, self.note)

    def _save(self) -> str:
        """Shell that keeps the value, and behind it those of the single interfaces."""
        before, every, behind = self.path.partition("/conf/all/")
        others = f" {quote(f'{before}/conf')}/*/{quote(behind)}" if every else ""
        return (
            f"for each in {quote(self.path)}{others}; do\n"
            '    printf \'%s %s\\n\' "$each" "$(cat -- "$each")"\n'
            'done >"$image/kept.$index"'
        )


_UNDO = """\
while read -r each value; do
    [ ! -e "$each" ] || [ "$(cat -- "$each")" = "$value" ] || printf '%s\\n' "$value" >"$each"
done <"$image/kept.$index"\
"""
"""An interface that has gone since needs nothing."""
