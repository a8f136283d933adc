"""Logging in everywhere, taking the hosts for one run, reading what there is to read."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from checkpoints import State
from runbook import catalogue, images, lock
from runbook.errors import LockedError, RunbookError, StoppedError
from runbook.events import Connected, Connecting, Crossed, Waiting
from runbook.lock import Owner
from runbook.step import CONTROLLER, Barrier
from runbook.target import APT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook.executor.run import Run
    from runbook.target import Target


class Connections:
    """A run's hold on its hosts."""

    def __init__(self, run: Run, pause: Callable[[str, str], None]) -> None:
        """Nothing is connected yet, and nothing locked; `pause` passes a moment of waiting for (target, what)."""
        self._run = run
        self._pause = pause
        self._owner: Owner | None = None

    def open(self, owner: Owner | None, *, proving: bool) -> None:
        """Log in everywhere and read, side by side; a run that changes hosts is their `owner` until `release`.

        Such a run waits for a host that an earlier one left while it rebooted. Raises LockedError when another run
        holds a host, StoppedError when the user will not wait, with no host locked by us.
        """
        self._owner = owner
        helping = self._run.helping_targets() if proving else []
        begin = {**dict.fromkeys(helping, _log_in), **dict.fromkeys(self._run.working_targets(), self._connect)}
        self._run.side_by_side(list(begin), lambda target: begin[target.name](target))
        kept_out = (LockedError, StoppedError)
        held = next((error for error in self._run.failures.values() if isinstance(error, kept_out)), None)
        if held:
            self.release()
            raise held
        if owner and CONTROLLER in self._run.working_targets():  # which has no lock: who has the hosts has it, too
            here = self._run.targets[CONTROLLER]
            here.run(here.sweeping, purpose="remove what was left half-written")

    def anew(self, target: Target) -> None:
        """Connect and read once more what may have changed altogether, as by a reboot; our lock is gone then, too."""
        target.host.close()
        target.readings.clear()
        self._connect(target)

    def release(self) -> None:
        """Let other runs have the hosts; one that cannot be reached any more is left to see that we are gone."""

        def free(target: Target) -> None:
            with suppress(RunbookError):
                target.run(lock.free(self._owner.text if self._owner else ""), purpose="free the lock")

        locked = [name for name in self._run.working_targets() if self._run.targets[name].facts.get("lock")]
        if self._owner:
            self._run.side_by_side([name for name in locked if name not in self._run.unread], free)
        self._owner = None

    def _connect(self, target: Target) -> None:
        if self._owner:
            self._rejoin(target)
        began = time.monotonic()
        self._run.notify(Connecting(target.name))
        target.host.login()
        mine = [step for step in self._run.steps if target.name in step.targets()]
        facts = "\n".join(dict.fromkeys(step.facts for step in mine if step.facts))
        held_by = ""
        if target.name != CONTROLLER:
            held_by = self._learn_alone(target, facts)
        elif facts:
            target.learn(facts)
        target.read(self._run.probes(mine, target))
        self._run.notify(Connected(target.name, time.monotonic() - began, held_by))

    def _rejoin(self, target: Target) -> None:
        """Wait for a target that an earlier run was waiting for when it was cut off."""
        for (name, at), last in self._run.journal.unsettled().items():
            step = next((each for each in self._run.steps if each.name == name), None)
            if step is None or at != target.name or last.state is not State.INTENT or last.image:
                continue
            parts = step.parts(at, {})  # a barrier needs no facts to be known again
            for each in (part for part in parts if isinstance(part, Barrier) and part.key == last.note):
                began = time.monotonic()
                self._run.notify(Waiting(name, at, each.key))
                each.rejoin(target, partial(self._pause, at, each.key))
                self._run.notify(Crossed(name, at, each.key, time.monotonic() - began))

    def _learn_alone(self, target: Target, facts: str, stale: str = "") -> str:
        """Learn the facts, under our lock where we are to change something; returns who else holds the target.

        What an earlier run left at work there has ended by then, and what it left half-written is gone. Raises
        LockedError where another run keeps us from it. `stale` is the lock of a run that is over.
        """
        if self._owner:
            taken = lock.take(self._owner, f"{images.revert_unproved()}\n{target.sweeping}")
            target.learn(f"{lock.free(stale)}\n{taken}\n{facts}", timeout=APT_SECONDS)
        else:
            target.learn(f"{lock.look()}\n{facts}")
        text = target.facts.get("lock", "")
        if not text or (self._owner and text == self._owner.text):
            return ""
        holder = Owner.parse(text)
        words = holder.words if holder else "somebody who does not say who"
        if self._owner and holder and holder.is_dead:
            return self._learn_alone(target, facts, stale=text)
        if self._owner:
            raise LockedError(catalogue.LOCKED, target=target.name, holder=words)
        return words


def _log_in(target: Target) -> None:
    """Log in before it is needed. Where that fails, the check that needs it tries once more, and says so."""
    with suppress(RunbookError):
        target.host.login()
