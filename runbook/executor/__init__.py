"""The procedure carried out: audit, apply, rollback; steps in order, targets side by side.

It prints nothing: it tells `notify` what happens, and asks `confirm` before it changes anything.
One module a stage: connecting, planning, making, checking, undoing; `run` is what they share.
"""

from runbook.executor.executor import PLANS, Choice, Confirm, Executor, StoppedError

__all__ = ["PLANS", "Choice", "Confirm", "Executor", "StoppedError"]
