"""Addresses and routes, live in the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Interface, ip_interface, ip_network
from typing import TYPE_CHECKING

from runbook.script import quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from ipaddress import IPv4Interface, IPv4Network, IPv6Network

    from runbook.script import Reading


@dataclass(frozen=True)
class Address(Part):
    """An address on an interface; of IPv6 without duplicate detection (RFC 4862, 5.4), so that it works at once."""

    address: IPv4Interface | IPv6Interface
    interface: str
    leaving: frozenset[tuple[str, str]] = frozenset()
    """Interfaces, and how the address is written there, from which another part takes it."""
    within: IPv4Network | IPv6Network | None = None
    """The network that a single address is in: where the interface has it with that already, it stays as it is."""
    detected: bool = False
    """Something else gives it at boot, and looks for duplicates: it need only have found none."""

    @property
    def key(self) -> str:
        """The address and its interface."""
        return f"address {self.address} on {self.interface}"

    def probe(self) -> str:
        """Every interface that has the address: name, prefix length and flags.

        How far its detection of duplicates has come does not count where it is detected at all: that passes.
        """
        failed = "" if self.detected else " s/ dadfailed//;"
        passing = f"/ nodad/! {{ s/ tentative//;{failed} }}"
        return f"{self._listing} | sed 's/^[0-9]*: *//; s/ valid_lft.*//; s/\\\\//g; {passing}' | tr -s ' ' | sort"

    def judge(self, found: Reading) -> Finding:
        """In order when just this interface has it, and it is not in doubt."""
        there = [each for each in map(str.split, found.text.splitlines()) if (each[0], each[2]) not in self.leaving]
        others = [each[0] for each in there if each[0] != self.interface]
        if others:
            return self.unknown(
                f"{self.address.ip} is on {', '.join(others)} already; name that interface in sites.yaml, or remove it"
            )
        own = [each for each in there if each[0] == self.interface]
        if any(self._sure(each) and each[2] == str(self._as_in(each)) for each in own):
            return self.in_order()
        words = own[0] if own else []
        wanted = self._as_in(words) if words else self.address
        larger = bool(words) and ip_interface(words[2]).network.prefixlen < wanted.network.prefixlen
        if larger and (wanted.version == 4 or self.detected):  # noqa: PLR2004 - IPv4
            return self.unknown(f"{self.interface} has it as {words[2]}: write that in sites.yaml, or change it there")
        device = quote(self.interface)
        change = Change(
            summary=f"add {wanted} to {self.interface}",
            apply=f"{self._remove(wanted, words)}{self._ip} address replace {wanted} dev {device}{self._nodad}",
            undo=self._undo(wanted, words),
            diff=(f"- {' '.join(words)}\n" if words else "") + f"+ {self.interface} {wanted}{self._nodad}",
        )
        return self.drift(change) if words else self.absent(change)

    @property
    def _ip(self) -> str:
        return f"ip -{self.address.version}"

    @property
    def _listing(self) -> str:
        """Shell that lists it, wherever it is."""
        return f"{self._ip} -o address show to {self.address.ip}/{self.address.max_prefixlen}"

    @property
    def _nodad(self) -> str:
        return " nodad" if isinstance(self.address, IPv6Interface) else ""

    def _sure(self, words: list[str]) -> bool:
        certain = self.detected or "nodad" in words
        return not self._nodad or (certain and not {"tentative", "dadfailed"} & {*words})

    def _as_in(self, words: list[str]) -> IPv4Interface | IPv6Interface:
        """The address as it is to be where it is found."""
        found = ip_interface(words[2])
        single = self.address.network.prefixlen == self.address.max_prefixlen
        longest = self.within.prefixlen if self.within else 0 if self.detected else self.address.max_prefixlen
        stays = single and found.network.prefixlen >= longest
        return found if stays else self.address

    def _remove(self, wanted: IPv4Interface | IPv6Interface, words: list[str]) -> str:
        """Shell that takes away the address as found, if it was and has to go.

        Neither its prefix length nor the detection under way can be changed where it stands, all else can
        (inet6_addr_modify); what is removed takes with it that routes have it for their source, and so tunnels.
        """
        if not words:
            return ""
        device = quote(self.interface)
        remove = f"{self._ip} address del {quote(words[2])} dev {device} 2>/dev/null || true\n"
        if words[2] != str(wanted):
            return remove
        return f"if {self._listing} dev {device} | grep -Eq ' (tentative|dadfailed)'; then {remove.strip()}; fi\n"

    def _undo(self, wanted: IPv4Interface | IPv6Interface, words: list[str]) -> str:
        device = quote(self.interface)
        remove = f"{self._ip} address del {wanted} dev {device} 2>/dev/null || true\n"
        if not words:
            return remove.strip()
        was = words[2]
        nodad = " nodad" if "nodad" in words else ""
        return f"{remove if was != str(wanted) else ''}{self._ip} address replace {quote(was)} dev {device}{nodad}"


@dataclass(frozen=True)
class UnreachableRoute(Part):
    """A route of last resort that refuses packets for a prefix, so that they never leave by the default route."""

    prefix: str
    metric: int = 4294967295

    @property
    def key(self) -> str:
        """The prefix."""
        return f"route unreachable {self.prefix}"

    def probe(self) -> str:
        """The route, if it is there."""
        return f"if {self._there}; then echo there; else echo absent; fi"

    def judge(self, found: Reading) -> Finding:
        """In order when it is there."""
        if found.text.strip() == "there":
            return self.in_order()
        route = f"unreachable {self.prefix} metric {self.metric}"
        change = Change(
            summary=f"refuse what is for {self.prefix} and has no other route",
            # a manager of addresses may have made it by now, and would not know it again if it were replaced
            apply=f"{self._there} || {self._ip} route replace {route}",
            undo=f"{self._ip} route del {route} 2>/dev/null || true",
            diff=f"+ {route}",
        )
        return self.absent(change)

    @property
    def _ip(self) -> str:
        return f"ip -{ip_network(self.prefix).version}"

    @property
    def _there(self) -> str:
        return f"{self._ip} route show table main type unreachable {self.prefix} | grep -q 'metric {self.metric}'"
