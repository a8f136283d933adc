"""The plan that hosts have already, by hand or by an earlier `sites.yaml`: `runbook init` proposes to keep it."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv6Network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steps.interview.survey import Survey

_PREFIX, _SUBNET, _ADDRESS = 48, 64, 128
ULA: Final = IPv6Network("fc00::/7")
_DRAWN: Final = IPv6Network("fd00::/8")


@dataclass(frozen=True)
class PlanThere:
    """What the tunnels that are there carry on their hosts' own sides; nothing where they do not make one plan."""

    prefix: str = ""
    link_subnet: str = ""
    subnets: Mapping[str, int] = field(default_factory=dict)
    """Each site's, by its SSH target."""


def plan_there(surveys: Mapping[str, Survey]) -> PlanThere:
    """The plan of these hosts: one prefix, a subnet for each, and addresses in one further subnet for the links."""
    carried = {ssh: [each for each in survey.carried if _of_a_plan(each)] for ssh, survey in surveys.items()}
    prefixes = {each.supernet(new_prefix=_PREFIX) for found in carried.values() for each in found}
    if len(prefixes) != 1:
        return PlanThere()
    subnets = {ssh: [each for each in found if each.prefixlen == _SUBNET] for ssh, found in carried.items()}
    own = {ssh: subnet_id(found[0]) for ssh, found in subnets.items() if found}
    links = {subnet_id(each) for found in carried.values() for each in found if each.prefixlen == _ADDRESS}
    links -= {0, *own.values()}
    link = f"{links.pop():x}" if len(links) == 1 else ""
    return PlanThere(str(prefixes.pop()), link, own if len(set(own.values())) == len(own) else {})


def _of_a_plan(network: IPv6Network) -> bool:
    """Whether it is part of a private /48 that one draws for oneself (RFC 4193, 3.1: the half with fd)."""
    return network.prefixlen >= _PREFIX and network.subnet_of(_DRAWN)


def subnet_id(network: IPv6Network) -> int:
    """The sixteen bits behind its prefix."""
    return int(network.network_address) >> _SUBNET & 0xFFFF
