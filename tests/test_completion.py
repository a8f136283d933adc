"""Tab: what each shell offers, asked of the shells themselves; quick, and without a word where something is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from screens import Person
from test_startup import HEAVY, WHAT_IS_LOADED

from steps.procedure import PROCEDURE

BIN = Path(sys.executable).parent
STEPS = [section.name for section in PROCEDURE]
EXAMPLE = Path(__file__).parent.parent / "steps" / "example.yaml"


def offered(line: str, cwd: Path) -> list[str]:
    """What bash is told to offer at the end of a command line, and nothing else is said."""
    words = line.split(" ")
    env = {"PATH": f"{BIN}:{os.environ['PATH']}", "_RUNBOOK_COMPLETE": "complete_bash"}
    env |= {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(["runbook"], env=env, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


def test_steps_sites_and_topics(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path / "sites.yaml")
    (tmp_path / "other.yaml").write_text("sites: {here: {fqdn: here.example}, there: {}}\n")
    assert offered("runbook audit --step ", tmp_path) == STEPS
    assert offered("runbook rollback --to c", tmp_path) == ["csr", "certificate", "credentials", "connection"]
    assert offered("runbook explain ", tmp_path) == [*STEPS, "tunnel", "sites.yaml"]
    assert offered("runbook audit --site ", tmp_path) == ["home", "vps4"]
    assert offered("runbook audit --file other.yaml --site t", tmp_path) == ["there"]
    assert "--probe" in offered("runbook audit --", tmp_path)
    assert {"init", "apply", "explain"} <= set(offered("runbook ", tmp_path))


@pytest.mark.parametrize("text", ["sites: [", "", "- a\n- b\n", "sites: {home: 3}", "\x00", None])
def test_a_broken_description_is_passed_over_in_silence(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "sites.yaml").write_text(text)
    assert offered("runbook audit --site ", tmp_path) == []


def test_nothing_that_only_a_run_needs_is_loaded(tmp_path: Path) -> None:
    for line in ("runbook audit --step ", "runbook audit --site ", "runbook explain "):
        env = {**os.environ, "_RUNBOOK_COMPLETE": "complete_bash", "COMP_WORDS": line}
        env["COMP_CWORD"] = str(len(line.split(" ")) - 1)
        argv = [sys.executable, "-c", WHAT_IS_LOADED]
        out = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        modules = {name.partition(".")[0] for name in json.loads(out.rstrip().rpartition("\n")[2])}
        assert not modules & HEAVY, line


SHELLS = {"bash": (["bash", "--noprofile", "-i"], "\t"), "zsh": (["zsh", "-i"], "\t\t")}
"""How each is begun, and what completes a word: zsh loads what typer installs at the first Tab, and uses it then."""


@pytest.mark.parametrize("shell", SHELLS)
def test_at_the_prompt_of_a_shell_in_which_it_was_installed(shell: str, tmp_path: Path) -> None:
    argv, tab = SHELLS[shell]
    (tmp_path / ".zshrc").write_text("autoload -Uz compinit; compinit -u\nPS1=$'ready\\n> '\n")
    (tmp_path / ".bashrc").write_text("PS1='ready\\n> '\n")
    shutil.copy(EXAMPLE, tmp_path / "sites.yaml")
    env = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path)}
    for typed, seen in (("--install-completion\r", "completion installed"), (f"audit --site vp{tab}", "--site vps4")):
        person = Person(argv, cwd=tmp_path, env=env)
        person.sees("ready")  # above the line that is typed
        person.press(f"runbook {typed}")
        person.sees(seen)
        person.press("\x15exit\r")
        person.ends()


def test_in_fish(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path / "sites.yaml")
    env = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "dumb"}
    source = subprocess.run(
        ["runbook"], env={**env, "_RUNBOOK_COMPLETE": "source_fish"}, capture_output=True, text=True, check=True
    ).stdout
    script = f"{source}\ncomplete -C 'runbook audit --site v'\ncomplete -C 'runbook explain tu'"
    done = subprocess.run(["fish", "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == ["vps4", "tunnel"]
