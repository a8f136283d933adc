"""What a run offers on its way, and what it then does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from scratch import Scratch, Witness, carry_out, run, step

from checkpoints import Journal, State
from runbook.document import Document
from runbook.errors import StepError
from runbook.events import StepDone, Undone
from runbook.resources.file import File
from runbook.step import Check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runbook.step import Step
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
    witness = Witness(accepts=lambda _: True)
    document = Document()
    executor = carry_out([ours, step("b", {"one": [file(one, "b")]}, ["a"])], two, tmp_path, witness)
    for event in witness.events:
        document(event)
    (offer,) = witness.offered
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


def test_a_step_whose_proof_failed_is_offered_where_this_run_changed_it(two: list[Scratch], tmp_path: Path) -> None:
    (two[1].root / "a").write_bytes(b"ours")  # in order already

    def prove(_: Mapping[str, Target]) -> Sequence[str]:
        raise StepError("no answer")

    proof = Check("it answers", ("one", "two"), prove)
    ours = step("a", {host.name: [file(host, "a")] for host in two}, proofs=[proof])
    witness = Witness(accepts=lambda _: True)
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
