"""Say why a tunnel is down, from what both ends logged.

One end alone cannot tell: an initiator that reads "received NO_PROPOSAL_CHOSEN" may face a responder whose proposals
are the same and whose kernel has no ESP, and "received AUTHENTICATION_FAILED" has seven causes, each of them told only
by the other end's log. So both are read, the responder's before the initiator's, causes before their consequences;
the counters are asked only where both logs are silent. What is not understood is said to be so, and quoted.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from steps.diagnosis import states
from steps.diagnosis.row import Cause, Row, Stage
from steps.diagnosis.side import Diagnosis, Evidence, Quote, Role, Side, found
from steps.diagnosis.table import ROWS
from steps.ipsec.negotiated import narrowed, negotiated_problems

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steps.diagnosis.charon_log import Line

__all__ = ["Cause", "Diagnosis", "Evidence", "Quote", "Role", "Stage", "diagnose"]


def diagnose(
    initiator: Evidence, responder: Evidence, *, traffic_lost: bool = False, only_large: bool = False
) -> Diagnosis:
    """Explain the state of a tunnel from both of its ends.

    Args:
        initiator: What the end says that brings the tunnel up.
        responder: What the other says.
        traffic_lost: Whether packets were sent through the tunnel and did not come back.
        only_large: Whether that was so of large packets alone.
    """
    asking, answering = Side.of("initiator", initiator), Side.of("responder", responder)
    both_up = asking.up and answering.up
    row = _by_rows(asking, answering, while_up=both_up)
    if both_up:
        standing = _standing(asking, answering, traffic_lost=traffic_lost, only_large=only_large)
        return _otherwise_agreed(asking, answering) or row or standing
    if row is not None and row.stage is not Stage.NO_ANSWER:
        return _by_clock(row, asking, answering) or row
    return (
        _by_host(asking, answering)
        or row
        or _one_sided(asking, answering)
        or _by_counters(asking, answering)
        or _unknown(asking, answering)
    )


def _by_rows(asking: Side, answering: Side, *, while_up: bool) -> Diagnosis | None:
    for row in ROWS:
        if while_up and not row.while_up:
            continue
        for here, there in ((answering, asking), (asking, answering)):
            if (matched := _match(row, here, there)) is not None:
                return matched
    return None


def _match(row: Row, here: Side, there: Side) -> Diagnosis | None:
    places = list(row.find([line.text for line in here.lines]))
    reply = there.last(row.reply) if row.reply else None
    excluded = (row.without and here.last(row.without)) or (row.silent and there.last(row.silent))
    unanswered = row.reply and there.lines and reply is None
    if row.at not in ("either", here.role) or len(places) < row.times or excluded or unanswered:
        return None
    place, decisive = places[-1]
    if row.at_last and place < len(here.lines) - 1:
        return None
    words: dict[str, str] = {}
    quoted = {place}
    for pattern in row.also:
        seen = [(at, match) for at, line in enumerate(here.lines) if (match := re.search(pattern, line.text))]
        for at, match in seen[-1:]:
            quoted.add(at)
            words |= _groups(match)
    words |= _groups(decisive)
    quotes = here.quote(*(here.lines[at] for at in sorted(quoted))) + there.quote(reply or there.last(_FAILURE))
    matched = found(row.stage, row.cause, here, there, quotes, **words)
    ends: dict[str, Role | Literal["both"]] = {"here": here.role, "there": there.role, "both": "both"}
    return replace(matched, end=ends[row.blame])


def _groups(match: re.Match[str]) -> dict[str, str]:
    return {key: value for key, value in match.groupdict().items() if value is not None}


_FAILURE: Final = (
    r"received \w+ notify|received DELETE for IKE_SA|no CHILD_SA built|payload missing|retransmit \d|giving up after|"
    r"peer not responding|SIGTERM received"
)
_NOISE: Final = re.compile(
    r"(?:sending|received) packet|generating |parsed |(?:sending|received) (?:cert request|end entity|issuer)|loaded |"
    r"loading [a-z ]+ from|using |checking certificate|certificate status|scheduling |maximum IKE_SA|spawning |rc=|"
    r"providers loaded|dropped capabilities|joining forecast|created TUN|HA config|flags changed|successfully loaded|"
    r"(?:real|user|sys)\s|fetching crl|crl fetching|libcurl",
)

CLOCKS_DIFFER: Final = 300.0
"""Seconds: less does not matter to a certificate that is not brand new."""
_ZONES: Final = timedelta(hours=14)
"""charon writes times as its host's zone has them, and does not say which that is."""


def _by_clock(row: Diagnosis, asking: Side, answering: Side) -> Diagnosis | None:
    """A certificate that is rejected for its dates, by an end whose clock is wrong, and that is valid now."""
    dates = re.search(r"from (.+?)(?: UTC)? to (.+?)(?: UTC)?$", row.words.get("validity", ""))
    for here, there in ((asking, answering), (answering, asking)):
        ahead = here.evidence.ahead
        if dates is None or here.label != row.words["here"] or abs(ahead) < CLOCKS_DIFFER:
            continue
        begins, ends = (datetime.strptime(each, "%b %d %H:%M:%S %Y").replace(tzinfo=UTC) for each in dates.groups())
        if begins - _ZONES <= datetime.now(UTC) <= ends + _ZONES:
            off = f"{_span(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}"
            words = {"rejecting": here.label, "validity": row.words["validity"], "off": off}
            return found(Stage.IKE_SA, states.CLOCK_WRONG, here, there, row.quotes, **words)
    return None


def _span(seconds: float) -> str:
    """A time as people say it."""
    for unit, length in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"


def _by_host(asking: Side, answering: Side) -> Diagnosis | None:
    """An end that cannot hear, whatever is sent to it: its port is taken, or there is no daemon."""
    for here, there in ((answering, asking), (asking, answering)):
        quotes = there.quote(there.last(_FAILURE))
        if here.evidence.holder:
            return found(Stage.CONFIG, states.PORT_HELD, here, there, quotes, holder=here.evidence.holder)
        if here.evidence.active not in {"", "active", "reloading"}:
            return found(Stage.CONFIG, states.DAEMON_DOWN, here, there, quotes, active=here.evidence.active)
    return None


def _otherwise_agreed(asking: Side, answering: Side) -> Diagnosis | None:
    """A tunnel that stands, but is not the one that was planned."""
    for here, there in ((asking, answering), (answering, asking)):
        end = here.evidence.end
        for sa in (sa for sa in here.evidence.sas or () if sa.installed and end is not None):
            if end is not None and (problems := negotiated_problems(end, sa)):
                cause = states.NARROWED if narrowed(end, sa) else states.NOT_AS_PLANNED
                quotes = _established(asking) + _established(answering)
                agreed = found(Stage.CHILD_SA, cause, here, there, quotes, problems="; ".join(problems))
                return replace(agreed, end="both")
    return None


def _established(side: Side) -> list[Quote]:
    return side.quote(side.last(r"CHILD_SA \S+ established with SPIs"))


def _standing(asking: Side, answering: Side, *, traffic_lost: bool, only_large: bool) -> Diagnosis:
    """A tunnel that both ends hold up: all is well, unless its packets go missing."""
    quotes = _established(asking) + _established(answering)
    if not traffic_lost:
        return replace(found(Stage.OK, states.STANDS, asking, answering, quotes), end="both")
    if only_large:
        return replace(found(Stage.TRAFFIC, states.LARGE_LOST, answering, asking, quotes), end="both")
    if asking.evidence.sas is None or answering.evidence.sas is None:
        return replace(found(Stage.TRAFFIC, states.LOST_SOMEWHERE, asking, answering, quotes), end="both")
    for here, there in ((answering, asking), (asking, answering)):
        if _packets(there, "out") and not _packets(here, "in"):
            wrapped = any(child.encapsulated for sa in there.evidence.sas or () for child in sa.installed)
            carrier = "UDP 4500" if wrapped else "ESP (protocol 50)"
            return found(Stage.TRAFFIC, states.ESP_BLOCKED, here, there, quotes, carrier=carrier)
    if not _packets(asking, "out"):
        return found(Stage.TRAFFIC, states.NOTHING_ENTERS, asking, answering, quotes)
    sides = ((answering, asking), (asking, answering))
    here, there = next((each for each in sides if not _packets(each[0], "out")), sides[0])
    return found(Stage.TRAFFIC, states.NO_RETURN, here, there, quotes)


def _packets(side: Side, way: Literal["in", "out"]) -> int:
    children = [child for sa in side.evidence.sas or () for child in sa.installed]
    return sum(child.packets_in if way == "in" else child.packets_out for child in children)


def _one_sided(asking: Side, answering: Side) -> Diagnosis | None:
    if asking.up == answering.up:
        return None
    up, down = (asking, answering) if asking.up else (answering, asking)
    quotes = _established(up) + down.quote(*_telling(down.lines))
    return found(Stage.IKE_SA, states.ONE_SIDED, up, down, quotes)


def _by_counters(asking: Side, answering: Side) -> Diagnosis | None:
    """What the counters tell of packets where no log line does."""
    sent, heard = asking.evidence.counters, answering.evidence.counters
    if sent is None or heard is None:
        return None
    for exchange, cause in (("ike-init", states.NOT_HEARD), ("ike-auth", states.NOT_HEARD_WRAPPED)):
        if sent.get(f"{exchange}-out-req", 0) and not heard.get(f"{exchange}-in-req", 0):
            quotes = asking.quote(*_telling(asking.lines)) + answering.quote(*_telling(answering.lines))
            return found(Stage.NO_ANSWER, cause, answering, asking, quotes)
    return None


_SYMPTOMS: Final = (
    (r"no CHILD_SA built|failed to establish CHILD_SA", Stage.CHILD_SA),
    (r"IKE_SA \S+ established between", Stage.CHILD_SA),
    (r"AUTHENTICATION_FAILED|NO_PROPOSAL_CHOSEN|N\(\w+\) \]|parsed IKE_", Stage.IKE_SA),
    (r"retransmit|giving up|initiating IKE_SA", Stage.NO_ANSWER),
)


def _unknown(asking: Side, answering: Side) -> Diagnosis:
    """Admit it, and show what there is; the stage at least can mostly be told."""
    stages = (stage for pattern, stage in _SYMPTOMS if asking.last(pattern) or answering.last(pattern))
    quotes = asking.quote(*_telling(asking.lines)) + answering.quote(*_telling(answering.lines))
    silent = " and ".join(side.label for side in (asking, answering) if not side.lines)
    shown = f"there is no log of {silent}" if silent else "the last telling lines of both ends follow"
    unknown = found(next(stages, Stage.CONFIG), states.UNKNOWN, asking, answering, quotes, shown=shown)
    return replace(unknown, end="both")


def _telling(lines: Iterable[Line]) -> list[Line]:
    """The last three lines that are more than routine."""
    return [line for line in lines if not _NOISE.match(line.text)][-3:]
