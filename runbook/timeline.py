"""The runs of a network so far, newest first, as their logs tell them (`logs.runlog`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

NEWEST: Final = 40
"""So many logs are looked at."""
CHANGING: Final = frozenset({"apply", "resume", "rollback", "forget", "renew", "unlock"})
"""Commands that change hosts; of the others, several in a row are told as one."""


@dataclass(frozen=True)
class Past:
    """One run that is over, or was killed; or several of the same kind in a row that only looked."""

    command: str
    began: datetime
    took: timedelta | None
    """None: it was killed, or is still running."""
    changes: Sequence[str] = ()
    """What it changed, `TARGET: what`."""
    failures: Sequence[str] = ()
    """What failed, and what ended it."""
    times: int = 1

    @property
    def outcome(self) -> str:
        """How it ended, in a word."""
        if self.took is None:
            return "cut off"
        return "failed" if self.failures else "done"

    @property
    def changing(self) -> bool:
        """Whether it is a command that changes hosts."""
        return self.command in CHANGING


def timeline(logs: Path, *, without: Path | None = None) -> list[Past]:
    """The runs whose logs lie in `logs`, newest first, but for the log `without` (that of the run that asks)."""
    newest = sorted((path for path in logs.glob("*.jsonl") if path != without), reverse=True)[:NEWEST]
    runs = [past for past in (_past(_entries(path)) for path in newest) if past]
    return [_together(list(group)) for _, group in groupby(runs, key=_kind)]


def _kind(past: Past) -> object:
    """What runs have in common that are told as one; each that changes hosts, or went wrong, is alone."""
    return id(past) if past.changing or past.outcome != "done" else past.command


def _together(runs: Sequence[Past]) -> Past:
    first = runs[0]
    return Past(first.command, first.began, first.took, first.changes, first.failures, len(runs))


def _entries(path: Path) -> Iterator[Mapping[str, Any]]:
    """A log's lines; a damaged one is left out."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "event" in entry and _is_time(entry.get("at")):
            yield entry


def _is_time(value: object) -> bool:
    try:
        return bool(datetime.fromisoformat(str(value)))
    except ValueError:
        return False


def _past(entries: Iterable[Mapping[str, Any]]) -> Past | None:
    began = ended = None
    command = ""
    changes: list[str] = []
    failures: list[str] = []
    for entry in entries:
        match entry["event"]:
            case "begun":
                began, command = datetime.fromisoformat(entry["at"]), str(entry.get("command", ""))
            case "applied":
                changes += [f"{entry.get('target')}: {each}" for each in entry.get("changes", ())]
            case "undone":
                changes.append(f"{entry.get('target')}: {entry.get('step')} undone")
            case "failed":
                where = [str(entry[key]) for key in ("target", "step") if entry.get(key)]
                error = str(entry.get("error", "")).removeprefix(f"{entry.get('target')}: ")
                failures.append(": ".join([*where, error]))
            case "ended":
                ended = datetime.fromisoformat(entry["at"])
                failures += [str(entry["error"])] if entry.get("error") else []
    if began is None:
        return None
    return Past(command, began, ended - began if ended else None, tuple(changes), tuple(dict.fromkeys(failures)))
