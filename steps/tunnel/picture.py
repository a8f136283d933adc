"""A network drawn in a terminal: its sites, what each has, and the tunnels between them.

Side by side where there are two sites and room for both, else one below the other; in box drawing, or in ASCII.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steps.network import Network, Site

_ASCII: Final = str.maketrans("┌┐└┘─│┬┴╪╫═║", "++++-|++##=#")
_SHORTEST_TUNNEL: Final = 9
_NARROWEST: Final = 30
_LABELS: Final = 7


def picture(network: Network, width: int = 80, *, unicode: bool = True) -> list[str]:
    """Lines of at most `width` columns, where that is at least 30; only ASCII unless `unicode`."""
    boxes = [_box(network, site) for site in network.sites.values()]
    lines = _beside(network, boxes, width) if len(boxes) == 2 else []  # noqa: PLR2004 - the ends of one tunnel
    lines = lines or _below(network, boxes, max(width, _NARROWEST))
    return [line.rstrip() if unicode else line.rstrip().translate(_ASCII) for line in lines]


@dataclass(frozen=True)
class _Box:
    """A site's name and what stands in its box."""

    title: str
    rows: Sequence[tuple[str, str]]

    @property
    def width(self) -> int:
        """How wide its box is, frame included, so that nothing is broken."""
        return max(len(self.title) + 10, *(len(text) + _LABELS + 4 for _, text in self.rows))

    def lines(self, width: int) -> list[str]:
        inner = width - 4
        body: list[str] = []
        for label, text in self.rows:
            pieces = wrap(text, inner - _LABELS, break_on_hyphens=False) or [""]
            body.append(f"{label:{_LABELS}}{pieces[0]}")
            body += [f"{'':{_LABELS}}{piece}" for piece in pieces[1:]]
        title = self.title[: width - 10]
        return [
            f"┌─ {title} {'─' * (width - 5 - len(title))}┐",
            *(f"│ {line:{inner}} │" for line in body),
            f"└{'─' * (width - 2)}┘",
        ]


def _box(network: Network, site: Site) -> _Box:
    outside = [*map(str, site.addresses)] or ["dynamic"]
    rows = [
        ("name", site.fqdn),
        *(("at" if not number else "", each) for number, each in enumerate(outside)),
        ("link", str(network.link_address(site))),
        *(
            ("subnet" if not number else "", str(each.network))
            for number, each in enumerate(network.own_addresses(site))
        ),
    ]
    if site.lan_interface:
        rows.append(("LAN", f"on {site.lan_interface}"))
    return _Box(site.name, rows)


def _beside(network: Network, boxes: Sequence[_Box], width: int) -> list[str]:
    """Two boxes with the tunnel between them; nothing where there is no room."""
    one, other = (min(box.width, max(box.width for box in boxes)) for box in boxes)
    room = width - one - other
    if room < _SHORTEST_TUNNEL or not network.links:
        return []
    left, right = boxes[0].lines(one), boxes[1].lines(other)
    height = max(len(left), len(right))
    left, right = _stretched(left, one, height), _stretched(right, other, height)
    link = network.links[0]
    inner = min(room, 24)
    middle = height // 2
    between = {
        middle - 1: ("IPsec tunnel" if inner > len("IPsec tunnel") else "IPsec").center(inner),
        middle: "═" * inner,
        middle + 1: f"{link.initiator} begins".center(inner) if len(link.initiator) + 7 <= inner else "",
    }
    return [
        f"{_opened(a, -1) if row == middle else a}{between.get(row, ''):{inner}}{_opened(b, 0) if row == middle else b}"
        for row, (a, b) in enumerate(zip(left, right, strict=True))
    ]


def _stretched(lines: list[str], width: int, height: int) -> list[str]:
    return [*lines[:-1], *(f"│{'':{width - 2}}│" for _ in range(height - len(lines))), lines[-1]]


def _opened(line: str, at: int) -> str:
    """A box's line with the tunnel going through its frame."""
    return f"{line[:-1]}╪" if at else f"╪{line[1:]}"


def _below(network: Network, boxes: Sequence[_Box], width: int) -> list[str]:
    """One box below the other; the tunnel between the only two, a list of those between more."""
    wide = min(width, max(box.width for box in boxes))
    drawn = [box.lines(wide) for box in boxes]
    if len(boxes) == 2 and network.links:  # noqa: PLR2004 - as above
        at = wide - 5
        drawn[0][-1] = f"{drawn[0][-1][:at]}╫{drawn[0][-1][at + 1 :]}"
        drawn[1][0] = f"{drawn[1][0][:at]}╫{drawn[1][0][at + 1 :]}"
        words = wrap(f"IPsec tunnel, {network.links[0].initiator} begins", at - 2)
        return [*drawn[0], *(f"{each:>{at - 2}}  ║" for each in words), *drawn[1]]
    longest = max((len(link.between[0]) for link in network.links), default=0)
    tunnels = [f"{link.between[0]:>{longest}} ═══ {link.between[1]}, {link.initiator} begins" for link in network.links]
    return [*(line for box in drawn for line in box), *tunnels]
