"""The laws of files, links, directories and blocks, on whatever may be there before, by a real shell."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scratch import Tree, entry, step

from runbook.resources.block import BEGIN, END, Block
from runbook.resources.file import Absent, Directory, File
from runbook.script import quote
from runbook.step import Part, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scratch import Scratch

CANARY = b"canary-8d41c"
NAMES = st.text(" '\"$`\\-.\u00e9\u65e5*?[];&|#~!%{}a", min_size=1, max_size=8).filter(lambda name: name.strip("."))
MODES = st.sampled_from([0o644, 0o600, 0o755, 0o400, 0o4755, 0o666])
OWNERS = st.sampled_from([0, 0, 33, 12345])  # the last has no name
LINES = st.lists(st.sampled_from([b"a", b"# b $c", b"\xff\xfe", b"", b" #x", b"d\re", b"x\0y"]), max_size=4)
OTHERS = st.builds(lambda lines, end: b"\n".join(lines) + end, LINES, st.sampled_from([b"", b"\n"]))
OURS = st.sampled_from([f"{BEGIN}\nwanted\n{END}\n".encode(), f"{BEGIN}\nolder\nlines\n{END}\n".encode()])

few = settings(max_examples=settings().max_examples // 5)  # each runs a dozen shells
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners are root's to give")
pytestmark = needs_root


@dataclass(frozen=True)
class Before:
    """What is at a path before anything is done."""

    kind: str
    content: bytes = b""
    mode: int = 0o644
    owner: int = 0
    missing: int = 0
    """How many of the directories above it are missing, where nothing is there."""

    def lay(self, path: Path) -> None:
        """Make it so."""
        if self.kind != "nothing":
            path.parent.mkdir(parents=True, exist_ok=True)
        if self.kind == "file":
            path.write_bytes(self.content)
        elif self.kind == "directory":
            path.mkdir()
            if self.content:
                (path / "inside").write_bytes(self.content)
        elif self.kind == "fifo":
            os.mkfifo(path)
        elif self.kind != "nothing":
            elsewhere = path.parent.parent / f"elsewhere {path.name}"
            if self.kind == "link to a file":
                elsewhere.write_bytes(self.content)
            elif self.kind == "link to a directory":
                elsewhere.mkdir()
            relative = os.path.relpath(elsewhere, path.parent)
            path.symlink_to(relative if self.mode == 0o644 else elsewhere)
        if self.kind in {"file", "directory", "fifo"}:
            os.chown(path, self.owner, self.owner)
            path.chmod(self.mode)


PARTS = ("file", "file", "secret", "directory", "block", "absent")
KINDS = ("nothing", "file", "dangling link", "link to a file", "link to a directory", "directory", "fifo")
WITH_BLOCK = st.builds(lambda a, block, b: (a + b"\n" if a else b"") + block + b, OTHERS, OURS, OTHERS)
CONTENT = st.one_of(OTHERS, WITH_BLOCK, st.binary(max_size=80))
BEFORE = st.builds(Before, st.sampled_from(KINDS), CONTENT, MODES, OWNERS, st.integers(0, 2))


@dataclass(frozen=True)
class Situation:
    """A part that is wanted somewhere, and what is there before."""

    kind: str
    path: str
    before: Before
    content: bytes
    mode: str

    def part(self, root: Path) -> Part:
        """The part under `root`."""
        path = str(root / self.path)
        if self.kind == "file":
            return File(path, self.content, self.mode, "www-data:www-data" if self.mode == "755" else "root:root")
        if self.kind == "secret":
            return File(path, CANARY + self.content, "400", secret=True)
        if self.kind == "directory":
            return Directory(path, self.mode)
        return Block(path, "wanted\n") if self.kind == "block" else Absent(path, "it is in the way")

    def changes(self, root: Path) -> str:
        """The path that a change of the part changes: a block is written where a link leads."""
        path = root / self.path
        return str((path.resolve() if self.kind == "block" else path).relative_to(root.resolve()))


@st.composite
def situations(draw: st.DrawFn) -> list[Situation]:
    """Parts of one step, each at a path of its own."""
    found = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        kind, before = draw(st.sampled_from(PARTS)), draw(BEFORE)
        missing = ["made here", f" {name}-above "][: before.missing] if before.kind == "nothing" else []
        content = draw(st.just(before.content) | CONTENT)
        mode = draw(st.just(before.mode) | MODES)
        found.append(Situation(kind, "/".join(["there", *missing, name]), before, content, f"{mode:o}"))
    return found


def differs(one: Tree, other: Tree) -> set[str]:
    return {path for path in one.keys() | other.keys() if one.get(path) != other.get(path)}


def laid(host: Scratch, situation: Sequence[Situation]) -> list[Part]:
    """The situation made on a host, and the parts that are wanted there."""
    (host.root / "there").mkdir()
    for each in situation:
        each.before.lay(host.root / each.path)
    return [each.part(host.root) for each in situation]


def refused(situation: Situation) -> bool:
    """Whether a part must leave alone what is there."""
    blocks = situation.before.content.count(BEGIN.encode())
    return situation.before.kind in {
        "file": {"directory", "fifo"},
        "secret": {"directory", "fifo"},
        "absent": {"directory", "fifo"},
        "directory": set(KINDS) - {"nothing", "directory"},
        "block": {"directory", "fifo", "link to a directory"},
    }[situation.kind] or (situation.kind == "block" and blocks > 1)


def above(paths: set[str]) -> set[str]:
    return {str(parent) for path in paths for parent in Path(path).parents}


@few
@given(st.data())
def test_the_laws_hold_whatever_is_there(scratch: Callable[[], Scratch], data: st.DataObject) -> None:
    host = scratch()
    situation = data.draw(situations())
    parts = laid(host, situation)
    before = host.tree()

    found = host.look(step("laws", {host.name: parts}))
    assert host.tree() == before, "an audit changes nothing"
    assert not host.images_at.exists()
    assert [each.verdict is Verdict.UNKNOWN for each in found] == [refused(each) for each in situation]

    laws = step("laws", {host.name: [part for part, each in zip(parts, found, strict=True) if each.change]})
    predicted = {each.changes(host.root) for each, finding in zip(situation, found, strict=True) if finding.change}
    found = host.apply(laws, "1")
    after = host.tree()
    changed = differs(before, after)
    assert {path for path in changed if path not in above(predicted)} == predicted, "the prediction is the effect"
    assert all(after[path][0] == "d" for path in changed - predicted), "and the directories above it"
    assert {each.verdict for each in host.look(laws)} <= {Verdict.IN_ORDER}

    for index, each in enumerate(found):
        assert each.change
        again = f"image={quote(f'{host.images_at}/1')} index={index}\nset -e\n{each.change.apply}"
        host.target.run(again, purpose="the same once more")
    assert host.tree() == after, "twice is once"
    assert CANARY not in b"".join(path.read_bytes() for path in host.images_at.glob("*/*") if path.is_file())
    assert CANARY.decode() not in f"{found}{[each.change.diff for each in found if each.change]}"

    host.rollback(laws)
    assert host.tree() == before, "undone is as before"
    assert not host.images_at.exists()


EDITS = ("other content", "other mode", "gone", "a link")


def edit(path: Path, how: str) -> None:
    """What an admin may do to a file that we wrote."""
    if how == "other mode":
        path.chmod(0o640)
        return
    path.unlink()
    if how == "other content":
        path.write_bytes(b"the admin's")
    elif how == "a link":
        path.symlink_to("elsewhere")


@few
@given(st.lists(st.tuples(st.just("file") | st.just("secret"), NAMES, BEFORE), min_size=2, max_size=4), st.data())
def test_what_the_admin_changed_since_is_kept_and_told(
    scratch: Callable[[], Scratch], wanted: list[tuple[str, str, Before]], data: st.DataObject
) -> None:
    host = scratch()
    situation = [
        Situation(kind, f"there/{index}{name}", before, b"ours", "600")
        for index, (kind, name, before) in enumerate(wanted)
        if before.kind not in {"directory", "fifo"}
    ]
    ours = step("ours", {host.name: laid(host, situation)})
    before = host.tree()
    found = host.apply(ours, "1")
    if not found:
        return
    edited = data.draw(st.sampled_from(situation))
    edit(host.root / edited.path, data.draw(st.sampled_from(EDITS)))
    his = {path: found for path, found in host.tree().items() if path == edited.path}
    as_before = not his and edited.path not in before
    key = edited.part(host.root).key
    assert {each.key: each.status for each in host.images()[0].changes} == {
        each.key: "as we left it" if each.key != key else "as before" if as_before else "changed since"
        for each in found
    }
    expected = {path: found for path, found in before.items() if path != edited.path} | his
    for _ in range(2):
        host.rollback(ours)
        assert host.tree() == expected, "kept, as often as one tries, and all else is as before"


def test_an_admins_edit_outlives_the_undoing_of_two_applications(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    path = host.root / "a"
    path.write_bytes(b"before")
    parts: list[Part] = [File(str(path), b"first")]
    ours = step("ours", {host.name: parts})
    host.apply(ours, "1")
    parts[:] = [File(str(path), b"second")]
    host.apply(ours, "2")
    assert [each.status for image in host.images() for each in image.changes] == ["as we left it"] * 2
    path.write_bytes(b"the admin's")
    host.rollback(ours)
    assert path.read_bytes() == b"the admin's"
    path.write_bytes(b"second")
    host.rollback(ours)
    assert path.read_bytes() == b"before"
    assert not host.images_at.exists()


def test_what_is_undone_in_an_image_that_is_kept_is_not_undone_again(scratch: Callable[[], Scratch]) -> None:
    """An image stays while an edit of the admin's is kept; what he does later to the rest is his, too."""
    host = scratch()
    ours = step("ours", {host.name: [File(str(host.root / name), b"ours") for name in "ab"]})
    host.apply(ours, "1")
    (host.root / "a").write_bytes(b"his")
    host.rollback(ours)
    (host.root / "b").write_bytes(b"his, later")
    host.rollback(ours)
    assert {name: each[1] for name, each in host.tree().items()} == {"a": b"his", "b": b"his, later"}


@few
@given(OTHERS, st.just(b"") | OURS, OTHERS, st.tuples(st.booleans(), OTHERS))
def test_other_lines_than_a_blocks_are_never_touched(
    scratch: Callable[[], Scratch], above: bytes, block: bytes, below: bytes, edit: tuple[bool, bytes]
) -> None:
    """Whether the admin writes round the block before or after, and whatever bytes."""
    early, edited = edit
    host = scratch()
    path = host.root / "theirs"
    above += b"\n" if above and block else b""
    path.write_bytes(above + block + below)
    os.chown(path, 33, 12345)
    path.chmod(0o640)
    attributes = entry(path)[2:]
    ours = step("ours", {host.name: [Block(str(path), "wanted\n")]})
    if not host.apply(ours, "1")[0].change:
        assert path.read_bytes() == above + block + below
        return
    wanted = f"{BEGIN}\nwanted\n{END}\n".encode()
    end = b"" if block or (above + below).endswith(b"\n") or not above + below else b"\n"
    assert path.read_bytes() == (above + wanted + below if block else above + below + end + wanted)

    assert entry(path)[2:] == attributes
    his = path.read_bytes()
    his = edited + b"\n" + his if early else his + edited
    path.write_bytes(his)
    assert [each.status for each in host.images()[0].changes] == ["as we left it"]
    host.rollback(ours)
    assert entry(path)[2:] == attributes
    if edited or early:
        assert path.read_bytes() == his.replace(wanted, block)
    else:
        assert path.read_bytes() == above + block + below


def test_of_a_block_only_what_differs_is_shown(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    lines = [f"value{each} = {each}" for each in range(9)]
    (host.root / "theirs").write_text("\n".join(["above", BEGIN, *lines, END, "below"]))
    lines[4] = "value4 = another"
    wanted = Block(str(host.root / "theirs"), "".join(f"{each}\n" for each in lines))
    (finding,) = host.look(step("ours", {host.name: [wanted]}))
    assert finding.change
    shown = finding.change.diff.splitlines()
    assert [each for each in shown[2:] if each[0] in "+-"] == ["-value4 = 4", "+value4 = another"]
    assert [each for each in shown[2:] if each[0] == " "] == [f" value{each} = {each}" for each in (1, 2, 3, 5, 6, 7)]


def test_a_block_whose_markers_are_no_pair_is_left_alone(scratch: Callable[[], Scratch]) -> None:
    """Or all lines to the end of the file would count as ours."""
    for text in (f"a\n{BEGIN}\nb\nc\n", f"{BEGIN}\n{BEGIN}\n{END}\n", f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n"):
        host = scratch()
        (host.root / "theirs").write_text(text)
        (finding,) = host.look(step("ours", {host.name: [Block(str(host.root / "theirs"), "wanted\n")]}))
        assert finding.verdict is Verdict.UNKNOWN
        assert "mend them by hand" in finding.note
