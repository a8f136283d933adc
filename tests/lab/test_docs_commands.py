"""Every command of the tutorial and the how-to, typed in a lab in the order in which it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from product import RUNBOOK

from lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

DOCS = Path(__file__).parents[2] / "docs"
ASKS = {"apply", "resume", "renew", "rollback", "unlock"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab(f"docs-{os.getpid()}")
    lab.down()
    lab.up(print)
    yield lab
    lab.down()


@pytest.mark.parametrize("page", ["tutorial", "how-to"])
def test_each_command_does_what_the_page_says(lab: Lab, page: str) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert lines
    applied = False
    for line in lines:
        words = shlex.split(line)[1:]
        argv = [*RUNBOOK, *words, *(["--yes"] if words[0] in ASKS else [])]
        done = lab.admin(argv, cwd=lab.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        to_do = words[0] in {"audit", "status", "report"} and not applied
        assert done.returncode == (3 if to_do else 0), f"{line}\n{done.stdout}"
        applied = applied or words[0] in {"apply", "resume"}
