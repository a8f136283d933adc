"""Who gives a host's interfaces their addresses at boot, and which module of ours has it give them ours.

Another manager of addresses is a module with a `Manager`, and its line in `MANAGERS`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from runbook.errors import StepError
from runbook.step import Part, Told, Verdict
from steps import catalogue
from steps.ifupdown import Ifupdown
from steps.networkd import Networkd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steps.network import Interface, Subnet


class Manager(Protocol):
    """One program that gives interfaces their addresses."""

    @property
    def facts(self) -> str:
        """Shell that prints the interfaces that it manages, as `addresses_by_NAME=A B`, and what else has to be known.

        It is run on every host.
        """

    @property
    def kept(self) -> str:
        """A pattern of our files for it; the commands that do the same stand in them (`steps.outdated_addresses`)."""

    def parts(
        self, addresses: Sequence[tuple[Interface, str]], refused: Sequence[Subnet], facts: Mapping[str, str]
    ) -> Sequence[Part]:
        """What the host should look like to have these addresses on their interfaces at each boot, and these routes.

        With no addresses: to have nothing of ours.
        """


MANAGERS: Final[Mapping[str, Manager]] = MappingProxyType(
    {
        "ifupdown": Ifupdown(),
        "systemd-networkd": Networkd(),
    },
)
"""By the program's name."""

_OTHERS: Final = """\
managers_links=
! systemctl is-active --quiet NetworkManager 2>/dev/null || managers_links=$(
    nmcli -t -f DEVICE,STATE device 2>/dev/null | awk -F: '
        $2 !~ /^(unmanaged|unavailable)/ && $2 !~ /externally/ { printf "%s ", $1 }')
printf 'addresses_by_NetworkManager=%s\\n' "$managers_links"
for managers_each in dhcpcd connman; do
    managers_links=
    if systemctl is-active --quiet "$managers_each" 2>/dev/null; then
        # they take every interface that they are not told to leave
        for managers_link in /sys/class/net/*; do managers_links="$managers_links${managers_link##*/} "; done
    fi
    printf 'addresses_by_%s=%s\\n' "$managers_each" "$managers_links"
done
"""
"""Those that are known, and not touched."""

FACTS: Final = "".join([*(each.facts for each in MANAGERS.values()), _OTHERS])
"""What has to be known of a host before its addresses can be stated."""

_CLAIM: Final = "addresses_by_"


def managers_of(interface: str, facts: Mapping[str, str]) -> list[str]:
    """The names of those that give an interface its addresses: one, where all is well."""
    return [
        name.removeprefix(_CLAIM)
        for name, interfaces in facts.items()
        if name.startswith(_CLAIM) and interface in interfaces.split()
    ]


def stored_parts(
    target: str, addresses: Sequence[tuple[Interface, str]], refused: Sequence[Subnet], facts: Mapping[str, str]
) -> Sequence[Part]:
    """What a host should look like to have these addresses and routes at each boot; or why that is left to its admin.

    The routes are of the first address's interface.
    """
    found = {interface: managers_of(interface, facts) for _, interface in addresses}
    if troubles := {each: names for each, names in found.items() if len(names) != 1 or names[0] not in MANAGERS}:
        return [_untouched(target, interface, names) for interface, names in troubles.items()]
    parts: list[Part] = []
    for name, manager in MANAGERS.items():
        given = [each for each in addresses if found[each[1]] == [name]]
        parts += manager.parts(given, refused if addresses[0] in given else (), facts)
    return parts


def _untouched(target: str, interface: str, names: Sequence[str]) -> Part:
    if not names:
        why = StepError(catalogue.ADDRESSES_UNKEPT, target=target, interface=interface)
    elif len(names) > 1:
        both = " and ".join(names)
        why = StepError(catalogue.ADDRESSES_CLAIMED, target=target, interface=interface, managers=both)
    else:
        why = StepError(catalogue.ADDRESSES_UNTOUCHED, target=target, interface=interface, manager=names[0])
    return Told(f"addresses of {interface} at boot", Verdict.UNKNOWN, why)
