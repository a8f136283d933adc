"""A run's log: JSON lines, one for each script that ran somewhere and for each thing that happened."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class RunLog:
    """Appends to one file for one run; safe to use from several threads."""

    def __init__(self, path: Path, redact: Callable[[str], str]) -> None:
        """Log to `path` (0600 from birth), every line through `redact`."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._redact = redact
        self._lock = threading.Lock()

    def write(self, event: str, **fields: object) -> None:
        """Log one event with its fields."""
        line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
        clean = _redacted(line, self._redact)
        with self._lock:
            os.write(self._descriptor, json.dumps(clean, default=str).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _redacted(value: object, redact: Callable[[str], str]) -> object:
    """A value of JSON's with every text in it redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redacted(each, redact) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(each, redact) for each in value]
    return value
