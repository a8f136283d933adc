"""A file is written whole, or what was there before stays, with nothing beside it; and why is a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runbook.errors import UsageError
from runbook.init import _write
from runbook.notebook import Notebook
from runbook.whole import write_whole
from steps.interview.answers import Answers


def test_it_is_for_its_owner_alone_unless_said_otherwise(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_whole(tmp_path / "secret", "a\n")
        write_whole(tmp_path / "open", "b\n", mode=0o666)
    finally:
        os.umask(before)
    assert {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {"secret": 0o600, "open": 0o644}


def test_where_there_is_no_room_the_old_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "it").write_text("before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="it cannot be written: No space left on device") as error:
        write_whole(tmp_path / "it", "after", hint="free some")
    assert error.value.hint == "free some"
    assert [each.read_text() for each in tmp_path.iterdir()] == ["before"]
    with pytest.raises(UsageError, match=r"init\.json cannot be written: No space left"):
        Notebook(tmp_path).write(Answers())


@pytest.mark.parametrize("place", ["/", "", "."])
def test_a_directory_is_no_place_for_a_file(place: str) -> None:
    with pytest.raises(UsageError, match=r"/.* cannot be written: it is a directory"):
        write_whole(Path(place), "text")


def test_nor_is_a_network_that_cannot_be_written_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written: Not a directory"):
        _write(None, tmp_path / "file" / "sites.yaml", "text")  # type: ignore[arg-type]
