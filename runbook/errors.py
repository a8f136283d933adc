"""Every error a user can meet, as one tree; and the form in which each kind of failure is told.

RunbookError                 one clear sentence; exit 1
+-- UsageError               a wrong flag or a wrong sites.yaml; exit 2
+-- UnreachableError         a host does not answer, or a login failed; exit 5
|   +-- HostKeyError         its key is unknown or has changed; exit 5
|   +-- SudoError            logged in, but root cannot be had; exit 5
+-- BrokenLineError          the line dropped while a script ran: its outcome is not known; exit 5
+-- StepError                a step failed on a target; exit 1
|   +-- PlanChangedError     the host is no longer as the plan says; it is planned again
+-- LockedError              another run holds the host; exit 6
+-- StoppedError             the user stopped the run; exit 4
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from logs import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXIT_CODES: Final[Mapping[int, str]] = {
    0: "In order, or done.",
    1: "A step failed.",
    2: "Wrong usage, or a `sites.yaml` that cannot be followed.",
    3: "The audit found changes to make.",
    4: "Stopped by you, by an answer or by Ctrl-C once; `resume` goes on.",
    5: "A host is unreachable, or its key is refused.",
    6: "Another run holds a host.",
    130: "Interrupted at once, by Ctrl-C twice, or once where nothing is changed; `resume` goes on.",
}
"""What a command ends with, and what that means."""
AGAIN: Final = "runbook resume"
"""What goes on where nobody has said which command does."""
SITES: Final = Path("sites.yaml")
"""The network's description, where no other is named."""


@dataclass(frozen=True)
class Entry:
    """One kind of failure, in the four parts in which it is told (`runbook.catalogue`, `steps.catalogue`).

    Each part is a template, filled with the words that are known where it is raised, and with `{again}`, the command
    that goes on, and `{file}`, the option that names the user's sites.yaml (` --file PATH`, or nothing).

    Attributes:
        id: Its name, for programs; it never changes.
        what: What happened, in one sentence.
        likely: The likely cause.
        look: The exact command to look closer; `on HOST: ` before it where it is not for this machine.
        go_on: What to do about it, and the command to go on.
        said: Patterns, any of which in what a program complained of gives this failure away.
    """

    id: str
    what: str
    likely: str
    look: str
    go_on: str
    said: tuple[str, ...] = ()


class RunbookError(Exception):
    """What went wrong, where, and what to do, in words for the user; never holds a secret."""

    exit_code: ClassVar[int] = 1

    def __init__(self, problem: Entry | str, *, hint: str = "", **words: object) -> None:
        """Say what is wrong.

        Args:
            problem: An entry of a catalogue; or, for a mistake in a command line, one sentence.
            hint: With a sentence: what to do about it.
            words: What the entry's templates are filled with.
        """
        self.entry = problem if isinstance(problem, Entry) else Entry("", problem, "", "", hint)
        self.words: dict[str, Any] = words
        self.again = ""
        """The command that goes on: who tells the error knows it, who raises it does not."""
        self.file = ""
        """The option by which other commands find the same sites.yaml, a space before it."""
        self.redact: Callable[[str], str] = Redactor()
        """Takes secrets out of it where it is printed: who tells the error knows them."""
        super().__init__(self._filled(self.entry.what))

    @property
    def id(self) -> str:
        """The entry's name; empty for a mistake in a command line."""
        return self.entry.id

    def at(self, target: str) -> str:
        """The sentence, behind the name of where it happened."""
        return f"{target}: {str(self).removeprefix(f'{target}: ')}"

    @property
    def likely(self) -> str:
        """The likely cause."""
        return self._filled(self.entry.likely)

    @property
    def look(self) -> str:
        """The command to look closer."""
        return self._filled(self.entry.look)

    @property
    def hint(self) -> str:
        """What to do, and the command to go on; of a sentence that says all, the command that was typed."""
        return self._filled(self.entry.go_on) or self.again

    @property
    def advice(self) -> dict[str, str]:
        """What follows the sentence itself, part by part; those that there are."""
        parts = {"likely": self.likely, "to look": self.look, "to go on": self.hint}
        return {label: text for label, text in parts.items() if text}

    def _filled(self, template: str) -> str:
        if not self.id:  # a sentence, with whatever braces
            return template
        return template.format_map({**self.words, "again": self.again or AGAIN, "file": self.file})


class UsageError(RunbookError):
    """A wrong flag, or a `sites.yaml` that cannot be followed."""

    exit_code = 2


class UnreachableError(RunbookError):
    """A host could not be reached or refused the login."""

    exit_code = 5


class HostKeyError(UnreachableError):
    """A host's key is not known, or is not the one known."""


class SudoError(UnreachableError):
    """Root cannot be had on a host, so nothing more is tried there."""


class BrokenLineError(RunbookError):
    """The line to a host dropped while a script was running."""

    exit_code = 5


class StepError(RunbookError):
    """A step did not reach what it states."""


class PlanChangedError(StepError):
    """A host changed between the plan and its execution; nothing was done."""


class LockedError(RunbookError):
    """Another run holds the host."""

    exit_code = 6


class StoppedError(RunbookError):
    """The user stopped the run; it can be resumed."""

    exit_code = 4
