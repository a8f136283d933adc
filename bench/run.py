"""Measure the product beside the least that the same work can take; see README.md.

    .venv/bin/python -m bench.run [--runs N] [--fresh-runs N] [--json FILE]

Needs root, and what the lab needs. Prints the table on standard output, what it is at on standard error.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import table
from bench.authority import waited
from bench.floor import Floor
from bench.line import slow_config, slow_line
from bench.recorded import record
from bench.table import Row
from lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.recorded import Record

RTTS = (0, 50, 150)
"""Round trips in milliseconds: the same room, the same continent, the other side of the earth."""
READS = {0: 3.0, 50: 1.5, 150: 1.5}
WRITES = {0: 1.3, 50: None, 150: 2.0}
START = 2.0
"""What we promise: the product's time by the floor's, for what reads, for a fresh apply, for --help."""

OURS = (".runbook", "trust-anchor.pem")
"""What the controller knows of a network beside sites.yaml: its keys and certificates, and the roots they end in."""
AUDIT = ("audit",)
APPLY = ("apply", "--yes")


class BenchError(Exception):
    """A run failed, so there is nothing to compare."""


class Bench:
    """A lab, and what is measured in it."""

    def __init__(self, lab: Lab, keep: Path) -> None:
        """Measure in `lab`; what must outlive one boot of it is kept in the directory `keep`, for root alone."""
        self._lab = lab
        self._keep = keep

    def start(self, runs: int) -> list[Row]:
        """How long --version and --help take beside Python with typer alone."""
        floor = [sys.executable, "-c", "import typer"]
        rows = []
        for option in ("--version", "--help"):
            row = Row(f"runbook {option}", 0, START)
            product = [sys.executable, "-m", "runbook", option]
            for _ in range(runs):
                row.product.append(_seconds(partial(_run, product)))
                row.floor.append(_seconds(partial(_run, floor)))
            rows.append(row)
        return rows

    def fresh(self, runs: int) -> list[Row]:
        """A first apply, each on hosts that were never touched; the last one leaves hosts on which all is in order."""
        sites = self._fresh_hosts()
        with slow_line(self._lab, 0):
            recorded = record(self._lab, self._keep / "apply.json", APPLY, sites)
        self._copy(OURS, self._lab.directory, self._keep)
        rows = []
        for rtt in RTTS if runs else ():
            row = _row("fresh apply", rtt, WRITES[rtt], recorded)
            for _ in range(runs):
                self._fresh_hosts()
                self._time_floor(row, recorded)
                self._prove_same()
                self._fresh_hosts()
                self._time_product(row, APPLY, sites)
            rows.append(row)
        return rows

    def in_order(self, job: str, command: Sequence[str], runs: int) -> list[Row]:
        """A command on hosts on which all is in order."""
        _, sites = slow_config(self._lab)
        with slow_line(self._lab, 0):
            recorded = record(self._lab, self._keep / "record.json", command, sites)
        rows = []
        for rtt in RTTS:
            row = _row(job, rtt, READS[rtt], recorded)
            for _ in range(runs):
                self._time_product(row, command, sites)
                self._time_floor(row, recorded)
            rows.append(row)
        return rows

    def _fresh_hosts(self) -> str:
        """Boot the lab anew; returns the sites.yaml that leads over the slow line."""
        self._lab.down()
        self._lab.up()
        return slow_config(self._lab)[1]

    def _time_product(self, row: Row, command: Sequence[str], sites: str) -> None:
        argv = self._lab.admin_argv([sys.executable, "-m", "runbook", *command, "--file", sites])
        with slow_line(self._lab, row.rtt) as line:
            row.product.append(_seconds(partial(_run, argv)))
        row.authority.append(waited(self._lab.directory / ".runbook" / "logs"))
        row.turns = (line.turns(), row.turns[1] if row.turns else 0)
        _say(f"{row.job} at {row.rtt} ms: product {row.product[-1]:.2f} s")

    def _time_floor(self, row: Row, recorded: Record) -> None:
        config, _ = slow_config(self._lab)
        with slow_line(self._lab, row.rtt) as line:
            row.floor.append(_seconds(Floor(self._lab, config, recorded).run))
        row.turns = (row.turns[0] if row.turns else 0, line.turns())
        _say(f"{row.job} at {row.rtt} ms: floor {row.floor[-1]:.2f} s")

    def _prove_same(self) -> None:
        """The floor has brought the hosts where the recorded apply brought them: an audit finds all in order."""
        self._copy(OURS, self._keep, self._lab.directory)
        sites = str(self._lab.directory / "sites.yaml")
        _run(self._lab.admin_argv([sys.executable, "-m", "runbook", *AUDIT, "--file", sites]))

    @staticmethod
    def _copy(names: Sequence[str], origin: Path, to: Path) -> None:
        for name in names:
            if (origin / name).is_dir():
                shutil.copytree(origin / name, to / name)
            else:
                shutil.copy(origin / name, to)


def _row(job: str, rtt: int, limit: float | None, recorded: Record) -> Row:
    return Row(job, rtt, limit, channels=recorded.channels, logins=recorded.logins)


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return round(time.monotonic() - began, 3)


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - a program of its own


def main() -> int:
    """Measure everything; returns 0 where every promise is kept."""
    parser = argparse.ArgumentParser(description="Measure the product beside the least that the same work can take.")
    parser.add_argument("--runs", type=int, default=7, help="of what reads, of each kind at each distance")
    parser.add_argument(
        "--fresh-runs", type=int, default=3, help="of a first apply; each boots the hosts twice; 0 for none"
    )
    parser.add_argument("--json", type=Path, help="write every single run here")
    options = parser.parse_args()
    begun = table.machine()
    lab = Lab(f"bench-{os.getpid()}")
    with tempfile.TemporaryDirectory() as keep:
        bench = Bench(lab, Path(keep))
        try:
            rows = bench.start(options.runs)
            rows += bench.fresh(options.fresh_runs)
            rows += bench.in_order("audit", AUDIT, options.runs)
            rows += bench.in_order("no-op apply", APPLY, options.runs)
        finally:
            lab.down()
    ended = table.machine()
    if options.json:
        table.write_json(options.json, rows, begun, ended)
    print(table.as_table(rows, begun, ended))  # noqa: T201 - a program of its own
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
