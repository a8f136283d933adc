"""Questions to the user, asked at a terminal."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

from runbook import asking
from runbook.errors import AGAIN
from runbook.executor import Choice
from runbook.narrator import counted, undoing
from runbook.questions import TakeBack
from runbook.step import dependants

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from runbook.events import Plan
    from runbook.narrator import Narrator
    from runbook.questions import Offer
    from runbook.step import Step
    from runbook.terminal import Terminal

_WHY: Final = "w"
_COMMANDS: Final = "c"
_REST: Final = "r"
_CHOICES: Final = {"a": Choice.APPLY, "s": Choice.SKIP, _REST: Choice.APPLY, "q": Choice.STOP}


class Asker:
    """Asks before each step that changes something: what it is for, what will change and where, then what to do."""

    def __init__(self, terminal: Terminal, narrator: Narrator, steps: Sequence[Step], goes_on: str = AGAIN) -> None:
        """Show on `terminal`, ask below; `steps` are all of the procedure, `goes_on` is the command that does."""
        self._terminal = terminal
        self._narrator = narrator
        self._steps = steps
        self._goes_on = goes_on
        self._asks = True

    def __call__(self, plan: Plan) -> Choice:
        """Ask what to do with a plan; Ctrl-C at the question stops."""
        if not self._asks:
            return Choice.APPLY
        self._terminal.line()
        self._terminal.prose(plan.step.purpose(), 2)
        self._terminal.line()
        self._narrator.diffs(plan)
        self._terminal.line()
        while (answer := self._answer(plan)) not in _CHOICES:
            self._terminal.line()
            if answer == _WHY:
                self._terminal.prose(plan.step.explain(), 2)
            else:
                self._narrator.commands(plan)
            self._terminal.line()
        if answer == _REST:
            self._asks = self._narrator.asking = False
        return _CHOICES[answer]

    def _answer(self, plan: Plan) -> str:
        number = sum(len(found) for found in plan.changes.values())
        what = "this change" if number == 1 else f"these {counted(number)}"
        waiting = [step.name for step in dependants(self._steps, plan.step)]
        skip = (
            f"skip; then these cannot follow there: {', '.join(waiting)}" if waiting else "skip; nothing waits for it"
        )
        if len(skip) > self._terminal.width - _BESIDE:
            self._terminal.prose(f"Without it these cannot follow there: {', '.join(waiting)}.", 2)
            skip = f"skip; then {len(waiting)} later steps cannot follow there"
        choices = {
            "a": "apply",
            "s": skip,
            _WHY: "why: explain this step, then ask again",
            _COMMANDS: "show the commands, then ask again",
            _REST: "apply this and the rest, ask no more",
            "q": f"stop here ({self._goes_on} goes on)",
        }
        try:
            return asking.select(f"Make {what} on {', '.join(plan.changes)}?", choices)
        except KeyboardInterrupt:
            return "q"


_BESIDE: Final = 8
"""Columns that stand beside a choice: the pointer, its letter."""


class Offers:
    """Asks whether to do what a run offers on its way; no is the default, and the answer to Ctrl-C."""

    def __init__(self, terminal: Terminal, narrator: Narrator) -> None:
        """Show on `terminal`, ask below, as long as `narrator` is asking."""
        self._terminal = terminal
        self._narrator = narrator

    def __call__(self, offer: TakeBack | Offer) -> Collection[str]:
        """Show what would be done, and ask; returns the targets where it is wanted."""
        if not self._narrator.asking:
            return []
        return self._take_back(offer) if isinstance(offer, TakeBack) else self._offered(offer)

    def _offered(self, offer: Offer) -> Collection[str]:
        offers = {target: (each.note, each.offer) for target, each in offer.findings.items() if each.offer}
        for target, (note, change) in offers.items():
            self._terminal.line(f"\n  {target}: {note}")
            for line in change.diff.splitlines():
                self._terminal.line(f"      {line}")
            if change.irreversible:
                self._terminal.item(f"cannot be taken back: {change.irreversible}", 6)
        names = list(offers)
        wanted = {"no": [], **{f"yes, on {name}": [name] for name in names}}
        if len(names) > 1:
            wanted["yes, on all of them"] = names
        what = " / ".join(dict.fromkeys(change.summary for _, change in offers.values()))
        with self._terminal.held():
            return wanted.get(choose(f"{offer.step.title}: {what}?", *wanted), [])

    def _take_back(self, offer: TakeBack) -> Collection[str]:
        name, target = offer.step.name, offer.target
        self._terminal.line(f"\n  {name} failed on {target}, and this run has changed it there:")
        for line in undoing(offer.image):
            self._terminal.item(line, 4)
        leave, take_back = "leave it as it is (runbook resume goes on)", f"take this step back on {target} now"
        with self._terminal.held():
            answer = choose(f"{target}: what about {name}?", leave, take_back)
        return [target] if answer == take_back else []


class Questions:
    """What a host asks while it is logged in to. Several do so at once; the user is asked one thing at a time."""

    def __init__(self, terminal: Terminal, learn: Callable[[str], None]) -> None:
        """Ask below `terminal`; `learn` is told each secret that is typed, before anything else is."""
        self._terminal = terminal
        self._learn = learn

    def confirm(self, question: str) -> bool:
        """A yes or no, no by default; what stands above its last line is said before: a prompt would cut it off."""
        before, _, last = question.rpartition("\n")
        with self._terminal.held(before):
            try:
                return asking.confirm(last)
            except KeyboardInterrupt:
                _interrupt()
                return False

    def password(self, question: str) -> str:
        """A secret, not shown; empty when the user declines."""
        with self._terminal.held():
            try:
                secret = asking.password(question)
            except KeyboardInterrupt:
                _interrupt()
                secret = ""
        self._learn(secret)
        return secret

    def text(self, question: str) -> str:
        """A line of text; Ctrl-C is raised as KeyboardInterrupt, as by all that follows here."""
        with self._terminal.held():
            return asking.text(question)

    def choose(self, question: str, choices: Mapping[str, str]) -> str:
        """One of `choices`, by its key; the values are what is shown."""
        with self._terminal.held():
            return asking.select(question, choices)

    def agree(self, question: str, *, default: bool) -> bool:
        """A yes or no."""
        with self._terminal.held():
            return asking.confirm(question, default=default)


def _interrupt() -> None:
    """Have Ctrl-C at a log-in's question be one to the run: it is on its way to more than this host."""
    os.kill(os.getpid(), signal.SIGINT)


def yes(_: Plan) -> Choice:
    """The answer of `--yes`."""
    return Choice.APPLY


def choose(question: str, *choices: str) -> str:
    """One of the choices; the first by default, empty when the user gives no answer."""
    try:
        return asking.select(question, {each: each for each in choices})
    except KeyboardInterrupt:
        return ""


def confirm(question: str) -> bool:
    """A yes or no, no by default, and when the user gives no answer."""
    try:
        return asking.confirm(question)
    except KeyboardInterrupt:
        return False
