"""A run that only looks, from logging in to its last word."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from runbook.step import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook.events import Plan
    from runbook.session import Session


def look(session: Session, *, step: str = "", probe: bool = False) -> list[Plan]:
    """Log in, and compare every step with the targets, or one; with `probe`, what its checks need is logged in to."""
    session.executor.connect(proving=probe)
    return [plan for plan in session.audit() if step in {"", plan.step.name}]


def conclude(session: Session, plans: Sequence[Plan], *, json: bool) -> int:
    """Report what was found, and say it in a sentence; returns the exit code."""
    code = exit_code(session, plans)
    report = session.report(plans, code)
    if json:
        sys.stdout.write(f"{report}\n")
    else:
        session.terminal.line(_words(session, plans, code))
    return code


def exit_code(session: Session, plans: Sequence[Plan]) -> int:
    """What a run ends with that has found this."""
    unreachable = [error.exit_code for error in session.executor.failures.values()]
    if unreachable:
        return 5 if 5 in unreachable else max(unreachable)  # noqa: PLR2004 - the documented exit code
    return 0 if all(plan.in_order for plan in plans) else 3


def _words(session: Session, plans: Sequence[Plan], code: int) -> str:
    if not code:
        return "everything is in order"
    if session.document.failed:
        return f"not all could be seen{session.document.failed}; when mended: {session.again}"
    verdicts = [each.verdict for plan in plans for found in plan.findings.values() for each in found]
    number = sum(each is not Verdict.IN_ORDER for each in verdicts)
    what = "1 part is" if number == 1 else f"{number} parts are"
    unknown = verdicts.count(Verdict.UNKNOWN)
    first = f", {unknown} of them in a way that is for you to mend (runbook audit says how)" if unknown else ""
    return f"{what} not in order{first}; to bring all in order: runbook apply{session.file_option}"
