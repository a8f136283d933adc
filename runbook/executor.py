"""The procedure carried out: audit, apply, rollback; steps in order, targets side by side.

It prints nothing: it tells `notify` what happens, and asks `confirm` before it changes anything.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from checkpoints import Checkpoint, Journal, State
from runbook import images, lock
from runbook.errors import LockedError, PlanChangedError, RunbookError, StepError, UnreachableError
from runbook.events import (
    Applied,
    Applying,
    Checked,
    Checking,
    Connected,
    Connecting,
    Failed,
    Notify,
    Plan,
    Planned,
    StepDone,
    Undone,
)
from runbook.lock import Owner
from runbook.step import CONTROLLER, Check, Finding, Step, Verdict
from runbook.target import APT_SECONDS

if TYPE_CHECKING:
    from runbook.images import Image
    from runbook.target import Target

PLANS = 3
"""How often a step is planned anew when its host changes under it."""

OUTCOMES = ("failed", "blocked", "skipped")
"""How a step can stay unfinished on a target, the worst first."""


class Choice(Enum):
    """What the user says to a plan."""

    APPLY = "apply"
    SKIP = "skip"
    STOP = "stop"


class StoppedError(RunbookError):
    """The user stopped the run; it can be resumed."""

    exit_code = 4


Confirm = Callable[[Plan], Choice]


class Executor:
    """Carries out a procedure on its targets."""

    def __init__(
        self, steps: Sequence[Step], targets: Mapping[str, Target], journal: Journal, notify: Notify, confirm: Confirm
    ) -> None:
        """Work through `steps` on `targets`, of which every step's targets and what its checks use must be part."""
        self.steps = steps
        self.targets = targets
        self._journal = journal
        self._notify = notify
        self._confirm = confirm
        self._scope = frozenset(targets)
        self._run = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self.failures: dict[str, RunbookError] = {}
        """What went wrong first, by target."""
        self.plans: list[Plan] = []
        """What the steps applied so far found, also of a run that was stopped."""
        self._owner: Owner | None = None
        self._unfinished: dict[str, dict[str, str]] = {}
        self.stop_requested = False
        """Set from outside (Ctrl-C): the step in hand is finished, then the run stops."""

    def connect(self, owner: Owner | None = None) -> None:
        """Log in everywhere and read what there is to read, side by side; what cannot be reached is in `failures`.

        A run that changes hosts is their `owner` from here on, until `release`. Raises LockedError, with no host
        locked by us, when another run holds one.
        """
        self._owner = owner
        self._side_by_side(self._working_targets(), self._connect)
        held = next((error for error in self.failures.values() if isinstance(error, LockedError)), None)
        if held:
            self.release()
            raise held

    def release(self) -> None:
        """Let other runs have the hosts; one that cannot be reached any more is left to see that we are gone."""

        def free(target: Target) -> None:
            with suppress(RunbookError):
                target.run(lock.free(self._owner.text if self._owner else ""), purpose="free the lock")

        locked = [name for name in self._working_targets() if self.targets[name].facts.get("lock")]
        if self._owner:
            self._side_by_side([name for name in locked if name not in self._unreachable()], free)
        self._owner = None

    def limit_to(self, targets: Collection[str]) -> None:
        """Look at these targets alone."""
        self._scope = frozenset(targets)

    def audit(self) -> list[Plan]:
        """Compare every step with its targets; changes nothing. Targets that failed are left out."""
        return [self._plan(step) for step in self.steps]

    def probe(self) -> None:
        """Prove every step by using its result, where it is in order: requests, pings. Lasting changes: none."""
        for step in self.steps:
            plan = self._plan(step)
            if plan.in_order:
                self._check(plan)

    def apply(self) -> list[Plan]:
        """Bring every step in order, asking before each that changes something; returns what was found at each.

        Raises StoppedError when the user stops it. What fails is in `failures`.
        """
        self.plans = []
        for step in self.steps:
            if self.stop_requested:
                raise StoppedError(f"stopped before step {step.name}")
            self.plans.append(self._apply_step(step))
        return self.plans

    def images(self) -> dict[str, list[Image]]:
        """What can be undone, by target: the before-images there, newest first."""
        found: dict[str, list[Image]] = {}

        def look(target: Target) -> None:
            found[target.name] = target.images()

        self._side_by_side([name for name in self._working_targets() if name not in self.failures], look)
        return found

    def rollback(self, step: str, images: Mapping[str, Sequence[Image]]) -> None:
        """Undo applications of a step, the newest first on each target; what the admin changed since is kept."""

        def undo(target: Target) -> None:
            for name in [image.name for image in images[target.name]]:
                # looked at again: what a later application had changed is put back by now
                image = next(each for each in target.images() if each.name == name)
                keep = frozenset(each.number for each in image.changes if each.status == "changed since")
                shown = next(each for each in images[target.name] if each.name == name)
                other = [each.key for each in shown.changes if each.number in keep and each.status != "changed since"]
                if other:
                    raise StepError(
                        f"{target.name}: {other[0]} was changed since, which could not be seen before: ask again"
                    )
                self._record(step, target.name, State.INTENT, image.name, "undo")
                try:
                    self._step(step).rollback(target, image.name, keep)
                except RunbookError as error:
                    self._record(step, target.name, State.FAILED, image.name, f"undo: {error}")
                    raise
                self._record(step, target.name, State.UNDONE, image.name)
                self._notify(Undone(step, target.name, image.name))

        self._side_by_side(list(images), undo, step)

    def record_undone(self, steps: Collection[str], images: Mapping[str, Sequence[Image]]) -> None:
        """What was cut off or failed, and of which no before-image is left, is undone."""
        for (step, target), last in self._journal.unsettled().items():
            if step in steps and target in images and all(image.step != step for image in images[target]):
                self._record(step, target, State.UNDONE, last.image, "verified")

    def _step(self, name: str) -> Step:
        return next(each for each in self.steps if each.name == name)

    def _working_targets(self) -> list[str]:
        return list(dict.fromkeys(target for step in self.steps for target in self._targets_of(step)))

    def _targets_of(self, step: Step) -> list[str]:
        return [target for target in step.targets() if target in self._scope]

    def _connect(self, target: Target) -> None:
        began = time.monotonic()
        self._notify(Connecting(target.name))
        target.host.login()
        mine = [step for step in self.steps if target.name in step.targets()]
        facts = "\n".join(dict.fromkeys(step.facts for step in mine if step.facts))
        held_by = ""
        if target.name != CONTROLLER:
            held_by = self._learn_alone(target, facts)
        elif facts:
            target.learn(facts)
        target.read(self._probes(mine, target))
        self._notify(Connected(target.name, time.monotonic() - began, held_by))

    def _learn_alone(self, target: Target, facts: str, stale: str = "") -> str:
        """Learn the facts, under our lock where we are to change something; returns who else holds the target.

        What an earlier run left at work there has ended by then. Raises LockedError where another run keeps us from
        it. `stale` is the lock of a run that is over.
        """
        if self._owner:
            taken = lock.take(self._owner, images.revert_unproved())
            target.learn(f"{lock.free(stale)}\n{taken}\n{facts}", timeout=APT_SECONDS)
        else:
            target.learn(f"{lock.look()}\n{facts}")
        text = target.facts.get("lock", "")
        if not text or (self._owner and text == self._owner.text):
            return ""
        holder = Owner.parse(text)
        words = f"{holder.who} since {holder.since}" if holder else "somebody who does not say who"
        if self._owner and holder and holder.is_dead:
            return self._learn_alone(target, facts, stale=text)
        if self._owner:
            hint = "wait for it, or if it is over: runbook unlock"
            raise LockedError(f"another run holds {target.name}: {words}", hint=hint)
        return f"{words} (over)" if holder and holder.is_dead else words

    def _probes(self, steps: Sequence[Step], target: Target) -> list[str]:
        return [
            part.probe()
            for step in steps
            if target.name in step.targets()
            for part in step.parts(target.name, target.facts)
        ]

    def _plan(self, step: Step) -> Plan:
        """Compare a step with the targets that can be reached; tells nobody."""
        targets = self._targets_of(step)
        blocked = {target: why for target in targets if (why := self._waits_for(step, target))}
        free = [target for target in targets if target not in blocked and target not in self._unreachable()]
        findings: dict[str, list[Finding]] = {}

        def verify(target: Target) -> None:
            findings[target.name] = step.verify(target)

        self._side_by_side(free, verify, step.name)
        ordered = {target: findings[target] for target in free if target in findings}
        return Plan(step, ordered, blocked, self.steps.index(step) + 1, len(self.steps))

    def _unreachable(self) -> set[str]:
        return {target for target, error in self.failures.items() if isinstance(error, UnreachableError)}

    def _waits_for(self, step: Step, target: str) -> str:
        """The unfinished step that keeps `step` from this target; also on the controller, which serves every target."""
        places = self._unfinished if target == CONTROLLER else (target, CONTROLLER)
        for name in step.needs:
            for place in places:
                if name in self._unfinished.get(place, {}):
                    return name
        return ""

    def _apply_step(self, step: Step) -> Plan:
        changed: Mapping[str, PlanChangedError] = {}
        for _ in range(PLANS):
            plan = self._plan(step)
            self._notify(Planned(plan))
            self._record_verified(plan)
            for target in plan.blocked:
                self._unfinished.setdefault(target, {})[step.name] = "blocked"
            self._refuse_unknown(plan)
            ready = self._without_unfinished(plan)
            choice = self._confirm(ready) if ready.changes else Choice.APPLY
            if choice is Choice.STOP:
                raise StoppedError(f"stopped at step {step.name}")
            if choice is Choice.SKIP:
                for target in ready.changes:
                    self._unfinished.setdefault(target, {})[step.name] = "skipped"
                self._notify(StepDone(step.name, "skipped"))
                return plan
            changed = self._make(ready)
            if not changed:
                break
        for target, error in changed.items():
            self._fail(target, step.name, error)
        self._check(plan)
        outcomes = {self._unfinished.get(target, {}).get(step.name, "done") for target in step.targets()}
        self._notify(StepDone(step.name, next((each for each in OUTCOMES if each in outcomes), "done")))
        return plan

    def _record_verified(self, plan: Plan) -> None:
        """What was cut off or failed and is found in order is done."""
        unsettled = self._journal.unsettled()
        for target, found in plan.findings.items():
            last = unsettled.get((plan.step.name, target))
            if last and all(each.verdict is Verdict.IN_ORDER for each in found):
                self._record(plan.step.name, target, State.DONE, last.image, "verified")

    def _refuse_unknown(self, plan: Plan) -> None:
        """A part whose state cannot be told is not worked on: its target fails here, untouched."""
        for target, found in plan.findings.items():
            stuck = [each for each in found if each.verdict in {Verdict.UNKNOWN, Verdict.LATER}]
            if stuck and plan.step.name not in self._unfinished.get(target, {}):
                self._fail(target, plan.step.name, StepError(f"{target}: {stuck[0].key}: {stuck[0].note}"))

    def _without_unfinished(self, plan: Plan) -> Plan:
        """What of a plan can be made: what is confirmed is what is applied."""
        return replace(
            plan,
            findings={
                target: found
                for target, found in plan.findings.items()
                if plan.step.name not in self._unfinished.get(target, {})
            },
        )

    def _make(self, plan: Plan) -> Mapping[str, PlanChangedError]:
        """Make a plan's changes; returns the hosts no longer as planned, which must be planned again."""
        changed: dict[str, PlanChangedError] = {}

        def make(target: Target) -> None:
            try:
                self._make_on(target, plan.step, plan.changes[target.name])
            except PlanChangedError as error:
                changed[target.name] = error

        self._side_by_side(list(plan.changes), make, plan.step.name)
        return changed

    def _make_on(self, target: Target, step: Step, changes: Sequence[Finding]) -> None:
        began = time.monotonic()
        image = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{step.name}"
        later = self.steps[self.steps.index(step) :]
        target.ahead = lambda: self._probes(later, target)
        self._notify(Applying(step.name, target.name))
        self._record(step.name, target.name, State.INTENT, image)
        try:
            step.apply(target, changes, self.targets, image)
            left = [each for each in step.verify(target) if each.verdict is not Verdict.IN_ORDER]
            if left:
                raise StepError(f"{target.name}: {left[0].key} is still not in order: {_why(left[0])}")
        except RunbookError as error:
            self._record(step.name, target.name, State.FAILED, image, str(error))
            raise
        self._record(step.name, target.name, State.DONE, image)
        self._notify(Applied(step.name, target.name, changes, time.monotonic() - began))

    def _check(self, plan: Plan) -> None:
        """Prove a step by using its result, where it is done on all that a check speaks of.

        Checks that have no target in common go side by side.
        """
        waiting = list(plan.step.checks())
        while waiting:
            turn = [each for at, each in enumerate(waiting) if all({*each.on}.isdisjoint(o.on) for o in waiting[:at])]
            waiting = [each for each in waiting if each not in turn]
            with ThreadPoolExecutor(max_workers=len(turn)) as pool:
                for check, evidence in zip(turn, pool.map(partial(self._prove, plan.step.name), turn), strict=True):
                    if evidence is not None:
                        self._notify(Checked(plan.step.name, check.title, evidence))

    def _prove(self, step: str, check: Check) -> Sequence[str] | None:
        if any(step in self._unfinished.get(target, {}) or target in self.failures for target in check.on):
            return None
        self._notify(Checking(step, check.title))
        try:
            return check.run(self.targets)
        except RunbookError as error:
            for target in check.on:
                self._fail(target, step, error)
            return None

    def _side_by_side(self, names: Sequence[str], work: Callable[[Target], None], step: str = "") -> None:
        """Do `work` on every target at once; an error of one is kept and told, and keeps no other from going on."""

        def guarded(name: str) -> None:
            try:
                work(self.targets[name])
            except RunbookError as error:
                self._fail(name, step, error)

        if not names:
            return
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            list(pool.map(guarded, names))

    def _fail(self, target: str, step: str, error: RunbookError) -> None:
        self.failures.setdefault(target, error)
        for each in [step] if step else [every.name for every in self.steps]:
            self._unfinished.setdefault(target, {})[each] = "failed"
        self._notify(Failed(target, step, error))

    def _record(self, step: str, target: str, state: State, image: str, note: str = "") -> None:
        self._journal.record(Checkpoint(self._run, step, target, state, image, note))


def _why(finding: Finding) -> str:
    return finding.change.summary if finding.change else finding.note or finding.verdict.value
