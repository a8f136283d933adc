"""The steps in order, one way or the other."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from runbook import catalogue
from runbook.errors import PlanChangedError, RunbookError, StoppedError
from runbook.events import Notify, Plan, Planned, StepDone
from runbook.executor import undoing
from runbook.executor.checking import check
from runbook.executor.connecting import Connections
from runbook.executor.making import make, record_verified
from runbook.executor.offering import cross, next_offer, report, taken
from runbook.executor.planning import left_alone, place, plan, upheld
from runbook.executor.run import Run
from runbook.questions import Choice, TakeBack
from runbook.step import Finding, Step, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from checkpoints import Journal
    from runbook.images import Image
    from runbook.lock import Owner
    from runbook.questions import Ask, Confirm, Offer
    from runbook.step import Finding
    from runbook.target import Target

PLANS = 3
"""How often a step is planned anew when its host changes under it."""
OFFERS = 9
"""How many offers of one step are asked about at most, those that changed meanwhile and are asked about again too."""
PAUSE_SECONDS = 1.0
"""How long a barrier that is waited for is left alone before it is looked at again."""

OUTCOMES = ("failed", "blocked", "skipped")
"""How a step can stay unfinished on a target, the worst first."""


class Executor:
    """Carries out a procedure on its targets."""

    def __init__(  # noqa: PLR0913, PLR0917 - the steps, where, and whom to tell and to ask
        self,
        steps: Sequence[Step],
        targets: Mapping[str, Target],
        journal: Journal,
        notify: Notify,
        confirm: Confirm,
        ask: Ask | None = None,
        wanted: Collection[str] = frozenset(),
    ) -> None:
        """Work through `steps` on `targets`, of which every step's targets and what its checks use must be part.

        What is offered is done where its flag is `wanted`, or where `ask` says so.
        """
        self.steps = steps
        self.targets = targets
        self._run = Run(steps, targets, journal, notify)
        self._connections = Connections(self._run, self._pause)
        self._confirm = confirm
        self._ask = ask
        self._wanted = frozenset(wanted)
        self.plans: list[Plan] = []
        """What the steps applied so far found, also of a run that was stopped."""
        self.stop_requested = False
        """Set from outside (Ctrl-C): the step in hand is finished, then the run stops."""

    @property
    def failures(self) -> dict[str, RunbookError]:
        """What went wrong first, by target."""
        return self._run.failures

    def limit_to(self, targets: Collection[str]) -> None:
        """Look at these targets alone."""
        self._run.scope = frozenset(targets)

    def connect(self, owner: Owner | None = None, *, proving: bool = False) -> None:
        """Log in everywhere and read what there is to read, side by side; what cannot be reached is in `failures`.

        A run that changes hosts is their `owner` from here on, until `release`. One that will be `proving` steps logs
        in to what their checks use besides. Raises LockedError, with no host locked by us, when another run holds one.
        """
        self._connections.open(owner, proving=proving)

    def release(self) -> None:
        """Let other runs have the hosts."""
        self._connections.release()

    def audit(self) -> list[Plan]:
        """Compare every step with its targets; changes nothing. Targets that failed are left out."""
        return [self._look(step) for step in self.steps]

    def probe(self) -> None:
        """Prove every step by using its result, where it is in order: requests, pings. Lasting changes: none."""
        for step in self.steps:
            if plan(self._run, step).in_order:
                check(self._run, step)

    def apply(self) -> list[Plan]:
        """Bring every step in order, asking before each that changes something; returns what was found at each.

        Raises StoppedError when the user stops it. What fails is in `failures`.
        """
        self.plans = []
        for step in self.steps:
            if self.stop_requested:
                raise StoppedError(catalogue.STOPPED, what=f"stopped before step {step.name}")
            self.plans.append(self._apply_step(step))
        return self.plans

    def images(self) -> dict[str, list[Image]]:
        """What can be undone, by target: the before-images there, newest first."""
        return undoing.images(self._run)

    def rollback(self, step: str, images: Mapping[str, Sequence[Image]]) -> None:
        """Undo applications of a step, the newest first on each target; what the admin changed since is kept."""
        undoing.undo(self._run, step, images)

    def forget(self, names: Mapping[str, Sequence[str]]) -> None:
        """Remove before-images, by target: what they are about stays as it is, and cannot be undone any more."""
        undoing.forget(self._run, names)

    def kept(self) -> dict[str, tuple[int, int]]:
        """How many before-images each target keeps, and how many KiB they take; of those that have any."""
        return undoing.kept(self._run)

    def left_behind(self) -> list[str]:
        """The targets that are no more, and still have what was applied there."""
        return undoing.left_behind(self._run)

    def record_undone(self, steps: Collection[str], images: Mapping[str, Sequence[Image]]) -> None:
        """What was cut off or failed, and of which no before-image is left, is undone."""
        undoing.record_undone(self._run, steps, images)

    def _look(self, step: Step) -> Plan:
        """What a step finds; what needs a part that cannot be told is blocked, as it will be by apply."""
        found = plan(self._run, step)
        for target, findings in found.findings.items():
            for each in findings:
                if each.verdict is Verdict.UNKNOWN:
                    self._run.leave(place(target, each), step.name, "unknown")
        return found

    def _apply_step(self, step: Step) -> Plan:
        changed: Mapping[str, PlanChangedError] = {}
        for _ in range(PLANS):
            found = plan(self._run, step)
            found = replace(found, upheld=upheld(self._run, step) if found.changes else [])
            self._run.notify(Planned(found))
            record_verified(self._run, found)
            self._refuse_unknown(found)
            ready = self._without_unfinished(found)
            choice = self._confirm(ready) if ready.changes else Choice.APPLY
            if choice is Choice.STOP:
                raise StoppedError(catalogue.STOPPED, what=f"stopped at step {step.name}")
            if choice is Choice.SKIP:
                for target in ready.changes:
                    self._run.leave(target, step.name, "skipped")
                self._run.notify(StepDone(step.name, "skipped"))
                return found
            changed = make(self._run, ready)
            if not changed:
                break
        for target, error in changed.items():
            self._run.fail(target, step.name, error)
        found = self._take_offers(found)
        check(self._run, step)
        self._offer_to_take_back(step)
        outcomes = {self._run.left(target, step.name) for target in step.targets()}
        self._run.notify(StepDone(step.name, next((each for each in OUTCOMES if each in outcomes), "done")))
        return found

    def _take_offers(self, found: Plan) -> Plan:
        """Do what the step offers and is wanted, then what it offers after that; returns the plan with all of it."""
        step, now, settled, done = found.step, found, set[str](), []
        for _ in range(OFFERS):
            offer = next_offer(self._without_unfinished(now), settled)
            if offer is None:
                break
            settled.add(offer.key)
            chosen = taken(self._run, offer, self._wanted_of(offer))
            if not chosen:
                continue
            done.append(chosen)
            barriers = [target for target, (each,) in chosen.items() if each.barrier]
            for target in barriers:  # one after the other: never are all ends away
                self._cross(offer, target)
            parts = {target: each for target, each in chosen.items() if target not in barriers}
            if make(self._run, replace(now, findings=parts)):
                settled.discard(offer.key)  # the host is otherwise than it was shown: it is shown again
            now = plan(self._run, step)
        return report(found, done)

    def _wanted_of(self, offer: Offer) -> Collection[str]:
        flags = {target: each.offer.flag for target, each in offer.findings.items() if each.offer}
        beforehand = [target for target, flag in flags.items() if flag in self._wanted]
        return beforehand or (self._ask(offer) if self._ask else [])

    def _cross(self, offer: Offer, target: str) -> None:
        pause = partial(self._pause, target, offer.key)
        cross(self._run, offer, self.targets[target], pause, self._connections.anew)

    def _pause(self, target: str, what: str) -> None:
        if self.stop_requested:
            raise StoppedError(catalogue.STOPPED, what=f"stopped while waiting for {target}: {what}")
        time.sleep(PAUSE_SECONDS)

    def _offer_to_take_back(self, step: Step) -> None:
        """Where a step failed after this run had changed the target, ask whether to put that back as it was before."""
        for target in [name for name in step.targets() if self._run.left(name, step.name) == "failed"]:
            image = undoing.made_by(self._run, step.name, target) if self._ask else None
            if self._ask and image and target in self._ask(TakeBack(step, target, image)):
                undoing.undo(self._run, step.name, {target: [image]})

    def _refuse_unknown(self, found: Plan) -> None:
        """A part whose state cannot be told is not worked on: its target fails here, untouched."""
        for target, findings in found.findings.items():
            for each in findings:
                at = place(target, each)
                if each.verdict in {Verdict.UNKNOWN, Verdict.LATER} and not self._run.left(at, found.step.name):
                    self._run.fail(at, found.step.name, each.error or left_alone(at, found.step, each))

    def _without_unfinished(self, found: Plan) -> Plan:
        """What of a plan can be made: what is confirmed is what is applied."""

        def can(target: str, finding: Finding) -> bool:
            at = {target, place(target, finding)}
            return not finding.blocked_by and not any(self._run.left(each, found.step.name) == "failed" for each in at)

        kept = {target: [each for each in mine if can(target, each)] for target, mine in found.findings.items()}
        return replace(found, findings={target: mine for target, mine in kept.items() if mine})
