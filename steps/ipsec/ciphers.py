"""Which of the proposals an end offers: those that it can do, the strongest first.

Each end is told its own, and the two then agree on the strongest that both offer (RFC 7296, section 2.7). So what an
end is told is a matter of that end alone: it can be judged while the other is away, and an upgrade changes it there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runbook.step import Finding, Part
from steps.ipsec.abilities import read_abilities
from steps.ipsec.ipsec_options import Ipsec
from steps.ipsec.proposals import read_proposal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from runbook.script import Reading
    from steps.ipsec.abilities import Abilities


def offer(wanted: Ipsec, abilities: Abilities) -> tuple[Ipsec, str]:
    """What of the proposals an end can do, of which there may be none; and in words what it cannot, and why."""
    ike = {each: abilities.lacking(each, child=False) for each in wanted.ike_proposals}
    esp = {each: abilities.lacking(each, child=True) for each in wanted.esp_proposals}
    said = [*_left_out("IKE", ike), *_left_out("ESP", esp)]
    able = (tuple(each for each, missing in found.items() if not missing) for found in (ike, esp))
    return _with(wanted, *able), "; ".join(said)


def asked_for(planned: Sequence[str]) -> list[str]:
    """The proposals that somebody expects to be used: of our own, a hybrid is for when strongSwan comes with it."""
    ours = tuple(planned) in {Ipsec().ike_proposals, Ipsec().esp_proposals}
    return [each for each in planned if not (ours and read_proposal(each).further)]


def _left_out(kind: str, found: Mapping[str, str]) -> Iterator[str]:
    for proposal in asked_for([*found]):
        if missing := found[proposal]:
            yield f"{kind} without {proposal}: this host's {missing}"


def _with(wanted: Ipsec, ike: tuple[str, ...], esp: tuple[str, ...]) -> Ipsec:
    return replace(wanted, ike_proposals=ike, esp_proposals=esp)


@dataclass(frozen=True)
class ByAbility(Part):
    """A part that states proposals, where it depends on the host's abilities which of them.

    `made` makes it, given those that are left; neither its key nor what it reads may depend on them. What the host can
    do is no state of it: a daemon that was begun anew may well list it otherwise.
    """

    wanted: Ipsec
    made: Callable[[Ipsec], Part]
    beside: tuple[tuple[str, str], ...]
    """The host, and the shell that reads what it can do (`Style.abilities`)."""

    @property
    def key(self) -> str:
        """As the part itself."""
        return self.made(self.wanted).key

    def probe(self) -> str:
        """As the part itself."""
        return self.made(self.wanted).probe()

    def judge(self, found: Reading) -> Finding:
        """While no daemon tells what it can do, what it was told before may stand, if it is among what is wanted."""
        lists = (self.wanted.ike_proposals, self.wanted.esp_proposals)
        ike, esp = (tuple(each for each in proposals if each in found.text) for proposals in lists)
        as_before = self.made(_with(self.wanted, ike, esp)).judge(found) if ike and esp else None
        if as_before and not as_before.change:
            return as_before
        ike, esp = (tuple(each for each in proposals if not read_proposal(each).further) for proposals in lists)
        return self.made(_with(self.wanted, ike or lists[0], esp or lists[1])).judge(found)

    def judge_beside(self, found: Reading, beside: Sequence[Reading | None]) -> Finding:
        """As the part is, made for this host."""
        abilities = read_abilities(beside[0])
        if abilities is None:
            return self.judge(found)
        left, said = offer(self.wanted, abilities)
        if not left.ike_proposals or not left.esp_proposals:
            return self.unknown(f"nothing is left to offer: {said}")
        finding = self.made(left).judge(found)
        return replace(finding, note=finding.note or said)
