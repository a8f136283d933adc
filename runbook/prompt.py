"""Questions to the user, asked at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook.executor import Choice
from runbook.narrator import undoing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runbook.events import Plan
    from runbook.narrator import Narrator
    from runbook.questions import TakeBack
    from runbook.terminal import Terminal


class Asker:
    """Asks before each step that changes something: what it is for, what will change and where, then what to do."""

    def __init__(self, terminal: Terminal, narrator: Narrator) -> None:
        """Show on `terminal`, ask below."""
        self._terminal = terminal
        self._narrator = narrator

    def __call__(self, plan: Plan) -> Choice:
        """Ask what to do with a plan; Ctrl-C at the question stops."""
        self._terminal.line(f"\n  {plan.step.purpose()}\n")
        self._narrator.diffs(plan)
        import questionary  # noqa: PLC0415 - a quarter of what a run that asks nothing would load

        targets = ", ".join(plan.changes)
        chosen = questionary.select(
            f"{plan.step.title}: make these changes on {targets}?",
            choices=[
                questionary.Choice("apply", Choice.APPLY),
                questionary.Choice("skip (steps that need this one cannot follow)", Choice.SKIP),
                questionary.Choice("stop here (the run can be resumed)", Choice.STOP),
            ],
        ).ask()
        return chosen if isinstance(chosen, Choice) else Choice.STOP


class Offers:
    """Asks whether to do what a run offers on its way; no is the default, and the answer to Ctrl-C."""

    def __init__(self, terminal: Terminal) -> None:
        """Show on `terminal`, ask below."""
        self._terminal = terminal

    def __call__(self, offer: TakeBack) -> bool:
        """Show what would be done, and ask."""
        name, target = offer.step.name, offer.target
        self._terminal.line(f"\n  {name} failed on {target}, and this run has changed it there:")
        for line in undoing(offer.image):
            self._terminal.line(f"    {line}")
        leave, take_back = "leave it as it is (the run can be resumed)", f"take this step back on {target} now"
        with self._terminal.held():
            return choose(f"{target}: what about {name}?", leave, take_back) == take_back


class Questions:
    """What a host asks while it is logged in to. Several do so at once; the user is asked one thing at a time."""

    def __init__(self, terminal: Terminal, learn: Callable[[str], None]) -> None:
        """Ask below `terminal`; `learn` is told each secret that is typed, before anything else is."""
        self._terminal = terminal
        self._learn = learn

    def confirm(self, question: str) -> bool:
        """A yes or no, no by default."""
        with self._terminal.held():
            return confirm(question)

    def password(self, question: str) -> str:
        """A secret, not shown; empty when the user declines."""
        with self._terminal.held():
            import questionary  # noqa: PLC0415 - see above

            secret = str(questionary.password(question).ask() or "")
        self._learn(secret)
        return secret

    def text(self, question: str) -> str:
        """A line of text; Ctrl-C is raised as KeyboardInterrupt, as by all that follows here."""
        with self._terminal.held():
            import questionary  # noqa: PLC0415 - see above

            return str(questionary.text(question).unsafe_ask()).strip()

    def choose(self, question: str, choices: Mapping[str, str]) -> str:
        """One of `choices`, by its key; the values are what is shown."""
        with self._terminal.held():
            import questionary  # noqa: PLC0415 - see above

            shown = [questionary.Choice(title, key) for key, title in choices.items()]
            return str(questionary.select(question, choices=shown).unsafe_ask())

    def agree(self, question: str, *, default: bool) -> bool:
        """A yes or no."""
        with self._terminal.held():
            import questionary  # noqa: PLC0415 - see above

            return bool(questionary.confirm(question, default=default).unsafe_ask())


def yes(_: Plan) -> Choice:
    """The answer of `--yes`."""
    return Choice.APPLY


def choose(question: str, *choices: str) -> str:
    """One of the choices; the first by default, empty when the user gives no answer."""
    import questionary  # noqa: PLC0415 - see above

    return str(questionary.select(question, choices=choices).ask() or "")


def confirm(question: str) -> bool:
    """A yes or no, no by default."""
    import questionary  # noqa: PLC0415 - see above

    return bool(questionary.confirm(question, default=False).ask())
