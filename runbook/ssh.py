"""A remote host over SSH: one script is one exec channel, as root.

The command given to the host's login shell, whichever that is, holds no secret and nothing of the script; the script
follows on standard input (`runbook.frame`). What becomes root is decided in that command, on the host. Where sudo
wants a password, the first run learns it from `sudo -n` and takes a second channel; from then on each run waits for
sudo's own prompt, a random word, before it sends the password, and for root's shell before it sends the script.

A script whose line dropped goes on to its end, or to its time limit; the next one waits for that on the host.
"""

from __future__ import annotations

import select
import time
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import paramiko

from logs import Redactor
from runbook import catalogue
from runbook.errors import BrokenLineError, RunbookError, StepError, SudoError, UnreachableError
from runbook.frame import PATH, Frame, new_mark, wrap
from runbook.host import Answer, Host
from runbook.identities import KeyRing, Prompts
from runbook.login import Limits, Login

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runbook.host import Job, Observe
    from runbook.login import Line

__all__ = ["Limits", "SSHHost"]

_KILL_AFTER: Final = 5
"""Seconds that a script which ran out of time gets on the host between SIGTERM and SIGKILL."""
_GRACE: Final = 15.0
"""Seconds that we wait beyond that for word from the host."""
_LAST_WORDS: Final = 2.0
"""Seconds that output may take to arrive behind the exit status, which can overtake it."""
_SUDO_PATIENCE: Final = 60.0
"""Seconds for sudo to ask, or to judge a password; PAM takes its time with a wrong one."""
_SUDO_TRIES: Final = 3
"""How often a password may be mistyped (sudoers(5), passwd_tries)."""
_NO_CHANNEL: Final = (paramiko.SSHException, EOFError, OSError)


@dataclass(frozen=True)
class _Ghost:
    """A script whose line dropped: it may still run on the host, as a process with the argument `tag`."""

    tag: str
    timeout: float


class _PasswordWantedError(Exception):
    """sudo -n would not."""


class SSHHost(Host):
    """A host reached by SSH; its scripts run as root.

    `logins` counts the log-ins made at the host, `channels` the exec channels opened there.
    """

    def __init__(  # noqa: PLR0913 - each is a fact of its own about the host or its user
        self,
        name: str,
        target: str,
        *,
        ssh_config: Path | None = None,
        ask: Callable[[str], bool] | None = None,
        password: Callable[[str], str] | None = None,
        keys: KeyRing | None = None,
        observe: Observe | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Describe the host; nothing is connected yet.

        Args:
            name: What the user calls it.
            target: As given to ssh(1): [user@]host[:port], or a Host of ssh_config.
            ssh_config: Read in place of the user's and the system's ssh_config.
            ask: Puts a yes-or-no question (an unknown host key); None where there is no terminal.
            password: Asks for a secret (sudo's password, a key's passphrase); None where there is no terminal.
            keys: The user's key files, shared with other hosts; this host's own where there is none.
            observe: Is told of every run.
            limits: How long to wait for what.
        """
        super().__init__(name, observe)
        self.channels = 0
        self.logins = 0
        self._login = Login(name, target, ssh_config, Prompts(ask, password), limits or Limits(), keys or KeyRing())
        self._line: Line | None = None
        self._password: str | None = None
        self._ghost: _Ghost | None = None

    def login(self) -> None:
        """See `Host.login`."""
        if self._line is None or not self._line.alive:
            self.close()
            self._line = self._connect()

    def relogin(self) -> None:
        """See `Host.relogin`."""
        line = self._connect()
        self.close()
        self._line = line

    def close(self) -> None:
        """See `Host.close`."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _connect(self) -> Line:
        line = self._login.connect()
        self.logins += 1
        return line

    def _run(self, job: Job) -> Answer:
        if self._password is None:
            with suppress(_PasswordWantedError):
                return self._exec(job, None)
        for tried in range(_SUDO_TRIES):
            self._password = self._password or self._ask_password("Sorry, try again: " if tried else "")
            try:
                return self._exec(job, self._password)
            except _WrongPasswordError:
                self._password = None
        raise SudoError(catalogue.SUDO_PASSWORD_WRONG, target=self.name, user=self._user, ssh=self._by_hand)

    @property
    def _user(self) -> str:
        return self._line.user if self._line else "the user"

    @property
    def _by_hand(self) -> str:
        return self._line.by_hand if self._line else "ssh"

    def _ask_password(self, before: str) -> str:
        if self._login.prompts.password is None:
            raise self._no_password("there is no terminal to ask at")
        password = self._login.prompts.password(f"{before}[sudo] password for {self._user} on {self.name}:")
        if not password:
            raise self._no_password("none was given")
        return password

    def _no_password(self, why: str) -> SudoError:
        return SudoError(catalogue.SUDO_PASSWORD_WANTED, target=self.name, user=self._user, why=why, ssh=self._by_hand)

    def _exec(self, job: Job, password: str | None) -> Answer:
        prompt, ready, tag = new_mark("password"), new_mark(), new_mark()
        ghost = self._ghost
        limit = job.timeout + (ghost.timeout if ghost else 0)
        shell = f"timeout -k {_KILL_AFTER} {limit:.3f} /bin/sh -s {tag}"
        line, channel = self._channel(
            job, _sudo_command(shell) if password is None else _ask_command(shell, prompt, ready)
        )
        with closing(channel):
            session = _Session(self.name, line, channel, replace(job, timeout=limit))
            if password is not None:
                session.become_root(password, prompt, ready)
            try:
                answer = session.run(behind=ghost.tag if ghost else "")
            except BrokenLineError:
                self._ghost = ghost or _Ghost(tag, job.timeout)
                raise
        self._ghost = None
        return answer

    def _channel(self, job: Job, command: str) -> tuple[Line, paramiko.Channel]:
        """Open a channel with `command`; where the connection turns out to be dead, once more over a new one."""
        self.login()
        try:
            return self._open(command)
        except _NO_CHANNEL:
            self.close()
        self.login()
        try:
            return self._open(command)
        except _NO_CHANNEL as error:
            by_hand = self._by_hand
            self.close()
            why = error.text if isinstance(error, paramiko.ChannelException) else error
            raise UnreachableError(
                catalogue.NO_SESSION, target=self.name, purpose=job.purpose, why=why, ssh=by_hand
            ) from error

    def _open(self, command: str) -> tuple[Line, paramiko.Channel]:
        if self._line is None:
            raise EOFError
        channel = self._line.open_channel()
        channel.exec_command(command)
        self.channels += 1
        return self._line, channel


class _WrongPasswordError(Exception):
    """sudo does not take the password."""


class _Session:
    """One exec channel from its command to its answer."""

    def __init__(self, name: str, line: Line, channel: paramiko.Channel, job: Job) -> None:
        self._name = name
        self._line = line
        self._channel = channel
        self._job = job
        self._mark = new_mark()
        self._frame = Frame(self._mark, job.on_line)
        self._began = time.monotonic()

    def become_root(self, password: str, prompt: str, ready: str) -> None:
        """Give sudo the password if, and only if, it asks for it by `prompt`; return when root's shell is `ready`.

        Raises:
            _WrongPasswordError: sudo asks again.
            SudoError: Root cannot be had by it.
        """
        line = f"{ready}\n"  # in a refusal sudo quotes the command, and the mark in it
        self._receive(lambda: prompt in self._frame.noise or line in self._frame.noise, _SUDO_PATIENCE)
        if prompt in self._frame.noise and line not in self._frame.noise:
            self._send(password.encode("utf-8", "surrogateescape") + b"\n")
            self._receive(lambda: self._frame.noise.count(prompt) > 1 or line in self._frame.noise, _SUDO_PATIENCE)
        if line in self._frame.noise:
            return
        self._check_line()
        if self._frame.noise.count(prompt) > 1:
            raise _WrongPasswordError
        raise self._no_root(self._frame.noise.replace(prompt, ""))

    def run(self, *, behind: str) -> Answer:
        """Send the script and return its answer; see `Host.run` for what it raises, `wrap` for `behind`."""
        self._send(wrap(self._job.script, self._mark, behind=behind))
        with suppress(OSError, EOFError):
            self._channel.shutdown_write()
        self._line.open_ahead()
        self._receive(lambda: self._frame.ended, self._job.timeout + _KILL_AFTER + _GRACE)
        seconds = time.monotonic() - self._began
        if self._frame.ended:
            if not self._line.grants_more:  # the next channel is granted once this one's shell is gone
                self._channel.status_event.wait(_LAST_WORDS)
            return self._frame.answer(seconds)
        self._check_line()
        raise self._failure(seconds)

    def _send(self, data: bytes) -> None:
        """Send all of it, or as much as the other end takes before it closes the channel: it will have said why."""
        with suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.sendall(data)

    def _receive(self, satisfied: Callable[[], bool], patience: float) -> None:
        """Take both streams as they come until `satisfied`, the channel's end, or `patience` seconds are over."""
        deadline = time.monotonic() + patience
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        while True:
            # Whether it is over is asked before what is left is read, so that nothing can slip between the two.
            exited = self._channel.exit_status_ready()
            over = self._channel.closed or (self._channel.eof_received and exited)
            while self._channel.recv_ready():
                self._frame.feed_stdout(self._channel.recv(65536))
            while self._channel.recv_stderr_ready():
                self._frame.feed_stderr(self._channel.recv_stderr(65536))
            if exited:  # it may leave processes behind that hold the output open
                deadline = min(deadline, time.monotonic() + _LAST_WORDS)
            left = deadline - time.monotonic()
            if satisfied() or over or left <= 0:
                return
            if self._channel.eof_received:
                self._channel.status_event.wait(min(left, 1))
            else:
                poll.poll(min(left, 1) * 1000)

    def _check_line(self) -> None:
        if not self._line.alive:
            self._line.close()
            raise BrokenLineError(catalogue.LINE_DROPPED, seconds=self._job.timeout, **self._words)

    def _failure(self, seconds: float) -> RunbookError | _PasswordWantedError:
        """Say why the answer is not whole, though the line stands."""
        if not self._frame.begun:
            return self._refusal()
        if not self._channel.exit_status_ready():
            ended = "and could not be ended on the host"
            return StepError(catalogue.TIMED_OUT, seconds=round(seconds), ended=ended, **self._words)
        if seconds >= self._job.timeout:
            ended = "and was ended on the host"
            return StepError(catalogue.TIMED_OUT, seconds=self._job.timeout, ended=ended, **self._words)
        return StepError(catalogue.KILLED, said=_last_line(self._frame.words), **self._words)

    def _refusal(self) -> RunbookError | _PasswordWantedError:
        noise = self._frame.noise
        if "a password is required" in noise or "a terminal is required" in noise or "no tty present" in noise:
            return _PasswordWantedError()
        if "sudo" in noise:
            return self._no_root(noise)
        return StepError(catalogue.SHELL_REFUSED, said=_last_line(noise), **self._words)

    def _no_root(self, words: str) -> SudoError:
        """Say in one sentence what sudo said in its own (it speaks English: LC_ALL=C)."""
        entry = next((entry for said, entry in _NO_ROOT.items() if said in words), catalogue.SUDO_FAILED)
        return SudoError(entry, user=self._line.user, said=_last_line(words), **self._words)

    @property
    def _words(self) -> dict[str, Any]:
        return {"target": self._name, "purpose": self._job.purpose, "ssh": self._line.by_hand}


_NO_ROOT: Final = {
    "not in the sudoers file": catalogue.SUDO_DENIED,
    "may not run sudo": catalogue.SUDO_DENIED,
    "is not allowed to execute": catalogue.SUDO_LIMITED,
    "sudo: not found": catalogue.SUDO_MISSING,
}


def _sudo_command(shell: str) -> str:
    return _by_any_shell(f"exec {shell}", f"exec sudo -n {shell}")


def _ask_command(shell: str, prompt: str, ready: str) -> str:
    root = f"echo {ready} >&2; exec {shell}"
    return _by_any_shell(root, f'exec sudo -S -p {prompt} /bin/sh -c "{root}"')


def _by_any_shell(as_root: str, as_other: str) -> str:
    """Return a command for a login shell of any kind: single quotes round what none of them looks into.

    fish reads backslashes between single quotes and csh reads `!`, so there are none of either.
    """
    choice = f'if [ "$(id -u)" = 0 ]; then {as_root}; else {as_other}; fi'
    return f"exec /bin/sh -c 'PATH={PATH}; LC_ALL=C; export PATH LC_ALL; {choice}'"


def _last_line(words: str) -> str:
    lines = Redactor()(words).strip().splitlines()  # half a key would not be known for one
    return f": {lines[-1].strip()}" if lines else ""
