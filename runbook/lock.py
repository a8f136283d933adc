"""One run a host at a time: a lock on the host that says who holds it, from where and since when.

It lies in /run, so a reboot of the host removes it. It appears whole or not at all (rename(2)), it is looked at and
changed by one at a time (flock(2) of its directory), and a run that died without removing it is recognised from the
machine that it ran on.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from runbook.script import quote

PATH: Final = "/run/ipsec-runbook.lock"

_ALONE: Final = r"""own=$(tr '\0' '\n' </proc/$$/cmdline | tail -n 1) said=
while held && grep -hsxzE 'runbook-[0-9a-f]{32}' /proc/[0-9]*/cmdline | tr '\0' '\n' | grep -qvxFe "$own"; do
    [ "$said" ] || echo 'waiting for a script of an earlier run to end' >&2
    said=1
    sleep 0.2
done
"""
"""A run that was killed leaves its script at work. Each has a random word in its command line (`runbook.ssh`).

One that was killed while it waited here has lost the lock to the next: it waits no more, or they would for each other.
"""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock: a run, of a user, in a process of a machine since its boot `boot`."""

    who: str
    since: str
    machine: str
    boot: str
    processes: str
    """The PID namespace: containers of one machine do not see each other's processes."""
    pid: int
    started: int
    """When the process began, in clock ticks since boot (proc(5), stat, field 22): a process id alone comes again."""

    @classmethod
    def this_process(cls) -> Owner:
        """This very run."""
        return cls(
            who=f"{getpass.getuser()}@{platform.node()}",
            since=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            machine=_first_line("/etc/machine-id"),
            boot=_first_line("/proc/sys/kernel/random/boot_id"),
            processes=_pid_namespace(),
            pid=os.getpid(),
            started=_start_time(os.getpid()),
        )

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """The owner that a lock names; None where it cannot be read."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    @property
    def is_dead(self) -> bool:
        """Whether the run is over for certain: it was on this machine, and its process is no more."""
        return self._is_of_here and not self._is_there

    @property
    def is_alive(self) -> bool:
        """Whether the run is at work for certain: it is on this machine, and its process is there."""
        return self._is_of_here and self._is_there

    @property
    def words(self) -> str:
        """Who it is and since when, and what can be seen from here of how it goes."""
        state = f"at work here as process {self.pid}" if self.is_alive else "over" if self.is_dead else ""
        return f"{self.who} since {self.since}{f' ({state})' * bool(state)}"

    @property
    def _is_of_here(self) -> bool:
        """Not of another machine, or of a container of this one, whose processes cannot be seen."""
        here = Owner.this_process()
        return bool(self.machine) and (self.machine, self.processes) == (here.machine, here.processes)

    @property
    def _is_there(self) -> bool:
        here = Owner.this_process()
        return self.boot == here.boot and _start_time(self.pid) == self.started

    @property
    def text(self) -> str:
        """One line, for the lock."""
        return json.dumps(asdict(self))


def look() -> str:
    """Shell that prints the fact `lock`: who holds it, if anybody."""
    return f"[ ! -e {PATH} ] || printf 'lock=%s\\n' \"$(cat {PATH})\""


def take(owner: Owner, first: str = ":") -> str:
    """Shell that takes the lock if it is free, then prints the fact `lock`: who holds it now.

    Where that is `owner`, it waits until no script of another run is at work here any more, then does `first`.
    """
    text = quote(owner.text)
    take = f"[ -e {PATH} ] || {{ printf '%s\\n' {text} >{PATH}.new && mv {PATH}.new {PATH}; }}"
    return (
        f"{_one_at_a_time(take)}\n"
        f'held() {{ [ "$(cat {PATH} 2>/dev/null)" = {text} ]; }}\n'
        f"if held; then\n{_ALONE}fi\nif held; then\n{first}\nfi\n{look()}"
    )


def free(owner_text: str) -> str:
    """Shell that frees the lock if it is still held by just this owner."""
    return _one_at_a_time(f'[ "$(cat {PATH} 2>/dev/null)" != {quote(owner_text)} ] || rm -f {PATH}')


def _one_at_a_time(shell: str) -> str:
    """Shell that does this while nobody else does: else two runs that find one lock stale free each other's new one."""
    return f"{{ flock 9; {shell}; }} 9<{Path(PATH).parent}"


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").split("\n", 1)[0]
    except OSError:
        return ""


def _start_time(pid: int) -> int:
    """When a process began; 0 where there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - a name of the kernel's, no path
    except OSError:
        return ""
