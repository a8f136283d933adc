"""Wanted in one way, then in another, and back: whatever was applied one after another, all taken back is as at first.

Where nobody else has changed anything, nothing is said to be changed since.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from scratch import run, step
from test_resource_laws import BEFORE, CONTENT, MODES, Before, few, needs_root

from logs import Redactor
from runbook.errors import StepError
from runbook.resources.block import Block
from runbook.resources.file import Absent, Directory, File
from runbook.resources.retired import RetiredLines, SetAside
from runbook.terminal import Terminal
from runbook.undo import undo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scratch import Scratch

    from runbook.executor import Executor
    from runbook.step import Part

pytestmark = needs_root

PLACES = {"one": ("a", "made here/c"), "other": ("b",)}
"""What each step is about."""
KINDS = ("file", "file", "secret", "absent", "block", "no block", "directory", "retired", "retired and block", "aside")


@dataclass(frozen=True)
class Wanted:
    """What is wanted of one path."""

    kind: str
    content: bytes
    mode: int

    def parts(self, path: str) -> list[Part]:
        """The parts that say so."""
        block = Block(path, "".join(f"wanted {each:x}\n" for each in self.content[:2]))
        retired = RetiredLines(path, "lines with an a", (("a", "it is outdated"),), "hit = /a/")
        wanted: dict[str, list[Part]] = {
            "file": [File(path, self.content, f"{self.mode:o}")],
            "secret": [File(path, self.content, f"{self.mode:o}", secret=True)],
            "absent": [Absent(path, "it is in the way")],
            "block": [block],
            "no block": [Block(path, None)],
            "directory": [Directory(path, f"{self.mode:o}")],
            "retired": [retired],
            "retired and block": [retired, block],
            "aside": [SetAside(path, f"{path}.aside", "it is outdated")],
        }
        return wanted[self.kind]


@st.composite
def turns(draw: st.DrawFn) -> list[tuple[str, dict[str, Wanted]]]:
    """What one step after another wants of its places."""
    wanted = st.builds(Wanted, st.sampled_from(KINDS), CONTENT, MODES)
    names = draw(st.lists(st.sampled_from(list(PLACES)), min_size=2, max_size=5))
    return [(name, draw(st.dictionaries(st.sampled_from(PLACES[name]), wanted, min_size=1))) for name in names]


def all_undone(executor: Executor) -> str:
    """Take all back as `rollback --all --yes` does; returns what was said."""
    out = io.StringIO()
    document = SimpleNamespace(to_undo=None)
    session = SimpleNamespace(
        executor=executor, terminal=Terminal(out, Redactor()), targets=executor.targets, document=document
    )
    undo(session, list(PLACES), yes=True)  # type: ignore[arg-type]
    assert not executor.failures, f"{executor.failures}\n{out.getvalue()}"
    return out.getvalue()


@few
@given(st.tuples(BEFORE, BEFORE), turns())
def test_all_taken_back_is_as_at_first(
    scratch: Callable[[], Scratch], before: Sequence[Before], turns: list[tuple[str, dict[str, Wanted]]]
) -> None:
    host = scratch()
    there = host.root / "there"
    there.mkdir()
    for name, each in zip("ab", before, strict=True):
        each.lay(there / name)
    first = host.tree()
    parts: dict[str, list[Part]] = {name: [] for name in PLACES}
    steps = {name: step(name, {host.name: parts[name]}) for name in PLACES}
    for number, (name, wanted) in enumerate(turns):
        parts[name][:] = [part for place, each in wanted.items() for part in each.parts(str(there / place))]
        with suppress(StepError):  # what cannot be made, such as a file below a file, leaves nothing behind
            host.apply(steps[name], str(number))
    said = all_undone(run(list(steps.values()), [host], host.images_at.parent))
    assert host.tree() == first, said
    assert "changed since" not in said, said
    assert not host.images_at.exists()
