"""Taking steps back by the before-images on their hosts."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from checkpoints import State
from runbook import catalogue
from runbook.errors import RunbookError, StepError
from runbook.events import Undone
from runbook.images import KEEP, PUT_BACK

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from runbook.executor.run import Run
    from runbook.images import Image
    from runbook.target import Target


def images(run: Run) -> dict[str, list[Image]]:
    """What can be undone, by target: the before-images there, newest first."""
    found: dict[str, list[Image]] = {}

    def look(target: Target) -> None:
        found[target.name] = target.images()

    run.side_by_side([name for name in run.working_targets() if name not in run.failures], look)
    return found


def made_by(run: Run, step: str, target: str) -> Image | None:
    """The before-image of what this run changed for a step on a target, where anything of it is there to undo."""
    name = run.made.get((step, target))
    with suppress(RunbookError):  # a host that is gone can be asked again when it is back
        found = next((each for each in run.targets[target].images() if each.name == name), None) if name else None
        return found if found and any(each.status != "as before" for each in found.changes) else None
    return None


def undo(run: Run, step: str, images: Mapping[str, Sequence[Image]]) -> None:
    """Undo applications of a step, the newest first on each target.

    What the admin changed since is kept, unless the image says that it was decided otherwise.
    """

    def work(target: Target) -> None:
        for shown in images[target.name]:
            _undo_on(run, target, step, shown)

    run.side_by_side(list(images), work, step)


def forget(run: Run, names: Mapping[str, Sequence[str]]) -> None:
    """Remove before-images, by target: what they are about stays as it is."""
    run.side_by_side(list(names), lambda target: target.forget(names[target.name]))


def kept(run: Run) -> dict[str, tuple[int, int]]:
    """How many before-images each target keeps, and how many KiB they take; of those that have any."""
    found: dict[str, tuple[int, int]] = {}

    def look(target: Target) -> None:
        found[target.name] = target.kept()

    run.side_by_side([name for name in run.working_targets() if name not in run.failures], look)
    return {name: found[name] for name in run.targets if found.get(name, (0, 0))[0]}


def left_behind(run: Run) -> list[str]:
    """The targets that are no more, on which a step was applied and not undone, by the checkpoints.

    One whose before-images are on a present target is that one, under another name; where not all can be looked at,
    that cannot be told.
    """
    applied: dict[str, set[str]] = {}
    for (_, target), last in run.journal.latest().items():
        if target not in run.targets and last.image and last.state is not State.UNDONE:
            applied.setdefault(target, set()).add(last.image)
    applied = {target: names for target, names in applied.items() if names.isdisjoint(run.journal.undone())}
    if not applied or run.unread or not run.scope.issuperset(run.targets):
        return []
    present = {image.name for found in images(run).values() for image in found}
    return [target for target, names in applied.items() if names.isdisjoint(present)]


def record_undone(run: Run, steps: Collection[str], images: Mapping[str, Sequence[Image]]) -> None:
    """What was cut off or failed, and of which no before-image is left, is undone."""
    for (step, target), last in run.journal.unsettled().items():
        if step in steps and target in images and all(image.step != step for image in images[target]):
            run.record(step, target, State.UNDONE, last.image, "verified")


def _undo_on(run: Run, target: Target, step: str, shown: Image) -> None:
    """Undo one application, which was `shown` to the user as it stood then."""
    # looked at again: what a later application had changed is put back by now
    found = target.images()
    at = next((number for number, each in enumerate(found) if each.name == shown.name), None)
    if at is None:
        raise StepError(catalogue.NO_IMAGE, target=target.name, image=shown.name)
    image, older = found[at], found[at + 1 :]
    keep, settled = _kept(target, image, shown)
    run.record(step, target.name, State.INTENT, image.name, "undo")
    try:
        run.step(step).rollback(target, image, older, keep)
        if settled:
            target.forget([image.name])
    except RunbookError as error:
        run.record(step, target.name, State.FAILED, image.name, f"undo: {error}")
        raise
    run.record(step, target.name, State.UNDONE, image.name)
    run.notify(Undone(step, target.name, image.name))


def _kept(target: Target, image: Image, shown: Image) -> tuple[frozenset[int], bool]:
    """The changes that are not undone, being changed since; and whether the user has decided so for all of them."""
    changed = [each for each in image.changes if each.status == "changed since"]
    asked = {each.number: each for each in shown.changes if each.status == "changed since"}
    keep = set()
    for each in changed:
        seen = asked.get(each.number)
        if seen is None or (seen.decision == PUT_BACK and seen.now != each.now):
            raise StepError(catalogue.CHANGED_UNSEEN, target=target.name, part=each.key, step=image.step)
        if seen.decision != PUT_BACK:
            keep.add(each.number)
    return frozenset(keep), bool(keep) and all(asked[number].decision == KEEP for number in keep)
