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
    kept: str = ""
    """Where an earlier change has kept the value, with those of the single interfaces: each gets its own back."""

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
            apply=_put_back(quote(self.kept)) if self.kept else self._set(),
            undo=_put_back('"$image/kept.$index"'),
            diff=f"- {self.name} = {have}\n+ {self.name} = {self.value}",
            risky=True,
        )
        return self.drift(change, self.note)

    def _set(self) -> str:
        return f"printf '%s\\n' {quote(self.value)} >{quote(self.path)}"

    def _save(self) -> str:
        """Shell that keeps the value, and behind it those of the single interfaces."""
        before, every, behind = self.path.partition("/conf/all/")
        others = f" {quote(f'{before}/conf')}/*/{quote(behind)}" if every else ""
        return (
            f"for each in {quote(self.path)}{others}; do\n"
            '    printf \'%s %s\\n\' "$each" "$(cat -- "$each")"\n'
            'done >"$image/kept.$index"'
        )


def _put_back(kept: str) -> str:
    """Shell that gives each parameter the value that was kept; an interface that has gone since needs nothing."""
    return f"""\
while read -r each value; do
    [ ! -e "$each" ] || [ "$(cat -- "$each")" = "$value" ] || printf '%s\\n' "$value" >"$each"
done <{kept}"""
