"""What a command reports, as one JSON document of a versioned shape: `document.schema.json`, beside this file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runbook.events import Applying, Checked, Failed, Undone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runbook.errors import RunbookError
    from runbook.events import Event, Plan
    from runbook.images import Image, KeptChange
    from runbook.step import Change, Finding

VERSION: Final = 1


class Document:
    """Collects a run's events for the document."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.failures: list[Failed] = []
        self.checks: list[Checked] = []
        self.to_undo: list[tuple[str, Image]] | None = None
        """Of a rollback: the applications that are to be undone, by target, in the order of their undoing."""
        self._begun: set[tuple[str, str]] = set()
        self._undone: set[tuple[str, str, str]] = set()

    def __call__(self, event: Event) -> None:
        """Keep what the document tells."""
        if isinstance(event, Failed):
            self.failures.append(event)
        elif isinstance(event, Checked):
            self.checks.append(event)
        elif isinstance(event, Applying):
            self._begun.add((event.step, event.target))
        elif isinstance(event, Undone):
            self._undone.add((event.step, event.target, event.image))

    @property
    def failed(self) -> str:
        """What failed where, to stand behind what is said of the whole; empty where nothing did."""
        found: dict[str, list[str]] = {}
        for each in self.failures:
            what = f"{each.step} failed on" if each.step else "nothing could be done on"
            found.setdefault(what, []).append(each.target)
        told = [f"{what} {', '.join(dict.fromkeys(where))}" for what, where in found.items()]
        return f": {'; '.join(told)}" if told else ""

    def to_take_back(self) -> list[str]:
        """The steps that failed somewhere once they had begun to change it, and were not taken back there."""
        left = self._begun - {(step, target) for step, target, _ in self._undone}
        return list(dict.fromkeys(each.step for each in self.failures if (each.step, each.target) in left))

    def build(self, command: str, plans: Sequence[Plan], exit_code: int) -> dict[str, Any]:
        """The document."""
        return {
            "version": VERSION,
            "command": command,
            "exit_code": exit_code,
            "failures": [{"target": each.target, "step": each.step, **_told(each.error)} for each in self.failures],
            "steps": [self._step(plan) for plan in plans],
            **({} if self.to_undo is None else {"undone": list(self._applications(self.to_undo))}),
        }

    def _applications(self, found: Sequence[tuple[str, Image]]) -> Iterator[dict[str, Any]]:
        """What became of each application that was to be undone; below a failure the rest is left."""
        failed = {(each.step, each.target) for each in self.failures}
        for target, image in found:
            outcome = "undone" if (image.step, target, image.name) in self._undone else "left"
            if outcome == "left" and (image.step, target) in failed:
                failed.remove((image.step, target))
                outcome = "failed"
            changes = [_kept(each) for each in reversed(image.changes)]
            yield {"target": target, "step": image.step, "image": image.name, "outcome": outcome, "changes": changes}

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


def of_log(path: str, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The document of an earlier run's log."""
    log = {"file": path, "entries": list(entries)}
    return {"version": VERSION, "command": "log", "exit_code": 0, "failures": [], "steps": [], "log": log}


def _kept(change: KeptChange) -> dict[str, Any]:
    return {
        "part": change.key,
        "summary": change.summary,
        "irreversible": change.irreversible,
        "found": change.status,
        "kept": change.stays,
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
        "error": finding.error and _told(finding.error),
        "change": change and _change(change),
        "offer": offer and {**_change(offer), "flag": offer.flag},
    }


def _change(change: Change) -> dict[str, Any]:
    return {"summary": change.summary, "diff": change.diff, "irreversible": change.irreversible}
