"""A run's log read back for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from runbook.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def last_log(sites: Path) -> Iterator[str]:
    """The lines of the newest log beside `sites`; raises UsageError when there is none."""
    logs = sorted((sites.resolve().parent / ".runbook" / "logs").glob("*.jsonl"))
    if not logs:
        raise UsageError(f"there is no log beside {sites} yet", hint="run: runbook audit")
    yield f"{logs[-1]}"
    for line in logs[-1].read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        yield f"{entry['at'][11:19]}  {_words(entry)}"


def _words(entry: dict[str, object]) -> str:
    if entry["event"] == "script":
        code = "no end seen" if entry["code"] is None else f"exit {entry['code']}"
        return f"{entry['target']}: {entry['purpose']} ({entry['seconds']:.2f} s, {code})"
    return f"{entry['event']}: {entry['detail']}"
