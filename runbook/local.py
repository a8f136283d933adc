"""The controller itself as a host: the same scripts, by a local shell, as the present user."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from typing import IO, TYPE_CHECKING

from logs import Redactor
from runbook import catalogue
from runbook.errors import StepError
from runbook.frame import Frame, new_mark, wrap
from runbook.host import Answer, Host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runbook.host import Job, Observe

_GRACE = 5.0
"""Seconds between asking a script that ran out of time to end and killing it."""


class LocalHost(Host):
    """Runs scripts by /bin/sh on this machine, with the user's PATH and the admin's directories behind it; no sudo."""

    def __init__(self, name: str = "controller", *, observe: Observe | None = None) -> None:
        """Be this machine; `observe` is told of every run."""
        super().__init__(name, observe)

    def login(self) -> None:
        """Nothing to connect to."""

    def relogin(self) -> None:
        """Nothing to prove: we are here."""

    def close(self) -> None:
        """Nothing to close."""

    def _run(self, job: Job) -> Answer:
        mark = new_mark()
        frame = Frame(mark, job.on_line)
        path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
        began = time.monotonic()
        # A session of its own: a Ctrl-C at the terminal is ours to handle, the script in hand goes on to its end.
        with subprocess.Popen(
            ["/bin/sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as shell:
            try:
                for stream, data in _exchange(shell, wrap(job.script, mark, path=path), began + job.timeout):
                    (frame.feed_stdout if stream is shell.stdout else frame.feed_stderr)(data)
                    if frame.ended:
                        break
            finally:
                _end(shell, frame.ended)
        if frame.ended:
            return frame.answer(time.monotonic() - began)
        if time.monotonic() - began >= job.timeout:
            raise StepError(
                catalogue.TIMED_OUT, target=self.name, purpose=job.purpose, seconds=job.timeout, ended="and was ended"
            )
        last = Redactor()(frame.words or frame.noise).strip().splitlines()
        raise StepError(catalogue.KILLED, target=self.name, purpose=job.purpose, said=f": {last[-1]}" if last else "")


def _exchange(shell: subprocess.Popen[bytes], text: bytes, deadline: float) -> Iterator[tuple[IO[bytes], bytes]]:
    """Give the shell its text, then yield what arrives on its two streams, until both end or time is up."""
    if shell.stdin is None or shell.stdout is None or shell.stderr is None:
        raise ValueError("the shell has no pipes")
    # The shell reads the text to its end before it runs any of it, so it cannot block on its output meanwhile.
    try:
        shell.stdin.write(text)
        shell.stdin.close()
    except BrokenPipeError:
        pass  # it has died: its streams end, and say why
    with selectors.DefaultSelector() as selector:
        for stream in (shell.stdout, shell.stderr):
            selector.register(stream, selectors.EVENT_READ, stream)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                if data := os.read(key.fd, 65536):
                    yield key.data, data
                else:
                    selector.unregister(key.fileobj)


def _end(shell: subprocess.Popen[bytes], ended: bool) -> None:  # noqa: FBT001 - private, and named at its one call
    """Wait for a shell that has ended; end one that has not, with all that it started in its session."""
    try:
        shell.wait(_GRACE if ended else 0)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGTERM)
        try:
            shell.wait(_GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
