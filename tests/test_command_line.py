"""What is typed wrongly is refused at once, in a sentence that says what to type, with the exit code of that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from documents import sound

from runbook import terminal
from runbook.terminal import PLAIN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MISTAKES = [
    ("audit", "sites.yaml: cannot be read: No such file", "runbook init"),
    ("audit --file /", "/: cannot be read: Is a directory", "--file"),
    ("audit --step pong", "there is no step 'pong'", "the steps are: key, "),
    ("explain pong", "there is no step 'pong'", "the steps are: key, "),
    ("rollback --yes", "say what to undo", "give one of --step STEP, --to STEP, --all"),
    ("rollback --all --json", "there is no terminal to confirm the changes at", "give --yes"),
    ("forget --yes --older-than -1", "'-1' is no number of days", "--older-than 90"),
    ("forget --yes --older-than 999999999", "'999999999' is no number of days", "--older-than 90"),
    ("log", "there is no log beside sites.yaml yet", "runbook audit"),
    ("lab up --name A_b", "A lab's name is made of a-z", "as the sentence says"),
    ("lab status --name never-was", "there is no lab 'never-was'; there ", "runbook lab up --name never-was makes it"),
    ("lab up --release home", "--release home is not HOST=RELEASE", "such as --release home=bookworm"),
]


AS_NOBODY = """
import os, runbook.auditing, runbook.session
from runbook.cli import main
os.setuid(65534)
main()
"""
"""Loaded first: nobody may not be let in to where the program lies."""


def runbook(where: Path, *words: str, start: Sequence[str] = ("-m", "runbook")) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, *start, *words]
    return subprocess.run(
        argv, cwd=where, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(("typed", "says", "helps"), MISTAKES, ids=[each[0] for each in MISTAKES])
def test_a_mistake_is_a_sentence_and_what_to_do(tmp_path: Path, typed: str, says: str, helps: str) -> None:
    done = runbook(tmp_path, *typed.split())
    assert done.returncode == 2, done.stderr
    sentence, advice = done.stderr.splitlines()
    assert sentence.startswith(f"runbook: {says}")
    assert advice.startswith("to go on: ")
    assert helps in advice
    assert not done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another")
def test_a_file_that_others_may_not_read_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "sites.yaml").write_text("")
    (tmp_path / "sites.yaml").chmod(0o600)
    tmp_path.chmod(0o755)
    done = runbook(tmp_path, "audit", start=("-c", AS_NOBODY))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "runbook: sites.yaml: cannot be read: Permission denied",
        "to go on: see who may read it: ls -l sites.yaml",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another")
def test_logs_that_are_another_s_are_not_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / ".runbook").mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    done = runbook(tmp_path, "log", start=("-c", AS_NOBODY))
    assert done.returncode == 2
    assert ".runbook/logs cannot be read: Permission denied" in done.stderr


def test_the_log_is_one_document(tmp_path: Path) -> None:
    logs = tmp_path / ".runbook" / "logs"
    logs.mkdir(parents=True)
    (logs / "20261128T000000-audit.jsonl").write_text('{"at": "2026-11-28T00:00:00", "event": "begun"}\n')
    done = runbook(tmp_path, "log", "--json")
    assert done.returncode == 0
    told = sound(json.loads(done.stdout))
    assert [each["event"] for each in told["log"]["entries"]] == ["begun"]


@pytest.mark.parametrize("text", ["0", "yes, please"])
def test_plain_lines_are_asked_for_by_anything_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(PLAIN, text)
    assert runbook(tmp_path, "steps").returncode == 0
    assert terminal.plain()
