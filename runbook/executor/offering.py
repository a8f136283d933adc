"""Doing what is offered and wanted: changes that need not be, and barriers."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from checkpoints import State
from runbook.errors import RunbookError, StoppedError
from runbook.events import Crossed, Taken, Waiting
from runbook.questions import Offer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from runbook.events import Plan
    from runbook.executor.run import Run
    from runbook.step import Finding, Pause
    from runbook.target import Target


def next_offer(found: Plan, settled: Collection[str]) -> Offer | None:
    """The first of what a step offers that has not been asked about."""
    offers = ((key, each) for key, each in found.offers.items() if key not in settled)
    return next((Offer(found.step, each) for _, each in offers), None)


def taken(run: Run, offer: Offer, wanted: Collection[str]) -> dict[str, list[Finding]]:
    """What is to be done of an offer, by target, as changes; tells it."""
    chosen = {target: [each.taken()] for target, each in offer.findings.items() if target in wanted}
    for target, (finding,) in chosen.items():
        run.notify(Taken(offer.step.name, target, finding.change.summary if finding.change else finding.key))
    return chosen


def report(found: Plan, done: list[dict[str, list[Finding]]]) -> Plan:
    """The plan with what was done of its offers as changes."""
    by_key = {(target, each.key): each for some in done for target, mine in some.items() for each in mine}
    findings = {
        target: [by_key.get((target, each.key), each) for each in mine] for target, mine in found.findings.items()
    }
    return replace(found, findings=findings)


def cross(run: Run, offer: Offer, target: Target, pause: Pause, anew: Callable[[Target], None]) -> None:
    """Cross a barrier on a target, then read it anew. The checkpoint says so before and after.

    Nobody else asks the target anything meanwhile. Raises StoppedError where the user will not wait.
    """
    step, finding = offer.step.name, offer.findings[target.name]
    if finding.barrier is None:
        return
    began = time.monotonic()
    run.record(step, target.name, State.INTENT, "", finding.key)
    run.notify(Waiting(step, target.name, finding.key))
    run.unread.add(target.name)
    try:
        finding.barrier.cross(target, pause)
        anew(target)
    except StoppedError:
        raise
    except RunbookError as error:
        run.record(step, target.name, State.FAILED, "", f"{finding.key}: {error}")
        run.fail(target.name, step, error)
        return
    run.unread.discard(target.name)
    run.record(step, target.name, State.DONE, "", finding.key)
    run.notify(Crossed(step, target.name, finding.key, time.monotonic() - began))
