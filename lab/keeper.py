"""The process that looks after one host: it boots it, and when the host reboots, boots it again in a new namespace.

Addresses, rules and sysctls live in the network namespace and would survive a reboot there; on a real machine nothing
does. So every boot gets a namespace made anew.

Run as `python -m lab.keeper LAB HOST`, once for each host, by `Lab.up`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from lab import machine, net, processes
from lab.layout import NAMESPACES, Layout, require_host

if TYPE_CHECKING:
    from types import FrameType

TOO_SOON = 2.0
TOO_OFTEN = 3


def keep(layout: Layout, host: str) -> int:
    """Boot the host for as long as it wants to come back; returns what its last boot ended with."""
    os.chdir("/")
    signal.signal(signal.SIGTERM, _stop)
    place = require_host(host)
    description = machine.Machine.load(layout.host_directory(host) / "machine.json")
    processes.record(layout.process_directory, f"keeper-{host}", os.getpid())  # its starter may not live to do so
    short_lives = 0
    while True:
        net.build_place(layout, place)
        started = time.monotonic()
        status = _boot_once(layout, host, description)
        processes.end(processes.in_namespace(NAMESPACES / description.name))
        machine.remove_runtime_traces(description.name)
        if status == 0:
            return 0
        if time.monotonic() - started > TOO_SOON:
            short_lives = 0
            continue
        short_lives += 1
        if short_lives >= TOO_OFTEN:
            return 1
        time.sleep(TOO_SOON / 2)  # for what is left of the last one to go


def _boot_once(layout: Layout, host: str, description: machine.Machine) -> int:
    groups = machine.prepare_cgroups(description)

    def join_groups() -> None:
        for group in groups:
            with open(group / "cgroup.procs", "w") as members:  # noqa: PTH123 - as little as can be after a fork
                members.write("0")

    nspawn = subprocess.Popen(
        machine.boot_command(description),
        stdin=subprocess.DEVNULL,
        env={**os.environ, **machine.ENVIRONMENT},
        preexec_fn=join_groups,  # noqa: PLW1509 - this process has one thread
    )
    try:
        processes.record(layout.process_directory, f"nspawn-{host}", nspawn.pid)
        return nspawn.wait()
    finally:
        if nspawn.poll() is None:
            nspawn.kill()
            nspawn.wait()


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(keep(Layout(sys.argv[1]), sys.argv[2]))
