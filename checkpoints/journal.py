"""An append-only file of JSON lines, each on the disk before what it speaks of happens.

One line is one checkpoint:

    {"version": 1, "at": "2026-11-23T14:15:00Z", "run": "…", "step": "nginx", "target": "vps4",
     "state": "intent", "image": "…", "note": ""}

`intent` is written before a step's changes are made on a target, with the name of the before-image there, and before
they are undone (note: `undo`); `done` once they are verified; `failed` with the reason; `undone` after a rollback. An
intent with nothing after it was cut off.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION: Final = 1


class State(StrEnum):
    """How far a step has come on a target."""

    INTENT = "intent"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"


@dataclass(frozen=True)
class Checkpoint:
    """One step on one target at one moment."""

    run: str
    step: str
    target: str
    state: State
    image: str = ""
    note: str = ""


class Journal:
    """The checkpoints of one network, in the order in which they were made."""

    def __init__(
        self,
        path: Path,
        warn: Callable[[str], None] = lambda _: None,
        redact: Callable[[str], str] = lambda text: text,
    ) -> None:
        """Read `path` if it is there; a damaged file is set aside, and `warn` is told so in a sentence.

        `redact` takes secrets out of the notes, which quote what hosts have said.
        """
        self.path = path
        self._warn = warn
        self._redact = redact
        self._turn = threading.Lock()
        self.checkpoints = self._load()

    def record(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; it is on the disk when this returns. Raises OSError, with nothing written of it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        line = {"version": VERSION, "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), **asdict(checkpoint)}
        line["note"] = self._redact(checkpoint.note)
        with self._turn:
            new = not self.path.exists()
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                _append(descriptor, json.dumps(line).encode() + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if new:
                _sync_directory(self.path.parent)
            self.checkpoints.append(checkpoint)

    def latest(self) -> dict[tuple[str, str], Checkpoint]:
        """The last checkpoint of each (step, target)."""
        return {(each.step, each.target): each for each in self.checkpoints}

    def undone(self) -> frozenset[str]:
        """The before-images of which something was undone, on whatever target: a host may have had two names."""
        return frozenset(each.image for each in self.checkpoints if each.state is State.UNDONE)

    def unsettled(self) -> dict[tuple[str, str], Checkpoint]:
        """Those of the last checkpoints that say of a step that it was cut off, or failed."""
        return {key: each for key, each in self.latest().items() if each.state in {State.INTENT, State.FAILED}}

    def _load(self) -> list[Checkpoint]:
        if not self.path.exists():
            return []
        raw = self.path.read_bytes()
        *lines, torn = raw.split(b"\n")
        try:
            checkpoints = [_parse(line) for line in lines]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            aside = self.path.with_name(f"{self.path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
            self.path.rename(aside)
            self._warn(
                f"the checkpoints were damaged ({error}) and are set aside in {aside}; the hosts are read afresh"
            )
            return []
        if torn:  # the power failed in the middle of the last line: what it announced was not begun
            os.truncate(self.path, len(raw) - len(torn))
        return checkpoints


def _append(descriptor: int, data: bytes) -> None:
    """Write all of it or nothing: on a disk that fills up, a part may be taken without a word (write(2))."""
    before = os.fstat(descriptor).st_size
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _sync_directory(path: Path) -> None:
    """A new file's name is on the disk when its directory is (fsync(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse(line: bytes) -> Checkpoint:
    """One checkpoint; raises ValueError, KeyError, TypeError or RecursionError for what is none."""
    entry = json.loads(line)
    if entry["version"] != VERSION:
        raise ValueError(f"version {entry['version']}")
    return Checkpoint(
        run=str(entry["run"]),
        step=str(entry["step"]),
        target=str(entry["target"]),
        state=State(entry["state"]),
        image=str(entry["image"]),
        note=str(entry["note"]),
    )
