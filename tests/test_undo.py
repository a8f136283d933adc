"""Taking steps back: what somebody changed since is shown and asked about, and never overwritten without the answer."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from documents import sound
from scratch import Scratch, Witness, carry_out, run, step

from checkpoints import State
from logs import Redactor
from runbook import prompt, standing
from runbook.document import Document
from runbook.errors import StepError
from runbook.events import Planned
from runbook.executor import StoppedError
from runbook.executor import making as making_stage
from runbook.images import KEEP, PUT_BACK
from runbook.local import LocalHost
from runbook.narrator import Narrator
from runbook.resources.file import File
from runbook.terminal import Terminal
from runbook.undo import undo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runbook.executor import Executor
    from runbook.step import Step

CANARY = "hunter2 is what it was"


class Person:
    """Whoever sits at the terminal: chooses as told, says yes, and sees what is shown."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, choose: Callable[[str], str] = lambda _: KEEP) -> None:
        self.out = io.StringIO()
        self.asked: list[str] = []
        self._choose = choose
        monkeypatch.setattr(prompt, "choose", self._chosen)
        monkeypatch.setattr(prompt, "confirm", lambda _: True)

    def _chosen(self, question: str, *choices: str) -> str:
        assert choices == (KEEP, PUT_BACK)  # what comes first is the default
        self.asked.append(question)
        return self._choose(question)

    @property
    def told(self) -> list[tuple[str, str, list[tuple[str, bool]]]]:
        """What the JSON says became of each application: its step, the outcome, what was found of which, and kept."""
        found = sound(self.document.build("rollback", [], 0))["undone"]
        return [
            (each["step"], each["outcome"], [(change["found"], change["kept"]) for change in each["changes"]])
            for each in found
        ]

    def undoes(self, executor: Executor, *names: str, yes: bool = False) -> str:
        redact = Redactor()
        redact.learn(CANARY)
        terminal = Terminal(self.out, redact)
        self.document = Document()
        executor._run.notify = self.document
        session = SimpleNamespace(
            executor=executor, terminal=terminal, targets=executor.targets, document=self.document
        )
        undo(session, names, yes=yes)  # type: ignore[arg-type]
        for error in executor.failures.values():
            raise error
        return self.out.getvalue()


@pytest.fixture
def host(tmp_path: Path) -> Scratch:
    host = Scratch(tmp_path)
    for name in ("edited", "left", "other"):
        (host.root / name).write_text(f"{name} before\n")
    return host


@pytest.fixture
def applied(host: Scratch, tmp_path: Path) -> Executor:
    """A step applied, of which the admin has edited two files since."""
    ours = step("a", {host.name: [File(str(host.root / name), b"ours\n") for name in ("edited", "left", "other")]})
    executor = run([ours], [host], tmp_path)
    executor.connect()
    executor.apply()
    (host.root / "edited").write_text(f"ours\nand theirs: {CANARY}\n")
    (host.root / "other").write_text("theirs\n")
    return executor


def contents(host: Scratch) -> dict[str, str]:
    return {name: (host.root / name).read_text() for name in ("edited", "left", "other")}


def test_each_is_shown_and_asked_about_and_done_as_answered(
    host: Scratch, applied: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Person(monkeypatch, lambda question: PUT_BACK if "edited" in question else KEEP)
    said = person.undoes(applied, "a")
    assert len(person.asked) == 2
    assert "--- as we left it\n    +++ as it is now\n" in said
    assert "     ours\n    +and theirs: (secret)\n" in said
    assert "    -ours\n" in said
    assert "    +theirs\n" in said
    assert f"put back: change {host.root}/edited" in said
    assert f"KEEP: change {host.root}/other" in said
    assert f"done: 2 changes undone; as it is now stays: file {host.root}/other on {host.name}\n" in said
    assert CANARY not in said
    assert contents(host) == {"edited": "edited before\n", "left": "left before\n", "other": "theirs\n"}
    found = [("changed since", True), ("as we left it", False), ("changed since", False)]
    assert person.told == [("a", "undone", found)]
    # decided is decided: nothing is left to ask about, and nothing of ours stays
    assert not host.images_at.exists()
    assert "nothing of a is there to undo" in person.undoes(applied, "a")
    assert person.told == []


def test_without_anybody_to_ask_it_is_kept_and_said_and_can_be_asked_later(
    host: Scratch, applied: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Person(monkeypatch)
    said = person.undoes(applied, "a", yes=True)
    assert person.asked == []
    assert f"KEEP: change {host.root}/other" in said
    assert "    +theirs\n" in said
    assert contents(host)["other"] == "theirs\n"
    assert contents(host)["left"] == "left before\n"
    later = Person(monkeypatch, lambda _: PUT_BACK)
    later.undoes(applied, "a")
    assert len(later.asked) == 2
    assert contents(host) == {name: f"{name} before\n" for name in ("edited", "left", "other")}


def test_no_answer_undoes_nothing(host: Scratch, applied: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    before = host.tree()
    with pytest.raises(StoppedError, match="nothing was undone"):
        Person(monkeypatch, lambda _: "").undoes(applied, "a")
    assert host.tree() == before
    assert len(host.images()) == 1


def test_what_was_changed_again_after_it_was_shown_is_not_overwritten(
    host: Scratch, applied: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit(question: str) -> str:
        if "edited" in question:
            (host.root / "edited").write_text("theirs, and newer\n")
        return PUT_BACK

    person = Person(monkeypatch, edit)
    with pytest.raises(StepError, match="edited was changed since, which could not be seen before: ask again"):
        person.undoes(applied, "a")
    assert [outcome for _, outcome, _ in person.told] == ["failed"]
    assert contents(host)["edited"] == "theirs, and newer\n"
    assert len(host.images()) == 1


def test_a_thing_of_several_applications_is_asked_about_once(
    host: Scratch, applied: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = step("a", {host.name: [File(str(host.root / "other"), b"ours, second\n")]})
    second = run([again], [host], tmp_path)
    second.connect()
    second.apply()
    (host.root / "other").write_text("theirs, third\n")
    person = Person(monkeypatch, lambda question: PUT_BACK if "other" in question else KEEP)
    said = person.undoes(applied, "a")
    assert len(person.asked) == 2  # edited, and other once
    assert "    -ours, second\n" in said
    # the state before was the admin's, too, which nobody has been asked about yet
    assert contents(host)["other"] == "theirs\n"
    person.undoes(applied, "a")
    assert contents(host)["other"] == "other before\n"


@pytest.mark.parametrize("clock", ["20200101T000000000000", "20300101T000000000000"])
def test_the_newest_image_is_the_last_made_whatever_the_controllers_clock_says(
    host: Scratch, tmp_path: Path, clock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply(text: bytes) -> Step:
        ours = step("a", {host.name: [File(str(host.root / "left"), text)]})
        executor = run([ours], [host], tmp_path, Witness())
        executor.connect()
        executor.apply()
        return ours

    apply(b"1")
    with monkeypatch.context() as patch:
        patch.setattr(making_stage, "image_name", lambda step: f"{clock}-{step}")
        apply(b"2")
    ours = apply(b"3")
    assert len(host.images()) == 3
    assert host.images()[1].name.startswith(clock)
    host.rollback(ours)
    assert contents(host)["left"] == "left before\n"
    assert not host.images_at.exists()


def test_an_image_without_a_number_is_older_than_any_with_one(host: Scratch, applied: Executor) -> None:
    (image,) = host.images()
    (host.images_at / image.name / "sequence").unlink()
    assert [each.name for each in host.images()] == [image.name]
    assert standing.parse_listing("") == []
    assert applied.failures == {}


def test_what_was_done_last_goes_first_whichever_step_did_it(
    host: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, witness = host.tree(), Witness()
    first, second = ([File(str(host.root / name), b"one\n")] for name in ("left", "other"))
    executor = run([step("a", {host.name: first}), step("b", {host.name: second})], [host], tmp_path, witness)
    executor.connect()
    executor.apply()
    first[:], second[:] = ([File(str(host.root / name), b"two\n")] for name in ("left", "other"))
    executor.apply()
    person = Person(monkeypatch)
    person.undoes(executor, "a", "b")
    assert person.told == [(name, "undone", [("as we left it", False)]) for name in ("b", "a", "b", "a")]
    assert host.tree() == before


def test_below_a_failure_the_rest_is_left_and_said_to_be(
    host: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [step(name, {host.name: [File(str(host.root / name), b"ours\n")]}) for name in ("edited", "left", "other")]
    executor = carry_out(steps, [host], tmp_path)
    (image,) = [each for each in host.images() if each.step == "left"]
    next((host.images_at / image.name).glob("kept.*")).unlink()
    person = Person(monkeypatch)
    with pytest.raises(StepError, match="could not put back"):
        person.undoes(executor, "edited", "left", "other")
    assert [told[:2] for told in person.told] == [("other", "undone"), ("left", "failed"), ("edited", "left")]


def test_an_undoing_that_was_cut_off_once_nothing_was_left_of_it_is_done(
    host: Scratch, applied: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image,) = host.images()
    applied._run.record("a", host.name, State.INTENT, image.name, "undo")
    host.target.forget([image.name])
    assert "nothing of a is there to undo" in Person(monkeypatch).undoes(applied, "a")
    assert applied._run.journal.unsettled() == {}


def test_an_image_is_looked_at_once_undone_and_forgotten(tmp_path: Path) -> None:
    ran: list[str] = []
    host = Scratch(tmp_path, host=LocalHost("here", observe=lambda each: ran.append(each.purpose)))
    ours = step("a", {"here": [File(str(host.root / "new"), b"ours\n")]})
    host.apply(ours, "one")
    images = host.images()
    ran.clear()
    run([ours], [host], tmp_path).rollback("a", {"here": images})
    assert ran == ["list before-images", "undo a", "forget the before-image"]
    assert host.tree() == {}


def test_what_stands_on_a_step_is_named_when_that_is_undone_and_when_it_is_applied_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Scratch(tmp_path)
    needs = {"a": [], "b": ["a"], "c": ["b"], "d": []}
    steps = [step(name, {"here": [File(str(host.root / name), b"ours\n")]}, above) for name, above in needs.items()]
    first = Witness()
    executor = carry_out(steps, [host], tmp_path, first)
    assert not any(each.plan.upheld for each in first.events if isinstance(each, Planned))
    said = Person(monkeypatch).undoes(executor, "a")
    assert "b needs a and stays in place on here" in said
    assert "c needs a and stays in place on here" in said
    assert "d needs" not in said
    host.target.readings.clear()
    again = Witness()
    carry_out(steps, [host], tmp_path, again)
    assert [each.plan.upheld for each in again.events if isinstance(each, Planned)] == [["b", "c"], [], [], []]
    out = io.StringIO()
    Narrator(Terminal(out, Redactor()))(next(each for each in again.events if isinstance(each, Planned)))
    assert "    what stands on this step stays in place: b, c\n" in out.getvalue()


def test_an_edit_between_two_applications_is_shown_as_it_was_then_and_done_as_answered(
    host: Scratch, applied: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What we have changed again on top of it is put back unasked."""
    again = run([step("a", {host.name: [File(str(host.root / "other"), b"second\n")]})], [host], tmp_path)
    again.connect()
    again.apply()
    person = Person(monkeypatch, lambda question: KEEP if "edited" in question else PUT_BACK)
    said = person.undoes(applied, "a")
    assert len(person.asked) == 2
    assert "    +theirs\n" in said
    assert "second" not in said, "nobody else did that"
    assert contents(host)["other"] == "other before\n"
    assert not host.images_at.exists()
