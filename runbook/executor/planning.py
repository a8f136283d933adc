"""Comparing a step with its targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook.events import Plan
from runbook.step import CONTROLLER

if TYPE_CHECKING:
    from runbook.executor.run import Run
    from runbook.step import Finding, Step
    from runbook.target import Target


def plan(run: Run, step: Step) -> Plan:
    """Compare a step with the targets that can be reached; tells nobody."""
    targets = run.targets_of(step)
    blocked = {target: why for target in targets if (why := _waits_for(run, step, target))}
    free = [target for target in targets if target not in blocked and target not in run.unreachable()]
    findings: dict[str, list[Finding]] = {}

    def verify(target: Target) -> None:
        findings[target.name] = step.verify(target)

    run.side_by_side(free, verify, step.name)
    ordered = {target: findings[target] for target in free if target in findings}
    return Plan(step, ordered, blocked, run.steps.index(step) + 1, len(run.steps))


def _waits_for(run: Run, step: Step, target: str) -> str:
    """The unfinished step that keeps `step` from this target; also on the controller, which serves every target."""
    places = run.unfinished if target == CONTROLLER else (target, CONTROLLER)
    for name in step.needs:
        for place in places:
            if run.left(place, name):
                return name
    return ""
