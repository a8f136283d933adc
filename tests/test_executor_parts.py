"""How a run treats parts: what is written ahead, what follows what, what comes last, what is known later."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from scratch import PartsOf, Scratch, Tree, Witness, carry_out, run, step

from checkpoints import Journal, State
from runbook.errors import StepError
from runbook.events import Applied, Undone
from runbook.local import LocalHost
from runbook.lock import Owner
from runbook.resources.block import Block
from runbook.resources.file import Absent, Directory, File
from runbook.script import Reading, quote
from runbook.step import CONTROLLER, Change, Finding, Later, Part, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from runbook.step import Step
    from runbook.target import Target


@pytest.fixture
def host(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path)


@dataclass(frozen=True)
class Made(Part):
    """A file that is made by whatever shell a test gives."""

    path: Path
    shell: str
    follows: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"made {self.path.name}"

    def probe(self) -> str:
        return f"cat -- {quote(str(self.path))} 2>/dev/null || :"

    def judge(self, found: Reading) -> Finding:
        return self.in_order() if found.text else self.absent(self._change())

    def again(self, found: Reading) -> Finding:
        assert found.text
        return self.drift(self._change())

    def _change(self) -> Change:
        return Change(f"make {self.path.name}", self.shell, f"rm -f -- {quote(str(self.path))}")


@dataclass(frozen=True)
class Obtained(Part):
    """A file that shell cannot make, or may fail to make."""

    path: Path
    obtain: Callable[[Mapping[str, Target]], None] = field(repr=False)
    shell: str = ""
    serves: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"obtained {self.path.name}"

    def probe(self) -> str:
        return f"cat -- {quote(str(self.path))} 2>/dev/null || :"

    def judge(self, found: Reading) -> Finding:
        change = Change(f"get {self.path.name}", self.shell, obtain=self.obtain)
        return self.in_order() if found.text else self.absent(change)


def states(tmp_path: Path) -> list[tuple[str, str]]:
    """Step and state of each line of the journal."""
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    return [(each["step"], each["state"]) for each in map(json.loads, lines)]


def test_the_journal_says_so_before_a_change_and_after(host: Scratch, tmp_path: Path) -> None:
    """What the step's own shell reads of it is what a run that is cut off there would find."""
    seen = host.root / "seen"
    ours = step("a", {host.name: [Made(seen, f"cp -- {quote(str(tmp_path / 'journal.jsonl'))} {quote(str(seen))}")]})
    executor = carry_out([ours], [host], tmp_path)
    (intent,) = map(json.loads, seen.read_text().splitlines())
    (image,) = host.images()
    assert (intent["step"], intent["target"], intent["state"], intent["image"]) == ("a", "here", "intent", image.name)
    executor.rollback("a", {host.name: [image]})
    assert states(tmp_path) == [("a", "intent"), ("a", "done"), ("a", "intent"), ("a", "undone")]
    last = Journal(tmp_path / "journal.jsonl").latest()["a", "here"]
    assert (last.state, last.image) == (State.UNDONE, image.name)


@pytest.mark.parametrize(
    ("shell", "said"),
    [
        ("echo it is full >&2; exit 3", "here: made it: it is full"),
        (":", "here: made it is still not in order: make it"),
        ("kill -9 0", "here: .*cut short"),
    ],
)
def test_what_fails_is_told_with_step_target_and_part(host: Scratch, tmp_path: Path, shell: str, said: str) -> None:
    ours = step("a", {host.name: [Made(host.root / "it", shell)]})
    executor = carry_out([ours], [host], tmp_path)
    with pytest.raises(StepError, match=said):
        raise executor.failures["here"]
    assert states(tmp_path) == [("a", "intent"), ("a", "failed")]
    assert host.tree() == {}


def every_kind(host: Scratch) -> Step:
    """A step of every kind of plain part, each with something to do."""
    (host.root / "theirs").write_bytes(b"a line without an end")
    (host.root / "in the way").symlink_to("somewhere")
    (host.root / "old").write_bytes(b"old")
    at = str(host.root)
    parts: list[Part] = [
        Directory(f"{at}/new/directory", "700"),
        File(f"{at}/new/file", b"ours"),
        File(f"{at}/old", b"ours", "400", secret=True),
        Absent(f"{at}/in the way", "it is"),
        Block(f"{at}/theirs", "ours\n"),
    ]
    return step("every kind", {host.name: parts})


def test_what_was_confirmed_is_what_is_applied_and_told(host: Scratch, tmp_path: Path) -> None:
    witness = Witness()
    carry_out([every_kind(host)], [host], tmp_path, witness)
    (asked,) = witness.asked
    (applied,) = [each for each in witness.events if isinstance(each, Applied)]
    (image,) = host.images()
    assert len(asked.changes["here"]) == 5
    assert list(asked.changes["here"]) == list(applied.changes)
    summaries = [each.change.summary for each in applied.changes if each.change]
    assert summaries == [each.summary for each in image.changes]


@pytest.mark.parametrize("journal", ["kept", "deleted"])
def test_a_second_run_changes_nothing_and_asks_nothing(host: Scratch, tmp_path: Path, journal: str) -> None:
    ours = every_kind(host)
    carry_out([ours], [host], tmp_path)
    after, images = host.tree(), host.images()
    if journal == "deleted":
        (tmp_path / "journal.jsonl").unlink()
    witness = Witness()
    executor = carry_out([ours], [host], tmp_path, witness)
    assert not witness.asked
    assert not executor.failures
    assert (host.tree(), host.images()) == (after, images)


def test_a_checkpoint_that_says_done_is_not_believed_before_the_host(host: Scratch, tmp_path: Path) -> None:
    ours = step("a", {host.name: [File(str(host.root / "new"), b"ours")]})
    carry_out([ours], [host], tmp_path)
    (host.root / "new").unlink()
    host.target.readings.clear()
    assert Journal(tmp_path / "journal.jsonl").latest()["a", "here"].state is State.DONE
    carry_out([ours], [host], tmp_path)
    assert (host.root / "new").read_bytes() == b"ours"


def test_what_follows_a_part_is_made_again_when_that_changes(host: Scratch, tmp_path: Path) -> None:
    """A daemon's reload: it comes after the file, and only when the file changes."""
    path, loaded = host.root / "conf", host.root / "loaded"
    conf = File(str(path), b"new")
    parts: PartsOf = {host.name: [conf, Made(loaded, f"cat -- {path} >>{loaded}", follows=(conf.key,))]}
    ours = step("a", parts)
    carry_out([ours], [host], tmp_path)
    assert loaded.read_bytes() == b"new"
    carry_out([ours], [host], tmp_path)
    assert loaded.read_bytes() == b"new"
    parts[host.name][0] = File(str(path), b"newer")
    witness = Witness()
    carry_out([ours], [host], tmp_path, witness)
    assert loaded.read_bytes() == b"newnewer"
    assert [each.key for each in witness.asked[0].changes["here"]] == [conf.key, "made loaded"]


def test_what_is_obtained_comes_after_the_shell_changes_of_its_step(host: Scratch, tmp_path: Path) -> None:
    there: list[Tree] = []

    def obtain(hosts: Mapping[str, Target]) -> None:
        there.append(host.tree())
        hosts["here"].run(f"echo obtained >{quote(str(host.root / 'got'))}", purpose="get it")

    ours = step("a", {host.name: [Obtained(host.root / "got", obtain), File(str(host.root / "first"), b"1")]})
    executor = carry_out([ours], [host], tmp_path)
    assert not executor.failures
    assert [set(each) for each in there] == [{"first"}]
    assert set(host.tree()) == {"first", "got"}


@pytest.mark.parametrize(
    ("serves", "at_once"),
    [([("a",), ("b",)], 2), ([("a", "c"), ("b", "c")], 1), ([(), ()], 1), ([("a",), ()], 1)],
)
def test_what_serves_hosts_of_its_own_is_obtained_at_once(
    host: Scratch, tmp_path: Path, serves: list[tuple[str, ...]], at_once: int
) -> None:
    """Each order waits for its authority; but no host is given two scripts at a time."""
    in_hand: list[str] = []
    most: list[int] = []
    met = Barrier(at_once)

    def obtain(name: str, _: Mapping[str, Target]) -> None:
        in_hand.append(name)
        met.wait(60)
        most.append(len(in_hand))
        met.wait(60)
        in_hand.remove(name)
        (host.root / name).write_text("obtained")

    parts = [Obtained(host.root / n, partial(obtain, n), serves=s) for n, s in zip("xy", serves, strict=True)]
    executor = carry_out([step("a", {host.name: parts})], [host], tmp_path)
    assert not executor.failures
    assert most == [at_once] * 2
    assert set(host.tree()) == {"x", "y"}


def test_what_cannot_be_obtained_fails_its_step_and_can_be_undone(host: Scratch, tmp_path: Path) -> None:
    def refuse(_: Mapping[str, Target]) -> None:
        raise StepError("the authority says no")

    ours = step("a", {host.name: [Obtained(host.root / "got", refuse), File(str(host.root / "first"), b"1")]})
    executor = carry_out([ours], [host], tmp_path)
    assert str(executor.failures["here"]) == "the authority says no"
    assert states(tmp_path) == [("a", "intent"), ("a", "failed")]
    host.rollback(ours)
    assert host.tree() == {}


@pytest.mark.parametrize("shell_can", [True, False])
def test_what_shell_fails_to_make_is_obtained_and_the_rest_comes_behind_it(
    host: Scratch,
    tmp_path: Path,
    shell_can: bool,  # noqa: FBT001 - what is varied
) -> None:
    there: list[Tree] = []

    def obtain(_: Mapping[str, Target]) -> None:
        there.append(host.tree())
        (host.root / "got").write_text("obtained")

    first, last = File(str(host.root / "first"), b"1"), File(str(host.root / "last"), b"1")
    shell = f"printf made >{quote(str(host.root / 'got'))}" if shell_can else "false"
    ours = step("a", {host.name: [first, Obtained(host.root / "got", obtain, shell), last]})
    executor = carry_out([ours], [host], tmp_path)
    assert not executor.failures
    assert [set(each) for each in there] == ([] if shell_can else [{"first"}])
    assert set(host.tree()) == {"first", "got", "last"}
    assert states(tmp_path) == [("a", "intent"), ("a", "done")]
    assert {each.status for each in host.images()[0].changes} == {"as we left it"}


def test_what_is_known_later_is_said_so_and_made_once_it_is_known(host: Scratch, tmp_path: Path) -> None:
    """And nothing is read twice: what a step needs is read in the channel of the change before it."""
    ran: list[str] = []
    host = Scratch(tmp_path, "there", LocalHost("there", observe=lambda exchange: ran.append(exchange.purpose)))
    certificate = str(host.root / "certificate")
    later: PartsOf = {host.name: [Later("file", certificate, "order")]}

    def obtain(_: Mapping[str, Target]) -> None:
        (host.root / "order").write_text("spent")
        later[host.name][:] = [File(certificate, b"issued")]

    steps = [step("order", {host.name: [Obtained(host.root / "order", obtain)]}), step("install", later, ["order"])]
    executor = run(steps, [host], tmp_path)
    executor.connect()
    (finding,) = executor.audit()[1].findings["there"]
    assert (finding.key, finding.verdict, finding.note) == (f"file {certificate}", Verdict.LATER, "known after order")
    executor.apply()
    assert not executor.failures
    assert (host.root / "certificate").read_bytes() == b"issued"
    assert ran[:2] == ["facts", "read"]
    assert [each.split("-")[-1] for each in ran[2:]] == ["order", "order", "install"]


def test_what_never_gets_known_fails_the_step_that_waits_for_it(host: Scratch, tmp_path: Path) -> None:
    later = Later("file", "certificate", "order")
    fine = File(str(host.root / "fine"), b"ours")
    executor = carry_out([step("install", {host.name: [fine, later]})], [host], tmp_path)
    assert str(executor.failures["here"]) == "here: file certificate: known after order"
    assert host.tree() == {}


def test_an_audit_changes_nothing_and_reads_a_target_once(tmp_path: Path) -> None:
    ran: list[str] = []
    host = Scratch(tmp_path, "there", LocalHost("there", observe=lambda exchange: ran.append(exchange.purpose)))
    ours, before = every_kind(host), host.tree()
    executor = run([ours, step("b", {host.name: [File(str(host.root / "b"), b"b")]})], [host], tmp_path)
    executor.connect()
    plans = executor.audit()
    assert [plan.in_order for plan in plans] == [False, False]
    assert ran == ["facts", "read"]
    assert host.tree() == before
    assert not (tmp_path / "journal.jsonl").exists()


def test_undoing_goes_from_the_newest_application_to_the_first(host: Scratch, tmp_path: Path) -> None:
    parts: PartsOf = {host.name: [File(str(host.root / "a"), b"1")]}
    ours, witness = step("a", parts), Witness()
    for text in (b"1", b"2", b"3"):
        parts[host.name][:] = [File(str(host.root / "a"), text)]
        executor = carry_out([ours], [host], tmp_path, witness)
    images = host.images()
    executor.rollback("a", {host.name: images})
    assert host.tree() == {}
    assert [each.image for each in witness.events if isinstance(each, Undone)] == [each.name for each in images]
    assert len(images) == 3


def test_a_change_cut_off_where_its_probe_does_not_see_it_is_undone(host: Scratch, tmp_path: Path) -> None:
    beside = host.root / "beside"
    half = f'touch "$image/open.$index" {quote(str(beside))}; exit 1'
    executor = carry_out([step("a", {host.name: [Made(host.root / "a", half)]})], [host], tmp_path)
    assert executor.failures
    (image,) = host.images()
    assert [each.status for each in image.changes] == ["cut off"]


def test_a_change_that_failed_before_it_began_leaves_nothing_to_undo(host: Scratch, tmp_path: Path) -> None:
    executor = carry_out([step("a", {host.name: [Made(host.root / "a", "exit 1")]})], [host], tmp_path)
    assert executor.failures
    (image,) = host.images()
    assert [each.status for each in image.changes] == ["as before"]


@dataclass(frozen=True)
class Loaded(Part):
    """What a daemon has read of a file: it has no undoing of its own."""

    file: Path

    @property
    def key(self) -> str:
        return "loaded"

    def probe(self) -> str:
        return f"cat -- {quote(f'{self.file}.loaded')} 2>/dev/null || :"

    def judge(self, found: Reading) -> Finding:
        if found.text == self.file.read_text():
            return self.in_order()
        file = quote(str(self.file))
        return self.drift(Change("load it", f"cp -- {file} {file}.loaded"))


def test_what_has_nothing_of_its_own_to_undo_is_in_nobodys_way(host: Scratch) -> None:
    file = host.root / "conf"
    loads = step("load", {"here": [Loaded(file)]})
    for text in ("one", "two"):
        file.write_text(text)
        host.apply(loads, f"image-{text}")
    host.rollback(loads)
    assert host.images() == []


@pytest.mark.parametrize("changing", [True, False])
def test_what_was_left_half_written_here_goes_with_the_next_run_that_may_change_something(
    tmp_path: Path,
    changing: bool,  # noqa: FBT001 - parametrised
) -> None:
    here = Scratch(tmp_path, CONTROLLER)
    path = here.root / "key"
    ours = step("a", {CONTROLLER: [File(str(path), b"ours")]})
    here.apply(ours, "20260101T000000-a")
    half = path.with_name(".key.ipsec-runbook-new")
    half.write_text("half a key")
    run([ours], [here], tmp_path).connect(Owner.this_process() if changing else None)
    assert half.exists() is not changing
