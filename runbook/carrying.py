"""A run that changes something, from logging in to its last word."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from runbook.errors import RunbookError
from runbook.lock import Owner
from runbook.narrator import counted
from runbook.undo import undo
from steps.procedure import PROCEDURE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runbook.executor import Executor
    from runbook.session import Session


def carry_out(session: Session, *, json: bool) -> int:
    """Work through the session's steps, asking before each that changes something; returns the exit code.

    Raises RunbookError when it is stopped; what was found by then is reported all the same.
    """
    code = _reported(session, session.executor.apply, json=json, proving=True)
    if json:
        return code
    if code:
        session.terminal.line(f"not finished{session.document.failed}; when mended, go on with: {session.again}")
        of_procedure = {section.name for section in PROCEDURE}
        for name in (each for each in session.document.to_take_back() if each in of_procedure):
            undo = f"runbook rollback --step {name}{session.file_option}"
            session.terminal.line(f"or take the step back with: {undo}")
    else:
        changes = sum(len(found) for plan in session.executor.plans for found in plan.changes.values())
        session.terminal.line(f"done: {counted(changes)} made, every step is in order")
    return code


def take_back(session: Session, names: Sequence[str], *, yes: bool, json: bool) -> int:
    """Undo these steps, as `undo` does; returns the exit code, raises and reports as `carry_out` does."""
    return _reported(session, partial(undo, session, names, yes=yes), json=json)


def failure_code(executor: Executor) -> int:
    """The exit code of a run that was to change something."""
    return min((error.exit_code for error in executor.failures.values()), default=0)


def _reported(session: Session, work: Callable[[], object], *, json: bool, proving: bool = False) -> int:
    """Do the work under the hosts' locks, and report how it went, also where it was stopped; returns the exit code."""
    session.finish_step_on_interrupt(session.again)
    try:
        session.executor.connect(Owner.this_process(), proving=proving)
        work()
    except RunbookError as stopped:
        session.tell_how_to_go_on(stopped)
        _report(session, stopped.exit_code, json=json)
        raise
    code = failure_code(session.executor)
    _report(session, code, json=json)
    return code


def _report(session: Session, code: int, *, json: bool) -> None:
    report = session.report(session.executor.plans, code)
    if json:
        sys.stdout.write(f"{report}\n")
