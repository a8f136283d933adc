"""What a procedure is made of: steps, their parts, and what comparing a part with its host says.

A part states what one thing on one host should look like. What the audit shows, what the confirmation asks, what
apply does and what proves it afterwards all come from comparing that statement with what is there, so they cannot
disagree.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from runbook.errors import RunbookError
    from runbook.images import Image
    from runbook.script import Reading
    from runbook.target import Target

CONTROLLER = "controller"
"""The target that is this machine."""


class Verdict(StrEnum):
    """How a part stands on its host."""

    IN_ORDER = "in order"
    ABSENT = "absent"
    DRIFT = "drift"
    LATER = "known after"
    UNKNOWN = "unknown"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class Change:
    """The difference between a part as found and as wanted: shown as one, applied as one, undone as one.

    `apply` and `undo` are POSIX shell that may use the prelude; `undo` finds what `save` kept under `$image`, where
    `$index` is the change's own number. A change that shell cannot make has `obtain` instead of `apply`; where it has
    both, `obtain` makes it, or says why it cannot be made, where `apply` has failed: it can ask other hosts, too.
    """

    summary: str
    apply: str = field(default="", repr=False)
    undo: str = field(default="", repr=False)
    save: str = field(default="", repr=False)
    diff: str = field(default="", repr=False)
    obtain: Callable[[Mapping[str, Target]], None] | None = field(default=None, repr=False)
    settle: str = field(default="", repr=False)
    """Shell for after everything else of the step is undone, such as a daemon's reload."""
    risky: bool = False
    """It could cut the admin's own line: made under a timer that undoes it, until a new login proves it."""
    secret: str = field(default="", repr=False)
    """What of `apply` nobody may see, whoever is shown its commands."""
    irreversible: str = ""
    """Why rollback cannot take it back, where it cannot."""
    flag: str = ""
    """Of a change that is only offered: the flag of apply that says yes to it beforehand, such as `--upgrade`."""


@dataclass(frozen=True)
class Finding:
    """One part's verdict on one target, with the change that would bring it in order."""

    key: str
    verdict: Verdict
    note: str = ""
    change: Change | None = None
    offer: Change | None = None
    """What may be done although all is in order; it is done only where somebody wants it."""
    probe: str = field(default="", repr=False)
    """The part's, by which it is told later whether what the change is about is as it was left."""
    found: Reading | None = field(default=None, repr=False)
    """What it printed."""
    error: RunbookError | None = field(default=None, repr=False)
    """Why its state cannot be told, or it must not be touched, told as a failure; every plan has it of such a part."""
    serves: tuple[str, ...] = ()
    """As its part has it."""
    blocked_by: str = ""
    """The step, or the host that could not be read, which keeps it from being brought in order."""
    after: str = ""
    """The step that makes known what the part should look like, where that is not known yet."""
    barrier: Barrier | None = field(default=None, repr=False)
    """What makes its offer happen and waits for it, where shell that returns cannot."""

    def taken(self) -> Finding:
        """The same, where what was offered is to be done."""
        return replace(self, verdict=Verdict.DRIFT, change=self.offer, offer=None)

    def blocked(self, by: str) -> Finding:
        """The same, where nothing can be done about it before `by` is mended."""
        return replace(self, verdict=Verdict.BLOCKED, note=f"blocked by {by}", change=None, blocked_by=by)


class Part(ABC):
    """One thing on one host: what it should look like, how it is read, and what would make it so."""

    follows: tuple[str, ...] = ()
    """Keys of parts of the same step: when one of them changes, this one must be made again (a daemon's reload)."""
    serves: tuple[str, ...] = ()
    """On the controller: the target that it is made for, then those that help to make it; none named: for all."""
    beside: tuple[tuple[str, str], ...] = ()
    """What else it is judged by, and which is no state of it: targets, each with shell that its step `reads` there."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Kind and name, such as `file /etc/hosts`: stable, and unique on its target."""

    @abstractmethod
    def probe(self) -> str:
        """Shell that prints the part's state and changes nothing; the same state prints the same bytes."""

    @abstractmethod
    def judge(self, found: Reading) -> Finding:
        """Compare what the probe printed with what is wanted."""

    def judge_beside(self, found: Reading, beside: Sequence[Reading | None]) -> Finding:  # noqa: ARG002 - for some
        """The same by what was read `beside` it as well; None is what could not be read."""
        return self.judge(found)

    def again(self, found: Reading) -> Finding:
        """The finding when a part that this one follows is about to change."""
        raise NotImplementedError(self.key, found)

    def in_order(self, note: str = "") -> Finding:
        """The finding that nothing is to be done."""
        return Finding(self.key, Verdict.IN_ORDER, note)

    def offers(self, offer: Change, note: str) -> Finding:
        """The finding that nothing need be done, and something may be."""
        return Finding(self.key, Verdict.IN_ORDER, note, offer=offer)

    def unknown(self, why: str | RunbookError) -> Finding:
        """The finding that the part's state cannot be told, or must not be touched."""
        return Finding(self.key, Verdict.UNKNOWN, str(why), error=None if isinstance(why, str) else why)

    def drift(self, change: Change, note: str = "") -> Finding:
        """The finding that the part is there, and not as wanted."""
        return Finding(self.key, Verdict.DRIFT, note, change)

    def absent(self, change: Change, note: str = "") -> Finding:
        """The finding that the part is missing."""
        return Finding(self.key, Verdict.ABSENT, note, change)


Pause = Callable[[], None]
"""Lets a moment pass; raises StoppedError where the user will not wait any longer."""


class Barrier(Part):
    """Something that is to happen on a host before the run goes on there, and then has to be waited for: a reboot.

    It is judged by whether it has happened, and offered where it has not. There is nothing to take back.
    """

    @abstractmethod
    def cross(self, target: Target, pause: Pause) -> None:
        """Make it happen, and wait until it has, within bounds of its own; raises RunbookError where it has not."""

    @abstractmethod
    def rejoin(self, target: Target, pause: Pause) -> None:
        """Where an earlier run made it happen and did not see its end: wait for that, as `cross` does."""


@dataclass(frozen=True)
class Told(Part):
    """What a step knows from the facts alone and can only say: why nothing is to be done, or must not be."""

    what: str
    verdict: Verdict
    note: str | RunbookError

    @property
    def key(self) -> str:
        """What it speaks of."""
        return self.what

    def probe(self) -> str:
        """The facts have told all."""
        return ":"

    def judge(self, found: Reading) -> Finding:  # noqa: ARG002 - the facts have told all
        """What is said."""
        return Finding(self.key, self.verdict, self.note) if isinstance(self.note, str) else self.unknown(self.note)


@dataclass(frozen=True)
class Later(Part):
    """A part that cannot be stated before another step is done, such as a certificate not yet issued."""

    kind: str
    name: str
    after: str
    """The step that makes it known."""
    serves: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Kind and name, as the part will have them."""
        return f"{self.kind} {self.name}"

    def probe(self) -> str:
        """Nothing to read yet."""
        return ":"

    def judge(self, found: Reading) -> Finding:  # noqa: ARG002 - there is nothing to compare yet
        """Known after the step that makes it."""
        return Finding(self.key, Verdict.LATER, f"known after {self.after}", after=self.after)


Proof = Callable[[Mapping[str, "Target"]], Sequence[str]]
"""What a check does on the targets: returns its evidence, a line each; raises StepError with what is wrong."""


@dataclass(frozen=True)
class Check:
    """An observation that proves a step's result by using it: an HTTP request, a ping. It changes nothing lasting."""

    title: str
    on: tuple[str, ...]
    """The targets that it speaks of."""
    run: Proof = field(repr=False)
    by: tuple[str, ...] = ()
    """Further targets that help to observe them."""


class Step(ABC):
    """One section of the procedure. Its docstring is what `runbook explain` prints."""

    name: ClassVar[str]
    """Stable: it stands in checkpoints and is what `--step` takes."""
    title: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Names of the steps without which this one cannot be applied on a target."""
    facts: ClassVar[str] = ""
    """Shell that prints `name=value` lines: what must be known of a target before its parts can be stated."""

    @abstractmethod
    def targets(self) -> Sequence[str]:
        """The targets that its work lands on."""

    @abstractmethod
    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """What `target` should look like after this step, in the order in which it is made."""

    def reads(self, target: str) -> Sequence[str]:  # noqa: ARG002 - for most, what their parts read is enough
        """Shell that reads on a target what parts there, or on other targets, are judged by `beside` their own."""
        return ()

    def checks(self) -> Sequence[Check]:
        """What proves the step once it is applied everywhere."""
        return ()

    def give_up(self, target: str) -> None:  # noqa: B027 - most steps have nothing to do about it
        """Hear that this run leaves it unfinished on a target, or for one: later steps must do with what there is."""

    def suffices(self) -> bool:
        """Whether what later steps need of it is there even where it stays unfinished."""
        return False

    @classmethod
    def explain(cls) -> str:
        """What the step is for, in full."""
        return inspect.cleandoc(cls.__doc__ or "")

    @classmethod
    def purpose(cls) -> str:
        """What the step is for, in its docstring's first sentences."""
        return cls.explain().split("\n\n", 1)[0].replace("\n", " ")

    def probes(self, target: Target) -> list[str]:
        """All that is to be read on a target."""
        return [*(part.probe() for part in self.parts(target.name, target.facts)), *self.reads(target.name)]

    def verify(self, target: Target, others: Mapping[str, Target]) -> list[Finding]:
        """Compare every part with its host, by what has been read there and on others; reads there what has not."""
        parts = self.parts(target.name, target.facts)
        target.read([*(part.probe() for part in parts), *self.reads(target.name)])
        known = {**others, target.name: target}
        findings: list[Finding] = []
        for part in parts:
            found = target.readings[part.probe()]
            beside = [known[name].readings.get(probe) if name in known else None for name, probe in part.beside]
            finding = part.judge_beside(found, beside)
            moving = {each.key for each in findings if each.verdict is not Verdict.IN_ORDER}
            if finding.verdict is Verdict.IN_ORDER and moving.intersection(part.follows):
                finding = part.again(found)
            barrier = part if isinstance(part, Barrier) else None
            about = replace(finding, probe=part.probe(), found=found, serves=part.serves, barrier=barrier)
            findings.append(about)
        return findings

    def apply(self, target: Target, findings: Sequence[Finding], hosts: Mapping[str, Target], image: str) -> None:
        """Make the findings' changes on their target as one unit, with before-images under the name `image`.

        Raises StepError when one cannot be made, PlanChangedError when the host is no longer as `findings` say.
        """
        target.make(image, self.name, [each for each in findings if each.change], hosts)

    def rollback(
        self, target: Target, image: Image, older: Sequence[Image], keep: frozenset[int] = frozenset()
    ) -> None:
        """Put back on `target` what one application of this step changed, but for the changes numbered in `keep`.

        `image` and the `older` ones are as the target has just told them.

        Raises StepError when a before-image cannot be put back.
        """
        target.unmake(image, older, keep)


def dependants(steps: Sequence[Step], step: Step) -> list[Step]:
    """The steps that cannot follow without `step`: those that need it, and those that need them."""
    missing = {step.name}
    for each in steps:
        if missing.intersection(each.needs):
            missing.add(each.name)
    return [each for each in steps if each.name in missing and each.name != step.name]
