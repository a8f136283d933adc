"""Firewall rules of ours among an admin's own, in force and in the file that keeps them, in no firewall's language.

A rule of ours is known by its comment, `ipsec-runbook:PURPOSE`. Nothing else is ever removed, and nothing that is only
in the kernel (fail2ban's rules, Docker's) is ever written to a file. Where in its chain a rule goes is found on the
host at the moment of the change, by the awk program of the firewall's language, which says what it does in its `mode`
and is the same for what the kernel lists and for the file; and each change is one transaction, tested before.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from difflib import ndiff
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from runbook.script import quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook.script import Reading

OUT_OF_REACH: Final = "# out of reach: "
"""What stands before a rule of ours that no packet can get to."""


def awk(name: str) -> str:
    """One of the awk programs beside this module, quoted, without its remarks."""
    text = (files("runbook.resources") / name).read_text(encoding="utf-8")
    return quote(re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE))


class MarkedRules(Part):
    """What rules in force and rules in a file have in common."""

    purpose: str
    note: str
    """What the admin should know of these rules besides."""

    @property
    def mark(self) -> str:
        """The comment that every rule of this purpose carries."""
        return f"ipsec-runbook:{self.purpose}"

    @property
    @abstractmethod
    def program(self) -> str:
        """The command by which an admin works these rules."""

    @property
    @abstractmethod
    def awk(self) -> str:
        """The awk program, quoted."""

    @property
    @abstractmethod
    def wanted(self) -> Sequence[str]:
        """The rules as the awk program's mode `ours` prints them, in the order in which they are to stand."""

    @property
    @abstractmethod
    def placed(self) -> Sequence[str]:
        """The rules as it wants them told: for each the place, 0 where that is to be found."""

    @abstractmethod
    def canonical(self, lines: Sequence[str]) -> object:
        """What rules ask for, however they are spelled."""

    def judge(self, found: Reading) -> Finding:
        """In order when our rules are there, in order, and within reach of a packet."""
        if found.code:
            return self.unknown(f"{self.program} does not work on this host: {found.text.strip() or 'it says nothing'}")
        have = found.text.splitlines()
        if self.canonical(have) == self.canonical(self.wanted):
            return self.in_order(self.note)
        diff = [line for line in ndiff(have, self.wanted) if not line.startswith(("?", "  *"))]
        change = self._change(have, "\n".join(diff))
        return self.drift(change, self.note) if have else self.absent(change, self.note)

    @abstractmethod
    def _change(self, have: Sequence[str], diff: str) -> Change: ...

    def _functions(self) -> str:
        """Shell: what every script about these rules starts with."""
        told = f'{self.which} wanted="$wanted" ended="${{ended:-}}"'
        return f'rb_rules() {{ {told} awk -v mode="$1" {self.awk}; }}\nwanted={quote(chr(10).join(self.placed))}\n'

    @property
    def which(self) -> str:
        """What tells the awk program the rules that are meant: an assignment in the shell."""
        return f"mark={self.mark}"

    def _summary(self, where: str, have: Sequence[str]) -> str:
        had = sum(not line.startswith("*") for line in have)
        what = f"{len(self.placed) or had} rule{'s' * ((len(self.placed) or had) != 1)} for {self.purpose}"
        if not self.placed:
            return f"take {what} out of {where}"
        return f"replace {had} by {what} in {where}" if had else f"add {what} to {where}"


class RulesInForce(MarkedRules):
    """Rules in force."""

    @property
    @abstractmethod
    def listing(self) -> str:
        """Shell that prints the rules in force."""

    @property
    @abstractmethod
    def test(self) -> str:
        """Shell that tries what the awk program's mode `live` prints, on standard input, and changes nothing."""

    @property
    @abstractmethod
    def load(self) -> str:
        """Shell that does it, in one transaction."""

    @property
    def key(self) -> str:
        """The program and what the rules are for."""
        return f"{self.program} rules in force for {self.purpose}"

    def probe(self) -> str:
        """Our rules as the program prints them."""
        return (
            f"rules=$({self.listing} 2>&1) || {{ printf '%s\\n' \"$rules\"; exit 1; }}\n"
            f"{self._functions()}printf '%s\\n' \"$rules\" | rb_rules ours"
        )

    def _change(self, have: Sequence[str], diff: str) -> Change:
        return Change(
            summary=self._summary(f"those in force ({self.program})", have),
            save=f'{self.listing} >"$image/kept.$index"',
            apply=f"{self._functions()}rules=$({self.listing}) &&\n{self._restore()}",
            undo=f"{self._functions()}rules=$({self.listing}) &&\n{_WANT_WHAT_WAS}{self._restore()}",
            diff=diff,
            risky=True,
        )

    def _restore(self) -> str:
        """Shell that makes ours those of $wanted among $rules, in one transaction that has been tested before."""
        return (
            "change=$(printf '%s\\n' \"$rules\" | rb_rules live) &&\n"
            '{ [ -z "$change" ] || {\n'
            f"    printf '%s\\n' \"$change\" | {self.test} &&\n"
            f"        printf '%s\\n' \"$change\" | {self.load}\n"
            "}; }"
        )


_WANT_WHAT_WAS: Final = """\
wanted=$(rb_rules kept <"$image/kept.$index") &&
{ [ "$(rb_rules others <"$image/kept.$index")" = "$(printf '%s\\n' "$rules" | rb_rules others)" ] ||
    wanted=$(printf '%s\\n' "$wanted" | sed 's/^\\([^ ]*\\) [0-9]*/\\1 0/'); } &&
"""
"""What was ours goes back to its own place; where the admin has changed those chains since, to a place found anew."""


class RulesInFile(MarkedRules):
    """Rules in the file from which an admin loads them at boot.

    Everything else in the file stays as it is to the byte, and so do its owner and mode.
    """

    path: str

    @property
    @abstractmethod
    def validator(self) -> str:
        """Shell that judges a new content for the file, in the file `$new`, before it takes the old one's place."""

    @property
    def key(self) -> str:
        """The file and what the rules are for."""
        return f"rules in {self.path} for {self.purpose}"

    def probe(self) -> str:
        """Our rules in the file; or why ours cannot be put into it."""
        path = quote(self.path)
        missing = quote(f"{self.path} is missing")
        return (
            f"[ -f {path} ] || {{ echo {missing}; exit 1; }}\n{self._functions()}"
            f"rb_rules file <{path} 2>&1 >/dev/null && rb_rules ours <{path}"
        )

    def judge(self, found: Reading) -> Finding:
        """In order when our rules are in the file."""
        return self.unknown(found.text.strip()) if found.code else super().judge(found)

    def _change(self, have: Sequence[str], diff: str) -> Change:
        path = quote(self.path)
        begin = f"{self._functions()}path=$(readlink -f -- {path})\n{_ENDED}"
        return Change(
            summary=self._summary(self.path, have),
            save=f'cp -- {path} "$image/kept.$index" && sync -- "$image/kept.$index"',
            apply=f'{begin}rb_rules file <"$path" >"$image/new.$index" &&\n{self._put(self.validator)}',
            undo=f"[ -f {path} ] || exit 0\n{begin}{_EDIT_BACK}{self._put('')}",
            diff=diff,
        )

    @staticmethod
    def _put(validator: str) -> str:
        return (
            f'rb_put "$path" "$(stat -c %a -- "$path")" "$(stat -c %u:%g -- "$path")" {quote(validator)} '
            '<"$image/new.$index"'
        )


_ENDED: Final = 'ended=$(tail -c 1 -- "$path" | wc -l | tr -d 0)\n'
"""Shell that sets $ended, which is 1 where the file at $path ends in a line end."""

_EDIT_BACK: Final = """\
{ rb_rules file <"$image/kept.$index" | cmp -s - "$path" && cp -- "$image/kept.$index" "$image/new.$index"; } || {
    wanted=$(rb_rules kept <"$image/kept.$index" | sed 's/^\\([^ ]*\\) [0-9]*/\\1 0/') &&
    rb_rules file <"$path" >"$image/new.$index"
} &&
"""
"""The file as it was; where the admin has changed it since, ours out of it, and what was ours back into it."""
