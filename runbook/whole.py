"""Files of this machine that are written whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from runbook.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def write_whole(path: Path, text: str, *, mode: int = 0o600, hint: str = "") -> None:
    """Have `text` at `path`: all of it, or what was there before; of this mode, less the umask, from birth.

    Raises UsageError, with the `hint` what to do, where that cannot be.
    """
    if path.is_dir():
        raise UsageError(f"{path.absolute()} cannot be written: it is a directory", hint=hint)
    new = path.parent / f".{path.name}.{os.getpid()}"
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint=hint) from error
