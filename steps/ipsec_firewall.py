"""Opening the firewall for IPsec: for the tunnel itself, and for what comes out of it."""

from __future__ import annotations

from ipaddress import IPv4Network
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

from runbook.resources.file import File
from runbook.resources.sysctl import Sysctl
from steps import inherited
from steps.firewalls import firewall, forwarding
from steps.firewalls.openings import Opening
from steps.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.resources.iptables import Family
    from runbook.step import Part
    from steps.firewalls.openings import Direction
    from steps.network import Site, Subnet

SYSCTL_FILE: Final = "/etc/sysctl.d/60-ipsec-runbook.conf"
FORWARDING: Final[Mapping[int, str]] = MappingProxyType({6: "net.ipv6.conf.all.forwarding", 4: forwarding.NAME})
IKE_PORTS: Final = (500, 4500)

_UPLINKS: Final = f"""\
printf 'uplinks_by_ra=%s\\n' "$({{
    ip -6 route show default proto ra | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p' | while read -r firewall_each; do
        [ "$(cat "/proc/sys/net/ipv6/conf/$firewall_each/accept_ra")" = 0 ] || echo "$firewall_each"
    done
    ! [ -f {SYSCTL_FILE} ] || sed -n 's,^net/ipv6/conf/\\(.*\\)/accept_ra.*,\\1,p' {SYSCTL_FILE}
}} | sort -u | tr '\\n' ' ')"
"""
"""Interfaces whose default route the kernel has learnt from router advertisements, or had when we wrote the file.
Where accept_ra is 0, a daemon (systemd-networkd) listens to the advertisements, and goes on doing so."""


class IpsecFirewall(Section):
    """Let the tunnel pass the firewall, encrypted and decrypted. Make the site a router for the network behind it.

    Two kinds of packets have to pass: the encrypted ones, which carry the outer addresses, and the decrypted ones,
    which pass the firewall once more with their inner addresses. The encrypted ones are UDP to ports 500 and 4500
    (the source port is not asked for: a NAT on the way changes it) and ESP, in both families. The decrypted ones are
    known by the policy match, and by being from the other site's networks to this one's: no packet that came
    unencrypted has such a policy, whatever its addresses say. All this is put where the admin's own rules accept new
    connections, in force under a timer that takes it back unless a new login is proved possible, then stored. Rules by
    hand that do no good go, and become remarks in the file: those that ask for source port 500 or 4500, and policy
    rules of iptables where all tunnels carry IPv6.

        ip6tables -A in-new -p udp --dport 500 -j ACCEPT
        ip6tables -A in-new -p udp --dport 4500 -j ACCEPT
        ip6tables -A in-new -p esp -j ACCEPT
        (the same with iptables)
        ip6tables -A INPUT -s fdd7:5938:e2e6:1::/64 -d fdd7:5938:e2e6:8e71::/64
            -m policy --dir in --pol ipsec --proto esp -j ACCEPT
        ip6tables -A FORWARD (the same with --dir in, and with --dir out the other way round)
        (where nftables rules: nft add rule inet filter input meta l4proto esp accept; `meta ipsec exists` for --dir in)
        sysctl -w net.ipv6.conf.eth0.accept_ra=2      (only where the default route comes by router advertisements)
        sysctl -w net.ipv6.conf.all.forwarding=1      (and net.ipv4, where the sites have IPv4 subnets)
        nano /etc/sysctl.d/60-ipsec-runbook.conf

    To check by hand: `ip6tables-save | grep ipsec-runbook`, `sysctl net.ipv6.conf.all.forwarding`; with traffic in the
    tunnel, `ip6tables -nvL INPUT` counts what the policy rules have let in.

    What can go wrong: a host that forwards takes no router advertisements any more unless accept_ra is 2, and loses
    its IPv6 default route; where nothing in FORWARD drops, it now forwards whatever reaches it; a provider drops ESP
    (`encapsulation: always` wraps it in UDP); charon does ESP itself (kernel-libipsec), for which no policy match ever
    holds: such a host needs rules for `ipsec0` of its own.
    """

    name: ClassVar[str] = "ipsec-firewall"
    title: ClassVar[str] = "Firewall for IPsec"
    facts: ClassVar[str] = firewall.FACTS + _UPLINKS + inherited.OTHER_TUNNELS + forwarding.FACTS

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """Forwarding, but advertisements first; then the rules, in force and stored."""
        site = self.site(target)
        families = {6, *(subnet.version for end in self.network.ends(site) for subnet in end.local_ts)}
        forwarded = [FORWARDING[each] for each in sorted(families, reverse=True)]
        uplinks = facts.get("uplinks_by_ra", "").split()
        why = "forwarding would end router advertisements, by which this host has its IPv6 default route"
        return [
            *(Sysctl(f"net/ipv6/conf/{each}/accept_ra", "2", why) for each in uplinks),
            *(Sysctl(each, "1") for each in forwarded),
            *([] if FORWARDING[4] in forwarded else forwarding.as_before(facts)),
            File(SYSCTL_FILE, _sysctl_file(uplinks, forwarded).encode()),
            # first, so that rollback, which begins with the last, finds each place as it was
            *firewall.retired_parts(inherited.rules(self.network, site, facts), facts),
            *firewall.firewall_parts("ipsec", self.openings(site), facts),
        ]

    def openings(self, site: Site) -> Sequence[Opening]:
        """The tunnel in both families, then what passes through it, each pair of networks once."""
        own = self.network.selectors(site)
        pairs = dict.fromkeys(
            (there, here)
            for end in self.network.ends(site)
            for there in end.remote_ts
            for here in end.local_ts
            if here.version == there.version
        )
        families: tuple[Family, ...] = (4, 6)
        outer = [each for family in families for each in _outer(family)]
        return [*outer, *(each for there, here in pairs for each in _inner(there, here, own=here in own))]


def _outer(family: Family) -> Sequence[Opening]:
    """Key exchange and encrypted packets, in; and out, where not everything may leave."""
    return [
        opening
        for direction in ("INPUT", "OUTPUT")
        for opening in (
            *(Opening(family, direction, "udp", port) for port in IKE_PORTS),
            Opening(family, direction, "esp"),
        )
    ]


def _inner(there: Subnet, here: Subnet, *, own: bool) -> Sequence[Opening]:
    """Decrypted packets between a network of the other end and one of this end.

    An own single address is not forwarded; what is another spoke's, where this end is the hub, only that.
    """
    family: Family = 4 if isinstance(here, IPv4Network) else 6
    chains: list[tuple[Direction, Direction]] = [("INPUT", "OUTPUT")] if own else []
    if here.num_addresses > 1 or not own:
        chains.append(("FORWARD", "FORWARD"))
    far, near = str(there), str(here)
    return [
        opening
        for inwards, outwards in chains
        for opening in (
            Opening(family, inwards, source=far, destination=near, tunnel="in"),
            Opening(family, outwards, source=near, destination=far, tunnel="out"),
        )
    ]


def _sysctl_file(uplinks: Sequence[str], forwarded: Sequence[str]) -> str:
    lines = [f"net/ipv6/conf/{each}/accept_ra = 2" for each in uplinks] + [f"{each} = 1" for each in forwarded]
    return "\n".join(["# managed by ipsec-runbook: a site is the router of its own network", *lines, ""])
