"""The ways to ask at a terminal: lists to move in, or, where nothing may move (`terminal.plain`), a line and an answer.

Each raises KeyboardInterrupt when the user gives no answer: Ctrl-C, or the end of input. What was typed before the
question was there is forgotten, and a yes or no ends with Enter, as ssh(1)'s does: an Enter too many while a step runs,
or the rest of a "yes", would answer the next question, whose first choice is to apply.
"""

from __future__ import annotations

import getpass
import signal
import sys
import termios
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from runbook.terminal import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

    from questionary import Question


def select(question: str, choices: Mapping[str, str]) -> str:
    """One of `choices`, by its key; the values are what is shown. Keys of one letter are what is typed for them."""
    lettered = all(len(key) == 1 for key in choices)
    if plain():
        typed = choices if lettered else map(str, range(1, len(choices) + 1))
        return _select_in_lines(question, dict(zip(typed, choices.items(), strict=True)))
    asks = _questionary()
    shown = [asks.Choice(title, key, shortcut_key=key if lettered else None) for key, title in choices.items()]
    return str(_answer(_endable(asks.select(question, shown, use_shortcuts=lettered, use_jk_keys=not lettered))))


def confirm(question: str, *, default: bool = False) -> bool:
    """A yes or no."""
    if not plain():
        return bool(_answer(_endable(_questionary().confirm(question, default=default, auto_enter=False))))
    while True:
        said = _typed(f"{question} [{'Y/n' if default else 'y/N'}] ").strip().lower()
        if said in {"", "y", "yes", "n", "no"}:
            return said[:1] == "y" if said else default
        print("Type y or n.", flush=True)  # noqa: T201 - a question's own words


def text(question: str) -> str:
    """A line of text."""
    if plain():
        return _typed(f"{question} ").strip()
    return str(_answer(_questionary().text(question))).strip()


def password(question: str) -> str:
    """A secret, not shown."""
    if plain():
        return _typed(f"{question} ", getpass.getpass)
    return str(_answer(_questionary().password(question)))


def _select_in_lines(question: str, choices: Mapping[str, tuple[str, str]]) -> str:
    """One of the choices, by what is typed for it: its key, and what is shown."""
    for typed, (_, title) in choices.items():
        print(f"  {typed}  {title}")  # noqa: T201 - a question's own words
    while True:
        said = _typed(f"{question} [{'/'.join(choices)}] ").strip().lower()
        if said in choices:
            return choices[said][0]
        print(f"Type one of: {', '.join(choices)}.", flush=True)  # noqa: T201 - same


def _typed(prompt: str, ask: Callable[[str], str] = input) -> str:
    _forget_keys()
    try:
        with _interruptible():
            return ask(prompt)
    except (EOFError, KeyboardInterrupt):
        print(flush=True)  # noqa: T201 - the question's line has no end yet
        raise KeyboardInterrupt from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Have Ctrl-C end the question, whatever it means to the run at other times."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _questionary() -> ModuleType:
    """What asks; ready to, when it is had."""
    import questionary  # noqa: PLC0415 - a quarter of what a run that asks nothing would load
    from prompt_toolkit.application import get_app_session  # noqa: PLC0415 - same
    from prompt_toolkit.input.typeahead import clear_typeahead  # noqa: PLC0415 - same

    _forget_keys()
    clear_typeahead(get_app_session().input)
    return questionary


def _endable(question: Question) -> Question:
    """Have the end of input (Ctrl-D), and SIGINT by kill(1), end a question as Ctrl-C does, which is a key to it."""
    from prompt_toolkit.key_binding import KeyBindings, merge_key_bindings  # noqa: PLC0415 - loaded to ask

    ours = KeyBindings()
    for key in ("c-d", "<sigint>"):
        ours.add(key, eager=True)(lambda event: event.app.exit(exception=KeyboardInterrupt))
    theirs = question.application.key_bindings
    question.application.key_bindings = merge_key_bindings([ours, *([theirs] if theirs else [])])
    return question


def _answer(question: Question) -> object:
    try:
        return question.unsafe_ask()
    except EOFError:
        raise KeyboardInterrupt from None


def _forget_keys() -> None:
    """Drop what was typed so far and not read."""
    with suppress(termios.error, ValueError, OSError):  # no terminal
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
