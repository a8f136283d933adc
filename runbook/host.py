"""A host as the executor sees it: one script in, one answer out.

Nothing here knows how the script travels. `runbook.ssh` carries it over SSH, `runbook.local` to the shell of this
machine; another transport could take their place behind the same `Host`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

OnLine = Callable[[str], None]
"""Receives each line of a script's standard error as it arrives, without its line end."""


@dataclass(frozen=True)
class Answer:
    """What a script printed and how it ended.

    `stdout` and `stderr` are UTF-8 with what is not UTF-8 kept as surrogates (`errors="surrogateescape"`), so that
    the bytes can be had back. `seconds` is the time from asking to the end, the line's delay included.
    """

    stdout: str
    stderr: str
    code: int
    seconds: float


@dataclass(frozen=True)
class Exchange:
    """The record of one run for the log: what it was for and how it ended.

    `start` is in seconds since the epoch, `seconds` a duration. `code` is None where the end was not seen: the line
    broke, root was refused, or it ran out of time. `answer` is None there too.
    """

    purpose: str
    target: str
    start: float
    seconds: float
    code: int | None
    answer: Answer | None = field(default=None, repr=False)


Observe = Callable[[Exchange], None]
"""Is told of each `Exchange` when it is over, also when it failed."""


@dataclass(frozen=True)
class Job:
    """One script to run; the fields are as `Host.run` has them."""

    script: str = field(repr=False)
    purpose: str
    timeout: float
    on_line: OnLine | None


class Host(ABC):
    """A machine that runs scripts. A remote one is used by one thread at a time, the controller by any number."""

    def __init__(self, name: str, observe: Observe | None = None) -> None:
        """Have a `name` to be shown to the user by; `observe` is told of every run."""
        self.name = name
        self._observe = observe

    def run(self, script: str, *, purpose: str, timeout: float = 120.0, on_line: OnLine | None = None) -> Answer:
        """Run a POSIX sh script, whole or not at all, and return how it ended.

        The script runs as root on a remote host and as the present user on the controller, with LC_ALL=C, umask 022,
        Debian's PATH and an empty standard input. It must not contain NUL. A non-zero exit code is returned, not
        raised.

        Args:
            script: What to run; it travels on standard input, never in argv.
            purpose: What it is for, in a few words, for the log.
            timeout: Seconds that the script may take on the host before it is ended there.
            on_line: Receives the lines of standard error as they arrive.

        Raises:
            UnreachableError: No connection could be had; nothing ran.
            SudoError: The log-in works, but root cannot be had; nothing ran.
            BrokenLineError: The line dropped; whether the script ended is not known.
            StepError: The script ran out of time and was ended on the host.
        """
        start, began = time.time(), time.monotonic()
        answer = None
        try:
            answer = self._run(Job(script, purpose, timeout, on_line))
        finally:
            if self._observe:
                code = answer.code if answer else None
                self._observe(Exchange(purpose, self.name, start, time.monotonic() - began, code, answer))
        return answer

    @abstractmethod
    def _run(self, job: Job) -> Answer:
        """Carry a script there and its answer back, as `run` has it."""

    @abstractmethod
    def login(self) -> None:
        """Connect; does nothing where a connection stands.

        Raises:
            UnreachableError: With the reason, in one sentence.
        """

    @abstractmethod
    def relogin(self) -> None:
        """Prove that a log-in is possible now, by a new TCP connection and authentication.

        The new connection replaces the old one. Where it fails, the old one is kept.

        Raises:
            UnreachableError: No new log-in is possible.
        """

    @abstractmethod
    def close(self) -> None:
        """End the connection; a later `run` connects again."""
