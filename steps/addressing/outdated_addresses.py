"""What an earlier sites.yaml had added to a host and the present one does not: it goes, live as in the file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Interface
from typing import TYPE_CHECKING, Final

from runbook.resources.address import UnreachableRoute
from runbook.script import quote
from runbook.step import Change, Finding, Part
from steps.addressing.admins_own import READ_THEIRS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.script import Reading
    from steps.network import Interface, Subnet

_COMMAND: Final = re.compile(r"ip -[46] (?:address|route) replace [\w.:/ -]+")
_GIVEN: Final = "addresses_given="


def given_facts(files: Sequence[str]) -> str:
    """Shell that prints the addresses in our files as they are and not in the admin's, each with its interface."""
    return f"""\
{READ_THEIRS}
printf '{_GIVEN}%s\\n' "$(cat {" ".join(files)} 2>/dev/null |
    sed -nE 's/^ *(up|#) ip -[46] address replace ([^ ]*) dev ([^ ]*).*/\\2,\\3/p' |
    while IFS=, read -r address interface; do
        printf '%s\\n' "$theirs" | grep -qwF -- "${{address%/*}}" || printf '%s,%s ' "$address" "$interface"
    done)"
"""


def leaving(wanted: Sequence[tuple[Interface, str]], facts: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """The interfaces, and how an address is written there, from which `Outdated` takes what is not wanted there."""
    given = (each.split(",") for each in facts.get(_GIVEN[:-1], "").split())
    stays = {(interface, str(address)) for address, interface in wanted}
    return frozenset((interface, address) for address, interface in given if (interface, address) not in stays)


def address_command(address: Interface, interface: str) -> str:
    """What gives an interface an address: it stands in each file of ours that has it given at boot."""
    nodad = " nodad" if isinstance(address, IPv6Interface) else ""
    return f"ip -{address.version} address replace {address} dev {interface}{nodad}"


def route_command(refused: Subnet) -> str:
    """The same of what has no other route."""
    return f"ip -{refused.version} route replace unreachable {refused} metric {UnreachableRoute.metric}"


@dataclass(frozen=True)
class Outdated(Part):
    """Addresses and routes that our files, as they were before, have had the host take, and that are not wanted now.

    An address that the admin's own files give, too, was there without us, and stays.
    """

    wanted: tuple[str, ...] = field(repr=False)
    """The commands of those that are."""
    files: tuple[str, ...]
    """Patterns of our files, one for each manager of addresses."""

    @property
    def key(self) -> str:
        """There is one such on a host."""
        return "addresses and routes of an earlier sites.yaml"

    def probe(self) -> str:
        """The commands in the files whose result is live; without an address that the admin has it given, too."""
        return f"""\
{READ_THEIRS}
cat {" ".join(self.files)} 2>/dev/null | sed -nE 's/^ *(up|#) (ip -[46] [a-z]* replace .*)/\\2/p' | sort -u |
    while read -r ip family what verb one two three four; do
        case $what in
            address) ! printf '%s\\n' "$theirs" | grep -qwF -- "${{one%/*}}" &&
                "$ip" "$family" -o address show to "${{one%/*}}" | grep -F " $one " ;;
            route) "$ip" "$family" route show table main type "$one" "$two" | grep "metric $four" ;;
            *) false ;;
        esac >/dev/null || continue
        echo "$ip $family $what $verb $one $two $three${{four:+ $four}}"
    done"""

    def judge(self, found: Reading) -> Finding:
        """In order when nothing is live that is not wanted."""
        left = [line for line in found.text.splitlines() if line not in self.wanted and _COMMAND.fullmatch(line)]
        if not left:
            return self.in_order()
        change = Change(
            summary=f"remove what an earlier sites.yaml had added: {len(left)} of this step's addresses and routes",
            apply="\n".join(f"{_reverse(line)} 2>/dev/null || true" for line in left),
            undo="\n".join(left),
            diff="\n".join(f"- {line}" for line in left),
        )
        return self.drift(change)


def _reverse(line: str) -> str:
    """The command that takes back what a command of the file has done."""
    words = [word for word in line.split() if word != "nodad"]
    return " ".join(quote(each) for each in words).replace(" replace ", " del ")
