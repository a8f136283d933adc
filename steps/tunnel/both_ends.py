"""Asking both ends of a link why it does not work: their logs, counters and security associations since a moment."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from runbook.errors import RunbookError, StepError
from runbook.script import quote
from steps import catalogue
from steps.diagnosis.diagnose import Evidence, diagnose
from steps.ipsec.styles import style_of
from steps.tunnel.pings import LARGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.errors import Entry
    from runbook.target import Target
    from steps.diagnosis.row import Cause
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


def explained(  # noqa: PLR0913 - who, what was tried, and what is to be told around it
    end: End,
    hosts: Mapping[str, Target],
    before: Before,
    entry: Entry = catalogue.TUNNEL_DOWN,
    *,
    said: Sequence[str] = (),
    lost: str = "",
    **words: str,
) -> StepError:
    """Why the link does not work: the stage that fails, the cause, and the telling lines of both ends.

    Args:
        end: The end that initiates.
        hosts: Both ends' targets, by site.
        before: From `listen`, before it was tried.
        entry: What is told around the cause.
        said: What swanctl printed at the initiating end.
        lost: What was lost of the pings through a tunnel that stands.
        words: What the entry's own templates are filled with.
    """
    there = next(each for each in end.network.link_ends(end.link) if each.here == end.there)
    found = diagnose(
        _evidence(end, hosts, before, said),
        _evidence(there, hosts, before),
        traffic_lost=bool(lost),
        only_large=LARGE in lost,
    )
    names = {"initiator": end.here.name, "responder": end.there.name}
    quotes = "".join(f"\n      {names[each.end]}: {each.line}" for each in found.quotes)
    about = {**found.words, "connection": end.connection, "stage": found.stage.value, "quotes": quotes, "lost": lost}
    return StepError(_around(found.cause, entry), **about, **words)


def _around(cause: Cause, entry: Entry) -> Entry:
    """An entry with a cause's templates in its blanks; what these are filled with is known to whoever raises it."""

    def within(part: str) -> str:
        for name, text in cause.parts.items():
            part = part.replace(f"{{{name}}}", text)
        return part

    return replace(
        entry,
        what=within(entry.what),
        likely=within(entry.likely),
        look=within(entry.look),
        go_on=within(entry.go_on),
    )


def _evidence(end: End, hosts: Mapping[str, Target], before: Before, said: Sequence[str] = ()) -> Evidence:
    """What one end has to say since `before`; an end that cannot be asked any more says just that."""
    stood = before[end.here.name]
    style = style_of(end.here)
    since = f"--after-cursor={quote(stood.cursor)}" if stood.cursor else "-n 500"
    asked = (
        f"journalctl -q {style.journal} -o cat {since} || true",
        f"{style.listing} 2>/dev/null || true",
        style.counting,
        f"systemctl is-active {style.unit} || true",
        _HOLDER,
        "date +%s",
    )
    try:
        told = hosts[end.here.name].run("\necho --\n".join(asked), purpose="read strongSwan's log").stdout
        journal, listing, counted, active, holder, clock = told.rsplit("--\n", len(asked) - 1)
        sas = style.associations(listing, end.connection)
        counters = style.counters(counted)
    except RunbookError as error:
        return Evidence(log=[str(error)], swanctl=said, end=end)
    then = stood.counters or {}
    grown = {key: number - then.get(key, 0) for key, number in counters.items()} if stood.counters else None
    return Evidence(
        log=journal.splitlines(),
        swanctl=said,
        end=end,
        sas=sas,
        counters=grown,
        active=active.strip(),
        holder=holder.strip(),
        ahead=int(clock) - time.time(),
    )


_HOLDER: Final = """\
ss -Hulnp 'sport = :500' 2>/dev/null | sed -n 's/.*users:(("\\([^"]*\\)".*/\\1/p' | grep -v -m 1 '^charon' || true"""
"""Shell that names a program that holds UDP 500, where charon does not."""
