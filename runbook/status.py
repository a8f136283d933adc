"""Where each target stands: how much of the procedure is in order there, and what comes next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.step import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.errors import RunbookError
    from runbook.events import Plan


@dataclass(frozen=True)
class Standing:
    """How far one target has come."""

    target: str
    done: int
    of: int
    """So many steps are in order, of how many."""
    next: str = ""
    """The first step that is not, and what of it; empty where all are."""

    def __str__(self) -> str:
        """A line, and one more for what comes next."""
        following = f"\n    next: {self.next}" if self.next else ""
        return f"{self.target}: {self.done} of {self.of} steps are in order{following}"


def room(kept: Mapping[str, tuple[int, int]]) -> list[str]:
    """A line for each target that keeps before-images: how many, and how much room they take."""
    return [
        f"{target}: {count} before-image{'' if count == 1 else 's'} kept for rollback, {size} KiB"
        for target, (count, size) in kept.items()
    ]


def standing(plans: Sequence[Plan]) -> list[Standing]:
    """Where each target stands that could be asked."""
    targets = dict.fromkeys(target for plan in plans for target in plan.findings)
    return [_of(target, [each for each in plans if target in each.findings]) for target in targets]


def failed(failures: Mapping[str, RunbookError]) -> list[str]:
    """A line for each target that could not be asked."""
    return [error.at(target) for target, error in failures.items()]


def _of(target: str, plans: Sequence[Plan]) -> Standing:
    undone = [plan for plan in plans if not is_in_order(plan, target)]
    return Standing(target, len(plans) - len(undone), len(plans), _next(undone[0], target) if undone else "")


def _next(plan: Plan, target: str) -> str:
    found = [each for each in plan.findings[target] if each.verdict is not Verdict.IN_ORDER]
    what = found[0].change.summary if found[0].change else found[0].note
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{plan.step.title} ({plan.step.name}): {what}{more}"


def is_in_order(plan: Plan, target: str) -> bool:
    """Whether nothing of a step is left to do on a target."""
    return target in plan.findings and all(each.verdict is Verdict.IN_ORDER for each in plan.findings[target])
