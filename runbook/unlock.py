"""Freeing hosts that a run which is over still seems to hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook import catalogue, lock, prompt
from runbook.errors import LockedError
from runbook.lock import Owner

if TYPE_CHECKING:
    from runbook.session import Session


def unlock(session: Session, *, yes: bool) -> None:
    """Show who holds each host, ask, and free it; a lock that was taken anew meanwhile stays.

    Raises LockedError, once the others are free, for what a run holds that is at work on this very machine.
    """
    held = {target: target.facts["lock"] for target in session.targets.values() if target.facts.get("lock")}
    if not held:
        session.terminal.line("no host is held by a run")
    alive: dict[Owner, list[str]] = {}
    for target, text in held.items():
        owner = Owner.parse(text)
        session.terminal.line(f"{target.name} is held by {owner.words if owner else 'somebody unknown'}")
        if owner and owner.is_alive:
            alive.setdefault(owner, []).append(target.name)
            continue
        if not (owner and owner.is_dead):
            session.terminal.line("whether that run is over cannot be seen from here: ask whoever it is of")
        if yes or prompt.confirm(f"Free {target.name}?"):
            target.run(lock.free(text), purpose="free the lock")
            session.terminal.line(f"{target.name} is free")
    if alive:
        owner, names = next(iter(alive.items()))
        targets, pid, who, since = ", ".join(names), owner.pid, owner.who, owner.since
        raise LockedError(catalogue.STILL_AT_WORK, targets=targets, pid=pid, who=who, since=since)
