"""The table of what is supported names tests that are there, and says of each cell what proves it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs/supported.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")]
CELLS = [row for row in ROWS[1:] if not row[0].startswith("**")]
NAMED = re.compile(r"`((?:lab|vm)/test_\w+\.py)::(test_\w+)`")


def slow(node: ast.FunctionDef, module: ast.Module) -> bool:
    """Whether a test, or its whole file, runs with --all alone."""
    marks = [ast.unparse(each) for each in node.decorator_list]
    marks += [
        ast.unparse(each) for each in module.body if isinstance(each, ast.Assign) and "pytestmark" in ast.unparse(each)
    ]
    return any("mark.slow" in each and "parametrize" not in each for each in marks)


@pytest.mark.parametrize("name", sorted(set(NAMED.findall(PAGE))), ids="::".join)
def test_a_test_that_is_named_is_there(name: tuple[str, str]) -> None:
    module = ast.parse((TESTS / name[0]).read_text())
    assert name[1] in {each.name for each in ast.walk(module) if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize("row", CELLS, ids=lambda row: row[0])
def test_each_cell_names_its_test_or_says_that_there_is_none(row: list[str]) -> None:
    _, bookworm, trixie = row
    for cell in (bookworm, trixie):
        assert NAMED.search(cell) or re.match(
            r"(as the other end: |with --all: )?the same|not proved|not there", cell
        ), cell
    assert not bookworm.startswith("the same"), "there is nothing before it"


@pytest.mark.parametrize("row", CELLS, ids=lambda row: row[0])
def test_a_test_that_runs_with_all_alone_is_said_to(row: list[str]) -> None:
    for cell in row[1:]:
        for file, name in NAMED.findall(cell):
            module = ast.parse((TESTS / file).read_text())
            node = next(each for each in ast.walk(module) if isinstance(each, ast.FunctionDef) and each.name == name)
            assert not slow(node, module) or cell.startswith("with --all: "), name
