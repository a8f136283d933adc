"""Making what was planned, written ahead: intent, the change, done."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from checkpoints import State
from runbook import catalogue
from runbook.errors import PlanChangedError, RunbookError, StepError
from runbook.events import Applied, Applying
from runbook.step import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook.events import Plan
    from runbook.executor.run import Run
    from runbook.step import Finding
    from runbook.target import Target


def make(run: Run, plan: Plan) -> Mapping[str, PlanChangedError]:
    """Make a plan's changes; returns the hosts no longer as planned, which must be planned again."""
    changed: dict[str, PlanChangedError] = {}

    def work(target: Target) -> None:
        try:
            _make_on(run, target, plan)
        except PlanChangedError as error:
            changed[target.name] = error

    run.side_by_side(list(plan.changes), work, plan.step.name)
    return changed


def record_verified(run: Run, plan: Plan) -> None:
    """What was cut off or failed and is found in order is done."""
    unsettled = run.journal.unsettled()
    for target, found in plan.findings.items():
        last = unsettled.get((plan.step.name, target))
        if last and all(each.verdict is Verdict.IN_ORDER for each in found):
            run.record(plan.step.name, target, State.DONE, last.image, "verified")


def _make_on(run: Run, target: Target, plan: Plan) -> None:
    began = time.monotonic()
    step, changes = plan.step, plan.changes[target.name]
    expected = {each.key for each in plan.findings[target.name]}
    image = image_name(step.name)
    later = run.steps[run.steps.index(step) :]
    target.ahead = lambda: run.probes(later, target)
    run.record(step.name, target.name, State.INTENT, image)
    run.notify(Applying(step.name, target.name))
    run.made[step.name, target.name] = image
    try:
        step.apply(target, changes, run.targets, image)
        found = [each for each in step.verify(target, run.targets) if each.key in expected]
        left = [each for each in found if each.verdict is not Verdict.IN_ORDER]
        if left:
            why = _why(left[0])
            raise StepError(catalogue.STILL_OTHERWISE, target=target.name, part=left[0].key, why=why, step=step.name)
    except RunbookError as error:
        run.record(step.name, target.name, State.FAILED, image, str(error))
        raise
    run.record(step.name, target.name, State.DONE, image)
    run.notify(Applied(step.name, target.name, changes, time.monotonic() - began))


def image_name(step: str) -> str:
    """The name of a new before-image; which one is the newest is the host's to say (`runbook.images`)."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{step}"


def _why(finding: Finding) -> str:
    return finding.change.summary if finding.change else finding.note or finding.verdict.value
