"""The tunnels as they are now, asked of the daemons at both ends; nothing is brought up by asking."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.errors import RunbookError
from steps.ipsec.negotiated import negotiated_problems
from steps.ipsec.styles import style_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook.target import Target
    from steps.ipsec.negotiated import Sa
    from steps.network import End, Link, Network


@dataclass(frozen=True)
class LiveEnd:
    """One end's view of a tunnel."""

    site: str
    problem: str = ""
    """Why it does not carry what was planned; empty when it does."""
    ike: str = ""
    esp: str = ""
    in_udp: bool = False
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def up(self) -> bool:
        """Whether it carries traffic, and as planned."""
        return not self.problem


@dataclass(frozen=True)
class LiveLink:
    """A link with both ends' views of its tunnel; a host that cannot be asked is a problem of its end."""

    link: Link
    ends: tuple[LiveEnd, LiveEnd]

    @property
    def up(self) -> bool:
        """Whether both ends see it up, and as planned."""
        return all(end.up for end in self.ends)


def live_links(network: Network, hosts: Mapping[str, Target]) -> list[LiveLink]:
    """Ask every site's daemon, side by side; `hosts` are those that can be reached."""

    def ask(name: str) -> str:
        try:
            listing = style_of(network.sites[name]).listing
            script = f"{{ {listing}\n}} 2>/dev/null || echo 'no daemon'"
            return hosts[name].run(script, purpose="look at the tunnels").stdout
        except RunbookError as error:
            return f"! {error}"

    asked = [name for name in network.sites if name in hosts]
    with ThreadPoolExecutor(max_workers=max(len(asked), 1)) as pool:
        said = dict(zip(asked, pool.map(ask, asked), strict=True))
    return [LiveLink(link, tuple(_end(end, said) for end in network.link_ends(link))) for link in network.links]  # type: ignore[arg-type]  # a pair gives a pair


def _end(end: End, said: Mapping[str, str]) -> LiveEnd:
    here = end.here.name
    listing = said.get(here, "! the host could not be reached")
    if listing.startswith("! "):
        return LiveEnd(here, listing[2:])
    if listing.endswith("no daemon\n"):
        return LiveEnd(here, "charon does not answer")
    found = style_of(end.here).associations(listing, end.connection)
    if not found:
        return LiveEnd(here, "the tunnel is down")
    best = min(found, key=lambda sa: len(negotiated_problems(end, sa)))
    return _seen(end, best)


def _seen(end: End, sa: Sa) -> LiveEnd:
    problems = negotiated_problems(end, sa)
    child = sa.installed[-1] if sa.installed else None
    return LiveEnd(
        site=end.here.name,
        problem=problems[0] if problems else "",
        ike=sa.proposal,
        esp=str(child.suite) if child else "",
        in_udp=bool(child and child.encapsulated),
        bytes_in=sum(each.bytes_in for each in sa.installed),
        bytes_out=sum(each.bytes_out for each in sa.installed),
    )
