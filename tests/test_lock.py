"""The lock on a host, by a real shell: it has one owner, however many want it at once."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from runbook import lock
from runbook.lock import Owner

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
