"""Where each target stands: how much of the procedure is in order there, and what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook.step import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runbook.errors import RunbookError
    from runbook.events import Plan


def standing(plans: Sequence[Plan], failures: Mapping[str, RunbookError]) -> Iterator[str]:
    """A line or two for each target."""
    targets = dict.fromkeys(target for plan in plans for target in (*plan.findings, *plan.blocked))
    for target, error in failures.items():
        yield f"{target}: {error}"
    for target in targets:
        mine = [plan for plan in plans if target in plan.findings or target in plan.blocked]
        undone = [plan for plan in mine if not _is_in_order(plan, target)]
        yield f"{target}: {len(mine) - len(undone)} of {len(mine)} steps are in order"
        if undone:
            following = undone[0]
            found = [each for each in following.findings.get(target, ()) if each.verdict is not Verdict.IN_ORDER]
            what = found[0].change.summary if found and found[0].change else found[0].note if found else "blocked"
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            yield f"    next: {following.step.title} ({following.step.name}): {what}{more}"


def _is_in_order(plan: Plan, target: str) -> bool:
    found = plan.findings.get(target, ())
    return target not in plan.blocked and all(each.verdict is Verdict.IN_ORDER for each in found)
