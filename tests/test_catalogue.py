"""Every kind of failure has its four parts, every word of them is given, and a test causes it."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import steps.catalogue
from runbook import catalogue, complaints
from runbook.errors import Entry, RunbookError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
NAMES = ("catalogue", "complaints")
CATALOGUES = {"runbook": catalogue, "complaints": complaints, "steps": steps.catalogue}
ENTRIES = [
    pytest.param(module, name, entry, id=entry.id)
    for module, found in CATALOGUES.items()
    for name, entry in vars(found).items()
    if isinstance(entry, Entry)
]
NOT_CAUSED = {
    "SUDO_MISSING": "every host of the lab and this machine have sudo; its words are sudo's absence itself",
}
"""Those that no test causes, each with the reason."""


def words_of(entry: Entry) -> set[str]:
    parts = (entry.what, entry.likely, entry.look, entry.go_on)
    return {name for part in parts for _, name, _, _ in string.Formatter().parse(part) if name} - {"again", "file"}


def trees(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def named(tree: ast.AST) -> set[str]:
    """The entries that a piece of source names, as `catalogue.NAME` or `complaints.NAME`."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in NAMES
    }


@pytest.mark.parametrize(("module", "name", "entry"), ENTRIES)
def test_it_has_its_four_parts(module: str, name: str, entry: Entry) -> None:
    assert entry in CATALOGUES[module].ENTRIES, name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.id)
    for part in (entry.what, entry.likely, entry.look, entry.go_on):
        assert part
        assert "\n" not in part
        assert not part.endswith(".")
    assert "{again}" in entry.go_on or "runbook " in entry.go_on


def test_no_two_have_one_name() -> None:
    for names in ([entry.values[1] for entry in ENTRIES], [entry.values[2].id for entry in ENTRIES]):
        assert len(names) == len(set(names))


def test_every_one_is_raised_and_caused_by_a_test() -> None:
    raised = {each for path, tree in trees("runbook", "steps") if path.stem not in NAMES for each in named(tree)}
    by_words = {name for name, each in vars(complaints).items() if each in complaints.BY_WORDS}
    caused = {each for path, tree in trees("tests") if path.name != "test_catalogue.py" for each in named(tree)}
    every = {entry.values[1] for entry in ENTRIES}
    assert every - raised - by_words == {"SCRIPT_FAILED"}  # which is for all other words
    missing = every - caused
    assert missing == set(NOT_CAUSED), missing ^ set(NOT_CAUSED)


def test_where_one_is_raised_all_its_words_are_given() -> None:
    """As far as they stand there: words gathered elsewhere (`**words`) show when the test that causes it is run."""
    known = {entry.values[1]: entry.values[2] for entry in ENTRIES}
    for path, tree in trees("runbook", "steps"):
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            for each in named(call.args[0]) if isinstance(call.args[0], ast.Attribute) else ():
                given = {keyword.arg for keyword in call.keywords}
                if None not in given:
                    assert given >= words_of(known[each]), (path, call.lineno, words_of(known[each]) - given)


def test_what_is_raised_is_in_a_catalogue_unless_it_is_a_slip_in_a_command() -> None:
    """A sentence of its own is for the command line and sites.yaml, where the command that was typed is what goes on.

    Or it is a reason (`CertificateError`), which whoever has the file tells, in an entry of its own.
    """
    plain = {}
    for path, tree in trees("runbook", "steps"):
        for call in ast.walk(tree):
            name = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
            if name in ERRORS and call.args and isinstance(call.args[0], ast.JoinedStr | ast.Constant):
                plain[f"{path.relative_to(ROOT)}:{call.lineno}"] = name
    assert set(plain.values()) <= {"UsageError", "StoppedError", "CertificateError"}, plain


def subclasses(kind: type[RunbookError]) -> set[str]:
    return {kind.__name__}.union(*(subclasses(each) for each in kind.__subclasses__()))


ERRORS = subclasses(RunbookError)
