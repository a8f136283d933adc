"""What a person sees of a run: plain lines when piped, colour and a line of live progress at a terminal."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from textwrap import wrap
from typing import TYPE_CHECKING, Final, Self, TextIO

from logs import KeyLines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLAIN: Final = "RUNBOOK_PLAIN"
"""The environment variable by which a user asks for it."""
PATIENCE: Final = 2.0
"""Seconds after which whatever takes longer is shown with its elapsed time."""

_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f]+")
"""What programs colour and move their own lines by."""
_CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_PAINT: Final = rf"\x1b\[(?:(?:{'|'.join(_CODES.values())});?)+m|\x1b\[0m"
_STRANGE: Final = re.compile(rf"(?!{_PAINT})\x1b|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")
"""What a host's file or answer could take the screen over with: all that moves or hides, but for our own colours."""


class Terminal:
    """Writes lines, redacted; keeps a line of progress below them at a terminal."""

    def __init__(self, out: TextIO, redact: Callable[[str], str]) -> None:
        """Write to `out`; NO_COLOR (no-color.org), pipes and who wants it `plain` get plain text."""
        self._out = out
        self._redact = redact
        self._live = out.isatty() and not plain()
        self._colour = self._live and not os.environ.get("NO_COLOR")
        self._keys: defaultdict[str, KeyLines] = defaultdict(KeyLines)
        """What is told line by line, by who tells it; what we write ourselves by no name."""
        self._busy: dict[str, tuple[float, str]] = {}
        self._lock = threading.RLock()
        self._asking = threading.Lock()
        self._held: list[str] | None = None
        self._stop = threading.Event()
        self._drawn = 0
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        """Begin to show progress."""
        self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Show progress no more."""
        self._stop.set()
        self._ticker.join()
        with self._lock:
            self._erase()

    def paint(self, text: str, *styles: str) -> str:
        """The text in colour, where there is colour."""
        if not self._colour or not styles:
            return text
        return f"\033[{';'.join(_CODES[each] for each in styles)}m{text}\033[0m"

    @property
    def width(self) -> int:
        """How many columns there are; 80 where nobody says."""
        return _width(self._out)

    @property
    def unicode(self) -> bool:
        """Whether box drawing can be shown: Python takes a plain C locale for UTF-8, and its user may not."""
        locale = next((each for name in ("LC_ALL", "LC_CTYPE", "LANG") if (each := os.environ.get(name))), "")
        utf8 = (self._out.encoding or "").lower().replace("-", "") == "utf8"
        return utf8 and locale not in {"C", "POSIX"}

    def wrapped(self, text: str, indent: int = 0) -> list[str]:
        """The text in lines that fit the terminal, `indent` columns of which are taken; at least one."""
        return wrap(text, max(20, min(self.width, 100) - indent), break_on_hyphens=False) or [""]

    def prose(self, text: str, indent: int = 0) -> None:
        """Write paragraphs, in lines that fit; what is indented in them, such as commands, is kept as it is."""
        for number, paragraph in enumerate(text.split("\n\n")):
            kept = paragraph.startswith(" ")
            lines = paragraph.splitlines() if kept else self.wrapped(paragraph.replace("\n", " "), indent)
            for line in [""] * (number > 0) + lines:
                self.line(f"{' ' * indent}{line}".rstrip())

    def item(self, text: str, indent: int) -> None:
        """Write what is one line in a pipe; a terminal that is narrower breaks it between words, further indented."""
        rows = [" " * indent]
        for word in text.split(" "):
            row = f"{rows[-1]}{word}"
            if self._out.isatty() and rows[-1].strip() and len(re.sub(_PAINT, "", row)) >= self.width:
                rows.append(f"{' ' * (indent + 2)}{word} ")
            else:
                rows[-1] = f"{row} "
        for row in rows:
            self.line(row.rstrip())

    def line(self, text: str = "") -> None:
        """Write a line."""
        with self._lock:
            if self._held is not None:
                self._held.append(text)
                return
            self._erase()
            shown = text if "\n" in text else self._keys[""](text)
            self._out.write(_STRANGE.sub("\N{REPLACEMENT CHARACTER}", self._redact(shown)) + "\n")
            self._out.flush()

    @contextmanager
    def held(self, before: str = "") -> Iterator[None]:
        """Leave the screen to a question, one at a time: what is said meanwhile, on any thread, comes after it.

        `before` is said right before the question.
        """
        with self._asking:
            with self._lock:
                self._erase()
                for line in before.splitlines():
                    self.line(line)
                self._out.flush()
                self._held = []
            try:
                yield
            finally:
                with self._lock:
                    lines, self._held = self._held, None
                    for text in lines:
                        self.line(text)

    def busy(self, what: str, line: str = "") -> None:
        """Say that something is under way, and the last that was heard of it."""
        with self._lock:
            began, _ = self._busy.get(what, (time.monotonic(), ""))
            self._busy[what] = (began, line)

    def done(self, what: str) -> str:
        """Say that it is over; returns its duration in words where it took long."""
        with self._lock:
            began, _ = self._busy.pop(what, (time.monotonic(), ""))
        seconds = time.monotonic() - began
        return f" ({elapsed(seconds)})" if seconds > PATIENCE else ""

    def progress(self, target: str, line: str) -> None:
        """A line that a script on a target said while at work."""
        with self._lock:
            line = self._keys[target](line)
            for what, (began, _) in self._busy.items():
                if what.endswith(target):
                    self._busy[what] = (began, line)

    def _tick(self) -> None:
        with suppress(OSError):  # nobody reads any more: whoever writes a line next is told so
            while not self._stop.wait(0.5 if self._live else 5.0):
                self.show_progress()

    def show_progress(self) -> None:
        """Show what has been under way for long."""
        with self._lock:
            if self._held is not None:
                return
            waited = [(w, time.monotonic() - since, last) for w, (since, last) in self._busy.items()]
            long = [f"{what} {elapsed(seconds)}  {last}" for what, seconds, last in waited if seconds > PATIENCE]
            if self._live:
                self._draw(long)
            else:
                for text in long:
                    self.line(f"      ... {text.rstrip()}")

    def _draw(self, lines: list[str]) -> None:
        """Show these below all that was written, each cut to the terminal's width."""
        self._erase()
        cut = [_UNSEEN.sub(" ", self._redact(f"  {text}"))[: self.width - 1] for text in lines]
        self._out.write("\n".join(cut))
        self._drawn = len(cut)
        self._out.flush()

    def _erase(self) -> None:
        if self._drawn:
            up = f"\033[{self._drawn - 1}A" if self._drawn > 1 else ""
            self._out.write(f"\r{up}\033[J")
            self._drawn = 0


def plain() -> bool:
    """Whether nothing on the screen may move or be drawn anew: for a screen reader, or a terminal that cannot."""
    return bool(os.environ.get(PLAIN)) or os.environ.get("TERM") == "dumb"


def elapsed(seconds: float) -> str:
    """A duration in words."""
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def _width(out: TextIO) -> int:
    try:
        return os.get_terminal_size(out.fileno()).columns
    except (OSError, ValueError):
        return 80
