"""What cannot be done yet is told with what is in its way: by an audit just as by apply, in words and in JSON."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from documents import sound
from scratch import PartsOf, Scratch, Witness, run, step
from told import told_as

from runbook import auditing, catalogue
from runbook.document import Document
from runbook.errors import StepError, UnreachableError
from runbook.events import Planned
from runbook.local import LocalHost
from runbook.narrator import Narrator
from runbook.resources.file import File
from runbook.status import failed, standing
from runbook.step import CONTROLLER, Later, Told, Verdict
from runbook.terminal import Terminal
from steps import catalogue as of_ipsec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runbook.events import Plan
    from runbook.executor import Executor
    from runbook.step import Part, Step


class Dead(LocalHost):
    """A host that does not answer."""

    def login(self) -> None:
        raise UnreachableError(f"{self.name}: no answer")


UNKNOWN = Told("another firewall", Verdict.UNKNOWN, "ufw is active")


def file(host: Scratch, name: str, *serves: str) -> File:
    return File(str(host.root / name), b"ours", serves=serves)


def audited(steps: Sequence[Step], hosts: Sequence[Scratch], tmp_path: Path) -> tuple[list[Plan], Executor]:
    executor = run(steps, hosts, tmp_path)
    executor.connect()
    return executor.audit(), executor


def verdicts(plans: Sequence[Plan]) -> dict[str, dict[str, list[str]]]:
    """What is not in order, by step and target."""
    return {
        plan.step.name: {
            target: [f"{each.verdict}: {each.note}" for each in found if each.verdict is not Verdict.IN_ORDER]
            for target, found in plan.findings.items()
        }
        for plan in plans
    }


def told(plans: Sequence[Plan], *, advise: bool = False) -> str:
    out = io.StringIO()
    narrator = Narrator(Terminal(out, str))
    for plan in plans:
        narrator.plan(plan, advise=advise)
    return out.getvalue()


def document(plans: Sequence[Plan]) -> dict[str, Any]:
    return {each["name"]: each for each in sound(Document().build("audit", plans, 3))["steps"]}


@pytest.fixture
def two(tmp_path: Path) -> list[Scratch]:
    return [Scratch(tmp_path, name) for name in ("one", "two")]


def chain(one: Scratch, two: Scratch) -> list[Step]:
    """`first` cannot be told on one; `second` needs it, `third` needs that, `other` needs nothing."""

    def both(name: str) -> PartsOf:
        return {"one": [file(one, name)], "two": [file(two, name)]}

    first = step("first", {"one": [UNKNOWN, file(one, "first")], "two": [file(two, "first")]})
    return [
        first,
        step("second", both("second"), ["first"]),
        step("third", both("third"), ["second"]),
        step("other", both("other")),
    ]


def test_an_audit_says_what_a_part_that_cannot_be_told_keeps_from_being_done(
    two: list[Scratch], tmp_path: Path
) -> None:
    plans, _ = audited(chain(*two), two, tmp_path)
    assert verdicts(plans) == {
        "first": {"one": ["unknown: ufw is active", "blocked: blocked by first"], "two": ["absent: "]},
        "second": {"one": ["blocked: blocked by first"], "two": ["absent: "]},
        "third": {"one": ["blocked: blocked by second"], "two": ["absent: "]},
        "other": {"one": ["absent: "], "two": ["absent: "]},
    }
    assert not any(plan.in_order for plan in plans)
    by_json = document(plans)
    assert by_json["second"]["blocked"] == {"one": "first"}
    (part,) = [each for each in by_json["third"]["parts"] if each["target"] == "one"]
    assert (part["verdict"], part["note"], part["change"]) == ("blocked", "blocked by second", None)
    assert "    - one: 1 part blocked by first\n" in told(plans)
    assert "first (first): ufw is active and 1 more" in [each.next for each in standing(plans)]


def test_what_an_audit_predicts_where_something_cannot_be_told_is_what_apply_does(
    two: list[Scratch], tmp_path: Path
) -> None:
    plans, _ = audited(chain(*two), two, tmp_path)
    predicted = {(p.step.name, at, f.key) for p in plans for at, found in p.changes.items() for f in found}
    witness = Witness()
    executor = run(chain(*two), two, tmp_path, witness)
    executor.connect()
    executor.apply()
    asked = {(p.step.name, at, f.key) for p in witness.asked for at, found in p.changes.items() for f in found}
    assert asked == predicted
    assert [set(host.tree()) for host in two] == [{"other"}, {"first", "second", "third", "other"}]
    applied = [each.plan for each in witness.events if isinstance(each, Planned)]
    assert verdicts(applied) == verdicts(plans)


def test_what_is_in_order_is_said_to_be_whatever_else_is_blocked(two: list[Scratch], tmp_path: Path) -> None:
    one, _ = two
    for name in ("second", "third"):
        (one.root / name).write_bytes(b"ours")
    (one.root / "third").chmod(0o600)
    plans, _ = audited(chain(*two), two, tmp_path)
    assert verdicts(plans)["second"]["one"] == []
    assert verdicts(plans)["third"]["one"] == ["blocked: blocked by first"]  # by way of second


def serving(tmp_path: Path) -> tuple[list[Step], list[Scratch]]:
    """A controller that makes something for each of three hosts, of which one is dead and one helps another."""
    alive = [Scratch(tmp_path, name) for name in (CONTROLLER, "one", "two")]
    dead = Scratch(tmp_path, "dead", Dead("dead"))
    controller = alive[0]
    hosts = [*alive, dead]

    def for_each(name: str) -> PartsOf:
        parts: PartsOf = {CONTROLLER: [file(controller, f"{name}-{host.name}", host.name) for host in hosts[1:]]}
        parts[CONTROLLER].append(file(controller, f"{name}-helped", "two", "dead"))
        return parts

    own: PartsOf = {host.name: [file(host, "own")] for host in hosts[1:]}
    return [step("make", for_each("make")), step("own", own, ["make"]), step("sign", for_each("sign"), ["own"])], hosts


def test_what_the_controller_makes_for_one_host_waits_for_that_host_alone(tmp_path: Path) -> None:
    steps, hosts = serving(tmp_path)
    plans, executor = audited(steps, hosts, tmp_path)
    assert list(executor.failures) == ["dead"]
    blocked = "blocked: blocked by dead"
    assert verdicts(plans) == {
        "make": {CONTROLLER: ["absent: ", "absent: ", blocked, blocked]},
        # what the dead host would have helped with is for two, and keeps that one waiting
        "own": {"one": ["absent: "], "two": ["blocked: blocked by make"]},
        "sign": {CONTROLLER: ["absent: ", "blocked: blocked by own", blocked, blocked]},
    }
    witness = Witness()
    executor = run(steps, hosts, tmp_path, witness)
    executor.connect()
    executor.apply()
    assert [str(error) for error in executor.failures.values()] == ["dead: no answer"]
    assert set(hosts[0].tree()) == {"make-one", "make-two", "sign-one"}
    assert set(hosts[1].tree()) == {"own"}
    assert verdicts([each.plan for each in witness.events if isinstance(each, Planned)]) == verdicts(plans)


def test_a_host_that_could_not_be_read_is_named_under_each_of_its_steps(tmp_path: Path) -> None:
    steps, hosts = serving(tmp_path)
    plans, _ = audited(steps, hosts, tmp_path)
    by_json = document(plans)
    assert {name: each["unread"] for name, each in by_json.items()} == {"make": [], "own": ["dead"], "sign": []}
    assert "    ? dead: could not be read\n" in told(plans)
    (in_order,) = [step("own", {"dead": [file(hosts[3], "own")]})]
    plans, _ = audited([in_order], hosts, tmp_path)
    assert [plan.in_order for plan in plans] == [False]


def test_what_is_made_known_for_all_hosts_alone_waits_for_the_one_that_is_away(tmp_path: Path) -> None:
    """Such as the authorities of both ends' certificates: no failure of the host that is there."""
    steps, hosts = serving(tmp_path)
    one = hosts[1]
    later = Later("file", "everybody's", "make")
    both = step("both", {"one": [file(one, "mine"), later], "dead": [file(hosts[3], "mine")]}, ["make"])
    steps = [steps[0], both]
    plans, _ = audited(steps, hosts, tmp_path)
    assert verdicts(plans)["both"] == {"one": ["absent: ", "blocked: blocked by make"]}
    executor = run(steps, hosts, tmp_path)
    executor.connect()
    executor.apply()
    assert list(executor.failures) == ["dead"]
    assert set(one.tree()) == {"mine"}


def test_an_audit_says_what_helps_where_something_cannot_be_told_and_of_each_cause_once(
    two: list[Scratch], tmp_path: Path
) -> None:
    refused = [Told(name, Verdict.UNKNOWN, StepError(of_ipsec.NGINX_REFUSES)) for name in ("a site", "a daemon")]
    steps = [step("first", {"one": [*refused, UNKNOWN]}), step("second", {"one": refused[:1], "two": [UNKNOWN]})]
    plans, executor = audited(steps, two, tmp_path)
    said = told(plans, advise=True)
    assert said.count("likely: ") == 3  # nginx; ufw, which each step leaves alone for its own reason
    assert f"      to look: {of_ipsec.NGINX_REFUSES.look}\n" in said
    assert said.index("? a site") < said.index("to look: ") < said.index("? a daemon")
    assert "to look: runbook explain first\n" in said
    by_json = document(plans)
    by_apply = run(steps, two, tmp_path)
    by_apply.connect()
    by_apply.apply()
    first, *others = by_json["first"]["parts"]
    assert told_as(first["error"], of_ipsec.NGINX_REFUSES) == told_as(by_apply.failures["one"], of_ipsec.NGINX_REFUSES)
    assert told_as(others[1]["error"], catalogue.LEFT_ALONE)["error"] == "one: another firewall: ufw is active"
    assert executor.failures == {}


def test_what_comes_last_says_how_many_are_for_the_user_to_mend(two: list[Scratch], tmp_path: Path) -> None:
    def last(*parts: Part) -> str:
        plans, executor = audited([step("first", {"one": list(parts)})], two, tmp_path)
        out = io.StringIO()
        session = SimpleNamespace(
            executor=executor, document=Document(), terminal=Terminal(out, str), file_option="", report=lambda *_: ""
        )
        assert auditing.conclude(session, plans, json=False) == 3  # type: ignore[arg-type]
        return out.getvalue()

    end = "to bring all in order: runbook apply\n"
    assert last(file(two[0], "a")) == f"1 part is not in order; {end}"
    by_hand = "2 parts are not in order, 1 of them in a way that is for you to mend (runbook audit says how)"
    assert last(UNKNOWN, file(two[0], "a")) == f"{by_hand}; {end}"


def test_a_host_that_cannot_be_asked_is_named_once() -> None:
    assert failed({"one": UnreachableError("one: no answer"), "two": UnreachableError("no answer")}) == [
        "one: no answer",
        "two: no answer",
    ]
