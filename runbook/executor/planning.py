"""Comparing a step with its targets, and telling what of it can be done."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from checkpoints import State
from runbook import catalogue
from runbook.errors import StepError
from runbook.events import Plan
from runbook.step import CONTROLLER, Verdict, dependants

if TYPE_CHECKING:
    from runbook.executor.run import Run
    from runbook.step import Finding, Step
    from runbook.target import Target


def plan(run: Run, step: Step) -> Plan:
    """Compare a step with the targets that can be reached; tells nobody.

    What is not in order and cannot be made so, since what it needs is unfinished, is blocked, and so unfinished itself.
    """
    unread = [target for target in step.targets() if target in run.unread]
    free = [target for target in run.targets_of(step) if target not in unread]
    read: list[str] = []
    seen: dict[str, list[Finding]] = {}

    def look(target: Target) -> None:
        target.read(step.reads(target.name))
        read.append(target.name)

    def verify(target: Target) -> None:
        seen[target.name] = step.verify(target, run.targets)

    run.side_by_side(free, look, step.name)  # everywhere first: parts may be judged by what is on other targets
    run.side_by_side([target for target in free if target in read], verify, step.name)
    stuck = {place(at, each) for at, found in seen.items() for each in found if each.verdict is Verdict.UNKNOWN}
    findings = {at: [_judged(run, step, at, each, stuck) for each in seen[at]] for at in free if at in seen}
    for at, found in findings.items():
        for each in found:
            if each.blocked_by not in {"", step.name} and not run.left(place(at, each), step.name):
                run.leave(place(at, each), step.name, "blocked")
    return Plan(step, findings, unread, run.steps.index(step) + 1, len(run.steps))


def upheld(run: Run, step: Step) -> list[str]:
    """The steps that need `step` and are done somewhere, by the checkpoints."""
    done = {name for (name, _), last in run.journal.latest().items() if last.state is State.DONE}
    return [each.name for each in dependants(run.steps, step) if each.name in done]


def place(target: str, finding: Finding) -> str:
    """Where a step stays unfinished when nothing can be done about `finding`."""
    return finding.serves[0] if target == CONTROLLER and finding.serves else target


def left_alone(target: str, step: Step, finding: Finding) -> StepError:
    """Why a part is not worked on, where all that is known of it is what its finding says."""
    words = {"target": target, "part": finding.key, "note": finding.note, "step": step.name}
    return StepError(catalogue.LEFT_ALONE, **words)


def _judged(run: Run, step: Step, target: str, finding: Finding, stuck: set[str]) -> Finding:
    """The finding, or that it is blocked. `stuck`: where a part of this very step cannot be told."""
    if finding.verdict is Verdict.UNKNOWN:
        return replace(finding, error=finding.error or left_alone(place(target, finding), step, finding))
    if finding.verdict not in {Verdict.ABSENT, Verdict.DRIFT, Verdict.LATER}:
        return finding
    serves = finding.serves if target == CONTROLLER else ()
    unread = [each for each in serves if each in run.unread]
    if unread:
        return finding.blocked(unread[0])
    if stuck.intersection((target, place(target, finding))):
        return finding.blocked(step.name)
    places = (CONTROLLER, *(serves or run.unfinished)) if target == CONTROLLER else (target, CONTROLLER)
    waits_for = _unfinished(run, step, places)
    if not waits_for and any(run.left(each, finding.after) for each in run.unfinished):
        waits_for = finding.after  # what it makes known may be of several hosts, and of one of them it is not
    return finding.blocked(waits_for) if waits_for else finding


def _unfinished(run: Run, step: Step, places: tuple[str, ...]) -> str:
    """The nearest step that `step` needs, itself or by way of others, and that is unfinished at one of `places`."""
    needed = [each for each in run.steps if each.name in step.needs and not each.suffices()]
    for each in needed:
        if any(run.left(at, each.name) for at in places):
            return each.name
    return next((found for each in needed if (found := _unfinished(run, each, places))), "")
