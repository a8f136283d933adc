"""Adding IP addresses."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from ipaddress import IPv6Interface
from typing import TYPE_CHECKING, ClassVar, Final

from runbook.resources.address import Address, UnreachableRoute
from runbook.resources.file import File
from runbook.step import Finding, Part
from steps.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.script import Reading
    from steps.network import Site

INTERFACES: Final = "/etc/network/interfaces.d/ipsec-runbook"


class AddingAddresses(Section):
    """Give each site its addresses in the private network: one on the link network, and its own in its subnet.

    The tunnel joins networks; a host takes part in it by an address of its own in them, and it must be there before the
    connection is loaded. They are added without duplicate address detection: an address still being checked at boot is
    why the article's tunnel stayed down after a restart. What is for the private network and has no route yet is
    refused (RFC 4193, 4.3), so that it never leaves unencrypted by the default route.

        ip -6 address replace fdd7:5938:e2e6:3::8e71/128 dev eth0 nodad
        nano /etc/network/interfaces.d/ipsec-runbook

    To check by hand: `ip -6 address show` must not call them tentative.

    What can go wrong: another program than ifupdown manages the interface; the address is on another interface already.
    """

    name: ClassVar[str] = "addresses"
    title: ClassVar[str] = "Adding IP addresses"
    facts: ClassVar[str] = """\
if ! command -v ifup >/dev/null; then echo interfaces=no-ifupdown
elif ! grep -Eqs '^[[:space:]]*source(-directory)?[[:space:]]+(/etc/network/)?interfaces\\.d' /etc/network/interfaces
then echo interfaces=no-source
else echo interfaces=ifupdown; fi
"""

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """The addresses for every boot, then live."""
        site = self.site(target)
        addresses = self.addresses(site)
        stored: Part = File(INTERFACES, self._stanzas(addresses).encode())
        if facts.get("interfaces") != "ifupdown":
            stored = NotIfupdown(facts.get("interfaces", ""))
        live = [Address(address, interface) for address, interface in addresses]
        return [stored, *live, UnreachableRoute(str(self.network.prefix))]

    def addresses(self, site: Site) -> Sequence[tuple[IPv6Interface, str]]:
        """Each address of the site with the interface that carries it."""
        own = self.network.own_address(site)
        in_subnet = (
            (IPv6Interface((own, 64)), site.lan_interface)
            if site.lan_interface
            else (IPv6Interface(own), site.interface)
        )
        return [(IPv6Interface(self.network.link_address(site)), site.interface), in_subnet]

    def _stanzas(self, addresses: Sequence[tuple[IPv6Interface, str]]) -> str:
        by_interface = defaultdict(list)
        for address, interface in addresses:
            by_interface[interface].append(f"    up ip -6 address replace {address} dev {interface} nodad")
        route = f"    up ip -6 route replace unreachable {self.network.prefix} metric {UnreachableRoute.metric}"
        by_interface[addresses[0][1]].append(route)
        stanzas = ["\n".join([f"iface {name} inet6 manual", *lines]) for name, lines in by_interface.items()]
        return "\n\n".join(["# managed by ipsec-runbook: made from sites.yaml", *stanzas]) + "\n"


@dataclass(frozen=True)
class NotIfupdown(Part):
    """Where ifupdown would not read our file, an address would be gone after a reboot: nothing is begun."""

    found: str

    @property
    def key(self) -> str:
        """What is missing."""
        return f"file {INTERFACES}"

    def probe(self) -> str:
        """The facts have said it."""
        return ":"

    def judge(self, found: Reading) -> Finding:  # noqa: ARG002 - the facts have said it
        """Say what manages the addresses, or what ifupdown lacks."""
        if self.found == "no-source":
            return self.unknown("/etc/network/interfaces has no line `source /etc/network/interfaces.d/*`: add it")
        return self.unknown("ifupdown is not installed, and other managers of addresses are not supported yet")
