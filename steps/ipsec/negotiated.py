"""What two ends have agreed on, from `swanctl --list-sas --pretty`, held against what was planned.

"Established" is not "as intended": the article's own tunnel ran AES-CBC while its configuration said GCM, and a
responder that narrows the selectors loses a whole subnet without a word in any log (RFC 7296, section 2.9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from steps.ipsec.proposals import Proposal, read_proposal
from steps.ipsec.vici import number_of, sections_of, selectors_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steps.ipsec.vici import Event, Section
    from steps.network import End


@dataclass(frozen=True)
class Suite:
    """The algorithms that are in use, by their listed names; empty where a kind is not listed.

    A child has no `key_exchange` until its first rekeying: its first keys come out of the IKE SA's.
    """

    encryption: str
    integrity: str = ""
    prf: str = ""
    key_exchange: str = ""
    further: tuple[tuple[int, str], ...] = ()

    def __str__(self) -> str:
        """As `swanctl --list-sas` writes it: `AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384`."""
        kinds = (self.encryption, self.integrity, self.prf, self.key_exchange)
        return "/".join([kind for kind in kinds if kind] + [f"KE{number}_{name}" for number, name in self.further])


@dataclass(frozen=True)
class ChildSa:
    """One tunnel in place; `bytes_*` and `packets_*` count what has gone through it so far."""

    name: str
    unique_id: str
    state: str
    mode: str
    encapsulated: bool
    suite: Suite
    local_selectors: frozenset[str]
    remote_selectors: frozenset[str]
    spi_in: str
    spi_out: str
    bytes_in: int
    bytes_out: int
    packets_in: int
    packets_out: int


@dataclass(frozen=True)
class Sa:
    """One IKE SA and the tunnels that it keeps."""

    name: str
    unique_id: str
    state: str
    initiator: bool
    local_host: str
    remote_host: str
    local_id: str
    remote_id: str
    behind_nat: bool
    suite: Suite
    children: tuple[ChildSa, ...]

    @property
    def proposal(self) -> str:
        """What the IKE SA itself is protected by: `AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384`."""
        return str(self.suite)

    @property
    def installed(self) -> tuple[ChildSa, ...]:
        """The tunnels that carry traffic: one that is to get new keys does until its successor stands beside it."""
        return tuple(child for child in self.children if child.state in {"INSTALLED", "REKEYING"})


def security_associations(events: Iterable[Event], name: str) -> list[Sa]:
    """Take the IKE SAs of one connection out of `--list-sas --pretty`; none when it is down."""
    return [
        _sa(name, found)
        for event in events
        if event.name == "list-sa" and (found := sections_of(event.body).get(name)) is not None
    ]


def _sa(name: str, found: Section) -> Sa:
    return Sa(
        name=name,
        unique_id=text_of(found, "uniqueid"),
        state=text_of(found, "state"),
        initiator=text_of(found, "initiator") == "yes",
        local_host=text_of(found, "local-host"),
        remote_host=text_of(found, "remote-host"),
        local_id=text_of(found, "local-id"),
        remote_id=text_of(found, "remote-id"),
        behind_nat=text_of(found, "nat-any") == "yes",
        suite=_suite(found),
        children=tuple(_child_sa(child) for child in sections_of(sections_of(found).get("child-sas", {})).values()),
    )


def _child_sa(found: Section) -> ChildSa:
    return ChildSa(
        name=text_of(found, "name"),
        unique_id=text_of(found, "uniqueid"),
        state=text_of(found, "state"),
        mode=text_of(found, "mode"),
        encapsulated=text_of(found, "encap") == "yes",
        suite=_suite(found),
        local_selectors=selectors_of(found, "local-ts"),
        remote_selectors=selectors_of(found, "remote-ts"),
        spi_in=text_of(found, "spi-in"),
        spi_out=text_of(found, "spi-out"),
        bytes_in=number_of(found, "bytes-in"),
        bytes_out=number_of(found, "bytes-out"),
        packets_in=number_of(found, "packets-in"),
        packets_out=number_of(found, "packets-out"),
    )


def _suite(found: Section) -> Suite:
    def sized(kind: str) -> str:
        size = text_of(found, f"{kind}-keysize")
        return text_of(found, f"{kind}-alg") + (f"-{size}" if size else "")

    further = ((number, text_of(found, f"ake{number}")) for number in range(1, 8))
    return Suite(
        encryption=sized("encr"),
        integrity=sized("integ"),
        prf=text_of(found, "prf-alg"),
        key_exchange=text_of(found, "dh-group"),
        further=tuple((number, name) for number, name in further if name),
    )


def negotiated_problems(end: End, sa: Sa) -> list[str]:
    """Say in words where what was agreed is not what was planned for this end; nothing when it is.

    Raises:
        ValueError: The plan holds a proposal that `read_proposal` cannot read.
    """
    ipsec = end.network.ipsec
    problems = []
    if sa.state not in {"ESTABLISHED", "REKEYING"}:
        problems.append(f"the IKE SA {sa.name} is {sa.state or 'in no state'}, not ESTABLISHED")
    ids = (
        (sa.local_id, end.here.fqdn, "this end calls itself"),
        (sa.remote_id, end.there.fqdn, "the other end proved"),
    )
    problems += [f"{what} {found!r}, planned is {planned!r}" for found, planned, what in ids if found != planned]
    problems += _suite_problems("the IKE SA", sa.suite, ipsec.ike_proposals, child=False)
    children = [child for child in sa.installed if child.name == end.connection]
    if not children:
        states = ", ".join(f"{child.name} {child.state}" for child in sa.children) or "none"
        problems.append(f"no tunnel {end.connection} is INSTALLED (there: {states})")
    for child in children:
        problems += _child_problems(end, child)
    return problems


def narrowed(end: End, sa: Sa) -> bool:
    """Whether the other end took less than was asked for: a planned selector is missing (RFC 7296, section 2.9)."""
    planned = frozenset(map(str, end.local_ts)), frozenset(map(str, end.remote_ts))
    return any(planned[0] - child.local_selectors or planned[1] - child.remote_selectors for child in sa.installed)


def _child_problems(end: End, child: ChildSa) -> list[str]:
    ipsec = end.network.ipsec
    problems = _suite_problems("the tunnel", child.suite, ipsec.esp_proposals, child=True)
    if child.mode != "TUNNEL":
        problems.append(f"the tunnel runs in mode {child.mode}, planned is TUNNEL")
    if ipsec.encapsulation == "always" and not child.encapsulated:
        problems.append("ESP is not wrapped in UDP, though encapsulation is planned as always")
    local, remote = frozenset(map(str, end.local_ts)), frozenset(map(str, end.remote_ts))
    problems += _selector_problems("local", local, child.local_selectors)
    return problems + _selector_problems("remote", remote, child.remote_selectors)


def _selector_problems(side: str, planned: frozenset[str], agreed: frozenset[str]) -> list[str]:
    if planned == agreed:
        return []
    lost, extra = sorted(planned - agreed), sorted(agreed - planned)
    words = [f"{', '.join(lost)} was narrowed away"] if lost else []
    words += [f"{', '.join(extra)} came in"] if extra else []
    return [
        f"{side} selectors: {' and '.join(words)}; agreed are {_names(agreed)}, planned are {_names(planned)}",
    ]


def _names(selectors: frozenset[str]) -> str:
    return ", ".join(sorted(selectors)) or "none"


def _suite_problems(what: str, suite: Suite, planned: tuple[str, ...], *, child: bool) -> list[str]:
    plans = [read_proposal(text) for text in planned]
    if any(fits(suite, plan, child=child) for plan in plans):
        return []
    wanted = [f"{plan.text} ({plan.listed})" if len(plans) == 1 else plan.text for plan in plans]
    return [f"{what} runs {suite}, planned is {' or '.join(wanted)}"]


def fits(suite: Suite, plan: Proposal, *, child: bool) -> bool:
    """Whether an agreed suite is one that the proposal allows."""
    if suite.encryption not in plan.encryption or (suite.integrity or None) not in (plan.integrity or {None}):
        return False
    if child:
        # Nothing to see of the key exchange before the first rekeying, and of PRFs never.
        return not suite.key_exchange or (suite.key_exchange in plan.key_exchange and _further_fit(suite, plan))
    return suite.prf in plan.prf and suite.key_exchange in plan.key_exchange and _further_fit(suite, plan)


def _further_fit(suite: Suite, plan: Proposal) -> bool:
    agreed = dict(suite.further)
    return all(agreed.get(number, "KE_NONE") in plan.further.get(number, {"KE_NONE"}) for number in range(1, 8))
