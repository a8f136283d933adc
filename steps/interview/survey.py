"""What a host is like before anything is planned for it: read in one script that changes nothing.

Here is how it is read and what the answers mean; `steps.interview.survey_words` says it to people,
`steps.interview.answers` draws
conclusions.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from runbook.script import Batch
from steps.addressing.address_managers import FACTS as MANAGER_FACTS
from steps.addressing.address_managers import managers_of
from steps.description.plan import Route
from steps.firewalls.firewall import FACTS as FIREWALL_FACTS
from steps.interview.plan_there import ULA
from steps.ipsec.styles import STYLES
from steps.webserver.nginx_sites import PROGRAMS as WEB_PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runbook.host import Host
    from runbook.script import Reading

Address = IPv4Address | IPv6Address

SECONDS: Final = 60.0
"""How long the reading may take on a host."""

_NOT_PUBLIC: Final[Sequence[IPv4Network | IPv6Network]] = (
    IPv4Network("10.0.0.0/8"),  # RFC 1918
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("100.64.0.0/10"),  # RFC 6598: a provider's NAT
    ULA,
)
_VIRTUAL: Final = re.compile(
    r"(?:docker|br-|veth|virbr|vnet|lxc|cni|flannel|cali|tailscale|zt|wg|tun|tap|ipsec|vti|ppp)"
)
"""Interfaces that other software made for itself: none of them leads to a LAN of the user's."""

_CONNECTION: Final = re.compile(r"^ *(?P<name>[^\s:{}\[\]]+): +(?:IKEv[12]|\S+\.\.\.\S+ +IKEv[12])", re.MULTILINE)
"""A connection as `swanctl --list-conns` and `ipsec statusall` begin one."""

_CARRIED: Final = re.compile(r"^ *(?:\S+: +child|local): +(?P<side>(?:[0-9a-f:.]+/\d+ ?)+)(?:=== |$)", re.MULTILINE)
"""What a connection carries on this host's side, in the same listings."""

FRAGMENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "release": """\
# shellcheck source=/dev/null
. /etc/os-release && printf '%s\\n' "$ID" "${VERSION_CODENAME:-}" "${PRETTY_NAME:-$ID}"
""",
        "names": "hostname; timeout 5 hostname -f",
        "addresses": "ip -j address show",
        "routes4": "ip -j -4 route show table all",
        "routes6": "ip -j -6 route show table all",
        "forwarding": "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding",
        "firewall": FIREWALL_FACTS,
        "network": MANAGER_FACTS,
        "web": WEB_PROGRAMS,
        "ipsec": f"""\
for each in {" ".join(style.process for style in STYLES.values())} pluto; do
    ! grep -qsx "$each" /proc/[0-9]*/comm || echo "running $each"
done
for each in {" ".join(style.typed["conf"] for style in STYLES.values())}; do
    [ ! -e "$each" ] || echo "file $each"
done
""",
        "connections": "\n".join([*(style.told for style in STYLES.values()), ":"]),
        # Trying it in a namespace of its own leaves nothing; where a module is there to load, it is not tried.
        "esp": """\
if modprobe -nq esp4 2>/dev/null && modprobe -nq esp6 2>/dev/null; then echo yes
elif ! unshare --net true 2>/dev/null; then echo unknown
elif unshare --net ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x1000 mode tunnel \\
    aead 'rfc4106(gcm(aes))' "0x$(printf '%072d' 0)" 128 2>/dev/null; then echo yes
else echo no; fi""",
        "clock": "date +%s",
    },
)
"""Each piece of the script, by what it reads."""


@dataclass(frozen=True)
class HostAddress:
    """One address that a host has: where, and whether it is lent to it for a time (DHCP, router advertisements)."""

    address: Address
    length: int
    interface: str
    lent: bool = False
    passing: bool = False
    """Temporary (RFC 8981), deprecated or not yet checked: nothing to be reached at."""

    @property
    def public(self) -> bool:
        """Whether others can be told of it."""
        return not any(self.address in each for each in _NOT_PUBLIC if each.version == self.address.version)


@dataclass(frozen=True)
class Survey:
    """What was read of one host; what could not be read is empty."""

    system: str = ""
    """The distribution's id and the release's code name: `debian trixie`."""
    release: str = ""
    """The same, as it calls itself."""
    hostname: str = ""
    full_name: str = ""
    macs: Mapping[str, str] = field(default_factory=dict)
    """Of each interface that is up, but for the loopback; empty where it has none."""
    addresses: Sequence[HostAddress] = ()
    uplinks: Mapping[int, str] = field(default_factory=dict)
    """The interface of the default route, by IP version."""
    routes: Sequence[Route] = ()
    forwards: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    managers: Sequence[str] = ()
    """Who gives the interface of its default route its addresses at boot; one, where all is well."""
    web: Sequence[str] = ()
    """The programs that listen on port 80."""
    daemons: Sequence[str] = ()
    """The IPsec daemons that run."""
    ipsec_files: Sequence[str] = ()
    connections: Sequence[str] = ()
    carried: Sequence[IPv6Network] = ()
    """Of the networks on its own side of these, the private ones."""
    kernel_esp: bool | None = None
    clock: int | None = None
    """Seconds since the epoch, by the host's own clock."""

    @property
    def outer(self) -> Sequence[HostAddress]:
        """Its lasting addresses on the interfaces of its default routes, by which it may be reached; IPv4 first."""
        found = [
            each
            for each in self.addresses
            if self.uplinks.get(each.address.version) == each.interface and not each.passing
        ]
        return sorted(found, key=lambda each: each.address.version)

    @property
    def public(self) -> Sequence[HostAddress]:
        """Those of the outer addresses that are not behind a NAT."""
        return [each for each in self.outer if each.public]

    @property
    def uplink(self) -> str:
        """The interface of its default route; that of IPv4 where the two differ, empty where there is none."""
        return self.uplinks.get(4) or self.uplinks.get(6, "")

    @property
    def lans(self) -> Mapping[str, Sequence[HostAddress]]:
        """The private addresses on the interfaces that may lead to a LAN, by interface."""
        inner = [
            each
            for each in self.addresses
            if each.interface not in self.uplinks.values() and not each.public and not _VIRTUAL.match(each.interface)
        ]
        return {each.interface: [one for one in inner if one.interface == each.interface] for each in inner}

    @property
    def style(self) -> str:
        """The style in which its strongSwan has connections already, which the daemon of another would end."""
        running = [name for name, style in STYLES.items() if style.process in self.daemons]
        return running[0] if running and self.connections else ""

    @property
    def own(self) -> frozenset[Address]:
        """Every address that it has."""
        return frozenset(each.address for each in self.addresses)


def survey(host: Host) -> Survey:
    """Read a host; one script, nothing is changed.

    Raises:
        RunbookError: It cannot be reached, or root cannot be had.
    """
    batch = Batch(FRAGMENTS)
    answer = host.run(batch.text, purpose="survey", timeout=SECONDS)
    return parse(batch.split(answer.stdout))


def parse(readings: Mapping[str, Reading]) -> Survey:
    """Understand what the script printed."""
    texts = {key: reading.text for key, reading in readings.items()}

    def lines(key: str) -> list[str]:
        return texts.get(key, "").splitlines()

    system, codename, release = (*lines("release"), "", "", "")[:3]
    hostname, full_name = (*lines("names"), "", "")[:2]
    links = _json(texts.get("addresses", ""))
    routes = {4: _json(texts.get("routes4", "")), 6: _json(texts.get("routes6", ""))}
    facts, kept = (dict(line.split("=", 1) for line in lines(key) if "=" in line) for key in ("firewall", "network"))
    uplinks = {family: interface for family in routes if (interface := _uplink(routes[family]))}
    ipsec = [line.partition(" ")[::2] for line in lines("ipsec")]
    clock = texts.get("clock", "").strip()
    return Survey(
        system=f"{system} {codename}".strip(),
        release=release,
        hostname=hostname.strip().lower(),
        full_name=full_name.strip().lower().rstrip("."),
        macs={link["ifname"]: _mac(link) for link in links if _is_up(link)},
        addresses=[each for link in links if _is_up(link) for each in _addresses(link)],
        uplinks=uplinks,
        routes=[*_routes(routes[4]), *_routes(routes[6])],
        forwards="1" in lines("forwarding"),
        facts=facts,
        managers=list(dict.fromkeys(name for each in uplinks.values() for name in managers_of(each, kept))),
        web=lines("web"),
        daemons=[what for kind, what in ipsec if kind == "running"],
        ipsec_files=[what for kind, what in ipsec if kind == "file"],
        connections=list(dict.fromkeys(_CONNECTION.findall(texts.get("connections", "")))),
        carried=list(_carried(texts.get("connections", ""))),
        kernel_esp={"yes": True, "no": False}.get(texts.get("esp", "").strip()),
        clock=int(clock) if clock.isdigit() else None,
    )


def _carried(text: str) -> Iterator[IPv6Network]:
    words = [word for found in _CARRIED.finditer(text) for word in found["side"].split() if "/" in word]
    networks = [ip_network(word, strict=False) for word in dict.fromkeys(words)]
    yield from (each for each in networks if isinstance(each, IPv6Network) and each.subnet_of(ULA))


def _json(text: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(text)
    except ValueError:
        return []
    return found


def _is_up(link: Mapping[str, Any]) -> bool:
    return "ifname" in link and link["ifname"] != "lo" and "UP" in link.get("flags", ())


def _mac(link: Mapping[str, Any]) -> str:
    return str(link.get("address", "")) if link.get("link_type") == "ether" else ""


def _addresses(link: Mapping[str, Any]) -> Iterator[HostAddress]:
    for each in link.get("addr_info", ()):
        if each.get("scope") == "global" and "local" in each:
            passing = any(each.get(flag) for flag in ("temporary", "deprecated", "tentative", "dadfailed"))
            yield HostAddress(
                ip_address(each["local"]),
                int(each.get("prefixlen", 0)),
                link["ifname"],
                lent=bool(each.get("dynamic")),
                passing=passing,
            )


def _uplink(routes: Sequence[Mapping[str, Any]]) -> str:
    """The interface of the default route that counts: of those in the main table, the one of the lowest metric."""
    found = [
        each
        for each in routes
        if each.get("dst") == "default" and "dev" in each and each.get("table", "main") == "main"
    ]
    usable = [each for each in found if each.get("type", "unicast") == "unicast" and each["dev"] != "lo"]
    return str(min(usable, key=lambda each: each.get("metric", 0))["dev"]) if usable else ""


def _routes(routes: Sequence[Mapping[str, Any]]) -> Iterator[Route]:
    for each in routes:
        if each.get("table") == "local" or each.get("dst", "default") == "default":
            continue
        destination = ip_network(each["dst"], strict=False)
        if not destination.is_link_local and not destination.is_multicast:
            yield Route(destination, str(each.get("dev", "")), str(each.get("table", "main")))
