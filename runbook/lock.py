"""One run a host at a time: a lock on the host that says who holds it, from where and since when.

It lies in /run, so a reboot of the host removes it. It appears whole or not at all (a hard link, link(2)), and a run
that died without removing it is recognised from the machine that it ran on.
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


@dataclass(frozen=True)
class Owner:
    """Who holds a lock: a run, of a user, in a process of a machine since its boot `boot`."""

    who: str
    since: str
    machine: str
    boot: str
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
        if self.machine != _first_line("/etc/machine-id"):
            return False
        return self.boot != _first_line("/proc/sys/kernel/random/boot_id") or _start_time(self.pid) != self.started

    @property
    def text(self) -> str:
        """One line, for the lock."""
        return json.dumps(asdict(self))


def look() -> str:
    """Shell that prints the fact `lock`: who holds it, if anybody."""
    return f"[ ! -e {PATH} ] || printf 'lock=%s\\n' \"$(cat {PATH})\""


def take(owner: Owner) -> str:
    """Shell that takes the lock if it is free, then prints the fact `lock`: who holds it now."""
    return (
        f"printf '%s\\n' {quote(owner.text)} >{PATH}.$$ && "
        f"{{ ln {PATH}.$$ {PATH} 2>/dev/null || true; rm -f {PATH}.$$; }}\n{look()}"
    )


def free(owner_text: str) -> str:
    """Shell that frees the lock if it is still held by just this owner."""
    return f'[ "$(cat {PATH} 2>/dev/null)" != {quote(owner_text)} ] || rm -f {PATH}'


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
