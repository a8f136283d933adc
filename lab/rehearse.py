"""The whole procedure on throwaway hosts, exactly as on a user's own, with the wire between them watched."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TextIO

    from lab.lab import Lab


@dataclass(frozen=True)
class Rehearsal:
    """What came of it. `plaintext_packets` are packets of the private networks seen outside the tunnel."""

    exit_code: int
    seconds: float
    hosts: Mapping[str, str]
    changes: Mapping[str, int]
    tunnel: Sequence[str]
    pings: Sequence[str]
    esp_packets: int
    plaintext_packets: int

    @property
    def passed(self) -> bool:
        """The procedure went through without loss, encrypted packets were seen, and no others."""
        return self.exit_code == 0 and bool(self.pings) and self.esp_packets > 0 and self.plaintext_packets == 0

    def as_json(self) -> str:
        """The summary for programs."""
        return json.dumps({"version": 1, "passed": self.passed, **asdict(self)}, indent=2)

    def lines(self) -> list[str]:
        """The summary for people."""
        changes = ", ".join(f"{step} {number}" for step, number in self.changes.items()) or "none"
        return [
            "",
            "Rehearsal " + ("passed" if self.passed else "FAILED") + f" in {self.seconds:.0f} s",
            "  hosts               " + ", ".join(f"{host} ({release})" for host, release in self.hosts.items()),
            f"  changes             {changes}",
            *(f"  tunnel              {line}" for line in self.tunnel),
            *(f"  ping                {line}" for line in self.pings),
            f"  esp_packets         {self.esp_packets}",
            f"  plaintext_packets   {self.plaintext_packets}",
        ]


def rehearse(lab: Lab, runbook: Sequence[str], *, ask: bool, out: TextIO, progress: Callable[[str], None]) -> Rehearsal:
    """Boot fresh hosts and run `runbook apply` on them, its output on `out`; the lab stays up.

    `runbook` is the command line that starts the product. Raises LabError when no lab can be had.
    """
    began = time.monotonic()
    lab.down()
    lab.up(progress)
    apply = [*runbook, "apply", "--file", str(lab.directory / "sites.yaml"), *([] if ask else ["--yes"])]
    with lab.capture() as wire, _interrupts_left_to_the_run():
        done = lab.admin(apply, stdin=None if ask else subprocess.DEVNULL, stdout=out, stderr=out)
    document = _document(lab.directory / ".runbook" / "logs")
    evidence = _evidence(document, "ping")
    return Rehearsal(
        exit_code=done.returncode,
        seconds=round(time.monotonic() - began, 1),
        hosts={host["host"]: host["release"] for host in lab.status()},
        changes=_changes(document),
        tunnel=[line for line in evidence if "->" not in line],
        pings=[line for line in evidence if "->" in line],
        esp_packets=wire.esp_packets,
        plaintext_packets=wire.plaintext_packets,
    )


@contextmanager
def _interrupts_left_to_the_run() -> Iterator[None]:
    """Ctrl-C reaches the product too, which knows how to stop; this process waits for what it says."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def how_to_go_on(lab: Lab, runbook: Sequence[str]) -> list[str]:
    """How to look around in a lab that is up."""
    inside = " ".join(lab.admin_argv(runbook))
    sites = lab.directory / "sites.yaml"
    return [
        f"The lab {lab.name!r} is up. To log in:",
        *(f"  {host['login']}" for host in lab.status()),
        "To run the product against it:",
        f"  {inside} audit --file {sites}",
        f"  {inside} apply --file {sites}",
    ]


def _document(logs: Path) -> Mapping[str, Any]:
    """What the run reported of itself."""
    reports = sorted(logs.glob("*-apply.json")) if logs.is_dir() else []
    if not reports:
        raise LabError("the run ended before it could report; what it said is above")
    document: Mapping[str, Any] = json.loads(reports[-1].read_text())
    return document


def _changes(document: Mapping[str, Any]) -> dict[str, int]:
    counts = {step["name"]: sum(part["change"] is not None for part in step["parts"]) for step in document["steps"]}
    return {name: number for name, number in counts.items() if number}


def _evidence(document: Mapping[str, Any], step_name: str) -> list[str]:
    checks = [check for step in document["steps"] if step["name"] == step_name for check in step["checks"]]
    return [line for check in checks for line in check["evidence"]]
