"""Rollback as the user sees it: what would be undone, then the question, then the undoing."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from runbook import catalogue, prompt
from runbook.executor import StoppedError
from runbook.images import KEEP, PUT_BACK
from runbook.narrator import counted, undoing
from runbook.resources.file import unified
from runbook.step import CONTROLLER, dependants

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runbook.images import Image, KeptChange
    from runbook.session import Session
    from runbook.step import Step
    from runbook.terminal import Terminal

_SHA256: Final = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
"""What a file's content is told by; its beginning tells it, too."""


def undo(session: Session, names: Sequence[str], *, yes: bool) -> None:
    """Undo these steps, what was done last first, wherever it was; raises StoppedError when the user says no."""
    images: Mapping[str, Sequence[Image]] = session.executor.images()
    session.executor.record_undone(names, images)
    session.document.to_undo = []
    steps = [step for step in reversed(session.executor.steps) if step.name in names and _of(step, images)]
    if not steps:
        session.terminal.line(f"nothing of {', '.join(names)} is there to undo" if names else "no step comes after it")
        return
    for difference in _differences(session, steps, images):
        difference.show(session.terminal)
        if not yes:
            images = difference.decided(images)
    for step in steps:
        _show(session, step, names, images)
    rounds = list(_rounds(steps, images))
    session.document.to_undo = [(target, each) for _, applied in rounds for target, (each,) in applied.items()]
    if not yes and not prompt.confirm("Undo this?"):
        raise StoppedError(catalogue.STOPPED, what="nothing was undone")
    for name, applied in rounds:
        if session.executor.stop_requested:
            raise StoppedError(catalogue.STOPPED, what=f"stopped before undoing {name}")
        # below a failure nothing more is undone there: the steps stand on one another
        failed = session.executor.failures
        left_out = {*failed, CONTROLLER} if failed else set()
        session.executor.rollback(name, {t: each for t, each in applied.items() if t not in left_out})
    if not session.executor.failures:
        changes = _changes(steps, images)
        kept = [f"{change.key} on {target}" for target, change in changes if change.stays]
        nothing = sum(change.status == "as before" for _, change in changes)
        stays = f"; as it is now stays: {', '.join(dict.fromkeys(kept))}" if kept else ""
        session.terminal.line(f"done: {counted(len(changes) - len(kept) - nothing)} undone{stays}")
    for target in session.executor.failures:
        session.terminal.line(f"{target}: stopped there; what it stands on was left as it is")


def _rounds(
    steps: Sequence[Step], images: Mapping[str, Sequence[Image]]
) -> Iterator[tuple[str, dict[str, Sequence[Image]]]]:
    """The applications in the order of their undoing: each target's newest first, those of one step side by side.

    By time, not by step: what a step did the first time may stand on what another has done differently since.
    """
    names = {step.name for step in steps}
    left = {target: [image for image in found if image.step in names] for target, found in images.items()}
    while newest := max((found[0] for found in left.values() if found), key=lambda image: image.name, default=None):
        name = newest.step
        yield name, {target: [found.pop(0)] for target, found in left.items() if found and found[0].step == name}


@dataclass(frozen=True)
class _Difference:
    """What somebody changed on a target since we changed it."""

    target: str
    change: KeptChange
    left: str
    """How we left it."""
    now: str

    def show(self, terminal: Terminal) -> None:
        """The change, as a diff."""
        terminal.line(f"{self.target}: {self.change.key} was changed since:")
        for line in unified(self.left, self.now, "as we left it", "as it is now").splitlines():
            terminal.line("    " + _SHA256.sub(r"\1...", line))

    def decided(self, images: Mapping[str, Sequence[Image]]) -> Mapping[str, Sequence[Image]]:
        """Ask what is to become of it; raises StoppedError when the user gives no answer."""
        decision = prompt.choose(f"{self.target}: {self.change.key}?", KEEP, PUT_BACK)
        if not decision:
            raise StoppedError(catalogue.STOPPED, what="nothing was undone")

        def decide(image: Image) -> Image:
            # what an older image finds in its way once this one is put back is for another question
            mine = [c.key == self.change.key and (c == self.change or decision == KEEP) for c in image.changes]
            changes = [replace(c, decision=decision) if m else c for c, m in zip(image.changes, mine, strict=True)]
            return replace(image, changes=tuple(changes))

        return {**images, self.target: [decide(image) for image in images[self.target]]}


def _differences(session: Session, steps: Sequence[Step], images: Mapping[str, Sequence[Image]]) -> list[_Difference]:
    """What was changed since, once for each thing on each target: by its newest image."""
    found: dict[tuple[str, str], _Difference] = {}
    for step in steps:
        for target, applied in _of(step, images).items():
            told = session.targets[target].since(applied) if any(image.changed for image in applied) else {}
            for image in applied:
                for change in image.changed:
                    left, now = told[image.name, change.number]
                    found.setdefault((target, change.key), _Difference(target, change, left, now))
    return list(found.values())


def _changes(steps: Sequence[Step], images: Mapping[str, Sequence[Image]]) -> list[tuple[str, KeptChange]]:
    """Every change of these steps, with its target."""
    applied = [(target, image) for step in steps for target, found in _of(step, images).items() for image in found]
    return [(target, change) for target, image in applied for change in image.changes]


def _show(session: Session, step: Step, names: Sequence[str], images: Mapping[str, Sequence[Image]]) -> None:
    """What would be undone of a step, and what stays in place although it needs it."""
    for target, applied in _of(step, images).items():
        for image in applied:
            session.terminal.line(f"{target}: {step.name}, applied as {image.name}")
            for line in undoing(image):
                session.terminal.item(line, 4)
    for dependant, targets in _dependants(session.executor.steps, step, names, images).items():
        session.terminal.line(f"    {dependant} needs {step.name} and stays in place on {', '.join(targets)}")


def _of(step: Step, images: Mapping[str, Sequence[Image]]) -> dict[str, list[Image]]:
    """The applications of a step, by target; only targets that have one."""
    mine = {target: [image for image in found if image.step == step.name] for target, found in images.items()}
    return {target: found for target, found in mine.items() if found}


def _dependants(
    steps: Sequence[Step], step: Step, undone: Sequence[str], images: Mapping[str, Sequence[Image]]
) -> dict[str, list[str]]:
    """The steps that need `step`, are not undone with it, and were applied somewhere: with their targets."""
    others = [each for each in dependants(steps, step) if each.name not in undone]
    return {each.name: list(_of(each, images)) for each in others if _of(each, images)}
