"""Proving a step by using its result."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from runbook.errors import RunbookError
from runbook.events import Checked, Checking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook.executor.run import Run
    from runbook.step import Check, Step


def check(run: Run, step: Step) -> None:
    """Prove a step where it is done on all that a check speaks of.

    Checks that have no target in common go side by side.
    """
    waiting = list(step.checks())
    while waiting:
        turn = [each for at, each in enumerate(waiting) if all({*each.on}.isdisjoint(o.on) for o in waiting[:at])]
        waiting = [each for each in waiting if each not in turn]
        with ThreadPoolExecutor(max_workers=len(turn)) as pool:
            for each, evidence in zip(turn, pool.map(partial(_prove, run, step.name), turn), strict=True):
                if evidence is not None:
                    run.notify(Checked(step.name, each.title, evidence))


def _prove(run: Run, step: str, check: Check) -> Sequence[str] | None:
    if any(run.left(target, step) or target in run.failures for target in check.on):
        return None
    run.notify(Checking(step, check.title))
    try:
        return check.run(run.targets)
    except RunbookError as error:
        for target in check.on:
            run.fail(target, step, error)
        return None
