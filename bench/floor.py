"""The least that the same work can take: one `ssh HOST sh -s` a host, side by side, fed with what the product sent.

It knows beforehand what to do, decides nothing, asks nothing and writes nothing down.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from bench.recorded import fragment_codes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.recorded import Record, Sent
    from lab import Lab

ENVIRONMENT = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C; export PATH LC_ALL; cd /\n"
NAMES = {"home's LAN host": "lan"}
"""What ssh_config calls a target, where the product calls it otherwise."""


class FloorError(Exception):
    """The replay did not do what was recorded, so its time means nothing."""


@dataclass(frozen=True)
class Floor:
    """The replay of a recorded run."""

    lab: Lab
    ssh_config: str
    record: Record

    def run(self) -> float:
        """Replay it, and return the seconds that it took.

        Raises FloorError where a script, or a fragment of one, ended otherwise than when it was recorded.
        """
        phases = _phases(self.record.sent)
        hosts = self.record.hosts
        began = time.monotonic()
        shells = {host: self._shell(host) for host in hosts}
        try:
            with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
                for phase in phases[:-1]:
                    list(pool.map(lambda host, phase=phase: shells[host].feed(phase.get(host, ())), hosts))
                list(pool.map(lambda host: shells[host].feed(phases[-1].get(host, ()), last=True), hosts))
        finally:
            for shell in shells.values():
                shell.end()
        return time.monotonic() - began

    def _shell(self, host: str) -> _Shell:
        argv = ["ssh", "-F", self.ssh_config, "-o", "ControlPath=none", NAMES.get(host, host), "sudo -n sh -s"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        return _Shell(host, self.lab.admin_popen(argv, encoding="utf-8", errors="surrogateescape", **pipes))


class _Shell:
    """A root shell on a host, over one channel of one connection."""

    def __init__(self, host: str, process: subprocess.Popen[str]) -> None:
        self._host = host
        self._process = process
        self._begun = False

    def feed(self, scripts: Sequence[Sent], *, last: bool = False) -> None:
        """Have these scripts run, and take what they print; the shell ends after the `last`."""
        if self._process.stdin is None or self._process.stdout is None:
            raise FloorError("ssh was started without pipes")
        if not scripts and not last:
            return
        mark = f"@{secrets.token_hex(16)}"
        self._process.stdin.write("" if self._begun else ENVIRONMENT)
        self._begun = True
        for each in scripts:
            self._process.stdin.write(f"(\n{each.script}\n) </dev/null\nprintf '\\n{mark} %s\\n' $?\n")
        self._process.stdin.write(f"echo {mark} end\n")
        if last:
            self._process.stdin.close()
        else:
            self._process.stdin.flush()
        said = ""
        for line in self._process.stdout:
            if line == f"{mark} end\n":
                break
            said += line
        self._compare(scripts, said, mark)

    def _compare(self, scripts: Sequence[Sent], said: str, mark: str) -> None:
        for each in scripts:
            output, _, said = said.partition(f"\n{mark} ")
            code, _, said = said.partition("\n")
            found = (code, fragment_codes(output))
            if found != (str(each.code), list(each.fragments)):
                raise FloorError(f"on {self._host}, {each.purpose!r} ended otherwise than recorded: {found}, {output}")

    def end(self) -> None:
        """Wait for ssh to end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.stdout.read()
            self._process.stdout.close()
        self._process.wait()


def _phases(sent: Sequence[Sent]) -> list[Mapping[str, Sequence[Sent]]]:
    """What each host is to do, up to where one host must wait for all others: before a tunnel is brought up, and after.

    Everything else that one host does needs no other.
    """
    brings_up = [number for number, each in enumerate(sent) if "swanctl --initiate" in each.script]
    cuts = [0, brings_up[0], brings_up[-1] + 1, len(sent)] if brings_up else [0, len(sent)]
    phases = [sent[begin:end] for begin, end in pairwise(cuts)]
    return [{each.host: [one for one in phase if one.host == each.host] for each in phase} for phase in phases]
