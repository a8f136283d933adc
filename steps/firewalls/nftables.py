"""Plain nftables: rules in the admin's own chains, in force and in /etc/nftables.conf, which nftables.service loads.

A packet must pass every chain that filters at its hook, so each of them that would drop it gets a rule; one in force
that the file does not have is somebody else's, and is named. A rule that lets new connections in goes to the chain to
which the admin's own rules send new connections, else to the one at the hook.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from runbook.resources.nftables import LISTING, SURVEY, Chain, LiveNftRules, NftRule, StoredNftRules, parse_survey
from runbook.resources.service import at_work
from runbook.step import Part, Told, Verdict
from steps.firewalls.openings import SOUGHT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.resources.iptables import Family
    from steps.firewalls.openings import Opening
    from steps.inherited import OutdatedRules

FILE: Final = "/etc/nftables.conf"
_IP: Final[dict[Family, str]] = {4: "ip", 6: "ip6"}
_TUNNEL: Final = {"": (), "in": ("meta ipsec exists",), "out": ("rt ipsec exists",)}


class Nftables:
    """Rules of nftables, by means of the service that Debian's package brings."""

    at_work: str = at_work("nftables")
    stored: Sequence[str] = (FILE,)
    way_in: None = None
    facts: str = f"""\
firewall_survey() {{ {SOUGHT} {SURVEY}; }}
printf 'firewall_live=%s\\n' "$({LISTING} 2>/dev/null | firewall_survey)"
if [ -f {FILE} ]; then
    printf 'firewall_stored=%s\\n' "$(firewall_survey <{FILE})"
    firewall_damage=$(nft -c -f {FILE} 2>&1) ||
        printf 'firewall_damage=%s\\n' "$(printf '%s' "$firewall_damage" | head -n 1)"
fi
! systemctl is-enabled --quiet nftables 2>/dev/null || printf 'firewall_loader=nftables.service\\n'
"""
    """The chains in force and in the file, whether nft takes the file, and whether it is loaded at boot."""

    def parts(self, purpose: str, openings: Sequence[Opening], facts: Mapping[str, str]) -> Sequence[Part]:
        """Our rules in force, and in the file, in each chain that would drop what they let through."""
        if "firewall_stored" not in facts:
            return [Told(f"firewall for {purpose}", Verdict.UNKNOWN, f"nftables is at work, but there is no {FILE}")]
        if "firewall_damage" in facts:
            why = f"nft does not take {FILE} as it is, so it is left alone: {facts['firewall_damage']}"
            return [Told(f"firewall {FILE} for {purpose}", Verdict.UNKNOWN, why)]
        live, stored = parse_survey(facts.get("firewall_live", "")), parse_survey(facts["firewall_stored"])
        ours = [each for each in live if _names(each) in map(_names, stored)]
        found = [_foreign(purpose, each, openings) for each in live if each not in ours and _dropped(each, openings)]
        kept, in_force = _rules(openings, stored), _rules(openings, ours)
        note = "" if "firewall_loader" in facts else f"nothing loads {FILE} at boot: systemctl enable nftables"
        if not kept and not in_force:
            note = f"nothing to open: no chain of {FILE} drops what this lets through"
        return [*found, LiveNftRules(purpose, in_force), StoredNftRules(purpose, kept, note, path=FILE)]

    def retired(self, outdated: Sequence[OutdatedRules], facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002
        """None: the article's are iptables'."""
        return ()


NFTABLES: Final = Nftables()


def _names(chain: Chain) -> tuple[str, str, str]:
    return chain.family, chain.table, chain.name


def _foreign(purpose: str, chain: Chain, openings: Sequence[Opening]) -> Part:
    """A chain in force that the file does not have, and that drops what is to be let through."""
    why = (
        f"it is in force and drops what this lets through, and {FILE} has no such chain, so it is left alone; let "
        f"through by what made it: {'; '.join(map(str, _dropped(chain, openings)))}"
    )
    return Told(f"chain {' '.join(_names(chain))} for {purpose}", Verdict.UNKNOWN, why)


def _dropped(chain: Chain, openings: Sequence[Opening]) -> list[Opening]:
    """What passes a chain and would be dropped there."""
    return [
        each
        for each in openings
        if chain.closed and chain.hook == each.direction.lower() and chain.family in {"inet", _IP[each.family]}
    ]


def _rules(openings: Sequence[Opening], chains: Sequence[Chain]) -> tuple[NftRule, ...]:
    """For each chain the openings that it drops; one that is the same in both families once."""
    rules = []
    for chain in chains:
        dropped = _dropped(chain, openings)
        for opening in dropped:
            alike = [each for each in dropped if replace(each, family=opening.family) == opening]
            name = chain.new if chain.new and not opening.tunnel else chain.name
            text = _text(opening, needs_family=chain.family == "inet" and len(alike) == 1)
            rules.append(NftRule(chain.family, chain.table, name, text))
    return tuple(dict.fromkeys(rules))


def _text(opening: Opening, *, needs_family: bool) -> str:
    """An opening as nft prints its rule."""
    words: list[str] = []
    for key, value in (("saddr", opening.source), ("daddr", opening.destination)):
        if value:
            network = ip_network(value)
            words.append(f"{_IP[opening.family]} {key} {network if network.num_addresses > 1 else network[0]}")
    if needs_family and not words:
        words.append(f"meta nfproto ipv{opening.family}")
    if opening.interface:
        words.append(f'iifname "{opening.interface}"')
    if opening.port:
        words.append(f"{opening.protocol} dport {opening.port}")
    elif opening.protocol:
        words.append(f"meta l4proto {opening.protocol}")
    return " ".join([*words, *_TUNNEL[opening.tunnel], "accept"])
