"""The lock on a host, by a real shell: it has one owner, however many want it at once."""

from __future__ import annotations

import io
import os
import subprocess
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from told import told_as

from runbook import catalogue, lock, prompt
from runbook.errors import LockedError
from runbook.local import LocalHost
from runbook.lock import Owner
from runbook.target import Target
from runbook.terminal import Terminal
from runbook.unlock import unlock

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has process ids of its own")

ALONE = ("unshare", "--pid", "--fork", "--mount-proc")
"""Scripts of other runs on this machine are none of its business."""
MANY = 4


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lock, "PATH", str(tmp_path / "lock"))
    return tmp_path / "lock"


def owner(number: int) -> Owner:
    return replace(Owner.this_process(), pid=number)


def start(script: str, path: str = os.environ["PATH"]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PATH": path}
    return subprocess.Popen([*ALONE, "sh", "-c", script], stdout=subprocess.PIPE, text=True, env=environment)


def test_of_those_who_find_the_same_lock_stale_one_gets_it(path: Path, tmp_path: Path) -> None:
    stale = owner(1).text
    path.write_text(f"{stale}\n")
    wanting = [owner(number) for number in range(2, 2 + MANY)]
    at_work = []
    for number, each in enumerate(wanting):
        # all see the stale lock at once; who removes it later removes what another has made in its place meanwhile
        tools = tmp_path / str(number)
        tools.mkdir()
        late = f"case $* in *lock) sleep {0.5 + number * 0.2} ;; esac"
        (tools / "rm").write_text(f'#!/bin/sh\n{late}\nexec /bin/rm "$@"\n')
        (tools / "rm").chmod(0o755)
        at_work.append(start(f"{lock.free(stale)}\n{lock.take(each)}", f"{tools}:{os.environ['PATH']}"))
    told = [each.communicate()[0] for each in at_work]
    assert [each.returncode for each in at_work] == [0] * MANY
    (holder,) = {each.removeprefix("lock=").strip() for each in told}
    assert holder in {each.text for each in wanting}, "all are told of the same one"
    assert path.read_text().strip() == holder


def test_it_is_freed_by_its_owner_alone(path: Path) -> None:
    mine, other = owner(2), owner(3)
    start(lock.take(mine)).communicate()
    start(lock.free(other.text)).communicate()
    assert path.read_text().strip() == mine.text
    assert start(lock.take(other)).communicate()[0] == f"lock={mine.text}\n"
    start(lock.free(mine.text)).communicate()
    assert not path.exists()


@pytest.mark.usefixtures("path")
def test_what_it_starts_itself_is_no_script_of_an_earlier_run(tmp_path: Path) -> None:
    """A process that is still to become another has the command line of the shell that starts it."""
    word, becomes = f"runbook-{'0' * 32}", tmp_path / "becomes"
    for tool in ("tr", "xargs"):  # between two looks at the processes
        (tmp_path / tool).write_text(f'#!/bin/sh\nsleep 0.5; : >{becomes}; sleep 0.5\nexec /usr/bin/{tool} "$@"\n')
        (tmp_path / tool).chmod(0o755)
    started = f"sh -c 'until [ -e {becomes} ]; do sleep 0.02; done; exec sleep 9' {word} &\nsleep 0.1\n"
    me = owner(2)
    taken = lock.take(me).replace("while held", f"PATH={tmp_path}:$PATH\nwhile held")
    script = f"PATH=/usr/bin:/bin\n{started}{taken}"
    done = subprocess.run([*ALONE, "sh", "-s", word], input=script, capture_output=True, text=True, check=True)
    assert done.stdout == f"lock={me.text}\n"
    assert done.stderr == ""


class Person:
    """Whoever sits at the terminal: says yes, and sees what is shown."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self._path = path
        monkeypatch.setattr(prompt, "confirm", lambda question: bool(self.asked.append(question)) or True)

    def unlocks(self, *, yes: bool) -> str:
        out = io.StringIO()
        target = Target(LocalHost("home"), str(self._path.parent))
        target.learn(lock.look())
        unlock(SimpleNamespace(targets={"home": target}, terminal=Terminal(out, str)), yes=yes)  # type: ignore[arg-type]
        return out.getvalue()


@pytest.mark.parametrize("yes", [True, False])
def test_what_a_run_holds_that_is_at_work_here_is_not_freed(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    yes: bool,  # noqa: FBT001 - parametrised
) -> None:
    me = Owner.this_process()
    path.write_text(f"{me.text}\n")
    person = Person(path, monkeypatch)
    with pytest.raises(LockedError) as refused:
        person.unlocks(yes=yes)
    told = told_as(refused, catalogue.STILL_AT_WORK)
    assert (
        f"home: held by a run that is still at work on this machine, process {os.getpid()} of {me.who}" in told["error"]
    )
    assert refused.value.exit_code == 6
    assert person.asked == []
    assert path.exists()
    # what is told to be looked at shows the process
    seen = subprocess.run(["sh", "-c", told["look"]], capture_output=True, text=True, check=True).stdout
    assert str(os.getpid()) in seen


def test_what_a_run_holds_that_is_over_or_cannot_be_seen_is_asked_about_and_freed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = Owner.this_process()
    for other, says in (
        (replace(me, started=me.started - 1), "(over)"),
        (replace(me, machine="another"), "whether that run is over cannot be seen from here"),
    ):
        for yes in (True, False):
            path.write_text(f"{other.text}\n")
            person = Person(path, monkeypatch)
            said = person.unlocks(yes=yes)
            assert says in said
            assert f"home is held by {me.who} since {me.since}" in said
            assert person.asked == ([] if yes else ["Free home?"])
            assert not path.exists()
