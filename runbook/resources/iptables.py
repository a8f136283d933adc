"""Rules of ours among an admin's own: in the kernel by iptables or ip6tables, and in the file that keeps them.

A rule of ours is known by its comment, `ipsec-runbook:PURPOSE`. Nothing else is ever removed, and nothing that is only
in the kernel (fail2ban's rules, Docker's) is ever written to a file. Where in its chain a rule goes is found on the
host at the moment of the change (`iptables.awk` says how), and each change is one transaction of iptables-restore.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from difflib import ndiff
from importlib.resources import files
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final, Literal

from runbook.script import quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runbook.script import Reading

Family = Literal[4, 6]

PROGRAMS: Final[dict[Family, str]] = {4: "iptables", 6: "ip6tables"}
LOCK_SECONDS: Final = 10
"""How long to wait for another program that is changing the rules."""

_AWK: Final = re.sub(
    r"^ *#.*\n", "", (files("runbook.resources") / "iptables.awk").read_text(encoding="utf-8"), flags=re.MULTILINE
)
_OPTION: Final = re.compile(r"-[-a-zA-Z]")
_OUT_OF_REACH: Final = "# out of reach: "
_PROTOCOLS: Final = {"50": "esp", "6": "tcp", "17": "udp"}

SURVEY: Final = f"awk -v mode=survey {quote(_AWK)}"
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
class _Rules(Part):
    """What rules in force and rules in a file have in common; `rules` in the order in which they are to stand."""

    family: Family
    purpose: str
    rules: tuple[Rule, ...]
    note: str = ""
    """What the admin should know of these rules besides."""

    @property
    def mark(self) -> str:
        """The comment that every rule of this purpose carries."""
        return f"ipsec-runbook:{self.purpose}"

    @property
    def program(self) -> str:
        """`iptables` or `ip6tables`."""
        return PROGRAMS[self.family]

    @property
    def wanted(self) -> list[str]:
        """The rules as lines, each in its table: `*filter`, then its rules."""
        lines = []
        for table in dict.fromkeys(rule.table for rule in self.rules):
            lines += [f"*{table}", *(rule.line(self.mark) for rule in self.rules if rule.table == table)]
        return lines

    def judge(self, found: Reading) -> Finding:
        """In order when our rules are there, in order, and within reach of a packet."""
        if found.code:
            return self.unknown(f"{self.program} does not work on this host: {found.text.strip() or 'it says nothing'}")
        have = found.text.splitlines()
        if _canonical(have) == _canonical(self.wanted):
            return self.in_order(self.note)
        diff = [line for line in ndiff(have, self.wanted) if not line.startswith(("?", "  *"))]
        change = self._change(have, "\n".join(diff))
        return self.drift(change, self.note) if have else self.absent(change, self.note)

    def _change(self, have: Sequence[str], diff: str) -> Change:
        raise NotImplementedError

    def _functions(self) -> str:
        """Shell: what every script about these rules starts with."""
        wanted = "\n".join(f"{rule.table} 0 {rule.line(self.mark)}" for rule in self.rules)
        return (
            f'rb_rules() {{ mark={self.mark} wanted="$wanted" ended="${{ended:-}}" awk -v mode="$1" {quote(_AWK)}; }}\n'
            f"wanted={quote(wanted)}\n"
        )

    def _summary(self, where: str, have: Sequence[str]) -> str:
        had = sum(not line.startswith("*") for line in have)
        count = f"{len(self.rules)} rule{'s' * (len(self.rules) != 1)}"
        return f"{f'replace {had} by' if had else 'add'} {count} for {self.purpose} {where}"


@dataclass(frozen=True)
class LiveRules(_Rules):
    """Rules in force."""

    @property
    def key(self) -> str:
        """The program and what the rules are for."""
        return f"{self.program} rules in force for {self.purpose}"

    def probe(self) -> str:
        """Our rules as iptables-save prints them."""
        return (
            f"rules=$({self.program}-save 2>&1) || {{ printf '%s\\n' \"$rules\"; exit 1; }}\n"
            f"{self._functions()}printf '%s\\n' \"$rules\" | rb_rules ours"
        )

    def _change(self, have: Sequence[str], diff: str) -> Change:
        save = f"{self.program}-save"
        return Change(
            summary=self._summary(f"to those in force ({self.program})", have),
            save=f'{save} >"$image/kept.$index"',
            apply=f"{self._functions()}rules=$({save}) &&\n{self._restore()}",
            undo=f"{self._functions()}rules=$({save}) &&\n{_WANT_WHAT_WAS}{self._restore()}",
            diff=diff,
            risky=True,
        )

    def _restore(self) -> str:
        """Shell that makes ours those of $wanted among $rules, in one transaction that has been tested before."""
        restore = f"{self.program}-restore -w {LOCK_SECONDS} --noflush"
        return (
            "change=$(printf '%s\\n' \"$rules\" | rb_rules live) &&\n"
            '{ [ -z "$change" ] || {\n'
            f"    printf '%s\\n' \"$change\" | {restore} --test &&\n"
            f"        printf '%s\\n' \"$change\" | {restore}\n"
            "}; }"
        )


_WANT_WHAT_WAS: Final = """\
wanted=$(rb_rules kept <"$image/kept.$index") &&
{ [ "$(rb_rules others <"$image/kept.$index")" = "$(printf '%s\\n' "$rules" | rb_rules others)" ] ||
    wanted=$(printf '%s\\n' "$wanted" | sed 's/^\\([^ ]*\\) [0-9]*/\\1 0/'); } &&
"""
"""What was ours goes back to its own place; where the admin has changed those chains since, to a place found anew."""


@dataclass(frozen=True)
class StoredRules(_Rules):
    """Rules in the file from which an admin loads them at boot, in the format of iptables-save.

    Everything else in the file stays as it is to the byte, and so do its owner and mode.
    """

    path: str = field(kw_only=True)

    @property
    def key(self) -> str:
        """The file and what the rules are for."""
        return f"rules in {self.path} for {self.purpose}"

    def probe(self) -> str:
        """Our rules in the file."""
        path = quote(self.path)
        missing = quote(f"{self.path} is missing")
        return f"[ -f {path} ] || {{ echo {missing}; exit 1; }}\n{self._functions()}rb_rules ours <{path}"

    def judge(self, found: Reading) -> Finding:
        """In order when our rules are in the file."""
        return self.unknown(found.text.strip()) if found.code else super().judge(found)

    def _change(self, have: Sequence[str], diff: str) -> Change:
        path = quote(self.path)
        begin = f"{self._functions()}path=$(readlink -f -- {path})\n{_ENDED}"
        return Change(
            summary=self._summary(f"to {self.path}", have),
            save=f'cp -- {path} "$image/kept.$index" && sync -- "$image/kept.$index"',
            apply=f'{begin}rb_rules file <"$path" >"$image/new.$index" &&\n{self._put(test=True)}',
            undo=f"[ -f {path} ] || exit 0\n{begin}{_EDIT_BACK}{self._put(test=False)}",
            diff=diff,
        )

    def _put(self, *, test: bool) -> str:
        judge = f'"{self.program}-restore -w {LOCK_SECONDS} --test <\\"\\$new\\""' if test else "''"
        return f'rb_put "$path" "$(stat -c %a -- "$path")" "$(stat -c %u:%g -- "$path")" {judge} <"$image/new.$index"'


_ENDED: Final = 'ended=$(tail -c 1 -- "$path" | wc -l | tr -d 0)\n'
"""Shell that sets $ended, which is 1 where the file at $path ends in a line end."""

_EDIT_BACK: Final = """\
{ rb_rules file <"$image/kept.$index" | cmp -s - "$path" && cp -- "$image/kept.$index" "$image/new.$index"; } || {
    wanted=$(rb_rules kept <"$image/kept.$index" | sed 's/^\\([^ ]*\\) [0-9]*/\\1 0/') &&
    rb_rules file <"$path" >"$image/new.$index"
} &&
"""
"""The file as it was; where the admin has changed it since, ours out of it, and what was ours back into it."""


def _canonical(lines: Iterable[str]) -> dict[tuple[str, str], list[object]]:
    """The rules of each table and chain in order, each as what it asks for, however it is spelled."""
    chains: dict[tuple[str, str], list[object]] = {}
    table = ""
    for line in lines:
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(_OUT_OF_REACH):
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
