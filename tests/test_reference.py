"""The reference and the manual pages say what the code says, and the JSON is of the shape that they tell."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import pytest
from documents import REHEARSAL, sound

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))

from generate import pages, reference  # noqa: E402 - it is no package

from lab.rehearse import Rehearsal  # noqa: E402 - same
from runbook import errors  # noqa: E402 - same
from runbook.cli import app  # noqa: E402 - same
from runbook.document import VERSION, Document  # noqa: E402 - same
from runbook.step import Verdict  # noqa: E402 - same

PAGES = pages()
MANUALS = [path for path in PAGES if path.suffix != ".md"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_page_says_what_the_code_says(path: Path) -> None:
    assert path.read_text() == PAGES[path], f"{path} is behind the code: run ./dev docs"


@pytest.mark.parametrize("path", MANUALS, ids=lambda path: path.name)
def test_the_manual_page_is_sound_roff(path: Path) -> None:
    if not shutil.which("mandoc"):
        pytest.skip("there is no mandoc")
    done = subprocess.run(["mandoc", "-T", "lint", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_an_installation_has_the_manual_pages() -> None:
    """Where `man` looks, beside the directory of the command."""
    installed = {Path(each).name for each in files("ipsec-runbook") if "share/man" in str(each)}
    assert installed == {path.name for path in MANUALS}


def test_every_command_has_its_chapter() -> None:
    text = reference()
    for command in app.registered_commands:
        name = command.name or command.callback.__name__
        assert f"### `runbook {name}`" in text


def test_every_exit_code_of_an_error_is_told() -> None:
    kinds, found = [errors.RunbookError], set()
    while kinds:
        kind = kinds.pop()
        found.add(kind.exit_code)
        kinds += kind.__subclasses__()
    assert found <= set(errors.EXIT_CODES)
    assert all(f"| `{code}` | {meaning} |" in reference() for code, meaning in errors.EXIT_CODES.items())


def test_the_schema_is_of_this_version_and_knows_every_verdict() -> None:
    schema = json.loads((ROOT / "runbook/document.schema.json").read_text())
    assert schema["properties"]["version"] == {"const": VERSION}
    part = schema["properties"]["steps"]["items"]["properties"]["parts"]["items"]
    assert part["properties"]["verdict"]["enum"] == [each.value for each in Verdict]


def test_documents_are_as_their_schemas_have_them() -> None:
    sound(Document().build("status", [], 0))
    done = Rehearsal(0, 27.5, {"home": "trixie"}, {"key": 3}, ["home: up"], ["0% packet loss"], 100, 0)
    sound(json.loads(done.as_json()), REHEARSAL)
    broken = {**Document().build("status", [], 0), "more": 1}
    with pytest.raises(Exception, match="more"):
        sound(broken)
