"""The controller as a host, and the form of a script that any shell takes whole or not at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from told import told_as

from runbook import catalogue
from runbook.errors import StepError
from runbook.frame import Frame, new_mark, wrap
from runbook.host import Answer, Exchange
from runbook.local import LocalHost

SHELLS = [shell for shell in ("/bin/dash", "/bin/bash", "/bin/sh") if Path(shell).exists()]


def test_an_answer_is_the_scripts_own() -> None:
    answer = LocalHost().run(r"printf 'no end \377'; printf 'e1\ne2' >&2; exit 7", purpose="try")
    assert answer.stdout.encode("utf-8", "surrogateescape") == b"no end \xff"
    assert (answer.stderr, answer.code) == ("e1\ne2", 7)


def test_it_runs_as_the_present_user_in_the_same_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/opt/own:/usr/bin:/bin")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    before = os.umask(0o077)
    try:
        answer = LocalHost().run('id -u; umask; pwd; echo "$LC_ALL $PATH"; cat', purpose="try")
    finally:
        os.umask(before)
    path = "/opt/own:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
    assert answer.stdout == f"{os.getuid()}\n0022\n/\nC {path}\n"


def test_the_script_is_in_no_argument_list() -> None:
    answer = LocalHost().run(": canary-of-ours; cat /proc/[0-9]*/cmdline 2>/dev/null", purpose="try")
    found = [word for word in ("pytest", "canary-of-ours") if word in answer.stdout]
    assert found == ["pytest"]  # it did look; and the text of /proc stays out of the report


def test_out_of_time_everything_it_started_is_ended() -> None:
    heard: list[str] = []
    script = "sleep 1000 & echo $! >&2; (sleep 1001; :) & echo $! >&2; sleep 1002"
    with pytest.raises(StepError, match=r"controller: try did not end within 0\.5 s and was ended"):
        LocalHost().run(script, purpose="try", timeout=0.5, on_line=heard.append)
    assert len(heard) == 2
    gone = "for pid in {}; do while kill -0 $pid; do sleep 0.02; done; done 2>/dev/null"
    assert LocalHost().run(gone.format(" ".join(heard)), purpose="look", timeout=10).code == 0


def test_out_of_time_not_even_one_that_ignores_it_lives_on() -> None:
    heard: list[str] = []
    script = "trap '' TERM; sh -c 'echo $PPID >&2'; sh -c 'echo $$ >&2; while :; do sleep 0.1; done'"
    with pytest.raises(StepError, match=r"did not end within 0\.3 s"):
        LocalHost().run(script, purpose="try", timeout=0.3, on_line=heard.append)
    gone = "for pid in {}; do while kill -0 $pid; do sleep 0.02; done; done 2>/dev/null"
    assert LocalHost().run(gone.format(" ".join(heard)), purpose="look", timeout=10).code == 0


def test_a_ctrl_c_at_the_terminal_is_not_the_scripts() -> None:
    """The terminal sends it to the whole group; the script in hand must go on."""
    answer = LocalHost().run("ps -o pgid= -p $$", purpose="try")
    assert int(answer.stdout) != os.getpgrp()


def test_an_interrupt_of_ours_ends_the_script() -> None:
    heard: list[str] = []

    def interrupt(line: str) -> None:
        heard.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalHost().run("echo $$ >&2; sleep 1000", purpose="try", on_line=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(heard[0]), 0)


def test_a_shell_that_is_killed_is_said(tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = f"echo last words >&2; until test -e {go}; do sleep 0.01; done; kill -9 0"
    with pytest.raises(StepError, match="controller: try was cut short: last words") as error:
        LocalHost().run(script, purpose="try", on_line=lambda _: go.touch())
    told_as(error, catalogue.KILLED)


def test_every_run_is_told_and_one_that_never_ended_too() -> None:
    told: list[Exchange] = []
    host = LocalHost(observe=told.append)
    answer = host.run("echo open", purpose="read")
    with pytest.raises(StepError):
        host.run("kill -9 0", purpose="die")
    assert [(each.purpose, each.target, each.code, each.answer) for each in told] == [
        ("read", "controller", 0, answer),
        ("die", "controller", None, None),
    ]


def test_logging_in_is_nothing() -> None:
    host = LocalHost()
    host.login()
    host.relogin()
    host.close()
    assert host.run("true", purpose="try").code == 0


# The form of a script


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_cut_anywhere_runs_nothing(shell: str, tmp_path: Path) -> None:
    """Every proper prefix, to the byte: a dropped line can end at any of them."""
    trace = tmp_path / "trace"
    mark = new_mark()
    text = wrap(f"touch {trace}\ncat <<EOF >/dev/null\n}}\nEOF\ntouch {trace}", mark)
    shortest = len(text) - 1 - text.endswith(b"}\n")  # without its last line end a text is whole, too
    for length in range(shortest + 1):
        result = subprocess.run([shell], input=text[:length], capture_output=True, check=False)
        assert mark.encode() not in result.stdout
        assert not trace.exists(), text[:length]
    subprocess.run([shell], input=text, capture_output=True, check=True)
    assert trace.exists()


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_characters="\0E", exclude_categories=["Cs"])))
def test_any_text_comes_through_a_shell_unchanged(text: str) -> None:
    # No E: dash 0.5.12 loses a byte above 127 behind what could be the beginning of a here-document's delimiter.
    mark = new_mark()
    end = "END" + new_mark()
    result = subprocess.run(
        ["/bin/sh"], input=wrap(f"cat <<'{end}'\n{text}\n{end}", mark), capture_output=True, check=True
    )
    frame = Frame(mark)
    frame.feed_stdout(result.stdout)
    frame.feed_stderr(result.stderr)
    assert frame.answer(0).stdout == text + "\n"


@given(
    st.binary(max_size=60),
    st.binary(max_size=60),
    st.binary(max_size=20),
    st.integers(0, 255),
    st.lists(st.integers(1, 40)),
)
def test_the_frame_is_found_however_the_bytes_arrive(
    out: bytes, err: bytes, noise: bytes, code: int, cuts: list[int]
) -> None:
    mark = new_mark()
    word = mark.encode()
    frame = Frame(mark)
    streams = [
        (frame.feed_stdout, noise + word + b"\n" + out + word + b" %d\n" % code),
        (frame.feed_stderr, noise + word + b"\n" + err + word + b"\n"),
    ]
    for feed, data in streams:
        assert not frame.ended
        rest = data
        for cut in cuts:
            feed(rest[:cut])
            rest = rest[cut:]
        feed(rest)
        feed(b"left behind in the background\n")
    assert frame.begun
    assert frame.ended
    own = out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "surrogateescape")
    assert frame.answer(1.5) == Answer(*own, code, 1.5)
    assert frame.noise == noise.decode("utf-8", "surrogateescape")


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126))), st.integers(1, 7))
def test_each_line_is_told_once(lines: list[str], step: int) -> None:
    mark = new_mark()
    heard: list[str] = []
    frame = Frame(mark, heard.append)
    data = "\n".join(["banner", mark, *lines, mark, ""]).encode()
    for at in range(0, len(data), step):
        frame.feed_stderr(data[at : at + step])
    assert heard == lines


def test_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        wrap("a\0b", new_mark())
