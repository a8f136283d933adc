"""What is written on the screen: lines that fit it, and nothing by which a host could take it over."""

from __future__ import annotations

import io
import re

import pytest

from runbook import terminal
from runbook.terminal import Terminal

STYLES = re.compile(r"\x1b\[[0-9;]*m")


class Screen(io.StringIO):
    """Somebody looks at it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("out", [Screen(), io.StringIO()], ids=["terminal", "pipe"])
def test_what_a_host_says_moves_nothing_and_hides_nothing(out: io.StringIO) -> None:
    Terminal(out, str).line("\x1b]0;title\x07\x1b[2J\x1b[8mhidden\x1b[A\rover\x08\x9b1A \x1b(0 tab\tand Grüße\nnext")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out.getvalue())
    assert "tab\tand Grüße\nnext\n" in out.getvalue()


def test_progress_that_nobody_reads_any_more_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(Screen):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(terminal, "PATIENCE", 0)
    told = Terminal(Gone(), str)
    told.busy("waiting")
    told._ticker.start()
    told._ticker.join(30)
    assert not told._ticker.is_alive()


def test_our_own_colours_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    out = Screen()
    told = Terminal(out, str)
    told.line(told.paint("red and bold", "red", "bold") + told.paint("dim", "dim"))
    assert out.getvalue() == "\x1b[31;1mred and bold\x1b[0m\x1b[2mdim\x1b[0m\n"


def test_one_line_is_broken_between_words_at_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "_width", lambda _: 24)
    screen, pipe = Screen(), io.StringIO()
    for out in (screen, pipe):
        told = Terminal(out, str)
        told.item(f"home: {told.paint('+', 'green')} install one-package another-package-longer-than-the-screen x", 4)
    assert STYLES.sub("", screen.getvalue()).splitlines() == [
        "    home: + install",
        "      one-package",
        "      another-package-longer-than-the-screen",
        "      x",
    ]
    assert pipe.getvalue().count("\n") == 1
