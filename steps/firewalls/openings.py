"""What a firewall is to let through, in no firewall's language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from runbook.resources.iptables import Family

SOUGHT: Final = "protocols='tcp|udp|esp' ports='80|500|4500'"
"""The protocols and ports of all openings, as a survey of a firewall is told them: an assignment in the shell."""

Direction = Literal["INPUT", "FORWARD", "OUTPUT"]


@dataclass(frozen=True)
class Opening:
    """One kind of new connection, or of packet, that is to be let through; what is empty may be anything."""

    family: Family
    direction: Direction
    protocol: str = ""
    port: int | None = None
    source: str = ""
    destination: str = ""
    interface: str = ""
    """The one it arrives by."""
    tunnel: Literal["", "in", "out"] = ""
    """Only what came out of an IPsec tunnel, or will go into one."""

    def __str__(self) -> str:
        """The opening in words."""
        words = [
            f"IPv{self.family}",
            self.direction.lower(),
            self.protocol,
            f"port {self.port}" if self.port else "",
            f"from {self.source}" if self.source else "",
            f"to {self.destination}" if self.destination else "",
            f"by {self.interface}" if self.interface else "",
            {"": "", "in": "out of a tunnel", "out": "into a tunnel"}[self.tunnel],
        ]
        return " ".join(word for word in words if word)
