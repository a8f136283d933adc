"""Asking both ends of a link why it does not work: their logs, counters and security associations since a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.errors import RunbookError, StepError
from runbook.script import quote
from steps import catalogue
from steps.diagnosis import Evidence, diagnose
from steps.styles import style_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.target import Target
    from steps.network import End, Site


def listening(site: Site) -> str:
    """Shell that notes where one end stands."""
    return f"journalctl -q -n 0 --show-cursor | sed -n 's/^-- cursor: //p'\necho --\n{style_of(site).counting}"


@dataclass(frozen=True)
class Moment:
    """How far one end's journal (its own cursor, for clocks differ) and its message counters had come."""

    cursor: str = ""
    counters: Mapping[str, int] | None = None


Before = dict[str, Moment]
"""Both ends' moments before something was tried, by site."""


def listen(end: End, hosts: Mapping[str, Target]) -> Before:
    """Note where both ends stand, so that what they say afterwards can be told from what they said before."""
    moments = {}
    for site in (end.here, end.there):
        try:
            said = hosts[site.name].run(listening(site), purpose="note where the log stands").stdout
            moments[site.name] = moment(site, said)
        except RunbookError:
            moments[site.name] = Moment()
    return moments


def moment(site: Site, said: str) -> Moment:
    """What `listening` has printed there."""
    cursor, _, listed = said.partition("--\n")
    return Moment(cursor.strip(), style_of(site).counters(listed))


def explained(
    end: End, hosts: Mapping[str, Target], before: Before, *, said: Sequence[str] = (), traffic_lost: bool = False
) -> StepError:
    """Why the link does not work: the stage that fails, the cause, and the telling lines of both ends.

    Args:
        end: The end that initiates.
        hosts: Both ends' targets, by site.
        before: From `listen`, before it was tried.
        said: What swanctl printed at the initiating end.
        traffic_lost: The tunnel stands, and packets are lost all the same.
    """
    there = next(each for each in end.network.link_ends(end.link) if each.here == end.there)
    found = diagnose(_evidence(end, hosts, before, said), _evidence(there, hosts, before), traffic_lost=traffic_lost)
    names = {"initiator": end.here.name, "responder": end.there.name}
    quotes = "".join(f"\n      {names[each.end]}: {each.line}" for each in found.quotes)
    mended = there if found.end == "responder" else end
    return StepError(
        catalogue.TUNNEL_DOWN,
        connection=end.connection,
        stage=found.stage.value,
        cause=found.cause,
        quotes=quotes,
        here=end.here.name,
        there=end.there.name,
        fix=style_of(mended.here).words(found.fix),
    )


def _evidence(end: End, hosts: Mapping[str, Target], before: Before, said: Sequence[str] = ()) -> Evidence:
    """What one end has to say since `before`; an end that cannot be asked any more says just that."""
    stood = before[end.here.name]
    style = style_of(end.here)
    since = f"--after-cursor={quote(stood.cursor)}" if stood.cursor else "-n 500"
    script = "\n".join(
        [
            f"journalctl -q {style.journal} -o cat {since} || true",
            "echo --",
            f"{style.listing} 2>/dev/null || true",
            "echo --",
            style.counting,
        ]
    )
    try:
        said_there = hosts[end.here.name].run(script, purpose="read strongSwan's log").stdout
        rest, _, counted = said_there.rpartition("--\n")
        journal, _, listing = rest.rpartition("--\n")
        sas = style.associations(listing, end.connection)
        counters = style.counters(counted)
    except RunbookError as error:
        return Evidence(log=[str(error)], swanctl=said, end=end)
    then = stood.counters or {}
    grown = {key: number - then.get(key, 0) for key, number in counters.items()} if stood.counters else None
    return Evidence(log=journal.splitlines(), swanctl=said, end=end, sas=sas, counters=grown)
