"""A run's log: JSON lines, one for each script that ran somewhere and for each thing that happened.

Every line has `at` (UTC) and `event`. A script's:

    {"at": "2026-11-23T14:15:00.000+00:00", "event": "script", "purpose": "facts", "target": "home",
     "start": 1795443299.5, "seconds": 0.5, "code": 0, "stdout": "…", "stderr": "…"}

`start` is in seconds since the epoch, `seconds` a duration. `code` is null where the end was not seen: the line broke,
root was refused, or it ran out of time. `stdout` and `stderr` are null there too, and where the output is secret.

The first line is `begun` with `command`, the last `ended`, with `error` where one ended the run; a log without it is of
a run that was killed. Those between are named after what happened (`connected`, `planned`, `applied`, …), with
`target`, `step` and what else is to be said: `error` and `hint`; `changes`, `findings` and `evidence`, in words.

A text is without secrets, and of a long one the beginning and the end are kept.
"""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from logs.redact import Redactor

HEAD: Final = 1000
TAIL: Final = 3000
"""How many characters are kept of a long text: what went wrong stands at its end."""


class RunLog:
    """Appends to one file for one run; safe to use from several threads."""

    def __init__(self, path: Path, redact: Redactor, warn: Callable[[str], None] = lambda _: None) -> None:
        """Log to `path` (0600 from birth), every text through `redact`.

        Where it cannot be written any more, as on a full disk, `warn` is told so once, and the run goes on without.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._redact = redact
        self._warn = warn
        self._full = False
        self._lock = threading.Lock()

    def write(self, event: str, **fields: object) -> None:
        """Log one event with its fields, which are values of JSON's."""
        line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
        # cut only when redacted: half a secret would not be known for one
        text = json.dumps(_bounded(self._redact.everywhere(line)))
        with self._lock:
            if self._full:
                return
            try:
                os.write(self._descriptor, text.encode() + b"\n")
            except OSError as error:
                self._full = True
                self._warn(f"the log cannot be written any more: {error.strerror}")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _bounded(value: object) -> object:
    """A value of JSON's with long texts cut, and what is not UTF-8 in them made visible."""
    if isinstance(value, dict):
        return {key: _bounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_bounded(each) for each in value]
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    left_out = len(text) - HEAD - TAIL
    return text if left_out <= 0 else f"{text[:HEAD]}\n… {left_out} characters left out …\n{text[-TAIL:]}"
