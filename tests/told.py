"""How a failure is told: what happened, the likely cause, the command to look closer, the command to go on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook.errors import Entry, RunbookError


def told_as(failure: pytest.ExceptionInfo[Any] | RunbookError | Mapping[str, str], entry: Entry) -> dict[str, str]:
    """Hold a failure, or what a JSON document tells of one, to be of this kind and told in full; returns its parts.

    Whoever causes a failure of the catalogue holds it to its entry by this: `test_catalogue` looks for the entry's name
    in the tests.
    """
    error = failure.value if isinstance(failure, pytest.ExceptionInfo) else failure
    if isinstance(error, dict):
        parts = {key: error[key] for key in ("id", "error", "likely", "look", "hint")}
    else:
        parts = {
            "id": error.id, "error": str(error), "likely": error.likely, "look": error.look, "hint": error.hint,
        }  # fmt: skip
    assert parts["id"] == entry.id, parts
    # of the entry's own alone: what a server sends may hold braces
    blanks = re.findall(r"\{\w+\}", f"{entry.what} {entry.likely} {entry.look} {entry.go_on}")
    for part, text in parts.items():
        assert text, (part, parts)
        assert part == "error" or "\n" not in text, (part, parts)
        assert not [each for each in blanks if each in text], (part, parts)
        assert not re.search(r"Traceback|Error\(|<.*object at|\bNone\b", text), (part, parts)
    return parts
