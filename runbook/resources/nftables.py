"""Rules of nftables: of ours among an admin's own, in the kernel and in the script of nft's that is loaded at boot.

They go into the admin's own chains: an accept in a table of our own would not keep a chain of another from dropping.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from runbook.resources.rules import MarkedRules, RulesInFile, RulesInForce, awk

if TYPE_CHECKING:
    from collections.abc import Sequence

_AWK: Final = awk("nftables.awk")

LISTING: Final = "nft -s -t -a list ruleset"
"""Every rule on a line with its handle; no counters, no elements of sets."""
SURVEY: Final = f"awk -v mode=survey {_AWK}"
"""Shell that reads what `LISTING` or a script of nft's, and prints one line for `parse_survey`."""


@dataclass(frozen=True)
class Chain:
    """A chain of the admin's that filters at one of the hooks of IP."""

    family: str
    """`ip`, `ip6`, or `inet` for both."""
    table: str
    name: str
    hook: str
    """`input`, `forward` or `output`."""
    closed: bool
    """Whether a new packet that no rule speaks of is dropped."""
    new: str
    """The admin's chain of the same table that all new connections are sent to (`ct state new jump NAME`), if any."""


def parse_survey(line: str) -> list[Chain]:
    """The chains that filter, from the line that `SURVEY` printed."""
    chains = []
    for words in (each.split() for each in line.strip().split(";") if each):
        family, table, name, hook, closed, new = words
        chains.append(Chain(family, table, name, hook, closed == "1", "" if new == "-" else new))
    return chains


@dataclass(frozen=True)
class NftRule:
    """A rule in a chain: what one would type after `nft add rule FAMILY TABLE CHAIN`, as nft prints it again."""

    family: str
    table: str
    chain: str
    text: str

    def __post_init__(self) -> None:
        """Refuse what is no rule; raises ValueError."""
        for each in (self.family, self.table, self.chain, *self.text.split()):
            if not re.fullmatch(r"[\w.:/-]+|\"[\w.:-]+\"", each):
                raise ValueError(f"{each!r} is no word of a rule")

    @property
    def key(self) -> str:
        """Its chain."""
        return f"{self.family}:{self.table}:{self.chain}"

    def line(self, mark: str) -> str:
        """The rule with the comment by which it is known as ours."""
        return f'{self.text} comment "{mark}"'


@dataclass(frozen=True)
class _Rules(MarkedRules):
    """What rules in force and rules in a file have in common; `rules` in the order in which they are to stand."""

    purpose: str
    rules: tuple[NftRule, ...]
    note: str = ""

    @property
    def program(self) -> str:
        """Nft."""
        return "nft"

    @property
    def awk(self) -> str:
        """How what nft prints is read."""
        return _AWK

    @property
    def wanted(self) -> list[str]:
        """The rules, each behind its chain."""
        return [f"{each.key} {each.line(self.mark)}" for each in self.rules]

    @property
    def placed(self) -> list[str]:
        """The rules, each behind its chain and its place."""
        return [f"{each.key} 0 {each.line(self.mark)}" for each in self.rules]

    def canonical(self, lines: Sequence[str]) -> object:
        """The rules of each chain in order."""
        chains: dict[str, list[str]] = {}
        for line in lines:
            chains.setdefault(line.partition(" ")[0], []).append(_SINGLE.sub("", line))
        return chains


_SINGLE: Final = re.compile(r"(?<=[0-9a-f.:])/(32(?= )|128(?= ))")
"""The length of a prefix that is one address: nft leaves it out where it prints one."""


@dataclass(frozen=True)
class LiveNftRules(_Rules, RulesInForce):
    """Rules in force."""

    @property
    def listing(self) -> str:
        """What the kernel has."""
        return LISTING

    @property
    def test(self) -> str:
        """Nft's own check."""
        return "nft -c -f -"

    @property
    def load(self) -> str:
        """One transaction."""
        return "nft -f -"


@dataclass(frozen=True)
class StoredNftRules(_Rules, RulesInFile):
    """Rules in a script of nft's."""

    path: str = field(kw_only=True)

    @property
    def validator(self) -> str:
        """Nft's own check."""
        return 'nft -c -f "$new"'
