"""Every error a user can meet, as one tree.

RunbookError                 one clear sentence; exit 1
+-- UsageError               a wrong flag or a wrong sites.yaml; exit 2
+-- UnreachableError         a host does not answer, or a login failed; exit 5
|   +-- HostKeyError         its key is unknown or has changed; exit 5
|   +-- SudoError            logged in, but root cannot be had; exit 5
+-- BrokenLineError          the line dropped while a script ran: its outcome is not known; exit 5
+-- StepError                a step failed on a target; exit 1
|   +-- PlanChangedError     the host is no longer as the plan says; it is planned again
+-- LockedError              another run holds the host; exit 6
"""

from __future__ import annotations

from typing import ClassVar


class RunbookError(Exception):
    """What went wrong, where, and what to do, in words for the user; never holds a secret."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Say what is wrong (`message`) and, where there is one, the next command or action (`hint`)."""
        super().__init__(message)
        self.hint = hint


class UsageError(RunbookError):
    """A wrong flag, or a `sites.yaml` that cannot be followed."""

    exit_code = 2


class UnreachableError(RunbookError):
    """A host could not be reached or refused the login."""

    exit_code = 5


class HostKeyError(UnreachableError):
    """A host's key is not known, or is not the one known."""


class SudoError(UnreachableError):
    """Root cannot be had on a host, so nothing more is tried there."""


class BrokenLineError(RunbookError):
    """The line to a host dropped while a script was running."""

    exit_code = 5


class StepError(RunbookError):
    """A step did not reach what it states."""


class PlanChangedError(StepError):
    """A host changed between the plan and its execution; nothing was done."""


class LockedError(RunbookError):
    """Another run holds the host."""

    exit_code = 6
