"""Read what swanctl prints with `--pretty`: vici messages, one key, list item or brace on a line.

Of swanctl's three output forms only this one can be read back: `--raw` puts names with spaces side by side, the plain
one is for people. The same code of strongSwan prints it in 5.9 and 6.0 (vici_message.c, dump); it puts each value
alone on its line after ` = `, so a value may hold anything but a line end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Literal, TypeAlias

from runbook.errors import RunbookError
from steps import catalogue

Section: TypeAlias = "dict[str, str | list[str] | Section]"
"""A braced part: values, lists and further sections by name. strongSwan's own order is kept."""

_HEAD = re.compile(r"(?P<name>[\w-]+) (?P<kind>event|reply) \{")
_OPEN = re.compile(r" *(?P<key>\S*) \{")
_LIST = re.compile(r" *(?P<key>\S+) = \[")
_VALUE = re.compile(r" *(?P<key>\S+) = (?P<value>.*)")


class UnreadableOutputError(RunbookError):
    """What swanctl printed is not in the form that is known; quotes the line."""


@dataclass(frozen=True)
class Event:
    """One message of the daemon: an item of a listing (`event`) or its closing answer (`reply`)."""

    name: str
    kind: Literal["event", "reply"]
    body: Section = field(default_factory=dict)


def parse(text: str) -> list[Event]:
    """Read the output of any `swanctl --list-... --pretty`, in the order printed.

    Raises:
        UnreadableOutputError: A line fits nowhere, or the text ends within a message (a daemon that died, a line cut).
    """
    events: list[Event] = []
    lines = enumerate(text.splitlines(), start=1)
    for number, line in lines:
        if not line.strip():
            continue
        head = _HEAD.fullmatch(line)
        if head is None:
            raise _unreadable(f"line {number} is {line.strip()!r}")
        kind: Literal["event", "reply"] = "event" if head["kind"] == "event" else "reply"
        events.append(Event(head["name"], kind, _section(lines)))
    return events


def _section(lines: enumerate[str]) -> Section:
    """Read up to the brace that closes what has just been opened."""
    found: Section = {}
    for number, line in lines:
        if line.strip() == "}":
            return found
        # A list and a section look like values to the last pattern, so the order matters.
        if match := _LIST.fullmatch(line):
            found[match["key"]] = _items(lines)
        elif match := _VALUE.fullmatch(line):
            found[match["key"]] = match["value"]
        elif match := _OPEN.fullmatch(line):
            found[match["key"]] = _section(lines)
        else:
            raise _unreadable(f"line {number} is {line.strip()!r}")
    raise _unreadable("it ends in the middle of a message")


def _items(lines: enumerate[str]) -> list[str]:
    """Read up to the bracket; an empty line is an item too (a certificate without a subject has an empty name)."""
    found: list[str] = []
    for _number, line in lines:
        item = line.strip()
        if item == "]":
            return found
        found.append(item)
    raise _unreadable("it ends in the middle of a list")


def _unreadable(why: str) -> UnreadableOutputError:
    return UnreadableOutputError(catalogue.SWANCTL_UNREADABLE, why=why)


def sections_of(parent: Section) -> dict[str, Section]:
    """The sections within a section, by name."""
    return {name: value for name, value in parent.items() if isinstance(value, dict)}


def text_of(parent: Section, key: str, default: str = "") -> str:
    """A single value."""
    value = parent.get(key, default)
    return value if isinstance(value, str) else default


def items_of(parent: Section, key: str) -> tuple[str, ...]:
    """The items of a list; none when there is no such key."""
    value = parent.get(key, [])
    return tuple(value) if isinstance(value, list) else ()


def number_of(parent: Section, key: str) -> int:
    """A count or a time in seconds; 0 when it is not listed, as strongSwan leaves out what is off."""
    value = text_of(parent, key, "0")
    if not value.isdecimal():
        raise _unreadable(f"it lists {key} as {value!r}, where a number was expected")
    return int(value)


def selectors_of(parent: Section, key: str) -> frozenset[str]:
    """Traffic selectors, as a set since either end may order them anew; subnets in their one canonical form."""
    return frozenset(selector(item) for item in items_of(parent, key))


def selector(item: str) -> str:
    """One of them in its canonical form."""
    try:
        return str(ip_network(item))
    except ValueError:  # a range, `dynamic`, or one narrowed to a protocol: it stands for itself
        return item
