"""Whatever a run is cut off at, the next one ends as if nothing had been, and all can be undone.

A run is cut off by a kill of the host's shell, with all that it started, before its k-th command; and by the end of
our own process before and after each line of the journal.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from scratch import Scratch, Tree, Witness, carry_out, step

from checkpoints import Checkpoint, Journal
from runbook.errors import RunbookError
from runbook.local import LocalHost
from runbook.resources.block import Block
from runbook.resources.file import Absent, Directory, File
from runbook.script import quote
from steps.ipsec.authorities import CaCertificates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runbook.host import Answer
    from runbook.step import Step

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners are root's to give")

COMMANDS = (
    "base64 basename cat chmod chown cmp cp cut dirname grep head ln mkdir mv readlink rm rmdir sed sha256sum stat "
    "sync tac tail wc"
)
SHIM = """\
#!/bin/sh
echo >>{counter}
ran=0
while read -r _; do ran=$((ran + 1)); done <{counter}
[ "$ran" -lt "${{RB_CUT_AT:-100000}}" ] || kill -9 0
exec {real} "$@"
"""
FEW = 14
"""How many of the points are tried every day, evenly spread."""


class Cut(LocalHost):
    """A host whose shell is killed, with all that it started, before the k-th command of what `within` names."""

    def __init__(self, tools: Path, within: Callable[[str], bool], at: int = 0) -> None:
        super().__init__("here")
        self._tools, self._within, self._at = tools, within, at or 100000

    def run(self, script: str, *, purpose: str, **options: Any) -> Answer:  # noqa: ANN401 - passed on as it came
        if self._within(purpose):
            script = f"PATH={quote(str(self._tools))}:$PATH RB_CUT_AT={self._at}; export PATH RB_CUT_AT\n{script}"
        return super().run(script, purpose=purpose, **options)

    @property
    def ran(self) -> int:
        """How many commands ran there."""
        return len((self._tools / "counter").read_bytes())


def changes(purpose: str) -> bool:
    return purpose.endswith("-step")


def undoes(purpose: str) -> bool:
    return "before-image" in purpose or purpose.startswith("undo")


class World:
    """A host as it is before a step of every kind of change, as often as one is wanted."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made = 0

    def host(
        self,
        within: Callable[[str], bool] = changes,
        at: int = 0,
        make: Callable[[Path], Step] | None = None,
    ) -> tuple[Scratch, Step]:
        """A host anew, to be cut off at a command, and the step for it: of every kind of change, or as `make` says."""
        self._made += 1
        directory = self._directory / str(self._made)
        tools = directory / "tools"
        tools.mkdir(parents=True)
        for name in COMMANDS.split():
            text = SHIM.format(counter=quote(str(tools / "counter")), real=shutil.which(name))
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        (tools / "counter").touch()
        host = Scratch(directory, "here", Cut(tools, within, at))
        return host, (make or self._step)(host.root)

    def _step(self, root: Path) -> Step:
        (root / "replaced").write_bytes(b"before\xff")
        (root / "replaced").chmod(0o640)
        os.chown(root / "replaced", 33, 12345)
        (root / "in the way").symlink_to("nowhere")
        (root / "theirs").write_bytes(b"no end")
        (root / "linked").symlink_to("theirs")
        (root / "theirs too").write_bytes(b"a\n# ipsec-runbook: begin\nold\n# ipsec-runbook: end\nb\n")
        (root / "loose").mkdir()
        (root / "loose").chmod(0o2775)
        parts = [
            File(f"{root}/new/deep/created", b"created\n" * 100, "600", secret=True),
            File(f"{root}/replaced", b"after", validator='grep -q after "$new"'),
            Absent(f"{root}/in the way", "it is"),
            Block(f"{root}/linked", "ours\n"),
            Block(f"{root}/theirs too", "ours\n"),
            Block(f"{root}/fresh/block", "ours\n"),
            Directory(f"{root}/new/directory", "700"),
            Directory(f"{root}/loose", "755"),
        ]
        return step("step", {"here": [*parts]})


def freed(host: Scratch) -> Scratch:
    """The same host for a new run of ours, which nothing cuts off."""
    again = Scratch.__new__(Scratch)
    again.__dict__.update(host.__dict__)
    again.target = type(host.target)(LocalHost("here"), str(host.images_at))
    return again


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    memory = Path("/dev/shm")  # noqa: S108 - a disk may take its time over each fsync
    with TemporaryDirectory(prefix="crash ", dir=memory if memory.is_dir() else None) as directory:
        yield World(Path(directory))


@pytest.fixture(scope="module")
def before(world: World) -> Tree:
    return world.host()[0].tree()


@pytest.fixture(scope="module")
def after(world: World, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    host, ours = world.host()
    assert not carry_out([ours], [host], tmp_path_factory.mktemp("after")).failures
    return host.tree()


def points(request: pytest.FixtureRequest, total: int, few: int = FEW) -> range:
    """The commands to cut off at: all of them, or evenly some."""
    return range(1, total + 1, 1 if request.config.getoption("--all") else max(1, total // few))


def commands_of(host: Scratch) -> int:
    assert isinstance(host.target.host, Cut)
    return host.target.host.ran


def told(what: str, tried: int, total: int) -> None:
    print(f"{what}: cut off at {tried} of {total} points")  # noqa: T201 - pytest -s shows how much was tried


def apply_cut_off(host: Scratch, ours: Step, directory: Path) -> None:
    """Apply, and be cut off: the failure says so."""
    executor = carry_out([ours], [host], directory)
    assert "was cut short" in str(executor.failures["here"])


def end_well(host: Scratch, ours: Step, directory: Path, after: Tree) -> None:
    """The next run finishes, and another finds nothing to do."""
    assert not carry_out([ours], [freed(host)], directory).failures
    assert host.tree() == after
    witness = Witness()
    carry_out([ours], [freed(host)], directory, witness)
    assert not witness.asked


def undo_all(host: Scratch, ours: Step, before: Tree) -> None:
    """Rollback leaves nothing, of the step and of its images."""
    had = bool(freed(host).images())
    freed(host).rollback(ours)
    assert host.tree() == before
    assert not had or not host.images_at.exists()


def test_a_run_cut_off_at_a_command_is_finished_by_the_next_and_undone(
    request: pytest.FixtureRequest, world: World, tmp_path: Path, before: Tree, after: Tree
) -> None:
    whole, ours = world.host()
    carry_out([ours], [whole], tmp_path / "whole")
    total = commands_of(whole)
    for at in (tried := points(request, total)):
        host, ours = world.host(at=at)
        apply_cut_off(host, ours, tmp_path / str(at))
        end_well(host, ours, tmp_path / str(at), after)
        undo_all(host, ours, before)
    told("apply, apply again, undo", len(tried), total)


def test_a_run_cut_off_at_a_command_can_be_undone_at_once(
    request: pytest.FixtureRequest, world: World, tmp_path: Path, before: Tree
) -> None:
    whole, ours = world.host()
    carry_out([ours], [whole], tmp_path / "whole")
    total = commands_of(whole)
    for at in (tried := points(request, total)):
        host, ours = world.host(at=at)
        apply_cut_off(host, ours, tmp_path / str(at))
        undo_all(host, ours, before)
    told("apply, undo", len(tried), total)


def test_an_undoing_cut_off_at_a_command_is_finished_by_the_next(
    request: pytest.FixtureRequest, world: World, tmp_path: Path, before: Tree
) -> None:
    whole, ours = world.host(undoes)
    carry_out([ours], [whole], tmp_path / "whole")
    whole.rollback(ours)
    total = commands_of(whole)
    for at in (tried := points(request, total)):
        host, ours = world.host(undoes, at)
        carry_out([ours], [host], tmp_path / str(at))
        with pytest.raises(RunbookError, match="was cut short"):
            host.rollback(ours)
        undo_all(host, ours, before)
    told("apply, undo, undo again", len(tried), total)


def test_an_undoing_cut_off_leads_to_a_run_that_ends_well(
    request: pytest.FixtureRequest, world: World, tmp_path: Path, before: Tree, after: Tree
) -> None:
    """Who thinks better of it half-way gets it all, and can still undo it all."""
    whole, ours = world.host(undoes)
    carry_out([ours], [whole], tmp_path / "whole")
    whole.rollback(ours)
    total = commands_of(whole)
    for at in (tried := points(request, total, FEW // 2)):
        host, ours = world.host(undoes, at)
        carry_out([ours], [host], tmp_path / str(at))
        with pytest.raises(RunbookError, match="was cut short"):
            host.rollback(ours)
        end_well(host, ours, tmp_path / str(at), after)
        undo_all(host, ours, before)
    told("apply, undo, apply again, undo again", len(tried), total)


@pytest.mark.slow
def test_a_run_and_its_undoing_both_cut_off(world: World, tmp_path: Path, before: Tree) -> None:
    """Each of the points of the one with some of the other's."""
    whole, ours = world.host()
    carry_out([ours], [whole], tmp_path / "whole")
    total, tried = commands_of(whole), 0
    for at in range(1, total + 1, 3):
        for later in range(1 + at % 17, 140, 17):
            host, ours = world.host(at=at)
            apply_cut_off(host, ours, tmp_path / f"{at}-{later}")
            assert isinstance(host.target.host, Cut)
            (host.target.host._tools / "counter").write_bytes(b"")
            host.target.host._within, host.target.host._at = undoes, later
            with suppress(RunbookError):  # some points lie behind its end
                host.rollback(ours)
            undo_all(host, ours, before)
            tried += 1
    told("apply, undo, undo again, each point of the one with some of the other's", tried, tried)


class Ended(BaseException):
    """The end of our own process."""


class CutJournal(Journal):
    """A journal whose process ends at its k-th line, before it is written or after."""

    def __init__(self, path: Path, at: int, *, written: bool) -> None:
        super().__init__(path)
        self._at, self._written = at, written

    def record(self, checkpoint: Checkpoint) -> None:
        self._at -= 1
        if self._at == 0 and not self._written:
            raise Ended
        super().record(checkpoint)
        if self._at == 0:
            raise Ended


@pytest.mark.parametrize("line", [f"{at} {how}" for at in (1, 2, 3, 4) for how in ("not written", "written")])
def test_a_run_that_ends_at_a_line_of_the_journal_is_finished_by_the_next(
    world: World, tmp_path: Path, before: Tree, after: Tree, line: str
) -> None:
    """The first two lines are a run's, the other two its undoing's."""
    host, ours = world.host()
    at = int(line[0])
    journal = CutJournal(tmp_path / "journal.jsonl", at, written="not" not in line)
    with pytest.raises(Ended):  # noqa: PT012 - where of the three it ends is the point
        executor = carry_out([ours], [host], journal)
        executor.rollback(ours.name, {"here": host.images()})
    assert host.tree() == (after if at in {2, 3} else before)
    end_well(host, ours, tmp_path, after)
    undo_all(host, ours, before)


def authorities(root: Path) -> Step:
    """CA certificates, of which one is replaced, one made, and one removed."""
    for name, text in (("both", b"before"), ("gone", b"before")):
        (root / f"ipsec-runbook-{name}.pem").write_bytes(text)
    wanted = {f"ipsec-runbook-{name}.pem": b"after\n" * 500 for name in ("both", "new")}
    return step("step", {"here": [CaCertificates(str(root), wanted)]})


def test_no_authority_is_missing_wherever_an_undoing_is_cut_off(world: World, tmp_path: Path) -> None:
    """One that is there before and afterwards is there, and whole, in between."""
    whole, ours = world.host(make=authorities)
    before = whole.tree()
    carry_out([ours], [whole], tmp_path)
    after = whole.tree()
    whole, ours = world.host(undoes, make=authorities)
    carry_out([ours], [whole], tmp_path)
    whole.rollback(ours)
    assert whole.tree() == before
    total = commands_of(whole)
    for at in range(1, total + 1):
        host, ours = world.host(undoes, at, authorities)
        carry_out([ours], [host], tmp_path / str(at))
        with suppress(RunbookError):
            host.rollback(ours)
        both = "ipsec-runbook-both.pem"
        assert host.tree()[both] in {before[both], after[both]}
        undo_all(host, ours, before)
    told("undo authorities", total, total)
