"""The ways of configuring strongSwan: another one is a module with its `Style`, and its line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from steps.ipsec.stroke_style import Stroke
from steps.ipsec.swanctl_style import Swanctl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steps.ipsec.style import Style
    from steps.network import Site

STYLES: Final[Mapping[str, Style]] = MappingProxyType(
    {
        "swanctl": Swanctl(),
        "stroke": Stroke(),
    },
)
"""By the name that `ipsec.config` of sites.yaml has for it; the first is the default."""


MEANINGS: Final = {name: f"by {style.configured_by}" for name, style in STYLES.items()}


def style_of(site: Site) -> Style:
    """How a site's strongSwan is configured."""
    return STYLES[site.config]


def others(style: Style) -> Sequence[Style]:
    """The styles that a site with this one does not have."""
    return [each for each in STYLES.values() if each is not style]
