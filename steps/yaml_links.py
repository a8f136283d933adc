"""`links` of `sites.yaml`: which sites are joined, and by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steps.network import Link, Site
from steps.yaml_sites import site_of
from steps.yaml_words import Taken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steps.marked_yaml import Value


def read_links(value: Value, entries: Mapping[str, Value], sites: Mapping[str, Site]) -> tuple[Link, ...]:
    """Read the section; `entries` are the sites as written, each of which must be in a link."""
    taken = Taken()
    links = tuple(_link(each, sites, taken) for each in value.items())
    linked = {name for link in links for name in link.between}
    for name, entry in entries.items():
        if name not in linked:
            raise entry.wrong("no link joins this site to another; add one under `links`, or take the site out")
    return links


def _link(value: Value, sites: Mapping[str, Site], taken: Taken) -> Link:
    keys = value.keys(("between",), ("initiator",))
    between = keys["between"]
    ends = between.items()
    if len(ends) != 2:  # noqa: PLR2004 - a link has two ends
        raise between.wrong(f"a link has two ends, not {len(ends)}; write [one site, the other]")
    here, there = (site_of(end, sites) for end in ends)
    if here == there:
        raise between.wrong(f"joins {here.name} to itself; name another site")
    taken.claim(between, "pair of sites", frozenset((here, there)))
    link = Link((here.name, there.name), _initiator(keys, here, there))
    taken.claim(between, "name of a link", link.name)  # sites `a-b` and `c`, `a` and `b-c`
    if here.dynamic and there.dynamic:
        raise between.wrong("both sites are dynamic, so that neither could find the other; give one an address")
    if not here.dynamic and not there.dynamic and not _families(here) & _families(there):
        raise between.wrong("one site has only IPv4 and the other only IPv6 addresses; add one that both have")
    return link


def _families(site: Site) -> set[int]:
    return {address.version for address in site.addresses}


def _initiator(keys: Mapping[str, Value], here: Site, there: Site) -> str:
    """Return who brings a link up: whoever is named, else the one that cannot be found, else the first."""
    if "initiator" in keys:
        name = keys["initiator"].text()
        if name not in {here.name, there.name}:
            raise keys["initiator"].wrong(f"`{name}` is not an end of this link; write {here.name} or {there.name}")
        return name
    return there.name if there.dynamic else here.name
