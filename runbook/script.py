"""POSIX shell as text: quoting, embedding, and many fragments in one script.

Reads and writes are batched: every part of a step contributes a fragment, one script carries them all over one
channel, and each part gets its own answer back.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import string
from dataclasses import dataclass
from importlib.resources import files
from shlex import quote
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PRELUDE", "Batch", "Reading", "digest", "embed", "heredoc", "quote"]

PRELUDE_FILE: Final = files("runbook") / "prelude.sh"
PRELUDE: Final = PRELUDE_FILE.read_text(encoding="utf-8")
"""Functions that every script may use (`rb_put`, `rb_state`, ...)."""


@dataclass(frozen=True)
class Reading:
    """What a fragment printed, to the byte, and its exit code."""

    text: str
    code: int = 0


def digest(text: str) -> str:
    """SHA-256 of a reading, as `sha256sum` on the host prints it."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def heredoc(text: str) -> str:
    """Redirection that feeds `text` (which must end in a newline) to a command, with nothing in it expanded.

    No line begins as the end mark does: dash 0.5.12 loses a byte above 127 that follows such a beginning.
    """
    begun = {line[:1] for line in text.splitlines()}
    first = next(letter for letter in string.ascii_letters if letter not in begun)
    end = f"{first}{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"
    return f"<<'{end}'\n{text}{end}\n"


def embed(content: bytes) -> str:
    """Shell that prints `content` exactly, whatever its bytes; it stays out of every argument list."""
    lines = base64.encodebytes(content).decode("ascii")
    return f"base64 -d {heredoc(lines)}"


class Batch:
    """Fragments that run one after another, each in a subshell of its own, each answered by itself."""

    def __init__(
        self,
        fragments: Mapping[str, str],
        variables: Mapping[str, str] | None = None,
        gated: frozenset[str] = frozenset(),
    ) -> None:
        """Take fragments by key; `variables` are set for all of them.

        Once one fails whose key is in `gated`, the other gated ones are not run any more.
        """
        self._fragments = dict(fragments)
        self._variables = dict(variables or {})
        self._gated = gated
        self._mark = f"@{secrets.token_hex(8)}"

    @property
    def text(self) -> str:
        """The script."""
        head = "".join(f"{name}={quote(value)}\n" for name, value in self._variables.items())
        body = "".join(self._run(index, key) for index, key in enumerate(self._fragments))
        return f"{PRELUDE}failed=\n{head}printf '{self._mark}\\n'\n{body}"

    def _run(self, index: int, key: str) -> str:
        run = f"(\n{self._fragments[key]}\n) </dev/null; code=$?\nprintf '\\n{self._mark} {index} %s\\n' \"$code\"\n"
        if key not in self._gated:
            return run
        return f'if [ -z "$failed" ]; then\n{run}[ "$code" = 0 ] || failed=1\nfi\n'

    def split(self, output: str) -> dict[str, Reading]:
        """Each fragment's answer by key; a fragment that the script never reached is missing."""
        _, _, body = output.partition(f"{self._mark}\n")
        pieces = re.split(rf"\n{self._mark} (\d+) (\d+)\n", body)
        keys = list(self._fragments)
        return {
            keys[int(index)]: Reading(text, int(code))
            for text, index, code in zip(pieces[0::3], pieces[1::3], pieces[2::3], strict=False)
        }
