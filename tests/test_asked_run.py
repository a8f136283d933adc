"""What a person sees of a run that asks: where one is, what it is for, what would change; and what can be answered."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from scratch import Scratch, step
from screens import Person, same

from runbook import asking
from runbook.executor import Executor, StoppedError
from runbook.resources.file import File
from runbook.script import PRELUDE_FILE
from runbook.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = Path(__file__).parent / "asked_run.py"
QUESTION = "Make th"
LETTERS = "[a/s/w/c/r/q]"
ESCAPE = "\x1b"
ASKS = ("text('Sure?')", "confirm('Sure?')", "select('Sure?', {'a': 'b'})")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose name is as long in every run, so that lines break at the same places."""
    with TemporaryDirectory(prefix="it-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def begin(place: Path) -> Callable[..., Person]:
    """Begin a run at a terminal."""

    def start(columns: int = 80, term: str = "xterm", **env: str) -> Person:
        argv = [sys.executable, str(PROGRAM), str(place)]
        return Person(argv, columns=columns, cwd=place, env=settings(**env), term=term)

    return start


def settings(**env: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROGRAM.parent), **env}


def answer(person: Person, letter: str) -> None:
    """Choose one of what is offered."""
    person.sees(QUESTION)
    person.press(f"{letter}\r")


def text(seen: str, place: Path) -> str:
    """Without what differs from run to run: the place, marks of here-documents, and who of two is first."""
    seen = seen.replace(str(PRELUDE_FILE), "/opt/runbook/prelude.sh")
    broken = r"\n?".join(map(re.escape, str(place)))  # a narrow terminal breaks it
    seen = re.sub(broken, lambda match: _as_before(match[0]), seen)
    seen = re.sub(r"\b[0-9a-f]{64}\b|(?<=<<')\w{13}(?=')|^ {4}\w{13}$", "xxx", seen, flags=re.MULTILINE)
    return re.sub(r"(?:^(?:    changed|home:|vps4:) .*\n){2}", _in_order, seen, flags=re.MULTILINE)


def _as_before(found: str) -> str:
    letters = iter("/srv/the-website")
    return "".join(each if each == "\n" else next(letters) for each in found)


def _in_order(found: re.Match[str]) -> str:
    return "".join(sorted(found[0].splitlines(keepends=True)))


def light(place: Path) -> None:
    """Let the slow step end."""
    (place / "root-home" / "light.go").touch()


def test_each_answer(begin: Callable[..., Person], place: Path, request: pytest.FixtureRequest) -> None:
    person = begin(NO_COLOR="1")
    for letter in "wcass":
        answer(person, letter)
    assert person.ends() == 0
    same(request, "apply", text(person.screen, place))
    assert "canary" not in person.raw
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", person.raw), "NO_COLOR"
    assert (place / "root-home/key").read_text().startswith("canary")
    assert not (place / "root-home/bell").exists()


def test_a_narrow_terminal(begin: Callable[..., Person], place: Path, request: pytest.FixtureRequest) -> None:
    person = begin(columns=48)
    answer(person, "w")
    answer(person, "q")
    assert person.ends() == 4
    same(request, "apply-narrow", text(person.screen, place))
    assert f"{ESCAPE}[32m+Welcome to home." in person.raw
    assert f"{ESCAPE}[31m-Welcome." in person.raw
    assert f"{ESCAPE}[1mStep 1 of 3" in person.raw


def test_what_takes_long_is_shown_with_its_last_line_and_no_more_is_asked(
    begin: Callable[..., Person], place: Path
) -> None:
    person = begin(columns=60)
    answer(person, "r")
    person.sees("[2/3] A light")
    person.sees("light on home")
    shown = next(line for line in person.screen.splitlines() if "light on home" in line)
    assert re.fullmatch(r"  light on home \d+ s  Unpacking the bulb of a ver[a-z .]*", shown)
    assert len(shown) < 60
    light(place)
    assert person.ends() == 0
    assert "Unpacking" not in person.screen
    assert re.search(r"changed home: 1 change \(\d+ s\)", person.screen)
    assert (place / "root-vps4/bell").exists()


@pytest.mark.parametrize("plain", ["", "1"], ids=["lists", "plain"])
def test_an_enter_too_many_while_a_step_runs_answers_no_later_question(
    begin: Callable[..., Person], place: Path, plain: str
) -> None:
    person = begin(RUNBOOK_PLAIN=plain)
    answer(person, "a")
    answer(person, "a")
    person.sees("light on home")
    person.press("\ra\r")
    light(place)
    person.sees("Hang a bell")
    answer(person, "q")
    assert person.ends() == 4
    assert not (place / "root-home/bell").exists()


@pytest.mark.parametrize("plain", ["", "1"], ids=["lists", "plain"])
def test_a_yes_is_typed_as_to_ssh_and_nothing_of_it_goes_to_the_next_question(place: Path, plain: str) -> None:
    asks = """\
from runbook import asking
print("sure:", asking.confirm("Sure?"))
print("chosen:", asking.select("Which?", {"e": "this", "t": "that"}))
"""
    person = Person([sys.executable, "-c", asks], cwd=place, env=settings(PYTHONPATH="", RUNBOOK_PLAIN=plain))
    person.types("yes", after="Sure?")
    person.sees("sure: True")
    person.types("t", after="Which?")
    assert person.ends() == 0
    assert "chosen: t" in person.screen


@pytest.mark.parametrize("plain", ["", "1"], ids=["lists", "plain"])
@pytest.mark.parametrize("ask", [*ASKS, "password('Sure?')"])
def test_the_end_of_input_is_no_answer(place: Path, plain: str, ask: str) -> None:
    asks = f"""\
from runbook import asking
try:
    asking.{ask}
except KeyboardInterrupt:
    print("no answer")
"""
    person = Person([sys.executable, "-c", asks], cwd=place, env=settings(PYTHONPATH="", RUNBOOK_PLAIN=plain))
    person.sees("Sure?")
    person.press("\x04")
    assert person.ends() == 0
    assert "no answer" in person.screen


@pytest.mark.parametrize("plain", ["", "1"], ids=["lists", "plain"])
@pytest.mark.parametrize("ask", ASKS)
def test_whoever_ends_a_run_by_its_process_number_ends_its_question(place: Path, plain: str, ask: str) -> None:
    asks = f"""\
from runbook import asking
try:
    asking.{ask}
except KeyboardInterrupt:
    print("no answer")
"""
    person = Person([sys.executable, "-c", asks], cwd=place, env=settings(PYTHONPATH="", RUNBOOK_PLAIN=plain))
    person.sees("Sure?")
    person.rests()
    os.kill(person.pid, signal.SIGINT)
    assert person.ends() == 0
    assert "no answer" in person.screen


def test_ctrl_c_at_a_log_ins_question_stops_the_run(place: Path) -> None:
    asks = """\
import signal, sys
from concurrent.futures import ThreadPoolExecutor
from runbook.prompt import Questions
from runbook.terminal import Terminal
signal.signal(signal.SIGINT, lambda *_: print("interrupted"))
questions = Questions(Terminal(sys.stdout, str), lambda _: None)
with ThreadPoolExecutor() as pool:
    for question in (questions.password, questions.confirm):
        print(pool.submit(question, "Sure?").result())
"""
    person = Person([sys.executable, "-c", asks], cwd=place, env=settings(PYTHONPATH=""))
    for _ in range(2):
        person.sees("Sure?")
        person.press("\x03")
        person.sees("interrupted")
    assert person.ends() == 0


@pytest.mark.parametrize("env", [{"RUNBOOK_PLAIN": "1"}, {"term": "dumb"}], ids=["asked for", "a dumb terminal"])
def test_plain_lines_alone(
    begin: Callable[..., Person], place: Path, request: pytest.FixtureRequest, env: dict[str, str]
) -> None:
    person = begin(columns=100, **env)
    person.types("what?", after=LETTERS)
    person.sees("Type one of: ")
    person.types("a", after=LETTERS)
    person.sees("Step 2")
    person.types("a", after=LETTERS)
    person.sees("... light on home")
    light(place)
    person.sees("Hang a bell")
    person.sees(LETTERS)
    person.press("\x03")  # Ctrl-C
    assert person.ends() == 4
    assert ESCAPE not in person.raw
    assert re.search(r"\.\.\. light on home \d+ s +Unpacking the bulb of a very long name \.\.\.", person.screen)
    waiting = re.compile(r" +\.\.\. light on home.*\n( .*\n)?")
    same(request, "apply-plain", waiting.sub("", text(person.screen, place)))


def test_piped_and_not_asked(place: Path, request: pytest.FixtureRequest) -> None:
    (place / "root-home").mkdir()
    light(place)
    argv = [sys.executable, str(PROGRAM), str(place), "--yes"]
    done = subprocess.run(argv, env=settings(TERM="xterm"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert ESCAPE not in done.stdout
    same(request, "apply-piped", text(done.stdout, place))


def test_the_command_that_goes_on_is_the_one_that_was_begun(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(Path(__file__).parent / "data/sites/article.yaml", place / "sites.yaml")
    monkeypatch.setattr(sys, "argv", ["runbook", "renew", "--site", "home"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    offered: list[str] = []
    monkeypatch.setattr(asking, "select", lambda _, choices: offered.append(choices["q"]) or "q")
    host = Scratch(place)
    steps = [step("a", {host.name: [File(str(host.root / "a"), b"ours")]})]
    for command in ("renew", "apply"):
        session = Session(place / "sites.yaml", command, yes=False, json=False, steps=lambda _: steps)
        executor = Executor(
            steps, {host.name: host.target}, session.journal, session._notify, session.executor._confirm
        )
        executor.connect()
        with pytest.raises(StoppedError):
            executor.apply()
    assert offered[0] == "stop here (runbook renew goes on)"
    assert offered[1].startswith("stop here (runbook resume ")
