"""Processes the lab has started: written down, found again, and ended, by number and start time alone.

A process number comes back into use; number and start time together do not. So nothing is ever ended by its name.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

GENTLE_PATIENCE = 5.0
STATUS_FIELD_STATE, STATUS_FIELD_START = 0, 19


def start_time(pid: int) -> str | None:
    """When that process started, in the kernel's own ticks; None when there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[STATUS_FIELD_STATE] in "ZX" else fields[STATUS_FIELD_START]


def record(directory: Path, name: str, pid: int) -> None:
    """Write down that this process is the lab's `name`."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = directory / f".{name}.new"
    beside.write_text(json.dumps({"pid": pid, "start": start_time(pid)}))
    beside.rename(directory / name)


def recorded(directory: Path, name: str) -> int | None:
    """The number of the lab's process `name`, if that very process still runs."""
    try:
        entry = json.loads((directory / name).read_text())
    except (OSError, ValueError):
        return None
    pid = int(entry["pid"])
    started = start_time(pid)
    return pid if started is not None and started == entry["start"] else None


def all_recorded(directory: Path) -> dict[str, int]:
    """Every process written down that still runs."""
    names = [entry.name for entry in directory.glob("[!.]*")] if directory.is_dir() else []
    return {name: pid for name in sorted(names) if (pid := recorded(directory, name)) is not None}


def launch(argv: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
    """Start a process that outlives this one, with its words in a log; returns its number."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    streams = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), appending, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawnp(argv[0], list(argv), env, file_actions=streams, setsid=True)


def in_namespace(namespace: Path) -> list[int]:
    """The processes that live in a network namespace, whoever started them."""
    try:
        wanted = namespace.stat().st_ino
    except OSError:
        return []
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "ns/net").stat().st_ino == wanted:
                found.append(int(entry.name))
    return found


def children(parent: int) -> list[int]:
    """The direct children of a process."""
    try:
        words = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:
        return []
    return [int(word) for word in words]


def end(pids: Iterable[int], *, gently: bool = False, patience: float = 30.0) -> None:
    """End these processes and wait until they are gone: at once, or after a moment to leave things in order."""
    left = {pid: started for pid in pids if (started := start_time(pid)) is not None}
    if gently:
        left = _signal_and_wait(left, signal.SIGTERM, GENTLE_PATIENCE)
    left = _signal_and_wait(left, signal.SIGKILL, patience)
    if left:
        raise LabError(f"Processes {', '.join(map(str, sorted(left)))} of the lab do not end, not even by force.")


def _signal_and_wait(left: dict[int, str], how: signal.Signals, patience: float) -> dict[int, str]:
    """Signal processes and wait; returns those that are still there."""
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
    deadline = time.monotonic() + patience
    while left and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(OSError):  # collect it if it is our own child
                os.waitpid(pid, os.WNOHANG)
        left = {pid: started for pid, started in left.items() if start_time(pid) == started}
        if left:
            time.sleep(0.01)
    return left
