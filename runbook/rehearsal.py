"""The lab's commands, for the command line."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lab import AskedWronglyError, Lab, LabError, lab_names
from lab.rehearse import how_to_go_on, rehearse
from runbook.errors import RunbookError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RUNBOOK = (sys.executable, "-m", "runbook")


def run_rehearsal(name: str, releases: Mapping[str, str], *, ask: bool, json: bool, keep: bool) -> int:
    """Rehearse on the lab `name`; returns the exit code. Steps and progress go to standard error under `json`."""
    out = sys.stderr if json else sys.stdout

    def say(line: str) -> None:
        print(line, file=out, flush=True)

    with _in_a_sentence():
        lab = Lab(name, releases)
        try:
            done = rehearse(lab, RUNBOOK, ask=ask, out=out, progress=say)
            for line in how_to_go_on(lab, RUNBOOK) if keep else ():
                say(line)
        finally:
            if not keep:
                lab.down()
    for line in done.lines():
        say(line)
    if not done.passed and not keep:
        say("Its hosts are removed, and with them what was said to go on by; `runbook rehearse --keep` leaves them up.")
    if json:
        print(done.as_json())  # noqa: T201 - same
    return 0 if done.passed else done.exit_code or 1


def lab_up(name: str, releases: Mapping[str, str]) -> None:
    """Boot a lab and say how to use it."""
    with _in_a_sentence():
        lab = Lab(name, releases)
        lab.up(_print)
        for line in how_to_go_on(lab, RUNBOOK):
            _print(line)


def lab_down(name: str) -> None:
    """Remove a lab, and say whether there was one."""
    with _in_a_sentence():
        lab = Lab(name)
        there = lab.directory.exists()
        lab.down()
        _print(f"the lab {name!r} is removed" if there else f"there is no lab {name!r}")


def lab_status(name: str) -> None:
    """Print a line for each host; raises UsageError where there is no such lab."""
    with _in_a_sentence():
        lab = Lab(name)
        if not lab.directory.exists():
            labs = ", ".join(lab_names())
            there = f"there are: {labs}" if labs else "there is none"
            raise UsageError(f"there is no lab {name!r}; {there}", hint=f"runbook lab up --name {name} makes it")
        for host in lab.status():
            _print(f"{host['host']:6} {host['release']:9} {'up' if host['up'] else 'down':5} {host['login']}")


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is the command's output


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    """Turn the lab's errors into the user's."""
    try:
        yield
    except AskedWronglyError as error:
        raise UsageError(str(error), hint="as the sentence says; all options: runbook lab up --help") from error
    except LabError as error:
        raise RunbookError(str(error)) from error
