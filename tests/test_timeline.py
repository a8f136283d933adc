"""What the report tells of earlier runs is what their logs say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from logs import Redactor, RunLog
from runbook.timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    def write(command: str, *events: tuple[str, dict[str, object]], ended: str | None = "") -> Path:
        number = len(list(tmp_path.glob("*.jsonl")))
        path = tmp_path / f"{number:04}-{command}.jsonl"
        run = RunLog(path, Redactor())
        run.write("begun", command=command)
        for event, fields in events:
            run.write(event, **fields)
        if ended is not None:
            run.write("ended", error=ended)
        run.close()
        return path

    return write


def test_the_newest_comes_first_with_what_it_changed(tmp_path: Path, log: Callable[..., Path]) -> None:
    log("apply", ("applied", {"target": "home", "step": "nginx", "changes": ["install nginx", "reload it"]}))
    log("rollback", ("undone", {"target": "home", "step": "nginx", "image": "x"}))
    newest, oldest = timeline(tmp_path)
    assert (newest.command, newest.outcome, newest.changes) == ("rollback", "done", ("home: nginx undone",))
    assert (oldest.command, oldest.changes) == ("apply", ("home: install nginx", "home: reload it"))


def test_a_run_that_was_killed_is_cut_off_and_one_that_failed_says_why(
    tmp_path: Path, log: Callable[..., Path]
) -> None:
    log("apply", ended=None)
    log("resume", ("failed", {"target": "vps4", "step": "nginx", "error": "no space left"}), ended="stopped")
    failed, killed = timeline(tmp_path)
    assert (failed.outcome, failed.failures) == ("failed", ("vps4: nginx: no space left", "stopped"))
    assert (killed.outcome, killed.took) == ("cut off", None)
    log("audit", ("failed", {"target": "home", "step": "", "error": "home: no answer"}))
    assert timeline(tmp_path)[0].failures == ("home: no answer",)


def test_looks_in_a_row_are_one_line_and_changes_never(tmp_path: Path, log: Callable[..., Path]) -> None:
    for command in ("audit", "audit", "apply", "apply", "audit"):
        log(command)
    assert [(past.command, past.times) for past in timeline(tmp_path)] == [
        ("audit", 1),
        ("apply", 1),
        ("apply", 1),
        ("audit", 2),
    ]


def test_the_run_that_asks_and_damaged_lines_are_left_out(tmp_path: Path, log: Callable[..., Path]) -> None:
    mine = log("report")
    path = log("audit")
    path.write_text('not json\n[1]\n{"at": "soon", "event": "begun"}\n' + path.read_text())
    (tmp_path / "9999-empty.jsonl").write_text("")
    assert [past.command for past in timeline(tmp_path, without=mine)] == ["audit"]
