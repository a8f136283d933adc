"""What an earlier sites.yaml had added to a host and the present one does not: it goes, live as in the file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from runbook.script import quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from runbook.script import Reading

INTERFACES: Final = "/etc/network/interfaces.d/ipsec-runbook"
"""Our own file for ifupdown, whose lines say what we have added."""

_LINE: Final = re.compile(r"up (ip -[46] (?:address|route) replace [\w.:/ -]+)")


@dataclass(frozen=True)
class Outdated(Part):
    """Addresses and routes that our file, as it was before, has had the host take, and that are not wanted any more."""

    wanted: str = field(repr=False)
    """The file's text as it shall be."""

    @property
    def key(self) -> str:
        """There is one such on a host."""
        return "addresses and routes of an earlier sites.yaml"

    def probe(self) -> str:
        """The commands of the file whose result is live."""
        return f"""\
[ -f {INTERFACES} ] || exit 0
sed -n 's/^ *up \\(ip -[46] [a-z]* replace .*\\)/\\1/p' {INTERFACES} |
    while read -r ip family what verb one two three four; do
        case $what in
            address) "$ip" "$family" -o address show to "${{one%/*}}" | grep -F " $one " ;;
            route) "$ip" "$family" route show table main type "$one" "$two" | grep "metric $four" ;;
            *) false ;;
        esac >/dev/null || continue
        echo "$ip $family $what $verb $one $two $three${{four:+ $four}}"
    done"""

    def judge(self, found: Reading) -> Finding:
        """In order when nothing is live that is not wanted."""
        added = [match[1] for line in self.wanted.splitlines() if (match := _LINE.fullmatch(line.strip()))]
        left = [line for line in found.text.splitlines() if line not in added and _LINE.fullmatch(f"up {line}")]
        if not left:
            return self.in_order()
        change = Change(
            summary=f"remove what an earlier sites.yaml had added: {len(left)} of {INTERFACES}",
            apply="\n".join(f"{_reverse(line)} 2>/dev/null || true" for line in left),
            undo="\n".join(left),
            diff="\n".join(f"- {line}" for line in left),
        )
        return self.drift(change)


def _reverse(line: str) -> str:
    """The command that takes back what a line of the file has done."""
    words = [word for word in line.split() if word != "nodad"]
    return " ".join(quote(each) for each in words).replace(" replace ", " del ")
