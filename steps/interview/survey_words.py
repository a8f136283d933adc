"""What was read of a host, told to people: a line for each thing, and whether it is in the runbook's way."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from steps.addressing.address_managers import MANAGERS
from steps.firewalls.firewall import BACKENDS
from steps.interview.reach import Outcome
from steps.ipsec.styles import STYLES
from steps.webserver.nginx_sites import strangers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address, IPv6Address

    from steps.interview.reach import Arrival
    from steps.interview.survey import Survey

TESTED: Final = ("debian bookworm", "debian trixie")
_STAY: Final = "they stay, but for one with the name of a link"
_CLOCKS_APART: Final = 120
"""Seconds of difference from which on certificates may be taken for not yet valid (backdated by an hour at most)."""


@dataclass(frozen=True)
class Told:
    """One thing that was found, in words; `wrong`: something has to be done about it before the tunnel can be."""

    what: str
    text: str
    wrong: bool = False


def words(survey: Survey, now: float) -> list[Told]:
    """What was read of a host; `now` is this machine's clock, in seconds since the epoch."""
    found = [_release(survey), _addresses(survey), _network(survey), _firewall(survey), _web(survey), _ipsec(survey)]
    if survey.kernel_esp is False:
        found.append(Told("kernel", "without ESP: strongSwan has to do it itself (its plugin kernel-libipsec)"))
    if survey.clock is not None and abs(survey.clock - now) > _CLOCKS_APART:
        apart = f"{abs(survey.clock - now) / 60:.0f} minutes {'ahead' if survey.clock > now else 'behind'}"
        found.append(Told("clock", f"{apart} of this machine's: certificates need the right time", wrong=True))
    return found


def _release(survey: Survey) -> Told:
    if survey.system in TESTED:
        return Told("system", survey.release)
    return Told("system", f"{survey.release or 'unknown'}: tested is Debian 12 and 13", wrong=True)


def _addresses(survey: Survey) -> Told:
    if not survey.outer:
        return Told("addresses", "none on an interface with a default route", wrong=True)
    texts = [f"{each.address}{'' if each.public else ' (private: behind a NAT)'}" for each in survey.outer]
    return Told("addresses", f"{', '.join(texts)} on {' and '.join(dict.fromkeys(survey.uplinks.values()))}")


def _network(survey: Survey) -> Told:
    names = survey.managers
    if not names:
        return Told("network", "nothing known keeps its addresses: they would be gone after a reboot", wrong=True)
    if len(names) > 1:
        return Told("network", f"{' and '.join(names)}, both at work: leave its interfaces to one of them", wrong=True)
    if names[0] not in MANAGERS:
        return Told("network", f"{names[0]}, which is not touched: its addresses cannot be added to", wrong=True)
    return Told("network", names[0])


def _firewall(survey: Survey) -> Told:
    names = survey.facts.get("firewall_managers", "").split()
    if len(names) > 1:
        return Told("firewall", f"{' and '.join(names)}, both at work: leave one of them", wrong=True)
    if not _touched(survey):
        return Told("firewall", f"{names[0]}, which is not touched: you will be told what to let through", wrong=True)
    if names:
        return Told("firewall", names[0])
    rules = [key for key in survey.facts if key.startswith(("firewall_live_", "firewall_stored_"))]
    return Told("firewall", "iptables rules of your own" if rules else "none")


def _touched(survey: Survey) -> bool:
    """Whether the firewall is of a kind that the steps change."""
    return survey.facts.get("firewall_managers", "") in BACKENDS


def _web(survey: Survey) -> Told:
    if not survey.web:
        return Told("port 80", "free")
    if others := strangers(survey.web):
        return Told(
            "port 80", f"{others[0]} listens there, where nginx has to answer the certificate authority", wrong=True
        )
    return Told("port 80", "nginx")


def _ipsec(survey: Survey) -> Told:
    if "pluto" in survey.daemons:
        return Told("IPsec", "libreswan runs there, and two such daemons cannot share a host", wrong=True)
    usual, *others = STYLES.values()
    other = next((each for each in others if each.process in survey.daemons), None)
    if survey.connections and survey.daemons:
        by = f" by {other.configured_by}" if other else ""
        return Told("IPsec", f"strongSwan{by}, with the connections {', '.join(survey.connections)}; {_STAY}")
    if other:
        goes = f"the step strongswan puts {usual.packages[0]} in its place"
        return Told("IPsec", f"strongSwan by {other.configured_by}, without connections; {goes}")
    if survey.daemons:
        return Told("IPsec", "strongSwan, without connections")
    if survey.ipsec_files:
        return Told("IPsec", f"not running, but there is {' and '.join(survey.ipsec_files)}")
    return Told("IPsec", "none")


def arrivals(survey: Survey, found: Mapping[IPv4Address | IPv6Address, Arrival]) -> list[Told]:
    """What came of the look at port 80 of a name: each verdict with the addresses that it is true of."""
    verdicts = {address: _arrival(survey, arrival) for address, arrival in found.items()}
    return [
        Told(", ".join(str(address) for address, one in verdicts.items() if one == verdict), *verdict)
        for verdict in dict.fromkeys(verdicts.values())
    ]


def _arrival(survey: Survey, arrival: Arrival) -> tuple[str, bool]:
    """What it means, and whether something has to be done about it."""
    if arrival.outcome is Outcome.ANSWERED:
        return _answered(survey, arrival)
    if arrival.seen and arrival.outcome in {Outcome.REFUSED, Outcome.SILENT}:
        closed = "leads to this host, whose firewall is closed"
        return (
            (f"{closed}; the step web-firewall opens it", False) if _touched(survey) else (f"{closed}: open it", True)
        )
    if arrival.outcome is Outcome.SILENT and arrival.seen is None:
        return "silent; a firewall is closed, on this host or before it", True
    return _ELSE[arrival.outcome]


def _answered(survey: Survey, arrival: Arrival) -> tuple[str, bool]:
    if survey.web and arrival.seen:
        return f"leads to this host, where {survey.web[0]} answers", False
    if survey.web and arrival.seen is None:
        return f"something answers; is it this host's {survey.web[0]}?", False
    return "something else than this host answers; does the name lead elsewhere?", True


_ELSE: Final[Mapping[Outcome, tuple[str, bool]]] = MappingProxyType(
    {
        Outcome.SERVED: ("leads to this host", False),
        Outcome.NO_ROUTE: ("cannot be tried from this machine: no route there", False),
        Outcome.REFUSED: ("refused, and not by this host; forward it, or let the name lead here", True),
        Outcome.SILENT: (
            (
                "nothing arrives at this host; forward it in the router, open it in the provider's "
                "firewall, or let the name lead here"
            ),
            True,
        ),
    },
)
