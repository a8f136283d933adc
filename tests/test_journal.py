"""The journal: on the disk before what it speaks of, and never the reason why a run cannot go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoints import Checkpoint, Journal, State

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = st.text(max_size=12)
CHECKPOINTS = st.lists(
    st.builds(Checkpoint, TEXT, TEXT, TEXT, st.sampled_from(State), TEXT, TEXT), min_size=1, max_size=4
)


def written(path: Path, checkpoints: list[Checkpoint]) -> bytes:
    journal = Journal(path)
    for each in checkpoints:
        journal.record(each)
    return path.read_bytes()


def one(state: State = State.DONE, step: str = "nginx", target: str = "vps4") -> Checkpoint:
    return Checkpoint("run", step, target, state, "image", "")


def never(sentence: str) -> None:
    pytest.fail(sentence)


@given(CHECKPOINTS)
def test_what_is_recorded_is_read_back_in_order(checkpoints: list[Checkpoint]) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "journal.jsonl"
        text = written(path, checkpoints)
        assert Journal(path, never).checkpoints == checkpoints
        assert path.read_bytes() == text
        last = {(each.step, each.target): each for each in checkpoints}
        assert Journal(path).latest() == last


@given(CHECKPOINTS, st.data())
def test_a_line_that_is_torn_is_dropped_and_the_next_is_whole(
    checkpoints: list[Checkpoint], data: st.DataObject
) -> None:
    """Wherever the power failed while the last line was written."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "journal.jsonl"
        text = written(path, checkpoints)
        begin = text[:-1].rfind(b"\n") + 1
        path.write_bytes(text[: data.draw(st.integers(begin, len(text) - 1))])
        journal = Journal(path, never)
        assert journal.checkpoints == checkpoints[:-1]
        journal.record(one())
        assert Journal(path, never).checkpoints == [*checkpoints[:-1], one()]
        assert path.read_bytes().startswith(text[:begin])


DAMAGE = (
    b"not json\n",
    b"[]\n",
    b"7\n",
    b"{}\n",
    b"\n\n",
    b'{"version": 2}\n',
    b'{"version": 1, "run": "r", "step": "s", "target": "t", "state": "odd", "image": "", "note": ""}\n',
    b"\xff\xfe\n",
    b"[" * 100_000 + b"\n",
)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_journal_is_set_aside_with_a_sentence(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    good = written(path, [one()])
    path.write_bytes(good + damage + good)
    told: list[str] = []
    journal = Journal(path, told.append)
    assert journal.checkpoints == []
    (aside,) = tmp_path.glob("journal.jsonl.damaged-*")
    assert aside.read_bytes() == good + damage + good
    assert len(told) == 1
    assert told[0].startswith("the checkpoints were damaged (")
    assert told[0].endswith(f"set aside in {aside}; the hosts are read afresh")
    journal.record(one())
    assert Journal(path, never).checkpoints == [one()]


@given(st.binary(max_size=200))
def test_no_content_is_fatal(content: bytes) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "journal.jsonl"
        path.write_bytes(content)
        journal = Journal(path)
        journal.record(one())
        assert Journal(path, never).checkpoints == [*journal.checkpoints[:-1], one()]
        kept = b"".join(each.read_bytes() for each in Path(directory).glob("*.damaged-*"))
        assert kept in {b"", content}


def test_it_is_for_its_owner_alone_from_birth(tmp_path: Path) -> None:
    path = tmp_path / "data" / "checkpoints" / "journal.jsonl"
    before = os.umask(0)
    try:
        written(path, [one()])
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_line_is_written_whole_then_synced_and_a_new_files_name_too(tmp_path: Path) -> None:
    """The kernel's own record of our calls (strace): what a power failure leaves follows from their order."""
    code = (
        "from checkpoints import *; from pathlib import Path; import sys; journal = Journal(Path(sys.argv[1]));"
        "[journal.record(Checkpoint('run', f'step {n}', 't', State.INTENT)) for n in '12']"
    )
    trace = tmp_path / "trace"
    calls = "trace=openat,write,fsync,close"
    path = tmp_path / "journal.jsonl"
    argv = ["strace", "-f", "-y", "-s", "400", "-e", calls, "-o", str(trace), sys.executable, "-c", code, str(path)]
    try:
        subprocess.run(argv, check=True, cwd=Path(__file__).parent.parent)
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    told = [line.split(" ", 1)[1].strip() for line in trace.read_text().splitlines() if str(tmp_path) in line]
    ours = [line for line in told if line.startswith(("write(", "fsync("))]
    shape = [(line[: line.index("(")], f"{path}>" in line, "step 1" in line, "step 2" in line) for line in ours]
    assert shape == [
        ("write", True, True, False),
        ("fsync", True, False, False),
        ("fsync", False, False, False),
        ("write", True, False, True),
        ("fsync", True, False, False),
    ]


def test_lines_of_several_targets_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    record: Callable[[int], None] = lambda number: journal.record(one(step=str(number), target="x" * 2000))  # noqa: E731
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(record, range(64)))
    assert {each.step for each in Journal(path, never).checkpoints} == {str(number) for number in range(64)}
    assert all(json.loads(line)["version"] == 1 for line in path.read_bytes().splitlines())
