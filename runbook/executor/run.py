"""What the stages of one run share: the steps and their targets, the journal, who is told, what went wrong."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from checkpoints import Checkpoint, Journal, State
from runbook import catalogue
from runbook.errors import RunbookError, StepError, UnreachableError
from runbook.events import Failed, Notify
from runbook.step import CONTROLLER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runbook.step import Step
    from runbook.target import Target

_LOOK_UP: Final = 0.2
"""Seconds after which a wait for targets looks whether it has been interrupted."""


class Run:
    """One run of a procedure on its targets."""

    def __init__(self, steps: Sequence[Step], targets: Mapping[str, Target], journal: Journal, notify: Notify) -> None:
        """Nothing has happened yet."""
        self.steps = steps
        self.targets = targets
        self.journal = journal
        self.notify = notify
        self.scope = frozenset(targets)
        """The targets that are looked at."""
        self.failures: dict[str, RunbookError] = {}
        """What went wrong first, by target."""
        self.unfinished: dict[str, dict[str, str]] = {}
        """By target, the steps that stay unfinished there, or for it, each with how."""
        self.unread: set[str] = set()
        """The hosts that could not be read, or cannot be reached any more: no step looks at them."""
        self.made: dict[tuple[str, str], str] = {}
        """By step and target, the before-image of what this run began to change there."""
        self._id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(each for each in self.steps if each.name == name)

    def targets_of(self, step: Step) -> list[str]:
        """The targets of a step that are looked at."""
        return [target for target in step.targets() if target in self.scope]

    def working_targets(self) -> list[str]:
        """The targets on which any step's work lands."""
        return list(dict.fromkeys(target for step in self.steps for target in self.targets_of(step)))

    def helping_targets(self) -> list[str]:
        """The targets on which no work lands, and which the checks of what is looked at use."""
        checks = [check for step in self.steps for check in step.checks() if self.scope.issuperset(check.on)]
        return [name for name in dict.fromkeys(name for check in checks for name in check.by) if name in self.scope]

    def probes(self, steps: Sequence[Step], target: Target) -> list[str]:
        """All that these steps want read on a target."""
        return [probe for step in steps if target.name in step.targets() for probe in step.probes(target)]

    def side_by_side(self, names: Sequence[str], work: Callable[[Target], None], step: str = "") -> None:
        """Do `work` on every target at once; an error of one is kept and told, and keeps no other from going on."""

        def guarded(name: str) -> None:
            try:
                work(self.targets[name])
            except RunbookError as error:
                self.fail(name, step, error)

        if not names:
            return
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            at_work = [pool.submit(guarded, name) for name in names]
            # a Ctrl-C of the very moment in which a wait begins is seen only as it ends: so each is short
            while wait(at_work, timeout=_LOOK_UP).not_done:
                pass
        for each in at_work:
            each.result()

    def fail(self, target: str, step: str, error: RunbookError) -> None:
        """Keep and tell that a step, or where `step` is empty every step, has failed on a target."""
        self.failures.setdefault(target, error)
        if target != CONTROLLER and (not step or isinstance(error, UnreachableError)):
            self.unread.add(target)
        for each in [step] if step else [every.name for every in self.steps]:
            self.leave(target, each, "failed")
        self.notify(Failed(target, step, error))

    def leave(self, target: str, step: str, how: str) -> None:
        """Keep that a step stays unfinished on a target, and let the step know."""
        self.unfinished.setdefault(target, {})[step] = how
        self.step(step).give_up(target)

    def left(self, target: str, step: str) -> str:
        """How a step stays unfinished on a target; empty where it does not."""
        return self.unfinished.get(target, {}).get(step, "")

    def record(self, step: str, target: str, state: State, image: str, note: str = "") -> None:
        """Write a checkpoint; it is on the disk when this returns. Raises StepError where it cannot be written.

        One that only says what has failed is done without, then: its intent says of it that it was cut off.
        """
        try:
            self.journal.record(Checkpoint(self._id, step, target, state, image, note))
        except OSError as error:
            if state is not State.FAILED:
                path, why = self.journal.path.parent, error.strerror
                raise StepError(
                    catalogue.NO_LOG_PLACE, what="checkpoints", path=path, directory=path.parent, why=why
                ) from error
