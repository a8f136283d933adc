"""ifupdown: what it is to give an interface stands in a file of ours beside the admin's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runbook.resources.file import Absent, File
from runbook.step import Part, Told, Verdict
from steps.addressing.admins_own import given_by_admin
from steps.addressing.outdated_addresses import address_command, route_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steps.network import Interface, Subnet

INTERFACES: Final = "/etc/network/interfaces.d/ipsec-runbook"


class Ifupdown:
    """Stanzas without a method, each of them added to the one that the admin has for the interface (interfaces(5)).

    What the admin's gives, ours does not: ours comes first, and an address that is there already is a failure there.
    """

    facts: Final = """\
if grep -Eqs '^[[:space:]]*source(-directory)?[[:space:]]+(/etc/network/)?interfaces\\.d' /etc/network/interfaces
then echo ifupdown_sources=yes
else echo ifupdown_sources=no; fi
ifupdown_at_boot=$({ ifquery --list; ifquery --list --allow=hotplug; } 2>/dev/null | tr '\\n' ' ')
printf 'addresses_by_ifupdown=%s\\n' "$ifupdown_at_boot"
ifupdown_own=$(for ifupdown_each in $ifupdown_at_boot; do
    ifquery "$ifupdown_each" 2>/dev/null | sed -nE "s|^address: ([0-9a-fA-F.:]+).*|${ifupdown_each%%:*},\\1|p"
done | tr '\\n' ' ')
printf 'own_addresses_by_ifupdown=%s\\n' "$ifupdown_own"
"""
    listing: Final = "ifquery --list"
    files: Final[Mapping[str, str]] = {INTERFACES: "The host's addresses in the private networks, by ifupdown."}
    kept: Final = INTERFACES

    def parts(
        self, addresses: Sequence[tuple[Interface, str]], refused: Sequence[Subnet], facts: Mapping[str, str]
    ) -> Sequence[Part]:
        """Our file; the admin's has to source its directory, as Debian's does."""
        if not addresses:
            return [Absent(INTERFACES, "this host's addresses are not managed by ifupdown")]
        if facts.get("ifupdown_sources") == "no":
            why = "/etc/network/interfaces has no line `source /etc/network/interfaces.d/*`: add it"
            return [Told(f"file {INTERFACES}", Verdict.UNKNOWN, why)]
        return [File(INTERFACES, stanzas(addresses, refused, facts).encode())]


def stanzas(addresses: Sequence[tuple[Interface, str]], refused: Sequence[Subnet], facts: Mapping[str, str]) -> str:
    """The file: a stanza for each interface, in the first of them what has no other route."""
    lines: dict[str, list[str]] = {interface: [] for _, interface in addresses}
    for address, interface in addresses:
        if not given_by_admin(address, interface, facts):
            lines[interface].append(f"    up {address_command(address, interface)}")
    lines[addresses[0][1]] += [f"    up {route_command(each)}" for each in refused]
    found = ["\n".join([f"iface {name} inet6 manual", *each]) for name, each in lines.items() if each]
    return "\n\n".join(["# managed by ipsec-runbook: made from sites.yaml", *found]) + "\n"
