"""What a run does, in which order, and where: real parts by a real shell on several scratch roots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from scratch import Scratch, Witness, carry_out, run, step

from runbook.errors import StepError, UnreachableError
from runbook.events import Applied, Applying, Checked, Checking, Failed, Plan, Planned, StepDone
from runbook.executor import PLANS, Choice, StoppedError
from runbook.local import LocalHost
from runbook.resources.file import File
from runbook.script import quote
from runbook.step import CONTROLLER, Check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runbook.step import Step
    from runbook.target import Target


@pytest.fixture
def hosts(tmp_path: Path) -> list[Scratch]:
    return [Scratch(tmp_path, name) for name in ("one", "two")]


def file(host: Scratch, name: str, text: str = "ours") -> File:
    return File(str(host.root / name), text.encode())


def writes(called: str, hosts: Sequence[Scratch], wants: Sequence[str] = (), proofs: Sequence[Check] = ()) -> Step:
    """A step that writes a file of its name on each host."""
    return step(called, {host.name: [file(host, called)] for host in hosts}, wants, proofs)


def in_the_way(host: Scratch, name: str) -> str:
    """Make it impossible to write a file: its directory is none. Returns the file's name."""
    (host.root / f"{name}.d").write_text("not a directory")
    return f"{name}.d/{name}"


def outcomes(witness: Witness) -> dict[str, str]:
    """How each step ended."""
    return {each.step: each.outcome for each in witness.events if isinstance(each, StepDone)}


def test_a_step_is_done_everywhere_before_the_next_begins(hosts: list[Scratch], tmp_path: Path) -> None:
    witness = Witness()
    carry_out([writes("a", hosts), writes("b", hosts)], hosts, tmp_path, witness)
    told = [
        (type(each).__name__, each.step if not isinstance(each, Planned) else each.plan.step.name)
        for each in witness.events
        if isinstance(each, Planned | Applying | Applied | StepDone)
    ]
    one_step = ["Applied", "Applied", "Applying", "Applying", "Planned", "StepDone"]
    assert [name for _, name in told] == ["a"] * 6 + ["b"] * 6
    assert [sorted(kind for kind, name in told if name == each) for each in "ab"] == [one_step] * 2
    assert [plan.step.name for plan in witness.asked] == ["a", "b"]
    assert all(set(host.tree()) == {"a", "b"} for host in hosts)


def test_a_failed_target_blocks_only_what_needs_it(hosts: list[Scratch], tmp_path: Path) -> None:
    one, two = hosts
    first = step("first", {"one": [file(one, in_the_way(one, "first"))], "two": [file(two, "first")]})
    steps = [first, writes("needing", hosts, ["first"]), writes("other", hosts), writes("third", hosts, ["needing"])]
    witness = Witness()
    executor = carry_out(steps, hosts, tmp_path, witness)
    assert set(one.tree()) == {"first.d", "other"}
    assert set(two.tree()) == {"first", "needing", "other", "third"}
    assert outcomes(witness) == {"first": "failed", "needing": "blocked", "other": "done", "third": "blocked"}
    blocked = {each.plan.step.name: dict(each.plan.blocked) for each in witness.events if isinstance(each, Planned)}
    assert blocked == {"first": {}, "needing": {"one": "first"}, "other": {}, "third": {"one": "needing"}}
    assert list(executor.failures) == ["one"]
    error = executor.failures["one"]
    assert isinstance(error, StepError)
    assert "one: file " in str(error)
    assert "first.d" in str(error)
    assert [(e.step, e.target) for e in witness.events if isinstance(e, Failed)] == [("first", "one")]


def test_the_controller_serves_every_target_and_every_target_needs_it(tmp_path: Path) -> None:
    names = (CONTROLLER, "one", "two")
    controller, one, two = hosts = [Scratch(tmp_path, name) for name in names]
    steps = [
        step("far", {"one": [file(one, in_the_way(one, "far"))], "two": [file(two, "far")]}),
        writes("near", [controller], ["far"]),
        writes("back", [one, two], ["near"]),
    ]
    witness = Witness()
    carry_out(steps, hosts, tmp_path, witness)
    assert outcomes(witness) == {"far": "failed", "near": "blocked", "back": "blocked"}
    assert (controller.tree(), set(two.tree())) == ({}, {"far"})


def test_a_skipped_step_is_not_made_and_nor_is_what_needs_it(hosts: list[Scratch], tmp_path: Path) -> None:
    witness = Witness(answer=lambda plan: Choice.SKIP if plan.step.name == "a" else Choice.APPLY)
    steps = [writes("a", hosts), writes("b", hosts, ["a"]), writes("c", hosts)]
    executor = carry_out(steps, hosts, tmp_path, witness)
    assert outcomes(witness) == {"a": "skipped", "b": "blocked", "c": "done"}
    assert [set(host.tree()) for host in hosts] == [{"c"}, {"c"}]
    assert not executor.failures


def test_a_stopped_run_stops_there_and_can_be_taken_up_again(hosts: list[Scratch], tmp_path: Path) -> None:
    steps = [writes(name, hosts) for name in "abc"]
    stopping = Witness(answer=lambda plan: Choice.STOP if plan.step.name == "b" else Choice.APPLY)
    with pytest.raises(StoppedError, match="stopped at step b") as stopped:
        carry_out(steps, hosts, tmp_path, stopping)
    assert stopped.value.exit_code == 4
    assert [set(host.tree()) for host in hosts] == [{"a"}, {"a"}]
    witness = Witness()
    carry_out(steps, hosts, tmp_path, witness)
    assert [plan.step.name for plan in witness.asked] == ["b", "c"]


def test_a_stop_from_outside_lets_the_step_in_hand_finish(hosts: list[Scratch], tmp_path: Path) -> None:
    def stop(_: Plan) -> Choice:
        executor.stop_requested = True
        return Choice.APPLY

    executor = run([writes(name, hosts) for name in "ab"], hosts, tmp_path, Witness(answer=stop))
    executor.connect()
    with pytest.raises(StoppedError, match="before step b"):
        executor.apply()
    assert [set(host.tree()) for host in hosts] == [{"a"}, {"a"}]


def test_a_host_that_changed_after_the_question_is_asked_about_anew(hosts: list[Scratch], tmp_path: Path) -> None:
    one, two = hosts
    (one.root / "a").write_text("before\n")

    def edit_once(_: Plan) -> Choice:
        if len(witness.asked) == 1:
            (one.root / "a").write_text("the admin's\n")
        return Choice.APPLY

    witness = Witness(answer=edit_once)
    executor = carry_out([writes("a", hosts)], hosts, tmp_path, witness)
    assert not executor.failures
    assert [list(plan.changes) for plan in witness.asked] == [["one", "two"], ["one"]]
    diffs = [change.diff for plan in witness.asked for f in plan.changes["one"] if (change := f.change)]
    assert ["-before" in diffs[0], "-the admin's" in diffs[1]] == [True, True]
    assert [(host.root / "a").read_text() for host in hosts] == ["ours", "ours"]
    assert [len(host.images()) for host in hosts] == [1, 1]
    executor.rollback("a", {"one": one.images()})
    assert (one.root / "a").read_text() == "the admin's\n"
    assert (two.root / "a").read_text() == "ours"


def test_a_host_that_goes_on_changing_fails_and_is_not_called_done(hosts: list[Scratch], tmp_path: Path) -> None:
    one, _ = hosts

    def edit(plan: Plan) -> Choice:
        if plan.step.name == "a":
            (one.root / "a").write_text(f"the admin's, {len(witness.asked)}\n")
        return Choice.APPLY

    witness = Witness(answer=edit)
    ran = []

    def prove(_: Mapping[str, Target]) -> Sequence[str]:
        ran.append("it ran")
        return []

    steps = [writes("a", hosts, proofs=[Check("it is so", ("one",), prove)]), writes("b", hosts, ["a"])]
    executor = carry_out(steps, hosts, tmp_path, witness)
    assert [plan.step.name for plan in witness.asked] == ["a"] * PLANS + ["b"]
    assert "changed after the plan was made" in str(executor.failures["one"])
    assert outcomes(witness) == {"a": "failed", "b": "blocked"}
    assert (one.root / "a").read_text() == f"the admin's, {PLANS}\n"
    assert (ran, one.images()) == ([], [])


def test_what_cannot_be_told_is_not_asked_about_and_its_target_not_touched(
    hosts: list[Scratch], tmp_path: Path
) -> None:
    one, two = hosts
    (one.root / "odd").mkdir()
    both = step("a", {host.name: [file(host, "fine"), file(host, "odd")] for host in hosts})
    witness = Witness()
    executor = carry_out([both], hosts, tmp_path, witness)
    assert [list(plan.findings) for plan in witness.asked] == [["two"]]
    assert set(one.tree()) == {"odd"}
    assert set(two.tree()) == {"fine", "odd"}
    assert f"one: file {one.root}/odd: a directory is at" in str(executor.failures["one"])
    assert outcomes(witness) == {"a": "failed"}


def test_a_check_runs_where_the_step_is_done_and_nowhere_else(hosts: list[Scratch], tmp_path: Path) -> None:
    one, two = hosts
    seen: list[str] = []

    def proof(name: str) -> Check:
        def look(targets: Mapping[str, Target]) -> Sequence[str]:
            seen.append(name)
            return [targets["two"].run(f"cat {quote(str(two.root / 'a'))}", purpose="look").stdout]

        return Check(f"proof of {name}", tuple(name.split("+")), look)

    first = step(
        "a",
        {"one": [file(one, in_the_way(one, "a"))], "two": [file(two, "a")]},
        proofs=[proof("one"), proof("one+two"), proof("two")],
    )
    witness = Witness()
    carry_out([first], hosts, tmp_path, witness)
    assert seen == ["two"]
    assert [each.title for each in witness.events if isinstance(each, Checking)] == ["proof of two"]
    assert [each.evidence for each in witness.events if isinstance(each, Checked)] == [["ours"]]


def test_a_check_that_fails_fails_its_targets(hosts: list[Scratch], tmp_path: Path) -> None:
    def look(_: Mapping[str, Target]) -> Sequence[str]:
        raise StepError("two: no answer")

    steps = [writes("a", hosts, proofs=[Check("answers", ("two",), look)]), writes("b", hosts, ["a"])]
    witness = Witness()
    executor = carry_out(steps, hosts, tmp_path, witness)
    assert {name: str(error) for name, error in executor.failures.items()} == {"two": "two: no answer"}
    assert outcomes(witness) == {"a": "failed", "b": "blocked"}
    assert [set(host.tree()) for host in hosts] == [{"a", "b"}, {"a"}]


def test_what_a_check_uses_is_logged_in_to_with_the_rest_where_checks_will_be_made(tmp_path: Path) -> None:
    logins: list[str] = []

    class Far(LocalHost):
        def login(self) -> None:
            logins.append(self.name)
            if self.name == "gone":
                raise UnreachableError("gone does not answer")

    hosts = [Scratch(tmp_path, name, Far(name)) for name in ("one", "helper", "gone")]
    check = Check("answers", ("one",), lambda _: ["yes"], by=("helper", "gone"))
    for proving, expected in ((False, ["one"]), (True, ["gone", "helper", "one"])):
        logins.clear()
        executor = run([writes("a", hosts[:1], proofs=[check])], hosts, tmp_path)
        executor.connect(proving=proving)
        assert sorted(logins) == expected
        assert not executor.failures, "the check itself says what it could not reach"


def test_one_site_is_looked_at_and_the_others_are_not_even_asked(tmp_path: Path) -> None:
    ran: list[str] = []
    names = (CONTROLLER, "one", "two")
    there = [Scratch(tmp_path, each, LocalHost(each, observe=lambda e: ran.append(e.target))) for each in names]
    ours = step("a", {host.name: [File(str(host.root / "it"), b"ours")] for host in there})
    executor = run([ours], there, tmp_path)
    executor.limit_to({CONTROLLER, "one"})
    executor.connect()
    (plan,) = executor.audit()
    assert set(plan.findings) == set(ran) == {CONTROLLER, "one"}
