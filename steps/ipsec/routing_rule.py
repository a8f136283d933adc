"""The rule by which packets find charon's own routes. It makes one when it starts, and never again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.script import quote
from runbook.step import Change, Finding, Part
from steps.ipsec.loaded import TABLE

if TYPE_CHECKING:
    from runbook.script import Reading


@dataclass(frozen=True)
class RoutingRule(Part):
    """A running charon's rule is there in both families, whatever others have taken away since it started.

    systemd-networkd does so where it is not told otherwise: the tunnel is up then, and nothing enters it.
    """

    unit: str
    """charon's."""

    @property
    def key(self) -> str:
        """The table that it leads to."""
        return f"rule for routing table {TABLE}"

    def probe(self) -> str:
        """The families that have none, where charon runs."""
        return f"""\
! systemctl is-active --quiet {quote(self.unit)} || for family in 4 6; do
    ip "-$family" rule show table {TABLE} | grep -q . || echo "$family"
done"""

    def judge(self, found: Reading) -> Finding:
        """In order where there is none; a charon that does not run will make them."""
        families = found.text.split()
        if not families:
            return self.in_order()
        rules = [f"ip -{each} rule add priority {TABLE} lookup {TABLE}" for each in families]
        change = Change(
            summary=f"lead packets to charon's routes again: another program has taken its rule for {TABLE} away",
            apply="\n".join(rules),
            diff="\n".join(f"+ {each}" for each in rules),
        )
        return self.absent(change)
