"""`links` of `sites.yaml`: which sites are joined, and by whom."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Final

from steps.description.marked_yaml import Keys
from steps.description.sites import site_of
from steps.description.words import Taken
from steps.network import Link, Site

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steps.description.marked_yaml import Value


PAIR: Final = Keys(
    {"between": "The two sites that a tunnel joins: `[home, vps4]`."},
    {"initiator": "The one that brings the tunnel up: by default the one whose address is `dynamic`, else the first."},
)
STAR: Final = Keys(
    {
        "hub": "A site that is joined to each of its spokes, and through which they reach each other.",
        "spokes": "Those sites, two or more: `[home, vps5]`.",
    }
)


def read_links(value: Value, entries: Mapping[str, Value], sites: Mapping[str, Site]) -> tuple[Link, ...]:
    """Read the section; `entries` are the sites as written, each of which must be in a link."""
    taken = Taken()
    links = tuple(link for each in value.items() for link in _entry(each, sites, taken))
    linked = {name for link in links for name in link.between}
    for name, entry in entries.items():
        if name not in linked:
            raise entry.wrong("no link joins this site to another; add one under `links`, or take the site out")
    return links


def _entry(value: Value, sites: Mapping[str, Site], taken: Taken) -> Sequence[Link]:
    """Read one entry: two sites, or a hub with its spokes."""
    if "hub" in value.entries():
        return _star(value, sites, taken)
    return [_pair(value, sites, taken)]


def _star(value: Value, sites: Mapping[str, Site], taken: Taken) -> Sequence[Link]:
    keys = value.keys(STAR)
    hub, spokes = site_of(keys["hub"], sites), keys["spokes"].items()
    taken.claim(keys["hub"], "hub", hub.name)
    if len(spokes) == 1:
        raise keys["spokes"].wrong("a hub has at least two spokes; to join two sites, write `between: [ONE, OTHER]`")
    links = [_link(each, hub, site_of(each, sites), taken, hub=hub.name) for each in spokes]
    for one, other in combinations(spokes, 2):
        taken.claim(other, "pair of sites", frozenset((sites[one.text()], sites[other.text()])))
    return links


def _pair(value: Value, sites: Mapping[str, Site], taken: Taken) -> Link:
    keys = value.keys(PAIR)
    between = keys["between"]
    ends = between.items()
    if len(ends) != 2:  # noqa: PLR2004 - a link has two ends
        raise between.wrong(f"a link has two ends, not {len(ends)}; write [one site, the other]")
    here, there = (site_of(end, sites) for end in ends)
    link = _link(between, here, there, taken)
    return replace(link, initiator=_initiator(keys["initiator"], link)) if "initiator" in keys else link


def _link(value: Value, here: Site, there: Site, taken: Taken, hub: str = "") -> Link:
    """Join two sites; who brings it up is the one that cannot be found, else the first."""
    if here == there:
        raise value.wrong(f"joins {here.name} to itself; name another site")
    taken.claim(value, "pair of sites", frozenset((here, there)))
    link = Link((here.name, there.name), there.name if there.dynamic else here.name, hub)
    taken.claim(value, "name of a link", link.name)  # sites `a-b` and `c`, `a` and `b-c`
    if here.dynamic and there.dynamic:
        raise value.wrong(
            "both sites are dynamic, so that neither could find the other; give one an address, "
            "or join both to a third that has one: hub: THIRD, spokes: [ONE, OTHER]"
        )
    if not here.dynamic and not there.dynamic and not _families(here) & _families(there):
        raise value.wrong("one site has only IPv4 and the other only IPv6 addresses; add one that both have")
    return link


def _families(site: Site) -> set[int]:
    return {address.version for address in site.addresses}


def _initiator(value: Value, link: Link) -> str:
    name = value.text()
    if name not in link.between:
        raise value.wrong(f"`{name}` is not an end of this link; write {' or '.join(link.between)}")
    return name
