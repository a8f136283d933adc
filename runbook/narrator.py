"""A run told to a person, event by event."""

from __future__ import annotations

import time
from functools import singledispatchmethod
from textwrap import indent
from typing import TYPE_CHECKING, Final

from logs.redact import MASK
from runbook.events import (
    Applied,
    Applying,
    Checked,
    Checking,
    Connected,
    Connecting,
    Crossed,
    Event,
    Failed,
    Plan,
    Planned,
    StepDone,
    Taken,
    Undone,
    Waiting,
)
from runbook.images import PUT_BACK
from runbook.script import PRELUDE_FILE
from runbook.step import CONTROLLER, Verdict
from runbook.terminal import elapsed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook.errors import RunbookError
    from runbook.images import Image
    from runbook.step import Change, Finding
    from runbook.terminal import Terminal

_MARKS: Final = {
    Verdict.IN_ORDER: ("ok", "green"),
    Verdict.ABSENT: ("+", "green"),
    Verdict.DRIFT: ("~", "yellow"),
    Verdict.LATER: ("...", "cyan"),
    Verdict.UNKNOWN: ("?", "red"),
}

_UNDOING: Final = {
    "as we left it": "undo",
    "as before": "nothing to undo",
    "cut off": "undo",
    "changed since": "KEEP",
}


class Narrator:
    """Tells a run's events, as they happen."""

    def __init__(self, terminal: Terminal, places: Mapping[str, str] | None = None, *, asking: bool = False) -> None:
        """Tell them on `terminal`; `places` says of each target where it is.

        `asking`: each change is shown in full by a question, so it is not told before.
        """
        self._terminal = terminal
        self._places = places or {}
        self._began = time.monotonic()
        self.asking = asking
        self._advised: list[Mapping[str, str]] = []

    @singledispatchmethod
    def __call__(self, event: Event) -> None:
        """Tell one event; one that has no words of its own is passed over."""

    @__call__.register
    def _(self, event: Connecting) -> None:
        self._terminal.busy(f"connecting to {event.target}")

    @__call__.register
    def _(self, event: Connected) -> None:
        self._terminal.done(f"connecting to {event.target}")
        self._terminal.line(self._terminal.paint(f"{event.target}: connected and read in {event.seconds:.1f} s", "dim"))
        if event.held_by:
            self._terminal.line(f"{event.target}: another run holds it: {event.held_by}")

    @__call__.register
    def _(self, event: Failed) -> None:
        where = f"{event.step} on {event.target}" if event.step else event.target
        why = str(event.error).removeprefix(f"{event.target}: ")
        self._terminal.done(where if event.step else f"connecting to {event.target}")
        for line in f"{self._terminal.paint(f'FAILED {where}', 'red', 'bold')}: {why}".splitlines():
            self._terminal.item(line, 4)
        self._advise(event.error)

    @__call__.register
    def _(self, event: Taken) -> None:
        self._terminal.line(f"    {event.target}: {self._terminal.paint('~', 'yellow')} {event.summary}")

    @__call__.register
    def _(self, event: Waiting) -> None:
        self._terminal.line(f"    {event.target}: {event.what}: waiting until it is done")
        self._terminal.busy(f"{event.what} of {event.target}")

    @__call__.register
    def _(self, event: Crossed) -> None:
        self._terminal.done(f"{event.what} of {event.target}")
        done = self._terminal.paint("done", "green")
        self._terminal.line(f"    {done} {event.target}: {event.what} ({event.seconds:.0f} s)")

    @__call__.register
    def _(self, event: Applying) -> None:
        self._terminal.busy(f"{event.step} on {event.target}")

    @__call__.register
    def _(self, event: Applied) -> None:
        took = self._terminal.done(f"{event.step} on {event.target}")
        count = counted(len(event.changes))
        self._terminal.line(f"    {self._terminal.paint('changed', 'green')} {event.target}: {count}{took}")

    @__call__.register
    def _(self, event: Checking) -> None:
        self._terminal.busy(f"{event.step}: {event.title}")

    @__call__.register
    def _(self, event: Checked) -> None:
        took = self._terminal.done(f"{event.step}: {event.title}")
        self._terminal.line(f"    {self._terminal.paint('proved', 'green')} {event.title}{took}")
        for line in event.evidence:
            self._terminal.item(self._terminal.paint(line, "dim"), 6)

    @__call__.register
    def _(self, event: StepDone) -> None:
        if event.outcome == "skipped":
            self._terminal.line(f"    {self._terminal.paint(event.outcome, 'red')}: {event.step}")

    @__call__.register
    def _(self, event: Undone) -> None:
        self._terminal.line(f"    {self._terminal.paint('undone', 'green')} {event.step} on {event.target}")

    @__call__.register
    def _(self, event: Planned) -> None:
        self.plan(event.plan)

    def _advise(self, error: RunbookError) -> None:
        """What is to be said beside a failure's own sentence."""
        for label, text in error.advice.items():
            head = self._terminal.paint(f"{label}:", "bold")
            # a command is not broken into lines, so that it can be taken as it stands
            lines = self._terminal.wrapped(text, 6 + len(label) + 2) if label == "likely" else [text]
            for number, line in enumerate(lines):
                self._terminal.line(f"      {head} {line}" if number == 0 else f"        {line}")

    def plan(self, plan: Plan, *, advise: bool = False) -> None:
        """What a step found; to `advise`: with what helps where something cannot be told, of each cause once."""
        terminal = self._terminal
        if self.asking and plan.changes:
            self._head(plan)
        else:
            place = terminal.paint(f"[{plan.number}/{plan.of}]", "dim")
            state = terminal.paint("in order", "green") if plan.in_order else ""
            terminal.line(f"{place} {terminal.paint(plan.step.title, 'bold')} ({plan.step.name}) {state}".rstrip())
        for target in plan.unread:
            terminal.line(f"    {terminal.paint('?', 'red')} {target}: could not be read")
        if plan.upheld:
            terminal.line(f"    what stands on this step stays in place: {', '.join(plan.upheld)}")
        for target, name in plan.blocked.items():
            parts = sum(each.verdict is Verdict.BLOCKED for each in plan.findings[target])
            waiting = f"{parts} part{'' if parts == 1 else 's'}"
            terminal.line(f"    {terminal.paint('-', 'red')} {target}: {waiting} blocked by {name}")
        for target, found in plan.findings.items():
            for each in found:
                told = each.verdict is Verdict.BLOCKED or ((each.change or each.offer) and self.asking)
                if not told and (each.verdict is not Verdict.IN_ORDER or each.note):
                    terminal.item(f"{target}: {self._finding(each)}", 4)
                if advise and each.error and each.error.advice not in self._advised:
                    self._advised.append(each.error.advice)
                    self._advise(each.error)

    def _head(self, plan: Plan) -> None:
        """Where one is: which step of how many, on which targets, how long after the beginning."""
        terminal = self._terminal
        step = f"Step {plan.number} of {plan.of}: {plan.step.title} ({plan.step.name})"
        where = [f"{name} ({self._places[name]})" if name in self._places else name for name in plan.changes]
        terminal.line()
        for line in terminal.wrapped(step):
            terminal.line(terminal.paint(line, "bold"))
        after = elapsed(time.monotonic() - self._began)
        for line in terminal.wrapped(f"on {' and '.join(where)}, {after} into the run"):
            terminal.line(terminal.paint(line, "dim"))

    def commands(self, plan: Plan) -> None:
        """The shell that makes a plan's changes, as it will run on each target; secrets are left out of it."""
        for target, found in plan.changes.items():
            who = "as you" if target == CONTROLLER else "as root"
            self._terminal.line(self._terminal.paint(f"  On {target}, {who}, until one fails:", "bold"))
            for each in found:
                if each.change:
                    self._terminal.line(self._terminal.paint(f"    # {each.change.summary}", "cyan"))
                    self._terminal.line(indent(_shell(each.change), "    "))
        self._terminal.prose("What is there before is kept first, to be put back. The functions rb_... are in:", 2)
        self._terminal.line(f"    {PRELUDE_FILE}")

    def diffs(self, plan: Plan) -> None:
        """The changes of a plan, as diffs, on every target."""
        for target, found in plan.changes.items():
            for each in found:
                if each.change is None:
                    continue
                self._terminal.item(f"{self._terminal.paint(target, 'bold')}: {each.change.summary}", 2)
                for line in each.change.diff.splitlines():
                    self._terminal.line(f"      {self._coloured(line)}")
                if each.change.irreversible:
                    self._terminal.item(f"cannot be taken back: {each.change.irreversible}", 6)

    def _finding(self, finding: Finding) -> str:
        mark, colour = _MARKS[finding.verdict]
        text = finding.change.summary if finding.change else finding.key
        flag = f"; apply {finding.offer.flag} does it" if finding.offer else ""
        note = f" ({finding.note}{flag})" if finding.note else ""
        return f"{self._terminal.paint(mark, colour)} {text}{self._terminal.paint(note, 'dim')}"

    def _coloured(self, line: str) -> str:
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        return self._terminal.paint(line, colour) if colour else line


def undoing(image: Image) -> list[str]:
    """What undoing an image would do, a line for each change, the last first."""
    lines = []
    for change in reversed(image.changes):
        note = f" ({change.status})" if change.status != "as we left it" else ""
        lasting = f"; {change.irreversible}" if change.irreversible else ""
        word = "put back" if change.decision == PUT_BACK else _UNDOING[change.status]
        lines.append(f"{word}: {change.summary}{note}{lasting}")
    return lines


def _shell(change: Change) -> str:
    """What makes a change."""
    if not change.apply:
        return "(no command of a shell: runbook does this by itself)"
    shown = change.apply.replace(change.secret, f"{MASK}\n") if change.secret else change.apply
    return f"{shown}\n# undone by the host itself unless a new login is proved possible" if change.risky else shown


def counted(number: int) -> str:
    """A number of changes in words."""
    return f"{number} change{'' if number == 1 else 's'}"
