"""How long a run waited for the certificate authority, by its own log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

STEP = "certificate"


def waited(logs: Path) -> float:
    """The seconds of the newest run in which an order was in hand and no script of ours ran, on a host or here."""
    events = [json.loads(line) for line in max(logs.glob("*.jsonl")).read_text().splitlines()]
    taken = next((each["seconds"] for each in events if each["event"] == "applied" and each["step"] == STEP), 0.0)
    names = [(each["event"], each.get("step")) for each in events]
    if not taken:
        return 0.0
    during = events[names.index(("applying", STEP)) : names.index(("applied", STEP))]
    scripts = sorted((each["start"], each["start"] + each["seconds"]) for each in during if each["event"] == "script")
    busy = until = 0.0
    for start, end in scripts:  # side by side they may overlap
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return float(taken) - busy
