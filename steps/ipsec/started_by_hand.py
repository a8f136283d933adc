"""strongSwan that was started by hand (`ipsec start`, `ipsec restart`), and so not by its unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from runbook.script import Reading

_UNIT: Final = "strongswan-starter.service"
_PID: Final = "/run/starter.charon.pid"


@dataclass(frozen=True)
class StartedByHand(Part):
    """No starter outside of its unit: it would hold the ports, and neither the unit nor another daemon could start."""

    @property
    def key(self) -> str:
        """There is one such on a host."""
        return "strongSwan started by hand"

    def probe(self) -> str:
        """`running` where a starter runs and its unit does not."""
        return f"""\
if ! systemctl is-active --quiet {_UNIT} && starter=$(cat {_PID} 2>/dev/null) &&
    grep -qx starter "/proc/$starter/comm" 2>/dev/null
then echo running; fi"""

    def judge(self, found: Reading) -> Finding:
        """In order when there is none."""
        if not found.text.strip():
            return self.in_order()
        change = Change(
            summary="stop the strongSwan that was started by hand (ipsec start)",
            apply="ipsec stop >&2",
            undo=(
                "ipsec start </dev/null >/dev/null 2>&1\n"
                f"for _ in $(seq 50); do [ ! -s {_PID} ] || break; sleep 0.1; done"
            ),
            diff="- ipsec start",
        )
        return self.drift(change, "it holds the ports, outside of its unit, which could not start beside it")
