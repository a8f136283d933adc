"""Everything on this machine that bears a lab's name."""

from __future__ import annotations

import os
from pathlib import Path

from lab.processes import start_time

PLACES = ("/run/netns", "/etc/netns", "/var/lib/ipsec-runbook/lab", "/run/systemd/nspawn", "/sys/fs/cgroup")


def traces_of(name: str) -> set[str]:
    found = {f"mount {line}" for line in Path("/proc/mounts").read_text().splitlines() if name in line}
    for place in PLACES:
        for directory, directories, files in os.walk(place):
            found |= {str(Path(directory, entry)) for entry in (*directories, *files) if name in entry}
    for process in Path("/proc").glob("[0-9]*"):
        pid = int(process.name)
        if pid in (os.getpid(), os.getppid()) or start_time(pid) is None:  # what has ended waits to be collected
            continue
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            groups = (process / "cgroup").read_text()
        except OSError:
            continue
        if name in words or name in groups:
            found.add(f"process {words}")
    return found
