"""Forgetting how it was long ago: before-images that nobody will undo any more."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from runbook import catalogue, prompt
from runbook.errors import UsageError
from runbook.executor import StoppedError
from runbook.narrator import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.images import Image
    from runbook.session import Session


def days_of(text: str) -> int:
    """A number of days, as it is typed; raises UsageError for what is none."""
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise UsageError(f"{text!r} is no number of days", hint="such as: runbook forget --older-than 90")
    return int(text)


def forget(session: Session, days: int, *, yes: bool) -> None:
    """Show what was applied more than `days` ago, ask, and forget how it was before; the hosts stay as they are.

    What was cut off stays to be undone or finished. Raises StoppedError when the user says no.
    """
    last = f"{datetime.now(UTC) - timedelta(days=days):%Y%m%dT%H%M%S%f}"
    found: Mapping[str, Sequence[Image]] = session.executor.images()
    old = {target: [image for image in images if image.name < last] for target, images in found.items()}
    for target, image in ((target, image) for target, images in old.items() for image in images):
        note = ": stays, it was cut off" if _is_cut_off(image) else ""
        session.terminal.line(f"{target}: {image.step}, applied as {image.name}, {counted(len(image.changes))}{note}")
    names = {target: [image.name for image in images if not _is_cut_off(image)] for target, images in old.items()}
    names = {target: each for target, each in names.items() if each}
    if not names:
        session.terminal.line(f"nothing that was applied more than {days} days ago is there to forget")
        return
    session.terminal.line("what these changed stays as it is, and no rollback will undo it any more")
    if not yes and not prompt.confirm("Forget them?"):
        raise StoppedError(catalogue.STOPPED, what="nothing was forgotten")
    session.executor.forget(names)
    for target in (name for name in names if name not in session.executor.failures):
        session.terminal.line(f"{target}: forgotten")


def _is_cut_off(image: Image) -> bool:
    return any(each.status == "cut off" for each in image.changes)
