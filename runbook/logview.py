"""What of a run goes into its log, and the log read back for people (its lines: `logs.runlog`)."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from runbook.document import of_log
from runbook.errors import RunbookError, UsageError
from runbook.events import Plan
from runbook.step import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from runbook.events import Event
    from runbook.host import Exchange

_SHOWN_LINES = 6
"""So many last lines of what a script complained of are shown."""


def of_script(exchange: Exchange) -> dict[str, Any]:
    """The log's fields of one script that ran somewhere."""
    told = {key: value for key, value in vars(exchange).items() if key != "answer"}
    answer = exchange.answer
    return {**told, "stdout": answer and answer.stdout, "stderr": answer and answer.stderr}


def of_event(event: Event) -> dict[str, Any]:
    """The log's fields of something that happened: words only, nothing of what a file holds."""
    found: dict[str, Any] = {}
    for each in fields(event):
        value = getattr(event, each.name)
        if isinstance(value, Plan):
            found.update(step=value.step.name, blocked=dict(value.blocked), findings=_findings(value))
        elif isinstance(value, RunbookError):
            found.update(error=str(value), advice=value.advice)
        elif each.name == "changes":
            found["changes"] = [change.change.summary for change in value if change.change]
        else:
            found[each.name] = value if isinstance(value, str | int | float) else list(value)
    return found


def _findings(plan: Plan) -> dict[str, list[str]]:
    """What is not in order, by target."""
    return {
        target: [_told(each) for each in found if each.verdict is not Verdict.IN_ORDER]
        for target, found in plan.findings.items()
    }


def _told(finding: Finding) -> str:
    note = f" ({finding.note})" if finding.note else ""
    return f"{finding.verdict.value}: {finding.change.summary if finding.change else finding.key}{note}"


def last_log(sites: Path, command: str = "") -> Path:
    """The newest log beside `sites`, or the newest of one command; UsageError when there is none."""
    every = _logs(sites.resolve().parent / ".runbook" / "logs")
    if not every:
        raise UsageError(f"there is no log beside {sites} yet", hint="runbook audit")
    of = {each.stem.partition("-")[2]: each for each in every}
    if command and command not in of:
        raise UsageError(f"there is no log of `{command}` beside {sites}", hint=f"there are logs of: {', '.join(of)}")
    return of[command] if command else every[-1]


def in_words(log: Path) -> Iterator[str]:
    """A log's path and its lines, for people."""
    yield f"{log}"
    for line in _lines(log):
        try:
            entry = json.loads(line)
            first, *more = _words(entry)
            yield f"{entry['at'][11:19]}  {first}"
        except (ValueError, KeyError, TypeError):
            yield f"          (a damaged line: {line[:60]!r})"
        else:
            yield from (f"          {each}" for each in more)


def as_json(log: Path) -> str:
    """A log for programs, as one document (`runbook.document`); what is no entry is `damaged`."""
    return json.dumps(of_log(str(log), [_entry(line) for line in _lines(log)]), indent=2)


def _logs(directory: Path) -> list[Path]:
    """All that lie there, the oldest first."""
    try:
        return sorted(each for each in directory.iterdir() if each.suffix == ".jsonl")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(directory, error) from error


def _lines(log: Path) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise _unreadable(log, error) from error


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path} cannot be read: {error.strerror}", hint=f"as its owner: ls -ld {shlex.quote(str(path))}")


def _entry(line: str) -> Mapping[str, Any]:
    with suppress(ValueError):
        entry = json.loads(line)
        if isinstance(entry, dict) and {"at", "event"} <= entry.keys():
            return entry
    return {"event": "damaged", "line": line}


def _words(entry: Mapping[str, Any]) -> Sequence[str]:
    where = ": ".join(str(entry[key]) for key in ("target", "step") if entry.get(key))
    match entry:
        case {"event": "script", "code": code}:
            end = "no end seen" if code is None else f"exit {code}"
            said = (entry["stderr"] or "").strip().splitlines() if code else []
            return [f"{where}: {entry['purpose']} ({entry['seconds']:.2f} s, {end})", *said[-_SHOWN_LINES:]]
        case {"event": "stepdone"}:
            return [f"{where}: {entry['outcome']}"]
        case {"event": "planned"}:
            counts = [f"{target} {len(found)}" for target, found in entry["findings"].items() if found]
            waits = [f"{target} blocked by {name}" for target, name in entry["blocked"].items()]
            rest = f"not in order: {', '.join([*counts, *waits])}" if counts or waits else "in order"
            return [f"{where}: {rest}"]
    head = f"{where}: {entry['event']}" if where else str(entry["event"])
    about = [entry[key] for key in ("command", "title", "image", "held_by", "error") if entry.get(key)]
    took = f" ({entry['seconds']:.1f} s)" if "seconds" in entry else ""
    advice = [f"{label}: {text}" for label, text in entry.get("advice", {}).items()]
    return [": ".join([head, *about]) + took, *advice, *entry.get("changes", ()), *entry.get("evidence", ())]
