"""The answers given to `runbook init`, kept until they are wanted again: Ctrl-C loses none of them."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Final

from runbook.whole import write_whole
from steps.interview.answers import Answers, SiteAnswers

if TYPE_CHECKING:
    from pathlib import Path

VERSION: Final = 1


class Notebook:
    """One file, 0600, in the directory of a run's data; there is no secret in it."""

    def __init__(self, data: Path) -> None:
        """Keep it in `data`, which exists."""
        self.path = data / "init.json"

    def read(self) -> Answers:
        """What was answered before; nothing where there is no such file, or it cannot be understood."""
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            if kept["version"] != VERSION:
                return Answers()
            sites = tuple(_known(SiteAnswers, each) for each in kept["sites"])
            return Answers(**{**_texts(Answers, kept), "sites": sites})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Answers()

    def write(self, answers: Answers) -> None:
        """Keep the answers, whole or not at all; raises UsageError where that cannot be."""
        write_whole(self.path, json.dumps({"version": VERSION, **asdict(answers)}, indent=2))


def _known(kind: type[SiteAnswers], found: dict[str, Any]) -> SiteAnswers:
    return kind(**_texts(kind, found))


def _texts(kind: type[Answers | SiteAnswers], found: dict[str, Any]) -> dict[str, Any]:
    """The texts that a kind of answers has a place for."""
    names = {each.name for each in fields(kind)} - {"sites"}
    return {name: value for name, value in found.items() if name in names and isinstance(value, str)}
