"""What the executor asks: a terminal answers by asking its user, a program by what it was told beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from runbook.events import Plan

if TYPE_CHECKING:
    from runbook.images import Image
    from runbook.step import Step


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


Confirm = Callable[[Plan], Choice]
Ask = Callable[[TakeBack], bool]
"""Whether to do what is offered. Whoever gives no answer says no."""
