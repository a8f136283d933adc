"""`runbook renew`: the certificates that are due, from their authority into the tunnels; and the timer that does it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from runbook.carrying import carry_out
from runbook.session import Session, refuse_without_answer
from runbook.step import CONTROLLER
from steps.renewing.renewal import ask_authorities, renewal, standings
from steps.renewing.renewal_timer import RenewalTimer

if TYPE_CHECKING:
    from pathlib import Path


def renew(file: Path, *, only: str, yes: bool, json: bool, force: bool) -> int:
    """Renew what is due, or with `force` all, of one site or of `only` one; returns the exit code."""
    refuse_without_answer(yes=yes, json=json)
    with Session(file, "renew", yes=yes, json=json, steps=partial(renewal, only=only, force=force)) as session:
        for odd in ask_authorities(session.network, session.targets[CONTROLLER], only=only, force=force):
            session.terminal.line(odd)
        session.again = session.again.replace(" --force", "")  # it is noted now: whose turn is over has no other
        try:
            return carry_out(session, json=json)
        finally:
            for line in standings(session.network):
                session.terminal.line(line)


def timer(file: Path, *, wanted: bool, yes: bool) -> int:
    """Have a timer renew, or no longer; returns the exit code."""
    refuse_without_answer(yes=yes, json=False)
    step = RenewalTimer(file, wanted=wanted)
    with Session(file, "renewal-timer", yes=yes, json=False, steps=lambda _: [step]) as session:
        return carry_out(session, json=False)
