"""What a command reports, as one JSON document of a versioned shape: `document.schema.json`, beside this file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runbook.events import Checked, Failed, Undone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook.errors import RunbookError
    from runbook.events import Event, Plan
    from runbook.step import Change, Finding

VERSION: Final = 1


class Document:
    """Collects a run's events for the document."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.failures: list[Failed] = []
        self.checks: list[Checked] = []
        self._undone: set[tuple[str, str]] = set()

    def __call__(self, event: Event) -> None:
        """Keep what the document tells."""
        if isinstance(event, Failed):
            self.failures.append(event)
        elif isinstance(event, Checked):
            self.checks.append(event)
        elif isinstance(event, Undone):
            self._undone.add((event.step, event.target))

    @property
    def failed(self) -> str:
        """What failed where, to stand behind what is said of the whole; empty where nothing did."""
        found: dict[str, list[str]] = {}
        for each in self.failures:
            what = f"{each.step} failed on" if each.step else "nothing could be done on"
            found.setdefault(what, []).append(each.target)
        return "".join(f": {what} {', '.join(dict.fromkeys(where))}" for what, where in found.items())

    def to_take_back(self) -> list[str]:
        """The steps that failed somewhere and were not taken back there."""
        left = [each for each in self.failures if each.step and (each.step, each.target) not in self._undone]
        return list(dict.fromkeys(each.step for each in left))

    def build(self, command: str, plans: Sequence[Plan], exit_code: int) -> dict[str, Any]:
        """The document."""
        return {
            "version": VERSION,
            "command": command,
            "exit_code": exit_code,
            "failures": [{"target": each.target, "step": each.step, **_told(each.error)} for each in self.failures],
            "steps": [self._step(plan) for plan in plans],
        }

    def _step(self, plan: Plan) -> dict[str, Any]:
        return {
            "name": plan.step.name,
            "title": plan.step.title,
            "blocked": dict(plan.blocked),
            "unread": list(plan.unread),
            "parts": [_part(target, each) for target, found in plan.findings.items() for each in found],
            "checks": [
                {"title": each.title, "evidence": list(each.evidence)}
                for each in self.checks
                if each.step == plan.step.name
            ],
        }


def _told(error: RunbookError) -> dict[str, str]:
    return {"id": error.id, "error": str(error), "likely": error.likely, "look": error.look, "hint": error.hint}


def _part(target: str, finding: Finding) -> dict[str, Any]:
    change = finding.change
    offer = finding.offer
    return {
        "target": target,
        "part": finding.key,
        "verdict": finding.verdict.value,
        "note": finding.note,
        "change": change and _change(change),
        "offer": offer and {**_change(offer), "flag": offer.flag},
    }


def _change(change: Change) -> dict[str, Any]:
    return {"summary": change.summary, "diff": change.diff, "irreversible": change.irreversible}
