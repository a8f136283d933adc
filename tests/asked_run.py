"""A run that asks, on two hosts that are directories: as a program, this file is such a run in the directory given."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from scratch import Scratch

from checkpoints import Journal
from logs import Redactor
from runbook.errors import RunbookError
from runbook.executor import Executor
from runbook.narrator import Narrator
from runbook.prompt import Asker, yes
from runbook.resources.file import File
from runbook.step import Change, Finding, Part, Step
from runbook.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.script import Reading

HOSTS = ("home", "vps4")
PAGE = "Welcome to {}.\nThe door is on the left.\n"
OWNER = f"{Path('/proc/self').owner()}:{Path('/proc/self').group()}"


class Slow(Part):
    """Something that takes a while and says what it is at."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def key(self) -> str:
        return "light"

    def probe(self) -> str:
        return f"cat {self.path} 2>/dev/null || :"

    def judge(self, found: Reading) -> Finding:
        wait = f"until [ -e {self.path}.go ]; do echo Unpacking the bulb of a very long name ... >&2; sleep 0.2; done"
        return self.in_order() if found.text else self.absent(Change("lay the wire", f"{wait}\necho on >{self.path}"))


class Page(Step):
    """Put a page up at each host. Whoever comes there reads it, and finds the door.

    It says where one is, and is written anew where somebody has changed it. By hand:

        nano /srv/page.txt

    To check by hand: `cat /srv/page.txt`.

    What can go wrong: nobody reads it.
    """

    name: ClassVar[str] = "page"
    title: ClassVar[str] = "A page for visitors"

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self.roots = roots

    def targets(self) -> Sequence[str]:
        return HOSTS

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - needs no facts
        root = self.roots[target]
        key = File(str(root / "key"), b"canary-of-the-door", "400", OWNER, secret=True)
        return [File(str(root / "page"), PAGE.format(target).encode(), owner=OWNER), *[key] * (target == "home")]


class Light(Page):
    """Light the page. It can be read at night then."""

    name: ClassVar[str] = "light"
    title: ClassVar[str] = "A light"
    needs: ClassVar[tuple[str, ...]] = ("page",)

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - needs no facts
        return [Slow(self.roots[target] / "light")] if target == "home" else []


class Bell(Light):
    """Hang a bell at the door. Visitors ring it."""

    name: ClassVar[str] = "bell"
    title: ClassVar[str] = "A bell"
    needs: ClassVar[tuple[str, ...]] = ("light",)

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - needs no facts
        return [File(str(self.roots[target] / "bell"), b"ding\n", owner=OWNER)]


def main(directory: Path, *, asking: bool) -> int:
    os.chdir(directory)  # relative paths are the same on every screen
    hosts = [Scratch(directory, name) for name in HOSTS]
    (hosts[0].root / "page").write_text("Welcome.\nThe door is on the left.\n")
    (hosts[0].root / "page").chmod(0o644)
    roots = {host.name: host.root for host in hosts}
    steps = [Page(roots), Light(roots), Bell(roots)]
    with Terminal(sys.stdout, Redactor()) as terminal:
        narrator = Narrator(terminal, {"home": "me@home.example"}, asking=asking)
        targets = {host.name: host.target for host in hosts}
        for target in targets.values():
            target._on_line = terminal.progress
        journal = Journal(directory / "journal.jsonl")
        executor = Executor(steps, targets, journal, narrator, Asker(terminal, narrator, steps) if asking else yes)
        try:
            executor.connect()
            executor.apply()
        except RunbookError as error:
            terminal.line(f"runbook: {error}")
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), asking="--yes" not in sys.argv))
