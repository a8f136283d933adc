"""The product as its user meets it: a command line in the controller's place, its output, its exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pexpect
from documents import sound

from lab import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lab import Lab

RUNBOOK = (sys.executable, "-m", "runbook")
LAST_CHOICE = r"stop here \(runbook resume goes on\)"
OFFER = r"hosts: ([^?]+)\?(?s:.*?)yes, on all of them"
STEP = re.compile(r"^Step \d+ of \d+: .* \(([a-z-]+)\)", re.MULTILINE)


NOT_COMPARED = (
    ("file:/var/lib/ipsec-runbook*", "the before-images, which are what rollback works from"),
    ("group:*", "Debian's packages leave the system groups that they made (udev's input, kvm, ...), and it is said so"),
    ("user:*", "the same of users (tss of the TPM library)"),
    ("unit:systemd-udev-load-credentials.service", "passed at a boot while udev was there; it is over"),
    ("unit:network-online.target", "a milestone that systemd passes once a unit wants it; nothing runs"),
    *((f"file:/etc/{name}", "where these stand") for name in ("group", "gshadow", "passwd", "shadow")),
)


def picture(lab: Lab, host: str) -> dict[str, str]:
    """A host, but for what a rollback need not give back."""
    return snapshot.take(lab, host, (*snapshot.IGNORED, *NOT_COMPARED))


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Mapping[str, Any]:
        return sound(json.loads(self.out))

    @property
    def not_in_order(self) -> set[tuple[str, str, str]]:
        """(step, target, part) of everything that is not in order."""
        return self._parts(lambda part: part["verdict"] != "in order")

    @property
    def known_later(self) -> set[tuple[str, str, str]]:
        """Those of which it cannot be told beforehand what they should look like."""
        return self._parts(lambda part: part["verdict"] == "known after")

    @property
    def changed(self) -> set[tuple[str, str, str]]:
        """(step, target, part) of everything that was changed, or would be."""
        return self._parts(lambda part: part["change"] is not None)

    def _parts(self, which: Callable[[Mapping[str, Any]], bool]) -> set[tuple[str, str, str]]:
        return {
            (step["name"], part["target"], part["part"])
            for step in self.document["steps"]
            for part in step["parts"]
            if which(part)
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

    def run(self, command: str, *arguments: str, file: str = "", by: Sequence[str] = ()) -> Run:
        argv = [*(by or RUNBOOK), command, "--file", file or self.sites, *arguments]
        done = self.lab.admin(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return Run(done.returncode, done.stdout, done.stderr)

    def audit(self) -> Run:
        return self.run("audit", "--json")

    def apply(self) -> Run:
        return self.run("apply", "--yes", "--json")

    def apply_at_a_terminal(
        self, before_each: Callable[[str], None], file: str = "", **settings: str
    ) -> tuple[int, str]:
        """Take each question's first choice, as a person at a terminal: "apply", and "no" to what is only offered.

        `before_each` is told the step's name first.
        """
        argv = self.lab.admin_argv([*RUNBOOK, "apply", "--file", file or self.sites])
        environment = {**os.environ, **settings, "PROMPT_TOOLKIT_NO_CPR": "1", "NO_COLOR": "1", "TERM": "xterm"}
        child = pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=180, dimensions=(50, 200), env=environment)
        said, asked, offered = "", "", set()
        while (seen := child.expect([LAST_CHOICE, OFFER, pexpect.EOF])) != 2:
            said += child.before
            if seen == 1:
                if child.match.group(1) not in offered:
                    child.send("\r")
                offered.add(child.match.group(1))
                continue
            step = STEP.findall(said)[-1]
            if step != asked:
                asked = step
                before_each(step)
                child.send("\r")
        child.close()
        return child.exitstatus, said + child.before
