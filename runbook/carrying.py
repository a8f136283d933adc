"""A run that changes something, from logging in to its last word."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from runbook.errors import RunbookError
from runbook.lock import Owner
from steps.procedure import PROCEDURE

if TYPE_CHECKING:
    from runbook.executor import Executor
    from runbook.session import Session


def carry_out(session: Session, *, json: bool) -> int:
    """Work through the session's steps, asking before each that changes something; returns the exit code.

    Raises RunbookError when it is stopped; what was found by then is reported all the same.
    """
    session.finish_step_on_interrupt(session.again)
    try:
        session.executor.connect(Owner.this_process(), proving=True)
        plans = session.executor.apply()
    except RunbookError as stopped:
        session.tell_how_to_go_on(stopped)
        _report(session.report(session.executor.plans, stopped.exit_code), json=json)
        raise
    code = failure_code(session.executor)
    _report(session.report(plans, code), json=json)
    if json:
        return code
    if code:
        session.terminal.line(f"not finished{session.document.failed}; when mended, go on with: {session.again}")
        of_procedure = {section.name for section in PROCEDURE}
        for name in (each for each in session.document.to_take_back() if each in of_procedure):
            undo = f"runbook rollback --step {name}{session.file_option}"
            session.terminal.line(f"or take the step back with: {undo}")
    else:
        changes = sum(len(found) for plan in plans for found in plan.changes.values())
        session.terminal.line(f"done: {changes} changes made, every step is in order")
    return code


def failure_code(executor: Executor) -> int:
    """The exit code of a run that was to change something."""
    return min((error.exit_code for error in executor.failures.values()), default=0)


def _report(report: str, *, json: bool) -> None:
    if json:
        sys.stdout.write(f"{report}\n")
