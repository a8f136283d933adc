"""The form of one row of the diagnosis table: a cause of failure, and the lines by which it gives itself away."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Stage(Enum):
    """How far a tunnel gets before it fails."""

    CONFIG = "configuration"
    NO_ANSWER = "no answer"
    IKE_SA = "IKE SA"
    CHILD_SA = "CHILD SA"
    TRAFFIC = "traffic"
    OK = "ok"


@dataclass(frozen=True)
class Cause:
    """Why a tunnel is not as it should be, in the parts in which it is told (`runbook.errors.Entry`).

    Each part is a template. `{here}` is the end that it shows at, `{there}` the other; `{here_log}` and the like are
    what is typed there, in that end's own style (`Side.words`); the groups of a row's patterns; `{file}` as in an
    entry.

    Attributes:
        id: Its canonical name: strongSwan's vici alert type, where there is one.
        what: What happened, in one sentence.
        likely: The likely cause.
        look: The command to look closer, and on which host.
        fix: What to do about it; the command to go on follows.
    """

    id: str
    what: str
    likely: str
    look: str
    fix: str

    @property
    def parts(self) -> dict[str, str]:
        """The templates, by name."""
        return {"what": self.what, "likely": self.likely, "look": self.look, "fix": self.fix}


def put_back(step: str) -> str:
    """What is to be done where something is not as sites.yaml says: the next run does it, and the audit shows it."""
    return f"let the next run put back what is otherwise (runbook audit --step {step}{{file}} shows it)"


@dataclass(frozen=True)
class Row:
    """One cause, and how it shows.

    Attributes:
        number: The row's number in the list.
        stage: Where the tunnel fails.
        lines: Patterns, any of which decides.
        cause: What they mean.
        blame: Where it is to be mended.
        at: Which end can log it.
        also: Further patterns at the same end, quoted where they are found, their groups known to the sentence too.
        reply: What the other end says in consequence. The row holds only with it, unless that end has no log.
        without: What this end must not say, for the line to mean this.
        silent: What the other end must not say, likewise.
        at_last: Whether the line must be the end's last one: harmless, unless nothing comes after it.
        times: How often the line must be there.
        while_up: Whether it is a fault of a tunnel that stands, too.
    """

    number: int
    stage: Stage
    lines: tuple[str, ...]
    cause: Cause
    blame: Literal["here", "there", "both"] = "here"
    at: Literal["initiator", "responder", "either"] = "either"
    also: tuple[str, ...] = ()
    reply: str = ""
    without: str = ""
    silent: str = ""
    at_last: bool = False
    times: int = 1
    while_up: bool = False

    def find(self, lines: Sequence[str]) -> Iterator[tuple[int, re.Match[str]]]:
        """Find the places where the row's own patterns match, among the bare lines of one end, in order."""
        for place, line in enumerate(lines):
            for pattern in self.lines:
                if match := re.search(pattern, line):
                    yield place, match
                    break
