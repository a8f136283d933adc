"""What a run offers on its way, and what it then does."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scratch import Scratch, Witness, carry_out, run, step

from checkpoints import Checkpoint, Journal, State
from runbook import catalogue
from runbook.document import Document
from runbook.errors import StepError, UnreachableError
from runbook.events import Applying, Crossed, Failed, Planned, StepDone, Taken, Undone, Waiting
from runbook.executor import Executor, StoppedError
from runbook.executor import executor as executor_module
from runbook.local import LocalHost
from runbook.lock import Owner
from runbook.questions import Offer, TakeBack
from runbook.resources.file import File
from runbook.script import quote
from runbook.step import CONTROLLER, Barrier, Change, Check, Finding, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runbook.script import Reading
    from runbook.step import Pause, Step
    from runbook.target import Target


@pytest.fixture
def two(tmp_path: Path) -> list[Scratch]:
    hosts = [Scratch(tmp_path, name) for name in ("one", "two")]
    for host in hosts:
        (host.root / "theirs").write_text("the admin's\n")
    return hosts


def file(host: Scratch, name: str) -> File:
    return File(str(host.root / name), b"ours")


def breaks_on_one(one: Scratch, two: Scratch) -> Step:
    """Changes both, and gets half way on one: a directory in the way is none."""
    (one.root / "d").write_text("not a directory")
    parts = {host.name: [file(host, "theirs"), file(host, "new"), file(host, "d/last")] for host in (one, two)}
    return step("a", parts)


def test_a_step_that_failed_half_way_offers_to_take_back_what_it_changed(two: list[Scratch], tmp_path: Path) -> None:
    one, other = two
    before = {**one.tree(), "d": None}
    ours = breaks_on_one(one, other)
    witness = Witness(accepts=lambda offer: [offer.target])
    document = Document()
    executor = carry_out([ours, step("b", {"one": [file(one, "b")]}, ["a"])], two, tmp_path, witness)
    for event in witness.events:
        document(event)
    (offer,) = witness.offered
    assert isinstance(offer, TakeBack)
    assert (offer.step.name, offer.target) == ("a", "one")
    assert [each.status for each in offer.image.changes] == ["as we left it", "as we left it", "as before"]
    assert {**one.tree(), "d": None} == before
    assert (other.root / "theirs").read_text() == "ours"
    assert one.images() == []
    assert [(each.step, each.target) for each in witness.events if isinstance(each, Undone)] == [("a", "one")]
    assert Journal(tmp_path / "journal.jsonl").latest()["a", "one"].state is State.UNDONE
    # it failed all the same, and what needs it has not begun
    assert list(executor.failures) == ["one"]
    assert [each.outcome for each in witness.events if isinstance(each, StepDone)] == ["failed", "blocked"]
    assert document.to_take_back() == []


def test_what_is_not_taken_back_stays_and_can_be_later(two: list[Scratch], tmp_path: Path) -> None:
    one, other = two
    ours = breaks_on_one(one, other)
    witness, document = Witness(), Document()
    carry_out([ours], two, tmp_path, witness)
    for event in witness.events:
        document(event)
    assert len(witness.offered) == 1
    assert (one.root / "theirs").read_text() == "ours"
    assert Journal(tmp_path / "journal.jsonl").latest()["a", "one"].state is State.FAILED
    assert document.to_take_back() == ["a"]
    run([ours], two, tmp_path).rollback("a", {"one": one.images()})
    assert (one.root / "theirs").read_text() == "the admin's\n"


def test_only_what_had_begun_is_proposed_to_be_taken_back_and_each_failure_is_named() -> None:
    document = Document()
    for event in (
        Applying("a", "one"),
        Failed("one", "a", StepError(catalogue.KILLED, target="one", purpose="it", said="")),
        Failed("one", "b", UnreachableError("no answer")),
        Failed("two", "", UnreachableError("no answer")),
    ):
        document(event)
    assert document.to_take_back() == ["a"]
    assert document.failed == ": a failed on one; b failed on one; nothing could be done on two"


def test_a_step_whose_proof_failed_is_offered_where_this_run_changed_it(two: list[Scratch], tmp_path: Path) -> None:
    (two[1].root / "a").write_bytes(b"ours")  # in order already

    def prove(_: Mapping[str, Target]) -> Sequence[str]:
        raise StepError("no answer")

    proof = Check("it answers", ("one", "two"), prove)
    ours = step("a", {host.name: [file(host, "a")] for host in two}, proofs=[proof])
    witness = Witness(accepts=lambda offer: [offer.target])
    carry_out([ours], two, tmp_path, witness)
    assert [offer.target for offer in witness.offered] == ["one"]
    assert ["a" in host.tree() for host in two] == [False, True]


def test_nothing_is_offered_where_nothing_was_changed_or_nobody_can_answer(two: list[Scratch], tmp_path: Path) -> None:
    one, other = two
    (one.root / "a").mkdir()
    witness = Witness()
    carry_out([step("a", {"one": [file(one, "a")]})], two, tmp_path, witness)
    assert witness.offered == []
    ours = breaks_on_one(one, other)
    executor = run([ours], two, tmp_path, witness)
    executor._ask = None
    executor.connect()
    executor.apply()
    assert (list(executor.failures), witness.offered) == (["one"], [])


@dataclass(frozen=True)
class Wish(Part):
    """A file that may be made, and need not be; what it holds is offered again as often as it is changed."""

    path: Path

    @property
    def key(self) -> str:
        return f"wish {self.path.name}"

    def probe(self) -> str:
        return f"cat -- {quote(str(self.path))} 2>/dev/null || :"

    def judge(self, found: Reading) -> Finding:
        if found.text == "granted\n":
            return self.in_order()
        make = Change("grant it", f"echo granted >{quote(str(self.path))}", "rm -f -- nothing", flag="--grant")
        return self.offers(make, "it is not granted")


@dataclass(frozen=True)
class Gate(Barrier):
    """A file that somebody else makes a while after it was asked for."""

    path: Path
    opens: Callable[[Path], None] = field(repr=False)

    @property
    def key(self) -> str:
        return "gate"

    def probe(self) -> str:
        return f"[ -e {quote(str(self.path))} ] || echo shut"

    def judge(self, found: Reading) -> Finding:
        return self.offers(Change("open it", flag="--open"), "it is shut") if found.text else self.in_order()

    def cross(self, target: Target, pause: Pause) -> None:
        target.run(":", purpose="ask for it")
        while not self.path.exists():
            self.opens(self.path)
            pause()

    def rejoin(self, target: Target, pause: Pause) -> None:
        target.run(":", purpose="see whether it is open")
        while not self.path.exists():
            self.opens(self.path)
            pause()


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "PAUSE_SECONDS", 0)


def wishes(hosts: Sequence[Scratch]) -> Step:
    return step("a", {host.name: [Wish(host.root / "wish")] for host in hosts})


def test_what_is_only_offered_is_in_order_and_nothing_changes_where_it_is_not_wanted(
    two: list[Scratch], tmp_path: Path
) -> None:
    before = [host.tree() for host in two]
    witness = Witness()
    executor = carry_out([wishes(two)], two, tmp_path, witness)
    (plan,) = [each.plan for each in witness.events if isinstance(each, Planned)]
    assert plan.in_order
    assert (plan.changes, list(plan.offers["wish wish"])) == ({}, ["one", "two"])
    (offer,) = witness.offered
    assert isinstance(offer, Offer)
    assert list(offer.findings) == ["one", "two"]
    assert witness.asked == []  # no plan to confirm
    assert [host.tree() for host in two] == before
    assert [each.outcome for each in witness.events if isinstance(each, StepDone)] == ["done"]
    assert not (tmp_path / "journal.jsonl").exists()
    assert Document().build("apply", executor.plans, 0)["steps"][0]["parts"][0]["offer"] == {
        "summary": "grant it",
        "diff": "",
        "irreversible": "",
        "flag": "--grant",
    }


def test_what_is_offered_is_done_where_it_is_wanted_alone(two: list[Scratch], tmp_path: Path) -> None:
    witness = Witness(accepts=lambda _: ["two"])
    executor = carry_out([wishes(two)], two, tmp_path, witness)
    assert ["wish" in host.tree() for host in two] == [False, True]
    assert [(each.target, each.summary) for each in witness.events if isinstance(each, Taken)] == [("two", "grant it")]
    (plan,) = executor.plans
    assert {target: [each.key for each in found] for target, found in plan.changes.items()} == {"two": ["wish wish"]}
    assert Journal(tmp_path / "journal.jsonl").latest()["a", "two"].state is State.DONE
    assert len(two[1].images()) == 1


def test_its_flag_says_yes_beforehand_where_nobody_can_be_asked(two: list[Scratch], tmp_path: Path) -> None:
    witness = Witness()
    targets = {host.name: host.target for host in two}
    journal = Journal(tmp_path / "journal.jsonl")
    for wanted, made in (["--other"], [False, False]), (["--grant"], [True, True]):
        executor = Executor([wishes(two)], targets, journal, witness.events.append, witness.confirm, None, wanted)
        executor.connect()
        executor.apply()
        assert ["wish" in host.tree() for host in two] == made


def test_an_offer_that_changed_after_it_was_shown_is_made_again(two: list[Scratch], tmp_path: Path) -> None:
    one, _ = two

    def edit_once(_: object) -> list[str]:
        if len(witness.offered) == 1:
            (one.root / "wish").write_text("the admin's\n")
        return ["one"]

    witness = Witness(accepts=edit_once)
    executor = carry_out([wishes([one])], [one], tmp_path, witness)
    assert len(witness.offered) == 2
    assert (one.root / "wish").read_text() == "granted\n"
    assert not executor.failures


def gates(hosts: Sequence[Scratch], opens: Callable[[Path], None]) -> list[Step]:
    """A step with a barrier, and one that cannot know what to write before it is crossed."""
    return [step("a", {host.name: [Gate(host.root / "gate", opens)] for host in hosts}), wishes(hosts)]


@pytest.mark.usefixtures("short_pauses")
def test_a_barrier_is_crossed_and_the_target_read_anew_before_the_run_goes_on(
    tmp_path: Path,
) -> None:
    ran: list[str] = []
    there = [Scratch(tmp_path / "far", each, LocalHost(each, observe=lambda e: ran.append(e.purpose))) for each in "xy"]
    asked_for: list[Path] = []

    def opens(path: Path) -> None:
        asked_for.append(path)
        if len(asked_for) % 3 == 0:
            path.touch()

    last = step("b", {host.name: [file(host, "b")] for host in there}, ["a"])
    witness = Witness(accepts=lambda offer: ["y"] if offer.key == "gate" else [])
    carry_out([*gates(there, opens), last], there, tmp_path, witness)
    assert [set(host.tree()) for host in there] == [{"b"}, {"b", "gate"}]
    told = [(type(each).__name__, each.target) for each in witness.events if isinstance(each, Waiting | Crossed)]
    assert told == [("Waiting", "y"), ("Crossed", "y")]
    assert len(asked_for) == 3
    assert ran.count("facts") == 3  # both at first, y once more
    states = [each["state"] for each in map(json.loads, (tmp_path / "journal.jsonl").read_text().splitlines())]
    assert states[:2] == ["intent", "done"]


@pytest.mark.usefixtures("short_pauses")
def test_ctrl_c_at_a_barrier_stops_there_and_the_run_can_be_taken_up(two: list[Scratch], tmp_path: Path) -> None:
    def stop(_: Path) -> None:
        executor.stop_requested = True

    steps = gates(two, stop)
    executor = run(steps, two, tmp_path, Witness(accepts=lambda _: ["one"]))
    executor.connect()
    with pytest.raises(StoppedError, match="stopped while waiting for one: gate"):
        executor.apply()
    executor.release()
    left = Journal(tmp_path / "journal.jsonl").unsettled()["a", "one"]
    assert (left.state, left.note) == (State.INTENT, "gate")
    (two[0].root / "gate").touch()  # it has happened meanwhile
    two[0].target.readings.clear()
    witness = Witness()
    carry_out(gates(two, stop), two, tmp_path, witness)
    assert next(list(each.findings) for each in witness.offered if isinstance(each, Offer)) == ["two"]
    assert Journal(tmp_path / "journal.jsonl").unsettled() == {}


@pytest.fixture
def left(tmp_path: Path) -> Scratch:
    """Where a run was killed while it waited; on this machine, which nobody locks."""
    journal = Journal(tmp_path / "journal.jsonl")
    for name in ("a", "no step any more"):
        journal.record(Checkpoint("earlier", name, CONTROLLER, State.INTENT, "", "gate"))
    return Scratch(tmp_path, CONTROLLER)


@pytest.mark.usefixtures("short_pauses")
def test_what_a_killed_run_waited_for_is_waited_for_by_the_next(left: Scratch, tmp_path: Path) -> None:
    witness = Witness()
    executor = run(gates([left], Path.touch), [left], tmp_path, witness)
    executor.connect(Owner.this_process())
    assert [type(each).__name__ for each in witness.events] == ["Waiting", "Crossed", "Connecting", "Connected"]
    executor.apply()
    assert list(Journal(tmp_path / "journal.jsonl").unsettled()) == [("no step any more", CONTROLLER)]
    again = Witness()
    run(gates([left], Path.touch), [left], tmp_path, again).connect(Owner.this_process())
    assert not [each for each in again.events if isinstance(each, Waiting)]


@pytest.mark.usefixtures("short_pauses")
def test_an_audit_waits_for_nobody(left: Scratch, tmp_path: Path) -> None:
    witness = Witness()
    run(gates([left], Path.touch), [left], tmp_path, witness).connect()
    assert not [each for each in witness.events if isinstance(each, Waiting)]


@pytest.mark.usefixtures("short_pauses")
def test_who_will_not_wait_for_it_stops_with_nothing_done(left: Scratch, tmp_path: Path) -> None:
    def stop(_: Path) -> None:
        executor.stop_requested = True

    executor = run(gates([left], stop), [left], tmp_path)
    with pytest.raises(StoppedError, match="stopped while waiting for controller: gate"):
        executor.connect(Owner.this_process())
    assert Journal(tmp_path / "journal.jsonl").latest()["a", CONTROLLER].state is State.INTENT


@pytest.mark.usefixtures("short_pauses")
def test_a_barrier_that_is_not_crossed_fails_its_target_and_no_other(two: list[Scratch], tmp_path: Path) -> None:
    def gone(_: Path) -> None:
        raise UnreachableError("one: gone")

    witness = Witness(accepts=lambda _: ["one"])
    executor = carry_out(gates(two, gone), two, tmp_path, witness)
    assert {name: str(error) for name, error in executor.failures.items()} == {"one": "one: gone"}
    second = [each.plan for each in witness.events if isinstance(each, Planned)][-1]
    assert (second.unread, list(second.findings)) == (["one"], ["two"])
