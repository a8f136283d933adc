"""Rules of iptables and ip6tables: of ours among an admin's own, in the kernel and in the file that keeps them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final, Literal

from runbook.resources.retired import Reasons, why
from runbook.resources.rules import OUT_OF_REACH, MarkedRules, RulesInFile, RulesInForce, awk
from runbook.script import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runbook.script import Reading
    from runbook.step import Finding

Family = Literal[4, 6]

PROGRAMS: Final[dict[Family, str]] = {4: "iptables", 6: "ip6tables"}
LOCK_SECONDS: Final = 10
"""How long to wait for another program that is changing the rules."""

_AWK: Final = awk("iptables.awk")
_OPTION: Final = re.compile(r"-[-a-zA-Z]")
_PROTOCOLS: Final = {"50": "esp", "6": "tcp", "17": "udp"}

SURVEY: Final = f"awk -v mode=survey {_AWK}"
"""Shell that reads what iptables-save prints, and prints one line for `parse_survey`."""


@dataclass(frozen=True)
class Chain:
    """One of the kernel's chains in the table filter, as the admin has it."""

    closed: bool
    """Whether a new packet that no rule speaks of is dropped."""
    new: str
    """The admin's chain that all new connections are sent to (`-m conntrack --ctstate NEW -j NAME`), if any."""


def parse_survey(line: str) -> dict[str, Chain]:
    """Each of INPUT, FORWARD and OUTPUT that is there, from the line that `SURVEY` printed."""
    chains = {}
    for word in line.split():
        name, closed, new = word.split("/")
        chains[name] = Chain(closed == "1", "" if new == "-" else new)
    return chains


@dataclass(frozen=True)
class Rule:
    """A rule: its matches and target as one would type them after `iptables -t TABLE -A CHAIN`, without a comment."""

    table: str
    chain: str
    spec: tuple[str, ...]

    def line(self, mark: str) -> str:
        """The rule as iptables-save prints it, with the comment by which it is known as ours."""
        if bad := [word for word in (self.table, self.chain, *self.spec) if not re.fullmatch(r"[\w:./,!@%+-]+", word)]:
            raise ValueError(f"{bad[0]!r} is no word of a rule")
        target = self.spec.index("-j")
        comment = ("-m", "comment", "--comment", f'"{mark}"')
        return " ".join(("-A", self.chain, *self.spec[:target], *comment, *self.spec[target:]))


@dataclass(frozen=True)
class _Rules(MarkedRules):
    """What rules in force and rules in a file have in common; `rules` in the order in which they are to stand."""

    family: Family
    purpose: str
    rules: tuple[Rule, ...]
    note: str = ""

    @property
    def program(self) -> str:
        """`iptables` or `ip6tables`."""
        return PROGRAMS[self.family]

    @property
    def awk(self) -> str:
        """How what iptables-save prints is read."""
        return _AWK

    @property
    def wanted(self) -> list[str]:
        """The rules as lines, each in its table: `*filter`, then its rules."""
        lines = []
        for table in dict.fromkeys(rule.table for rule in self.rules):
            lines += [f"*{table}", *(rule.line(self.mark) for rule in self.rules if rule.table == table)]
        return lines

    @property
    def placed(self) -> list[str]:
        """The rules, each behind its table and its place."""
        return [f"{rule.table} 0 {rule.line(self.mark)}" for rule in self.rules]

    def canonical(self, lines: Sequence[str]) -> object:
        """Each rule as what it asks for."""
        return _canonical(lines)


@dataclass(frozen=True)
class LiveRules(_Rules, RulesInForce):
    """Rules in force."""

    @property
    def listing(self) -> str:
        """iptables-save."""
        return f"{self.program}-save"

    @property
    def test(self) -> str:
        """iptables-restore's own test."""
        return f"{self.load} --test"

    @property
    def load(self) -> str:
        """iptables-restore, which leaves alone what it is not told of."""
        return f"{self.program}-restore -w {LOCK_SECONDS} --noflush"


@dataclass(frozen=True)
class RetiredRules(LiveRules):
    """Rules of the admin's in force that are outdated: they are taken out; rollback puts each in its place again."""

    reasons: Reasons = field(kw_only=True)
    """Each behind an extended regular expression that such a rule has, as iptables-save prints it."""

    @property
    def key(self) -> str:
        """What the rules are, and the program."""
        return f"{self.purpose} in force ({self.program})"

    @property
    def which(self) -> str:
        """Those of that form."""
        return f"pattern={quote('|'.join(pattern for pattern, _ in self.reasons))}"

    def judge(self, found: Reading) -> Finding:
        """In order when there is none."""
        finding = super().judge(found)
        return replace(finding, note=why(self.reasons, found.text.splitlines())) if finding.change else finding

    def _summary(self, where: str, have: Sequence[str]) -> str:  # noqa: ARG002 - they are taken from there
        count = sum(not line.startswith("*") for line in have)
        return f"take {count} out of those in force ({self.program}): {self.purpose}"


@dataclass(frozen=True)
class StoredRules(_Rules, RulesInFile):
    """Rules in a file in the format of iptables-save."""

    path: str = field(kw_only=True)

    @property
    def validator(self) -> str:
        """iptables-restore's own test."""
        return f'{self.program}-restore -w {LOCK_SECONDS} --test <"$new"'


def _canonical(lines: Iterable[str]) -> dict[tuple[str, str], list[object]]:
    """The rules of each table and chain in order, each as what it asks for, however it is spelled."""
    chains: dict[tuple[str, str], list[object]] = {}
    table = ""
    for line in lines:
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(OUT_OF_REACH):
            chains.setdefault((table, ""), []).append(line)
        else:
            _, chain, *words = shlex.split(line)
            chains.setdefault((table, chain), []).append(_groups(words))
    return chains


def _groups(words: Sequence[str]) -> list[tuple[str, ...]]:
    """A rule's options with their values, sorted; which module an option is of goes without saying."""
    groups: list[list[str]] = []
    for word in words:
        if groups and groups[-1] == ["!"]:
            groups[-1].append(word)
        elif word == "!" or _OPTION.match(word) or not groups:
            groups.append([word])
        else:
            groups[-1].append(_value(groups[-1][-1], word))
    return sorted(tuple(group) for group in groups if group[0] != "-m")


def _value(option: str, word: str) -> str:
    if option == "-p":
        return _PROTOCOLS.get(word, word)
    if option in {"-s", "-d"}:
        try:
            return str(ip_network(word))
        except ValueError:
            return word
    return word
