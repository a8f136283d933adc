"""Which of the proposals an end offers: those that it can do, the strongest first.

Each end is told its own, and the two then agree on the strongest that both offer (RFC 7296, section 2.7). So what an
end is told is a matter of that end alone: it can be judged while the other is away, and an upgrade changes it there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runbook.script import Reading
from runbook.step import Finding, Part
from steps.abilities import PROBE, read_abilities
from steps.ipsec_options import Ipsec
from steps.proposals import read_proposal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from steps.abilities import Abilities


def offer(wanted: Ipsec, abilities: Abilities) -> tuple[Ipsec, str]:
    """What of the proposals an end can do, of which there may be none; and in words what it cannot, and why."""
    ike = {each: abilities.lacking(each, child=False) for each in wanted.ike_proposals}
    esp = {each: abilities.lacking(each, child=True) for each in wanted.esp_proposals}
    default = Ipsec()
    who = "strongSwan" if abilities.esp is None else "kernel"
    said = [
        *_left_out("IKE", "strongSwan", ike, default.ike_proposals),
        *_left_out("ESP", who, esp, default.esp_proposals),
    ]
    able = (tuple(each for each, missing in found.items() if not missing) for found in (ike, esp))
    return _with(wanted, *able), "; ".join(said)


def _left_out(kind: str, who: str, found: Mapping[str, Sequence[str]], default: Sequence[str]) -> Iterator[str]:
    for proposal, missing in found.items():
        # of our own, a hybrid is for the day when strongSwan comes with it: nobody has asked for it by name
        if missing and not (read_proposal(proposal).further and (*found,) == default):
            yield f"{kind} without {proposal}: this host's {who} has no {' and no '.join(missing)}"


def _with(wanted: Ipsec, ike: tuple[str, ...], esp: tuple[str, ...]) -> Ipsec:
    return replace(wanted, ike_proposals=ike, esp_proposals=esp)


@dataclass(frozen=True)
class ByAbility(Part):
    """A part that states proposals, where it depends on the host's abilities which of them.

    `made` makes it, given those that are left; neither its key nor what it reads may depend on them. What the host can
    do is read beside it, and is no state of it: a daemon that was begun anew may well list it otherwise.
    """

    wanted: Ipsec
    algorithms: str
    """Shell that prints the names of the daemon's algorithms in one line, and of its plugins in the next."""
    made: Callable[[Ipsec], Part]

    @property
    def key(self) -> str:
        """As the part itself."""
        return self.made(self.wanted).key

    def probe(self) -> str:
        """What the host can do, then the part itself."""
        return f"{self.algorithms}\n(\n{PROBE}\n)\necho --\n{self.made(self.wanted).probe()}"

    def judge(self, found: Reading) -> Finding:
        """As the part is, made for this host."""
        listed, _, rest = found.text.partition("--\n")
        own = Reading(rest, found.code)
        return replace(self._judged(listed, own), probe=self.made(self.wanted).probe(), found=own)

    def _judged(self, listed: str, own: Reading) -> Finding:
        abilities = read_abilities(listed)
        if abilities is None:
            return self._without_daemon(own)
        left, said = offer(self.wanted, abilities)
        if not left.ike_proposals or not left.esp_proposals:
            return self.unknown(f"nothing is left to offer: {said}")
        finding = self.made(left).judge(own)
        return replace(finding, note=finding.note or said)

    def _without_daemon(self, own: Reading) -> Finding:
        """While no daemon tells what it can do, what it was told before may stand, if it is among what is wanted."""
        lists = (self.wanted.ike_proposals, self.wanted.esp_proposals)
        ike, esp = (tuple(each for each in proposals if each in own.text) for proposals in lists)
        as_before = self.made(_with(self.wanted, ike, esp)).judge(own) if ike and esp else None
        if as_before and not as_before.change:
            return as_before
        ike, esp = (tuple(each for each in proposals if not read_proposal(each).further) for proposals in lists)
        return self.made(_with(self.wanted, ike or lists[0], esp or lists[1])).judge(own)
