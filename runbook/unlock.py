"""Freeing hosts that a run which is over still seems to hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook import lock, prompt
from runbook.lock import Owner

if TYPE_CHECKING:
    from runbook.session import Session


def unlock(session: Session, *, yes: bool) -> None:
    """Show who holds each host, ask, and free it; a lock that was taken anew meanwhile stays."""
    held = {target: target.facts["lock"] for target in session.targets.values() if target.facts.get("lock")}
    if not held:
        session.terminal.line("no host is held by a run")
    for target, text in held.items():
        owner = Owner.parse(text)
        words = f"{owner.who} since {owner.since}{' (over)' if owner.is_dead else ''}" if owner else "somebody unknown"
        session.terminal.line(f"{target.name} is held by {words}")
        if yes or prompt.confirm(f"Free {target.name}?"):
            target.run(lock.free(text), purpose="free the lock")
            session.terminal.line(f"{target.name} is free")
