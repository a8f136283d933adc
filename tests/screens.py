"""What a user sees, compared with what was looked at and found good: one file each in tests/screens/.

After a change that is meant, `pytest --update-screens` writes them anew; read the difference before it is committed.
"""

from __future__ import annotations

import re
import time
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pyte

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pytest

SCREENS = Path(__file__).parent / "screens"
_PATIENCE = 90.0
_ROWS = 400
_TIMES = re.compile(r"\b\d+(?:\.\d+)? s\b")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


def same(request: pytest.FixtureRequest, name: str, seen: str) -> None:
    """Compare with the screen of that name, but for what differs from run to run."""
    path = SCREENS / f"{name}.txt"
    text = normal(seen)
    if request.config.getoption("--update-screens"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    difference = "\n".join(unified_diff(path.read_text().splitlines(), text.splitlines(), name, "seen", lineterm=""))
    assert not difference, difference


def normal(seen: str) -> str:
    """Without what differs from run to run: durations, fingerprints; and without blanks at the end of lines."""
    text = _FINGERPRINT.sub("SHA256:" + "x" * 43, _TIMES.sub("0 s", seen))
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip() + "\n"


class Person:
    """Somebody at a terminal so tall that nothing leaves it: types, and sees what has come since the last key."""

    def __init__(
        self, argv: Sequence[str], *, columns: int = 80, cwd: Path, env: Mapping[str, str], term: str = "xterm"
    ) -> None:
        settings = {**env, "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": term}
        self._child = pexpect.spawn(
            argv[0], list(argv[1:]), encoding="utf-8", dimensions=(_ROWS, columns), cwd=cwd, env=settings
        )
        self._screen = pyte.Screen(columns, _ROWS)
        self._stream = pyte.Stream(self._screen)
        self._since = 0
        self.raw = ""

    @property
    def pid(self) -> int:
        """The process that is talked to."""
        return self._child.pid

    def sees(self, text: str) -> None:
        """Wait until a text is on the screen, below all that was waited for before."""
        deadline = time.monotonic() + _PATIENCE
        while not (found := self._find(text)):
            assert time.monotonic() < deadline, f"{text!r} never came:\n{self.screen}"
            assert self._more(), f"it ended without {text!r}:\n{self.screen}"
        self._since = found

    def rests(self) -> None:
        """Wait until the process waits for somebody: a signal that comes just before is seen with the next key only."""
        deadline = time.monotonic() + _PATIENCE
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < deadline, f"it does not rest:\n{self.screen}"

    def types(self, text: str = "", *, after: str) -> None:
        """Wait for a text, type, and end with Enter."""
        self.sees(after)
        self.press(f"{text}\r")

    def says(self, letter: str, *, to: str) -> None:
        """Wait for a question of yes or no, and answer it by a letter."""
        self.sees(to)
        self.press(f"{letter}\r")

    def press(self, keys: str) -> None:
        """Send keys as they are."""
        self._child.send(keys)

    def ends(self) -> int:
        """Wait for the end; the exit code."""
        deadline = time.monotonic() + _PATIENCE
        while self._more():
            assert time.monotonic() < deadline, f"it does not end:\n{self.screen}"
        self._child.close()
        return self._child.exitstatus

    @property
    def screen(self) -> str:
        """All that is on the screen."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def _find(self, text: str) -> int:
        """The row behind the first with that text, from where was last looked on; 0 where there is none."""
        rows = self._screen.display
        return next((row + 1 for row in range(self._since, len(rows)) if text in rows[row]), 0)

    def _more(self) -> bool:
        """Take what has come; False at the end."""
        try:
            came = self._child.read_nonblocking(65536, timeout=1)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += came
        self._stream.feed(came)
        return True
