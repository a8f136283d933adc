"""A manager of addresses of nobody's: /etc/toynet/interfaces names its interfaces, and it runs what is beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runbook.resources.file import Absent, File
from steps.addressing.outdated_addresses import address_command, route_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.step import Part
    from steps.network import Interface, Subnet

OURS: Final = "/etc/toynet/ipsec-runbook"


class ToyManager:
    """Its file has a command for each address."""

    facts: str = "printf 'addresses_by_toynet=%s\\n' \"$(cat /etc/toynet/interfaces 2>/dev/null)\"\n"
    listing: str = "toynet list"
    files: Mapping[str, str] = {OURS: "The host's addresses in the private networks, by toynet."}
    kept: str = OURS

    def parts(
        self, addresses: Sequence[tuple[Interface, str]], refused: Sequence[Subnet], facts: Mapping[str, str]
    ) -> Sequence[Part]:
        if not addresses:
            return [Absent(OURS, "toynet has none of this host's interfaces")]
        lines = [*(address_command(*each) for each in addresses), *map(route_command, refused)]
        return [
            File(
                OURS,
                f"# for {facts['addresses_by_toynet']}\n{''.join(f'up {each}{chr(10)}' for each in lines)}".encode(),
            )
        ]
