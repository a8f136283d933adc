"""What a run over SSH means, shown by a real sshd."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sshd import (
    Sshd,
    make_box,  # noqa: F401 - the fixture `box`
    needs_root,
    one_sentence,
    one_sshd,  # noqa: F401 - the fixture `sshd`
    one_stack,  # noqa: F401 - the fixture `stack`
)
from told import told_as

from runbook import catalogue
from runbook.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runbook.ssh import Exchange, SSHHost

pytestmark = needs_root


def test_an_answer_is_the_scripts_own_to_the_byte(box: Callable[..., SSHHost]) -> None:
    answer = box().run(r"printf 'no end \377'; printf 'e1\ne2' >&2; exit 7", purpose="try")
    assert answer.stdout.encode("utf-8", "surrogateescape") == b"no end \xff"
    assert (answer.stderr, answer.code) == ("e1\ne2", 7)
    assert answer.seconds > 0


def test_a_script_finds_the_same_surroundings_on_every_host(box: Callable[..., SSHHost]) -> None:
    answer = box().run('id -u; umask; pwd; echo "$LC_ALL $PATH"; cat; ls /nonexistent', purpose="try")
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert answer.stdout == f"0\n0022\n/\nC {path}\n"
    assert "No such file or directory" in answer.stderr


@pytest.mark.parametrize(
    ("script", "stdout", "code"),
    [
        ("", "", 0),
        ("# only a comment", "", 0),
        ("cat <<EOF\na $HOME\nEOF", "a /root\n", 0),
        ("cat <<'EOF'\n}\nrunbook_script\nEOF", "}\nrunbook_script\n", 0),
        ("set -e; echo a; false; echo b", "a\n", 1),
        ("trap 'echo bye' EXIT; exit 4", "bye\n", 4),
        ("exec >/dev/null; echo gone", "", 0),
        ("echo a; exec echo b", "a\nb\n", 0),
        ("kill -9 0", None, None),
        ("timeout 0.1 sleep 9", "", 124),
    ],
)
def test_scripts_mean_what_they_mean_to_a_shell(
    box: Callable[..., SSHHost], script: str, stdout: str | None, code: int | None
) -> None:
    host = box()
    if stdout is None:
        with pytest.raises(StepError, match="home: try was cut short") as error:
            host.run(script, purpose="try")
        told_as(error, catalogue.KILLED)
        return
    answer = host.run(script, purpose="try")
    assert (answer.stdout, answer.code) == (stdout, code)


def test_a_large_script_arrives_unchanged(box: Callable[..., SSHHost]) -> None:
    text = "".join(f"{number:07d}\n" for number in range(400_000))
    answer = box().run(f"sha256sum <<'EOF'\n{text}EOF", purpose="try")
    assert answer.stdout.split()[0] == hashlib.sha256(text.encode()).hexdigest()


def test_a_large_answer_arrives_whole_on_both_streams(box: Callable[..., SSHHost]) -> None:
    answer = box().run("seq 600000; seq 600000 >&2", purpose="try")
    assert answer.stdout == answer.stderr == "".join(f"{number}\n" for number in range(1, 600_001))


def test_a_script_with_a_syntax_error_runs_nothing(box: Callable[..., SSHHost], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with pytest.raises(StepError, match="does not take the script of try") as error:
        box().run(f"touch {trace}\nif then", purpose="try")
    one_sentence(error)
    told_as(error, catalogue.SHELL_REFUSED)
    assert not trace.exists()


def test_lines_are_told_while_the_script_runs(box: Callable[..., SSHHost], tmp_path: Path) -> None:
    # The script waits for what only the callback makes: it must be called before the script ends.
    heard: list[str] = []

    def on_line(line: str) -> None:
        heard.append(line)
        (tmp_path / "go").touch()

    script = f"echo unpacking >&2; until test -e {tmp_path}/go; do sleep 0.01; done; echo done >&2; printf half >&2"
    answer = box().run(script, purpose="try", timeout=20, on_line=on_line)
    assert heard == ["unpacking", "done"]
    assert answer.stderr == "unpacking\ndone\nhalf"


def test_a_process_left_in_the_background_is_not_waited_for(box: Callable[..., SSHHost]) -> None:
    host = box()
    answer = host.run("sleep 300 & echo $!", purpose="try", timeout=20)
    assert answer.seconds < 20
    assert host.run(f"kill {answer.stdout}", purpose="tidy").code == 0


def test_each_run_is_one_channel_of_one_connection(box: Callable[..., SSHHost], sshd: Sshd) -> None:
    host, connections = box(), sshd.connections
    sessions = sshd.log.count("Starting session: command")
    for _ in range(3):
        host.run("true", purpose="try")
    assert (host.channels, host.logins) == (3, 1)
    assert sshd.connections - connections == 1
    assert sshd.log.count("Starting session: command") - sessions == 3


def test_every_run_is_told_to_the_log_and_one_that_was_ended_too(box: Callable[..., SSHHost]) -> None:
    told: list[Exchange] = []
    host = box(observe=told.append)
    answer = host.run("echo open", purpose="read")
    with pytest.raises(StepError):
        host.run("sleep 60", purpose="slow", timeout=0.2)
    assert [(each.purpose, each.target, each.code) for each in told] == [
        ("read", "home", 0),
        ("slow", "home", None),
    ]
    assert [each.answer for each in told] == [answer, None]


def test_hosts_side_by_side(box: Callable[..., SSHHost]) -> None:
    hosts = [box() for _ in range(5)]
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda host: [host.run("echo $$", purpose="try").code for _ in range(4)], hosts))
    assert answers == [[0, 0, 0, 0]] * 5
