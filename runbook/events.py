"""What the executor tells: a terminal, a journal, a JSON stream are each one more subscriber."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runbook.errors import RunbookError
    from runbook.step import Finding, Step


@dataclass(frozen=True)
class Plan:
    """What a step finds on each of its targets, and so what it would change."""

    step: Step
    findings: Mapping[str, Sequence[Finding]]
    unread: Sequence[str] = ()
    """The targets that could not be read."""
    number: int = 0
    of: int = 0
    """Its place in the procedure, counted from one, and how many steps there are."""
    upheld: Sequence[str] = ()
    """The steps that need this one and were done somewhere before it."""

    @property
    def changes(self) -> Mapping[str, Sequence[Finding]]:
        """The findings that something is to be done about, by target; none for a target in order."""
        changed = {target: [each for each in found if each.change] for target, found in self.findings.items()}
        return {target: found for target, found in changed.items() if found}

    @property
    def offers(self) -> Mapping[str, Mapping[str, Finding]]:
        """What may be done besides, by the part's key and by target; the parts as the step has them."""
        offers: dict[str, dict[str, Finding]] = {}
        every = [(at, target, each) for target, found in self.findings.items() for at, each in enumerate(found)]
        for _, target, each in sorted(every, key=lambda entry: entry[0]):
            if each.offer:
                offers.setdefault(each.key, {})[target] = each
        return offers

    @property
    def blocked(self) -> Mapping[str, str]:
        """The targets where something cannot be done, each with the step, or the unread host, that is in its way."""
        return {target: each.blocked_by for target, found in self.findings.items() for each in found if each.blocked_by}

    @property
    def in_order(self) -> bool:
        """Nothing is to be done, nothing is unknown, nothing is waited for."""
        return not self.unread and all(each.verdict == "in order" for found in self.findings.values() for each in found)


@dataclass(frozen=True)
class Connecting:
    """A target is being connected and read; before a change, what an earlier run left at work there is waited for."""

    target: str


@dataclass(frozen=True)
class Connected:
    """A target answers and has been read."""

    target: str
    seconds: float
    held_by: str = ""
    """Another run that holds the host, in words; only a run that changes nothing goes on then."""


@dataclass(frozen=True)
class Failed:
    """Something failed on a target: at a step, or before any (`step` is then empty)."""

    target: str
    step: str
    error: RunbookError


@dataclass(frozen=True)
class Planned:
    """A step has been compared with its targets."""

    plan: Plan


@dataclass(frozen=True)
class Applying:
    """A step's changes begin on a target."""

    step: str
    target: str


@dataclass(frozen=True)
class Applied:
    """A step's changes are made and verified on a target; `seconds` it took."""

    step: str
    target: str
    changes: Sequence[Finding]
    seconds: float


@dataclass(frozen=True)
class Checking:
    """A step's proof begins."""

    step: str
    title: str


@dataclass(frozen=True)
class Checked:
    """A step was proved by using its result."""

    step: str
    title: str
    evidence: Sequence[str]


@dataclass(frozen=True)
class StepDone:
    """A step is done, skipped or failed on all its targets."""

    step: str
    outcome: str


@dataclass(frozen=True)
class Undone:
    """One application of a step was undone on a target."""

    step: str
    target: str
    image: str


@dataclass(frozen=True)
class Taken:
    """What was offered on a target is wanted, and is done next."""

    step: str
    target: str
    summary: str


@dataclass(frozen=True)
class Waiting:
    """A barrier is being crossed: `what` was made to happen on a target, and is waited for."""

    step: str
    target: str
    what: str


@dataclass(frozen=True)
class Crossed:
    """It has happened; `seconds` it took, until the target was read anew."""

    step: str
    target: str
    what: str
    seconds: float


Event = (
    Connecting
    | Connected
    | Failed
    | Planned
    | Taken
    | Applying
    | Applied
    | Waiting
    | Crossed
    | Checking
    | Checked
    | StepDone
    | Undone
)
Notify = Callable[[Event], None]
