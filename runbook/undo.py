"""Rollback as the user sees it: what would be undone, then the question, then the undoing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook import prompt
from runbook.executor import StoppedError
from runbook.narrator import undoing
from runbook.step import CONTROLLER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.images import Image
    from runbook.session import Session
    from runbook.step import Step


def undo(session: Session, names: Sequence[str], *, yes: bool) -> None:
    """Undo these steps, the last first, wherever they were applied; raises StoppedError when the user says no."""
    images = session.executor.images()
    steps = [step for step in reversed(session.executor.steps) if step.name in names and _of(step, images)]
    for step in steps:
        _show(session, step, names, images)
    if not steps:
        session.terminal.line(f"nothing of {', '.join(names)} is there to undo")
        return
    if not yes and not prompt.confirm("Undo this?"):
        raise StoppedError("nothing was undone")
    for step in steps:
        if session.executor.stop_requested:
            raise StoppedError(f"stopped before undoing {step.name}")
        # below a failure nothing more is undone there: the steps stand on one another
        failed = session.executor.failures
        left_out = {*failed, CONTROLLER} if failed else set()
        session.executor.rollback(step.name, {t: each for t, each in _of(step, images).items() if t not in left_out})
    for target in session.executor.failures:
        session.terminal.line(f"{target}: stopped there; what it stands on was left as it is")


def _show(session: Session, step: Step, names: Sequence[str], images: Mapping[str, Sequence[Image]]) -> None:
    """What would be undone of a step, and what stays in place although it needs it."""
    for target, applied in _of(step, images).items():
        for image in applied:
            session.terminal.line(f"{target}: {step.name}, applied as {image.name}")
            for line in undoing(image):
                session.terminal.line(f"    {line}")
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
    others = [each for each in steps if step.name in each.needs and each.name not in undone]
    return {each.name: list(_of(each, images)) for each in others if _of(each, images)}
