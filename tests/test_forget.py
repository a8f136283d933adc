"""Before-images that nobody will undo any more: said, asked about, and gone; the hosts stay as they are."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from scratch import Scratch, run, step

from logs import Redactor
from runbook import prompt
from runbook.errors import UsageError
from runbook.executor import StoppedError
from runbook.forget import days_of, forget
from runbook.resources.file import File
from runbook.status import room
from runbook.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from runbook.executor import Executor
    from runbook.step import Step

OLD, NEW = "20200229T120000000000-a", "99991231T120000000000-a"


def asked(executor: Executor, days: int = 365, *, yes: bool = True) -> list[str]:
    """What is said of forgetting, in lines."""
    out = io.StringIO()
    session = SimpleNamespace(executor=executor, terminal=Terminal(out, Redactor()))
    try:
        forget(session, days, yes=yes)  # type: ignore[arg-type]
    finally:
        assert not executor.failures
    return out.getvalue().splitlines()


@pytest.fixture
def host(tmp_path: Path) -> Scratch:
    host = Scratch(tmp_path)
    (host.root / "it").write_text("before\n")
    return host


def applied_twice(host: Scratch) -> Step:
    """It was applied long ago, and anew since."""
    for image, text in (OLD, b"old\n"), (NEW, b"new\n"):
        ours = step("a", {host.name: [File(str(host.root / "it"), text)]})
        host.apply(ours, image)
    return ours


def test_what_is_old_is_said_and_gone_and_what_is_newer_can_be_undone(host: Scratch, tmp_path: Path) -> None:
    ours = applied_twice(host)
    executor = run([ours], [host], tmp_path)
    ((_, (count, size)),) = executor.kept().items()
    assert count == 2
    assert size > 8
    assert room(executor.kept()) == [f"here: 2 before-images kept for rollback, {size} KiB"]
    said = asked(executor)
    assert said[0] == f"here: a, applied as {OLD}, 1 change"
    assert said[-1] == "here: forgotten"
    assert [each.name for each in host.images()] == [NEW]
    assert (host.root / "it").read_text() == "new\n"
    assert asked(executor) == ["nothing that was applied more than 365 days ago is there to forget"]
    host.rollback(ours)
    assert (host.root / "it").read_text() == "old\n"
    assert (host.images(), executor.kept(), host.images_at.exists()) == ([], {}, False)


def test_what_was_cut_off_stays(host: Scratch, tmp_path: Path) -> None:
    executor = run([applied_twice(host)], [host], tmp_path)
    for each in host.images_at.glob(f"{OLD}/after.*"):
        each.unlink()
    (host.root / "it").write_text("half\n")
    assert asked(executor)[0] == f"here: a, applied as {OLD}, 1 change: stays, it was cut off"
    assert len(host.images()) == 2


@pytest.mark.parametrize("answer", [False, True])
def test_the_user_is_asked(host: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:  # noqa: FBT001 - parametrised
    executor = run([applied_twice(host)], [host], tmp_path)
    monkeypatch.setattr(prompt, "confirm", lambda _: answer)
    if answer:
        asked(executor, yes=False)
    else:
        with pytest.raises(StoppedError, match="nothing was forgotten"):
            asked(executor, yes=False)
    assert len(host.images()) == (1 if answer else 2)


@pytest.mark.parametrize("text", ["", "-1", "a year", "1.5", "9" * 9])
def test_what_is_no_number_of_days(text: str) -> None:
    with pytest.raises(UsageError, match="is no number of days"):
        days_of(text)
    assert days_of("0") == 0
