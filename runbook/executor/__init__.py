"""The procedure carried out: audit, apply, rollback; steps in order, targets side by side.

It prints nothing: it tells what happens (`runbook.events`), and asks before it changes anything (`runbook.questions`).
One module a stage: connecting, planning, making, offering, checking, undoing; `run` is what they share.
"""

from runbook.errors import StoppedError
from runbook.executor.executor import PLANS, Executor
from runbook.questions import Choice, Confirm

__all__ = ["PLANS", "Choice", "Confirm", "Executor", "StoppedError"]
