"""Who gives a host's interfaces their addresses at boot, and which module of ours has it give them ours.

Another manager of addresses is a module with a `Manager`, and its line in `MANAGERS`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from runbook.errors import StepError
from runbook.step import Part, Told, Verdict
from steps import catalogue
from steps.addressing.ifupdown import Ifupdown
from steps.addressing.networkd import Networkd

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
    def listing(self) -> str:
        """What a person types to see which interfaces it has."""

    @property
    def files(self) -> Mapping[str, str]:
        """Our files for it, with what is in each: for the reference."""

    @property
    def kept(self) -> str:
        """A pattern of our files for it, in which the same commands stand (`steps.addressing.outdated_addresses`)."""

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

_CLAIM: Final = "addresses_by_"
_EVERY: Final = 'for managers_link in /sys/class/net/*; do printf "%s " "${managers_link##*/}"; done'
"""What those take that take every interface which they are not told to leave."""
_OTHERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "NetworkManager": """\
nmcli -t -f DEVICE,STATE device 2>/dev/null | awk -F: '
        $2 !~ /^(unmanaged|unavailable)/ && $2 !~ /externally/ { printf "%s ", $1 }'""",
        "dhcpcd": _EVERY,
        "connman": _EVERY,
    }
)
"""Those that are known, and not touched: shell that prints the interfaces of each, where its unit runs."""


def _claims(unit: str, links: str) -> str:
    return f"""\
managers_links=
! systemctl is-active --quiet {unit} 2>/dev/null || managers_links=$({links})
printf '{_CLAIM}{unit}=%s\\n' "$managers_links"
"""


FACTS: Final = "".join(
    [
        *(each.facts for each in MANAGERS.values()),
        *(_claims(unit, links) for unit, links in _OTHERS.items() if unit not in MANAGERS),
    ]
)
"""What has to be known of a host before its addresses can be stated."""


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
    known, listings = " or ".join(MANAGERS), "; ".join(each.listing for each in MANAGERS.values())
    if not names:
        why = StepError(catalogue.ADDRESSES_UNKEPT, target=target, interface=interface, known=known, listings=listings)
    elif len(names) > 1:
        both = " and ".join(names)
        why = StepError(
            catalogue.ADDRESSES_CLAIMED, target=target, interface=interface, managers=both, listings=listings
        )
    else:
        why = StepError(
            catalogue.ADDRESSES_UNTOUCHED, target=target, interface=interface, manager=names[0], known=known
        )
    return Told(f"addresses of {interface} at boot", Verdict.UNKNOWN, why)
