"""What the executor asks: a terminal answers by asking its user, a program by what it was told beforehand."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from runbook.events import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook.images import Image
    from runbook.step import Finding, Step


class Choice(Enum):
    """What the user says to a plan."""

    APPLY = "apply"
    SKIP = "skip"
    STOP = "stop"


@dataclass(frozen=True)
class TakeBack:
    """A step failed on a target and has changed it: is that taken back now? It stays as it is otherwise."""

    step: Step
    target: str
    image: Image


@dataclass(frozen=True)
class Offer:
    """Something that may be done on some targets, and is done on those that are chosen."""

    step: Step
    findings: Mapping[str, Finding]
    """By target: findings of one part's, each with what it offers."""

    @property
    def key(self) -> str:
        """What it is about."""
        return next(iter(self.findings.values())).key


Confirm = Callable[[Plan], Choice]
Ask = Callable[[TakeBack | Offer], Collection[str]]
"""The targets on which to do what is offered; none where no answer is given."""
