"""--version and --help answer at once: nothing that only a run needs is loaded for them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"paramiko", "fabric", "invoke", "cryptography", "questionary", "prompt_toolkit", "acme", "josepy", "requests"}

WHAT_IS_LOADED = """\
import atexit, json, sys
atexit.register(lambda: print("\\n" + json.dumps(sorted(sys.modules))))
sys.argv[0] = "runbook"
from runbook.cli import main
main()
"""


def loaded_by(*arguments: str) -> tuple[str, set[str]]:
    """What the command prints, and the modules that Python has loaded when it ends."""
    argv = [sys.executable, "-c", WHAT_IS_LOADED, *arguments]
    out = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    said, _, modules = out.rstrip("\n").rpartition("\n")
    return said, {name.partition(".")[0] for name in json.loads(modules)}


@pytest.mark.parametrize(("option", "says"), [("--version", "runbook "), ("--help", "Usage: runbook ")])
def test_nothing_that_only_a_run_needs_is_loaded(option: str, says: str) -> None:
    said, modules = loaded_by(option)
    assert says in said
    assert not modules & HEAVY
    assert "email" not in modules, "the package's metadata is not searched for its version"
    assert "typer" in modules


def test_what_a_run_needs_would_be_seen() -> None:
    _, modules = loaded_by("steps")
    assert "cryptography" in modules
