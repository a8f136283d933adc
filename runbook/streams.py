"""What stands behind the program's streams, and is not as it should be: nobody, a full disk."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn


def open_what_is_closed() -> None:
    """Let nothing be read, and what is said go nowhere, where whoever called us has closed a standard stream."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - for as long as we run


def leave(error: OSError) -> NoReturn:
    """End with one sentence about what this machine refused."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be written there says so no second time
    where = f" {error.filename}" if error.filename else "; to go on: see that there is room for what is written"
    sys.stderr.write(f"runbook: on this machine: {error.strerror or error}{where}\n")
    sys.exit(1)
