"""Nothing hangs and nothing runs by half: time-outs, cut lines, silent lines, lost connections."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from sshd import (
    QUICK,
    Relay,
    Sshd,
    make_box,  # noqa: F401 - the fixture `box`
    needs_root,
    one_relay,  # noqa: F401 - the fixture `relay`
    one_sentence,
    one_sshd,  # noqa: F401 - the fixture `sshd`
    one_stack,  # noqa: F401 - the fixture `stack`
    unix_user,
)
from told import told_as

from runbook import catalogue
from runbook.errors import BrokenLineError, StepError, UnreachableError
from runbook.login import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runbook.ssh import SSHHost

pytestmark = needs_root
GONE = "for pid in {}; do while kill -0 $pid; do sleep 0.02; done; done 2>/dev/null"


@pytest.mark.parametrize("way", ["root", "sudo"])
def test_out_of_time_everything_it_started_is_ended_on_the_host(box: Callable[..., SSHHost], way: str) -> None:
    with ExitStack() as stack:
        host = box("root" if way == "root" else stack.enter_context(unix_user("free")))
        heard: list[str] = []
        script = "sleep 1000 & echo $! >&2; (sleep 1001; :) & echo $! >&2; sleep 1002"
        with pytest.raises(StepError, match=r"try did not end within 0\.5 s and was ended on the host") as error:
            host.run(script, purpose="try", timeout=0.5, on_line=heard.append)
        one_sentence(error)
        assert len(heard) == 2
        assert host.run(GONE.format(" ".join(heard)), purpose="look", timeout=10).code == 0


STUBBORN = "trap '' TERM; sh -c 'echo $PPID >&2'; sh -c 'echo $$ >&2; while :; do sleep 0.1; done'"


@pytest.mark.parametrize("way", ["root", "sudo"])
def test_out_of_time_not_even_one_that_ignores_it_lives_on(box: Callable[..., SSHHost], way: str) -> None:
    with ExitStack() as stack:
        host = box("root" if way == "root" else stack.enter_context(unix_user("free")))
        heard: list[str] = []
        with pytest.raises(StepError, match=r"did not end within 0\.3 s"):
            host.run(STUBBORN, purpose="try", timeout=0.3, on_line=heard.append)
        assert len(heard) == 2
        assert host.run(GONE.format(" ".join(heard)), purpose="look", timeout=10).code == 0


@pytest.mark.timeout(20)  # what it must not wait for is 300 s
def test_a_daemon_that_holds_the_output_does_not_hold_up_the_end(box: Callable[..., SSHHost]) -> None:
    host = box()
    heard: list[str] = []
    with pytest.raises(StepError, match="was ended on the host"):
        host.run("setsid sleep 300 & echo $! >&2; sleep 301", purpose="try", timeout=0.3, on_line=heard.append)
    assert host.run(f"kill {heard[0]}", purpose="tidy").code == 0  # it was still there


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_script_that_is_cut_on_its_way_runs_nothing(
    box: Callable[..., SSHHost], relay: Relay, tmp_path: Path, share: float
) -> None:
    trace, size = tmp_path / "trace", 400_000
    host = box(port=relay.port, limits=QUICK)
    host.run("true", purpose="warm up")
    relay.left = size * share
    seconds = 71.625  # finds this very shell in the list of processes
    lines = f"touch {trace}\n" * (size // len(f"touch {trace}\n"))
    with pytest.raises(BrokenLineError, match="the line dropped during try") as error:
        host.run(lines, purpose="try", timeout=seconds)
    one_sentence(error)
    told_as(error, catalogue.LINE_DROPPED)
    assert f"{seconds:g} s" in error.value.hint
    wait = f"while pgrep -f '[t]imeout -k 5 {seconds}'; do sleep 0.02; done"
    assert box().run(wait, purpose="look", timeout=20).code == 0
    assert not trace.exists()


def test_a_script_whose_line_drops_goes_on_to_its_end_and_the_next_one_waits_for_it(
    box: Callable[..., SSHHost], relay: Relay, tmp_path: Path
) -> None:
    host = box(port=relay.port)
    trace, go = tmp_path / "trace", tmp_path / "go"
    script = f"set -e; echo 0 >&2; until test -e {go}; do echo more; echo more >&2; done; seq 100000; echo end >{trace}"
    with pytest.raises(BrokenLineError):
        host.run(script, purpose="try", timeout=30, on_line=lambda _: relay.cut.set())
    relay.settle()
    assert not trace.exists()
    threading.Timer(2, go.touch).start()  # a run that does not wait is done by then
    assert host.run(f"cat {trace}", purpose="look").stdout == "end\n"
    assert host.run("echo more", purpose="look").stdout == "more\n"


def test_a_line_that_falls_silent_is_noticed(box: Callable[..., SSHHost], relay: Relay) -> None:
    host = box(port=relay.port, limits=QUICK)
    with pytest.raises(BrokenLineError, match="home: the line dropped during try") as error:
        host.run("echo >&2; sleep 5", purpose="try", on_line=lambda _: relay.silent.set())
    one_sentence(error)
    relay.silent.clear()
    assert host.run("echo again", purpose="try").stdout == "again\n"
    assert host.logins == 2


def test_unless_told_otherwise_that_is_within_30_s() -> None:
    assert Limits().silence < 29  # it is looked at ten times a second


def test_a_line_that_falls_silent_under_a_large_script_is_noticed(box: Callable[..., SSHHost], relay: Relay) -> None:
    host = box(port=relay.port, limits=QUICK)
    host.run("true", purpose="warm up")
    relay.silent.set()
    with pytest.raises((BrokenLineError, UnreachableError)):
        host.run(": " + "x" * 30_000_000, purpose="try")


def test_a_quiet_script_on_a_good_line_is_left_alone(box: Callable[..., SSHHost]) -> None:
    # Twice as long as silence is borne: only the answers to our keep-alives are on the line meanwhile.
    assert box(limits=QUICK).run("sleep 3; echo done", purpose="try").stdout == "done\n"


def test_a_connection_lost_between_two_runs_is_made_again(box: Callable[..., SSHHost], relay: Relay) -> None:
    host = box(port=relay.port)
    host.run("true", purpose="try")
    relay.cut.set()
    relay.settle()
    assert host.run("echo again", purpose="try").stdout == "again\n"
    assert host.logins == 2


def test_relogin_is_a_new_connection_that_takes_the_place_of_the_old(box: Callable[..., SSHHost], sshd: Sshd) -> None:
    host, connections = box(), sshd.connections
    host.login()
    host.login()
    assert sshd.connections - connections == 1
    old = host._line
    host.relogin()
    assert sshd.connections - connections == 2
    assert host.logins == 2
    assert old is not None
    assert not old.alive
    assert host.run("echo new", purpose="try").stdout == "new\n"


def test_a_relogin_that_fails_keeps_the_old_connection(box: Callable[..., SSHHost], relay: Relay) -> None:
    host = box(port=relay.port, limits=QUICK)
    host.login()
    relay._socket.shutdown(socket.SHUT_RDWR)  # the old connection lives on, a new one is refused
    with pytest.raises(UnreachableError, match="refuses connections"):
        host.relogin()
    assert host.run("echo old", purpose="try").stdout == "old\n"
    assert host.logins == 1
