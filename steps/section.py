"""What the steps have in common: each is a section of the procedure for one network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runbook.step import CONTROLLER, Step
from steps.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from steps.network import Network, Site

HOST_ADDRESSES: Final = """\
printf 'host_addresses=%s\\n' "$(ip -o address show | awk '{ sub("/.*", "", $4); printf "%s ", $4 }')"
"""
"""The fact `host_addresses`: every address that the host has. A public one need not be among them (1:1 NAT)."""


def own_addresses(site: Site, facts: Mapping[str, str]) -> list[IPv4Address | IPv6Address]:
    """Those of the site's static addresses that its host has itself."""
    here = facts.get("host_addresses", "").split()
    return [each for each in site.addresses if str(each) in here]


class Section(Step):
    """A step whose work lands on every site."""

    def __init__(self, network: Network, vault: Vault | None = None) -> None:
        """Bind the step to the network that it serves; the steps of one run share one `vault`."""
        self.network = network
        self.vault = vault or Vault(network)

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
