"""Say why a tunnel is down, from what both ends logged.

One end alone cannot tell: an initiator that reads "received NO_PROPOSAL_CHOSEN" may face a responder whose proposals
are the same and whose kernel has no ESP, and "received AUTHENTICATION_FAILED" has seven causes, each of them told only
by the other end's log. So both are read, the responder's before the initiator's, causes before their consequences;
the counters are asked only where both logs are silent. What is not understood is said to be so, and quoted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from steps.charon_log import Line, of_connection, read_lines, stands
from steps.diagnosis_row import Row, Stage
from steps.diagnosis_table import ROWS
from steps.negotiated import narrowed, negotiated_problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from steps.negotiated import Sa
    from steps.network import End

__all__ = ["Diagnosis", "Evidence", "Quote", "Role", "Stage", "diagnose"]

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
    """

    log: Sequence[str]
    swanctl: Sequence[str] = ()
    end: End | None = None
    sas: Sequence[Sa] | None = None
    counters: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Quote:
    """A telling line, and whose it is."""

    end: Role
    line: str


@dataclass(frozen=True)
class Diagnosis:
    """Where a tunnel fails, why, at which end that is to be mended and how; with the lines that say so."""

    stage: Stage
    cause_id: str
    end: Literal["initiator", "responder", "both"]
    cause: str
    fix: str
    quotes: tuple[Quote, ...] = ()


@dataclass(frozen=True)
class _Side:
    role: Role
    label: str
    connection: str
    lines: list[Line]
    evidence: Evidence
    up: bool

    def last(self, pattern: str) -> Line | None:
        """The last line that a pattern matches."""
        return next((line for line in reversed(self.lines) if re.search(pattern, line.text)), None)

    def quote(self, *lines: Line | None) -> list[Quote]:
        return [Quote(self.role, line.raw) for line in lines if line is not None]


def diagnose(initiator: Evidence, responder: Evidence, *, traffic_lost: bool = False) -> Diagnosis:
    """Explain the state of a tunnel from both of its ends.

    Args:
        initiator: What the end says that brings the tunnel up.
        responder: What the other says.
        traffic_lost: Whether packets were sent through the tunnel and did not come back.
    """
    asking, answering = _side("initiator", initiator), _side("responder", responder)
    both_up = asking.up and answering.up
    found = _by_rows(asking, answering, while_up=both_up)
    if both_up:
        return _otherwise_agreed(asking, answering) or found or _standing(asking, answering, traffic_lost=traffic_lost)
    return found or _one_sided(asking, answering) or _by_counters(asking, answering) or _unknown(asking, answering)


def _side(role: Role, evidence: Evidence) -> _Side:
    lines = read_lines(evidence.log)
    logged = {line.text for line in lines}
    # swanctl repeats what charon logs while it waits: once is enough.
    lines += [line for line in read_lines(evidence.swanctl) if line.text not in logged]
    label, connection = f"the {role}", "CONNECTION"
    if evidence.end is not None:
        label, connection = evidence.end.here.name, evidence.end.connection
        lines = of_connection(lines, connection)
    up = stands(lines) if evidence.sas is None else any(sa.installed for sa in evidence.sas)
    return _Side(role, label, connection, lines, evidence, up)


def _by_rows(asking: _Side, answering: _Side, *, while_up: bool) -> Diagnosis | None:
    for row in ROWS:
        if while_up and not row.while_up:
            continue
        for here, there in ((answering, asking), (asking, answering)):
            if (found := _match(row, here, there)) is not None:
                return found
    return None


def _match(row: Row, here: _Side, there: _Side) -> Diagnosis | None:
    found = list(row.find([line.text for line in here.lines]))
    reply = there.last(row.reply) if row.reply else None
    excluded = (row.without and here.last(row.without)) or (row.silent and there.last(row.silent))
    unanswered = row.reply and there.lines and reply is None
    if row.at not in ("either", here.role) or len(found) < row.times or excluded or unanswered:
        return None
    place, decisive = found[-1]
    if row.at_last and place < len(here.lines) - 1:
        return None
    known: dict[str, str] = {}
    quoted = {place}
    for pattern in row.also:
        seen = [(at, match) for at, line in enumerate(here.lines) if (match := re.search(pattern, line.text))]
        for at, match in seen[-1:]:
            quoted.add(at)
            known |= _groups(match)
    known |= _groups(decisive)
    words = _Words(known, here=here.label, there=there.label, conn=here.connection)
    quotes = here.quote(*(here.lines[at] for at in sorted(quoted)))
    return Diagnosis(
        stage=row.stage,
        cause_id=row.cause_id,
        end="both" if row.blame == "both" else (here if row.blame == "here" else there).role,
        cause=_sentence(row.cause.format_map(words)),
        fix=_sentence(row.fix.format_map(words)),
        quotes=tuple(quotes + there.quote(reply or there.last(_FAILURE))),
    )


class _Words(dict[str, str]):
    """The words a sentence is filled with; what no line told is said to be unknown."""

    def __missing__(self, key: str) -> str:
        return "not logged"


def _groups(match: re.Match[str]) -> dict[str, str]:
    return {key: value for key, value in match.groupdict().items() if value is not None}


def _sentence(text: str) -> str:
    return "The " + text.removeprefix("the ") if text.startswith("the ") else text


_FAILURE = (
    r"received \w+ notify|received DELETE for IKE_SA|no CHILD_SA built|payload missing|retransmit \d|giving up after|"
    r"peer not responding|SIGTERM received"
)
_NOISE = re.compile(
    r"(?:sending|received) packet|generating |parsed |(?:sending|received) (?:cert request|end entity|issuer)|loaded |"
    r"loading [a-z ]+ from|using |checking certificate|certificate status|scheduling |maximum IKE_SA|spawning |rc=|"
    r"providers loaded|dropped capabilities|joining forecast|created TUN|HA config|flags changed|successfully loaded|"
    r"(?:real|user|sys)\s|fetching crl|crl fetching|libcurl",
)


def _otherwise_agreed(asking: _Side, answering: _Side) -> Diagnosis | None:
    """A tunnel that stands, but is not the one that was planned."""
    for side in (asking, answering):
        end = side.evidence.end
        if end is None or side.evidence.sas is None:
            continue
        for sa in (sa for sa in side.evidence.sas if sa.installed):
            if problems := negotiated_problems(end, sa):
                lost = narrowed(end, sa)
                return Diagnosis(
                    Stage.CHILD_SA,
                    "ts-narrowed" if lost else "not-as-planned",
                    "both",
                    f"The tunnel stands, but not as planned: {'; '.join(problems)}.",
                    "Make local_ts, remote_ts and the proposals of both ends agree, `swanctl --load-all` on both, then "
                    f"`swanctl --terminate --ike {side.connection}` on {side.label} and initiate again.",
                    tuple(_established(asking) + _established(answering)),
                )
    return None


def _established(side: _Side) -> list[Quote]:
    return side.quote(side.last(r"CHILD_SA \S+ established with SPIs"))


def _standing(asking: _Side, answering: _Side, *, traffic_lost: bool) -> Diagnosis:
    """A tunnel that both ends hold up: all is well, unless its packets go missing."""
    quotes = tuple(_established(asking) + _established(answering))
    if not traffic_lost:
        return Diagnosis(Stage.OK, "ok", "both", "The tunnel stands at both ends.", "Nothing is to be done.", quotes)
    cause_id, end, cause, fix = _lost_packets(asking, answering)
    return Diagnosis(Stage.TRAFFIC, cause_id, end, _sentence(cause), _sentence(fix), quotes)


def _lost_packets(asking: _Side, answering: _Side) -> tuple[str, Role | Literal["both"], str, str]:
    """Where between two ends packets get lost, by what each has counted."""
    if asking.evidence.sas is None or answering.evidence.sas is None:
        cause = "The tunnel stands, but packets get lost in it; how far they came was not counted."
        return "traffic-lost", "both", cause, "On both ends: `swanctl --list-sas` while pinging shows where they stop."
    for here, there in ((asking, answering), (answering, asking)):
        if _packets(here, "out") and not _packets(there, "in"):
            cause = f"{here.label} sends ESP through the tunnel and none of it reaches {there.label}."
            fix = f"On {there.label}: let ESP (protocol 50) and UDP 4500 in; or set `encapsulation: always`."
            return "esp-blocked", there.role, cause, fix
    if not _packets(asking, "out"):
        cause = f"Nothing enters the tunnel on {asking.label}: no route in table 220, or a source address outside it."
        fix = f"On {asking.label}: `ip -6 route show table 220`, `ip -6 addr`; then `swanctl --load-all`."
        return "nothing-enters-tunnel", "initiator", cause, fix
    mute = next((side for side in (answering, asking) if not _packets(side, "out")), answering)
    cause = f"Packets reach {mute.label} through the tunnel and no answer comes back into it."
    fix = (
        f"On {mute.label}: rules by policy match on INPUT and FORWARD, `sysctl net.ipv6.conf.all.forwarding`, and the "
        "route back (`ip -6 route show table 220`)."
    )
    return "no-return-traffic", mute.role, cause, fix


def _packets(side: _Side, way: Literal["in", "out"]) -> int:
    children = [child for sa in side.evidence.sas or () for child in sa.installed]
    return sum(child.packets_in if way == "in" else child.packets_out for child in children)


def _one_sided(asking: _Side, answering: _Side) -> Diagnosis | None:
    if asking.up == answering.up:
        return None
    up, down = (asking, answering) if asking.up else (answering, asking)
    return Diagnosis(
        Stage.IKE_SA,
        "one-sided",
        up.role,
        _sentence(f"{up.label} holds the tunnel for standing, {down.label} does not: one of them restarted alone."),
        _sentence(f"On {up.label}: `swanctl --terminate --ike {up.connection}`, then initiate again."),
        tuple(_established(up) + down.quote(*_telling(down.lines))),
    )


def _by_counters(asking: _Side, answering: _Side) -> Diagnosis | None:
    """What the counters tell of packets where no log line does."""
    sent, heard = asking.evidence.counters, answering.evidence.counters
    if sent is None or heard is None:
        return None
    for exchange, port, cause_id in (
        ("ike-init", 500, "peer-init-unreachable"),
        ("ike-auth", 4500, "retransmit-send-timeout"),
    ):
        if sent.get(f"{exchange}-out-req", 0) and not heard.get(f"{exchange}-in-req", 0):
            cause = (
                f"{asking.label} has sent {exchange.upper()} and {answering.label} has got none: UDP {port} is blocked."
            )
            fix = f"On {answering.label}: let UDP 500 and 4500 in by destination port."
            quotes = asking.quote(*_telling(asking.lines)) + answering.quote(*_telling(answering.lines))
            return Diagnosis(Stage.NO_ANSWER, cause_id, "responder", _sentence(cause), _sentence(fix), tuple(quotes))
    return None


_SYMPTOMS = (
    (r"no CHILD_SA built|failed to establish CHILD_SA", Stage.CHILD_SA),
    (r"IKE_SA \S+ established between", Stage.CHILD_SA),
    (r"AUTHENTICATION_FAILED|NO_PROPOSAL_CHOSEN|N\(\w+\) \]|parsed IKE_", Stage.IKE_SA),
    (r"retransmit|giving up|initiating IKE_SA", Stage.NO_ANSWER),
)


def _unknown(asking: _Side, answering: _Side) -> Diagnosis:
    """Admit it, and show what there is; the stage at least can mostly be told."""
    stages = (stage for pattern, stage in _SYMPTOMS if asking.last(pattern) or answering.last(pattern))
    stage = next(stages, Stage.CONFIG)
    quotes = asking.quote(*_telling(asking.lines)) + answering.quote(*_telling(answering.lines))
    silent = " and ".join(side.label for side in (asking, answering) if not side.lines)
    cause = "The tunnel is down, and its cause is not one that is known here"
    return Diagnosis(
        stage,
        "unknown",
        "both",
        f"{cause}; there is no log of {silent}." if silent else f"{cause}; the last telling lines of both ends follow.",
        "Read `journalctl -u strongswan` of both ends from the same attempt, side by side.",
        tuple(quotes),
    )


def _telling(lines: Iterable[Line]) -> list[Line]:
    """The last three lines that are more than routine."""
    return [line for line in lines if not _NOISE.match(line.text)][-3:]
