"""The product as its user meets it: a command line in the controller's place, its output, its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pexpect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lab import Lab

RUNBOOK = (sys.executable, "-m", "runbook")
PROMPT = "make these changes on"


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Mapping[str, Any]:
        return json.loads(self.out)

    @property
    def not_in_order(self) -> set[tuple[str, str, str]]:
        """(step, target, part) of everything that is not in order."""
        return {
            (step["name"], part["target"], part["part"])
            for step in self.document["steps"]
            for part in step["parts"]
            if part["verdict"] != "in order"
        }

    @property
    def changes(self) -> dict[str, int]:
        counts = {
            step["name"]: sum(part["change"] is not None for part in step["parts"]) for step in self.document["steps"]
        }
        return {name: number for name, number in counts.items() if number}


@dataclass(frozen=True)
class Product:
    lab: Lab

    @property
    def sites(self) -> str:
        return str(self.lab.directory / "sites.yaml")

    def run(self, command: str, *arguments: str, file: str = "") -> Run:
        argv = [*RUNBOOK, command, "--file", file or self.sites, *arguments]
        done = self.lab.admin(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return Run(done.returncode, done.stdout, done.stderr)

    def audit(self) -> Run:
        return self.run("audit", "--json")

    def apply(self) -> Run:
        return self.run("apply", "--yes", "--json")

    def apply_at_a_terminal(self, before_each: Callable[[str], None]) -> tuple[int, str]:
        """Answer "apply" to every question, as a person at a terminal; `before_each` is told the step's title first."""
        argv = self.lab.admin_argv([*RUNBOOK, "apply", "--file", self.sites])
        child = pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=180, dimensions=(50, 200))
        said = ""
        while child.expect([rf"\? (.*): {PROMPT}.*apply", pexpect.EOF]) == 0:
            said += child.before + child.after
            before_each(child.match.group(1))
            child.send("\r")
        child.close()
        return child.exitstatus, said + child.before
