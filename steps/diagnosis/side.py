"""What is read of each end of a tunnel, and the form of what comes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from string import Formatter
from typing import TYPE_CHECKING, Literal, TypeAlias

from steps.diagnosis.charon_log import Line, of_connection, read_lines, stands
from steps.ipsec.styles import STYLES, style_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steps.diagnosis.row import Cause, Stage
    from steps.ipsec.negotiated import Sa
    from steps.network import End

Role: TypeAlias = Literal["initiator", "responder"]


@dataclass(frozen=True)
class Evidence:
    """What one end has to say.

    Attributes:
        log: Lines of charon's log or journal since the attempt began, oldest first.
        swanctl: What swanctl printed there, loading and initiating.
        end: The end itself, by which other connections' lines are told from this one's.
        sas: Its security associations now; None when they were not read, and the log has to tell.
        counters: Its message counters since the attempt began (`swanctl --counters`); None when they were not read.
        active: What systemd says of charon's unit, in a word; empty when it was not asked.
        holder: A program other than charon that holds UDP 500 there; empty where there is none.
        ahead: Seconds by which its clock is ahead of this machine's.
    """

    log: Sequence[str]
    swanctl: Sequence[str] = ()
    end: End | None = None
    sas: Sequence[Sa] | None = None
    counters: Mapping[str, int] | None = None
    active: str = ""
    holder: str = ""
    ahead: float = 0.0


@dataclass(frozen=True)
class Quote:
    """A telling line, and whose it is."""

    end: Role
    line: str


@dataclass(frozen=True)
class Diagnosis:
    """Where a tunnel fails, why, at which end that is to be mended; with the lines that say so.

    `words` are what the templates of the cause are filled with, but for `{file}`, which only the teller knows.
    """

    stage: Stage
    cause: Cause
    end: Literal["initiator", "responder", "both"]
    words: Mapping[str, str] = field(default_factory=dict)
    quotes: tuple[Quote, ...] = ()

    @property
    def told(self) -> Mapping[str, str]:
        """The cause's parts with their words, for whoever has the description in its usual place."""
        return {name: text.format_map({**self.words, "file": ""}) for name, text in self.cause.parts.items()}


@dataclass(frozen=True)
class Side:
    """One end as it is read: its lines, whether its tunnel stands, and how one speaks of it."""

    role: Role
    evidence: Evidence
    lines: list[Line]
    up: bool

    @classmethod
    def of(cls, role: Role, evidence: Evidence) -> Side:
        """Read an end's evidence."""
        lines = read_lines(evidence.log)
        logged = {line.text for line in lines}
        # swanctl repeats what charon logs while it waits: once is enough.
        lines += [line for line in read_lines(evidence.swanctl) if line.text not in logged]
        if evidence.end is not None:
            lines = of_connection(lines, evidence.end.connection)
        up = stands(lines) if evidence.sas is None else any(sa.installed for sa in evidence.sas)
        return cls(role, evidence, lines, up)

    @property
    def label(self) -> str:
        """Its name."""
        return self.evidence.end.here.name if self.evidence.end else f"the {self.role}"

    def last(self, pattern: str) -> Line | None:
        """The last line that a pattern matches."""
        return next((line for line in reversed(self.lines) if re.search(pattern, line.text)), None)

    def quote(self, *lines: Line | None) -> list[Quote]:
        """These lines as its own, where there are any."""
        return [Quote(self.role, line.raw) for line in lines if line is not None]

    def words(self, prefix: str) -> dict[str, str]:
        """What it is called, and what is typed there in its own style."""
        end = self.evidence.end
        style = style_of(end.here) if end else next(iter(STYLES.values()))
        connection = end.connection if end else "CONNECTION"
        typed = {
            **style.typed,
            "log": f"journalctl -u {style.unit.removesuffix('.service')} -n 50",
            "unit": style.unit.removesuffix(".service"),
            "cas": style.ca_directory,
            "down": style.down(connection),
            "conn": connection,
            "fqdn": end.here.fqdn if end else self.label,
        }
        return {prefix: self.label, **{f"{prefix}_{name}": text for name, text in typed.items()}}


def found(stage: Stage, cause: Cause, here: Side, there: Side, quotes: Sequence[Quote] = (), **words: str) -> Diagnosis:
    """A cause that is to be mended `here`; a word that no line told is said not to be known."""
    known = {**here.words("here"), **there.words("there"), **words}
    wanted = {name for text in cause.parts.values() for _, name, _, _ in Formatter().parse(text) if name}
    missing = dict.fromkeys(wanted - {*known, "file"}, "not logged")
    return Diagnosis(stage, cause, here.role, {**known, **missing}, tuple(quotes))
