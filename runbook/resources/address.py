"""Addresses and routes, live in the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Interface, ip_network
from typing import TYPE_CHECKING

from runbook.script import quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from ipaddress import IPv4Interface

    from runbook.script import Reading


@dataclass(frozen=True)
class Address(Part):
    """An address on an interface; of IPv6 without duplicate detection (RFC 4862, 5.4), so that it works at once."""

    address: IPv4Interface | IPv6Interface
    interface: str
    leaving: frozenset[str] = frozenset()
    """Interfaces that another part takes it from."""

    @property
    def key(self) -> str:
        """The address and its interface."""
        return f"address {self.address} on {self.interface}"

    def probe(self) -> str:
        """Every interface that has the address: name, prefix length and flags.

        How far its detection of duplicates has come does not count where it is detected at all: that passes.
        """
        listing = f"{self._ip} -o address show to {self.address.ip}/{self.address.max_prefixlen}"
        passing = "/ nodad/! { s/ tentative//; s/ dadfailed//; }"
        return f"{listing} | sed 's/^[0-9]*: *//; s/ valid_lft.*//; s/\\\\//g; {passing}' | tr -s ' ' | sort"

    def judge(self, found: Reading) -> Finding:
        """In order when just this interface has it, and it is not in doubt."""
        lines = found.text.splitlines()
        line = next((each for each in lines if each.startswith(f"{self.interface} ")), "")
        others = [name for name in (each.split()[0] for each in lines if each != line) if name not in self.leaving]
        if others:
            return self.unknown(
                f"{self.address.ip} is on {', '.join(others)} already; name that interface in sites.yaml, or remove it"
            )
        words = line.split()
        sure = not self._nodad or ("nodad" in words and not {"tentative", "dadfailed"} & {*words})
        if str(self.address) in words and sure:
            return self.in_order()
        device = quote(self.interface)
        change = Change(
            summary=f"add {self.address} to {self.interface}",
            # neither its prefix length nor a failed detection can be changed where it stands (ip-address(8))
            apply=f"{self._remove(words)}{self._ip} address replace {self.address} dev {device}{self._nodad}",
            undo=self._undo(words),
            diff=(f"- {line}\n" if line else "") + f"+ {self.interface} {self.address}{self._nodad}",
        )
        return self.drift(change) if line else self.absent(change)

    @property
    def _ip(self) -> str:
        return f"ip -{self.address.version}"

    @property
    def _nodad(self) -> str:
        return " nodad" if isinstance(self.address, IPv6Interface) else ""

    def _remove(self, words: list[str]) -> str:
        """Shell that takes away the address as found, if it was."""
        if not words:
            return ""
        was = words[2]
        return f"{self._ip} address del {quote(was)} dev {quote(self.interface)} 2>/dev/null || true\n"

    def _undo(self, words: list[str]) -> str:
        device = quote(self.interface)
        remove = f"{self._ip} address del {self.address} dev {device} 2>/dev/null || true"
        if not words:
            return remove
        was = words[2]
        nodad = " nodad" if "nodad" in words else ""
        return f"{remove}\n{self._ip} address replace {quote(was)} dev {device}{nodad}"


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
