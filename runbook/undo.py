"""Rollback as the user sees it: what would be undone, then the question, then the undoing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook import prompt
from runbook.executor import StoppedError

if TYPE_CHECKING:
    from runbook.images import Image
    from runbook.session import Session


def undo_step(session: Session, step: str, *, yes: bool) -> None:
    """Undo a step wherever it was applied; raises StoppedError when the user says no."""
    undoable = session.executor.undoable(step)
    for target, images in undoable.items():
        for image in images:
            session.terminal.line(f"{target}: {step}, applied as {image.name}")
            for line in _lines(image):
                session.terminal.line(f"    {line}")
    if not undoable:
        session.terminal.line(f"nothing of {step} is there to undo")
        return
    if not yes and not prompt.confirm(f"Undo this on {', '.join(undoable)}?"):
        raise StoppedError("nothing was undone")
    session.executor.rollback(step, undoable)


def _lines(image: Image) -> list[str]:
    words = {"as we left it": "undo", "as before": "nothing to undo", "cut off": "undo", "changed since": "KEEP"}
    lines = []
    for change in reversed(image.changes):
        note = f" ({change.status})" if change.status != "as we left it" else ""
        lasting = f"; {change.irreversible}" if change.irreversible else ""
        lines.append(f"{words[change.status]}: {change.summary}{note}{lasting}")
    return lines
