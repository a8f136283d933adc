"""What the steps have in common: each is a section of the procedure for one network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runbook.step import CONTROLLER, Step
from steps.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steps.network import Network, Site

RELEASE_FACTS: Final = """\
. /etc/os-release
printf 'release=%s\\nversion=%s\\n' "$ID" "${VERSION_ID:-}"
"""


class Section(Step):
    """A step whose work lands on every site."""

    def __init__(self, network: Network) -> None:
        """Bind the step to the network that it serves."""
        self.network = network
        self.vault = Vault(network)

    def targets(self) -> Sequence[str]:
        """Every site."""
        return tuple(self.network.sites)

    def site(self, target: str) -> Site:
        """The site that a target is the host of."""
        return self.network.sites[target]


class ControllerSection(Section):
    """A step whose work lands on this machine, for every site."""

    def targets(self) -> Sequence[str]:
        """This machine."""
        return (CONTROLLER,)


def lan_target(site: Site) -> str:
    """The name of the target on a site's LAN that proves the site to be a gateway."""
    return f"{site.name}'s LAN host"
