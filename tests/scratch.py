"""A scratch root as a host: a directory of its own, a real shell, real files, nobody else's."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from checkpoints import Journal
from runbook.executor import Choice, Executor
from runbook.local import LocalHost
from runbook.step import Check, Finding, Part, Step
from runbook.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from runbook.events import Event, Plan
    from runbook.host import Host
    from runbook.images import Image
    from runbook.questions import Offer, TakeBack


def unmake(target: Target, name: str) -> None:
    """Undo one application there, with nothing kept."""
    found = target.images()
    at = [each.name for each in found].index(name)
    target.unmake(found[at], found[at + 1 :], frozenset())


Tree = dict[str, tuple[object, ...]]
PartsOf = dict[str, list[Part]]


def entry(path: Path) -> tuple[object, ...]:
    """What is at a path: its kind, what it holds, mode and owner."""
    found = path.lstat()
    owner = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
    if stat.S_ISLNK(found.st_mode):
        return "link", str(path.readlink()), *owner[1:]
    if stat.S_ISREG(found.st_mode):
        return "file", path.read_bytes(), *owner
    return stat.filemode(found.st_mode)[0], *owner


class Scratch:
    """A target whose files lie under `root`, and whose before-images lie beside it."""

    def __init__(self, directory: Path, name: str = "here", host: Host | None = None) -> None:
        self.name = name
        self.root = directory / f"root-{name}"
        self.root.mkdir(parents=True, exist_ok=True)
        self.images_at = directory / f"state-{name}" / "images"
        self.target = Target(host or LocalHost(name), str(self.images_at))

    def tree(self) -> Tree:
        """All that is under the root."""
        return {str(path.relative_to(self.root)): entry(path) for path in sorted(self.root.rglob("*"))}

    def images(self) -> list[Image]:
        """The before-images kept."""
        return self.target.images()

    def look(self, step: Step) -> list[Finding]:
        """What a step finds now, read afresh."""
        self.target.readings.clear()
        return step.verify(self.target, {})

    def apply(self, step: Step, image: str) -> list[Finding]:
        """Make what is not in order; returns what was found before."""
        found = self.look(step)
        if any(each.change for each in found):
            step.apply(self.target, found, {self.name: self.target}, image)
        return found

    def rollback(self, step: Step) -> None:
        """Undo everything that is there to undo, as the executor does."""
        executor = run([step], [self], self.images_at.parent)
        executor.rollback(step.name, {self.name: self.images()})
        for error in executor.failures.values():
            raise error


def step(called: str, parts: PartsOf, wants: Sequence[str] = (), proofs: Sequence[Check] = ()) -> Step:
    """A step of whatever parts a test states, by target; the lists may be changed later."""

    class Stated(Step):
        """What a test states."""

        name: ClassVar[str] = called
        title: ClassVar[str] = called
        needs: ClassVar[tuple[str, ...]] = tuple(wants)

        def targets(self) -> Sequence[str]:
            return list(parts)

        def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - needs no facts
            return parts[target]

        def reads(self, target: str) -> Sequence[str]:
            every = [beside for stated in parts.values() for part in stated for beside in part.beside]
            return [probe for at, probe in every if at == target]

        def checks(self) -> Sequence[Check]:
            return proofs

    return Stated()


@dataclass
class Witness:
    """Whoever is told and asked: keeps what was told, and says yes unless told to say something else."""

    events: list[Event] = field(default_factory=list)
    asked: list[Plan] = field(default_factory=list)
    answer: Callable[[Plan], Choice] = lambda _: Choice.APPLY
    offered: list[TakeBack | Offer] = field(default_factory=list)
    accepts: Callable[[Any], Collection[str]] = lambda _: []

    def confirm(self, plan: Plan) -> Choice:
        """Answer, and remember the question."""
        self.asked.append(plan)
        return self.answer(plan)

    def ask(self, offer: TakeBack | Offer) -> Collection[str]:
        """Answer, and remember what was offered."""
        self.offered.append(offer)
        return self.accepts(offer)


def run(
    steps: Sequence[Step], hosts: Sequence[Scratch], journal: Journal | Path, witness: Witness | None = None
) -> Executor:
    """An executor for these steps and hosts, its journal given or in a directory given."""
    witness = witness or Witness()
    journal = Journal(journal / "journal.jsonl") if isinstance(journal, Path) else journal
    targets = {host.name: host.target for host in hosts}
    return Executor(steps, targets, journal, witness.events.append, witness.confirm, witness.ask)


def carry_out(
    steps: Sequence[Step], hosts: Sequence[Scratch], journal: Journal | Path, witness: Witness | None = None
) -> Executor:
    """Connect and apply; how it went is in the executor's failures."""
    executor = run(steps, hosts, journal, witness)
    executor.connect()
    executor.apply()
    return executor
