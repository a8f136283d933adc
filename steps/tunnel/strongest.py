"""That a tunnel runs the strongest ciphers that both of its ends can do, also where one of them has come to it since.

A tunnel that is up stays with what its ends agreed on, whatever they offer since. Which of them has what is known of
each end by itself, so this is judged by what is read at both; where only one was read, that is said.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runbook.step import Change, Finding, Part
from steps import catalogue
from steps.ipsec.abilities import read_abilities
from steps.ipsec.ciphers import asked_for
from steps.ipsec.negotiated import fits, negotiated_problems
from steps.ipsec.proposals import read_proposal
from steps.ipsec.styles import style_of
from steps.tunnel import ours
from steps.tunnel.both_ends import explained, listen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.script import Reading
    from runbook.target import Target
    from steps.ipsec.abilities import Abilities
    from steps.ipsec.negotiated import ChildSa, Sa, Suite
    from steps.network import End

    Able = Mapping[str, Abilities | None]
    """What each end of a tunnel can do, by its site; None where that could not be read."""
    _Tunnel = tuple[Sa, ChildSa]

_PATIENCE: Final = 6.0
"""Seconds for a new IKE SA to stand beside the old one, one lost packet included (strongSwan repeats it after 4)."""
_PAUSE: Final = 0.2
_FAILED: Final = "not made"
_DUPLICATE: Final = "existing duplicate"
"""What charon says of a tunnel that it does not make, since there is one like it (ike_sa.c, since 5.9.6)."""


@dataclass(frozen=True)
class _Agreed:
    """What the ends agreed on, for the IKE SA or the tunnel that it keeps, among what is planned for it."""

    what: str
    suite: Suite
    planned: tuple[str, ...]
    child: bool

    @property
    def rank(self) -> int:
        """The place among what is planned of the first that allows it."""
        allowing = (n for n, text in enumerate(self.planned) if fits(self.suite, read_proposal(text), child=self.child))
        return next(allowing, len(self.planned))

    def stronger(self, able: Able) -> str:
        """The strongest that both ends can do, where that is stronger than what they agreed on."""
        able_to = [each for each in able.values() if each]
        for text in self.planned[: self.rank] if len(able_to) == len(able) else ():
            if not any(each.lacking(text, child=self.child) for each in able_to):
                return text
        return ""

    def note(self, able: Able) -> str:
        """Why it is not the strongest of those that are asked for; empty where it is."""
        best = next(iter(asked_for(self.planned)), self.planned[0])
        if self.rank <= self.planned.index(best):
            return ""
        lacks = {name: each.lacking(best, child=self.child) for name, each in able.items() if each}
        why = [f"{name}'s {missing}" for name, missing in lacks.items() if missing]
        unread = " and ".join(name for name, each in able.items() if each is None)
        if not why and unread:
            why = [f"it was not agreed on when this came up, and what {unread} can do now could not be read"]
        return f"{self.what} runs {self.suite}, not {best}: {' and '.join(why) or 'both ends can do that now'}"


def weaker(end: End, tunnel: _Tunnel, hosts: Mapping[str, Target]) -> list[str]:
    """Say where what was agreed is not the strongest that is planned, and why; nothing where it is."""
    readings = {site.name: hosts[site.name].readings.get(style_of(site).abilities) for site in (end.here, end.there)}
    return _notes(end, tunnel, {site: read_abilities(found) for site, found in readings.items()})


def _notes(end: End, tunnel: _Tunnel, able: Able) -> list[str]:
    return [note for each in _agreed(end, tunnel) if (note := each.note(able))]


def _agreed(end: End, tunnel: _Tunnel) -> tuple[_Agreed, _Agreed]:
    (sa, child), ipsec = tunnel, end.network.ipsec
    return (
        _Agreed("the IKE SA", sa.suite, ipsec.ike_proposals, child=False),
        _Agreed("the tunnel", child.suite, ipsec.esp_proposals, child=True),
    )


def _is_strongest(end: End, tunnel: _Tunnel, able: Able) -> bool:
    return not any(each.stronger(able) for each in _agreed(end, tunnel))


def strongest_ciphers(end: End) -> Part:
    """At the end that brings the tunnel up, judged by what both ends can do."""
    return StrongestCiphers(end, tuple((site.name, style_of(site).abilities) for site in (end.here, end.there)))


@dataclass(frozen=True)
class StrongestCiphers(Part):
    """Of what is planned, a tunnel that is up runs the strongest that both ends can do now."""

    end: End
    beside: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        """The connection's name."""
        return f"ciphers of {self.end.connection}"

    def probe(self) -> str:
        """As of the tunnel itself."""
        return ours.listing(self.end)

    def judge(self, found: Reading) -> Finding:
        """In order, as far as can be told where nothing is known of the ends."""
        return self.judge_beside(found, [None] * len(self.beside))

    def judge_beside(self, found: Reading, beside: Sequence[Reading | None]) -> Finding:
        """In order where one is up that runs them; that none is up, or not as planned, is another part's matter."""
        able = {site: read_abilities(each) for (site, _), each in zip(self.beside, beside, strict=True)}
        tunnels = self._tunnels(found.text)
        if not tunnels:
            return self.in_order()
        if strong := next((each for each in tunnels if _is_strongest(self.end, each, able)), None):
            return self.in_order("; ".join(_notes(self.end, strong, able)))
        return self.drift(self._made_anew(tunnels[-1], able))

    def _tunnels(self, listed: str) -> list[_Tunnel]:
        """Those that carry traffic as planned."""
        planned = [sa for sa in ours.associations(self.end, listed) if not negotiated_problems(self.end, sa)]
        return [(sa, child) for sa in planned for child in sa.installed]

    def _made_anew(self, tunnel: _Tunnel, able: Able) -> Change:
        weak = [(each, best) for each in _agreed(self.end, tunnel) if (best := each.stronger(able))]
        what = " and ".join(f"{best} ({each.what} runs {each.suite})" for each, best in weak)
        return Change(
            summary=f"make {self.end.connection} anew: both ends can do {what}",
            obtain=lambda hosts: self._make_anew(hosts, able),
            diff="\n".join(f"- {each.what}: {each.suite}\n+ {each.what}: {best}" for each, best in weak),
            irreversible="weaker ciphers are not agreed on again",
        )

    def _make_anew(self, hosts: Mapping[str, Target], able: Able) -> None:
        """Have the ends agree anew on what they offer now, the tunnel that stands being the last to go.

        Where this end's connection is otherwise than when the tunnel came up, another is no duplicate of it to charon.
        Where it is not, one comes up beside it if the style can have the ends prove themselves anew. Raises StepError
        where another does not come up; what there was is not touched then, while that can be told.
        """
        host, style, name = hosts[self.end.here.name], style_of(self.end.here), self.end.connection
        before, stood = listen(self.end, hosts), self._standing(host)
        said = "" if self._strongest(host, able) else _run(host, style.up(name), f"make {name} anew")
        if _FAILED in said and _DUPLICATE not in said:
            raise explained(self.end, hosts, before, catalogue.NOT_ANEW, said=said.splitlines())
        if not self._strongest(host, able) and (script := style.reauthenticate(name)):
            said = _run(host, script, f"make {name} anew beside the old one")
            if not self._strongest(host, able, _PATIENCE) and _inbound(self._standing(host)) <= _inbound(stood):
                raise explained(self.end, hosts, before, catalogue.NOT_ANEW, said=said.splitlines())
        if not self._strongest(host, able):
            said = _run(host, f"{style.down(name)} || true\n{style.up(name)}", f"take {name} down and bring it up")
            if _FAILED in said:
                raise explained(self.end, hosts, before, said=said.splitlines())
        self._end_all_but(self._strongest(host, able), host)

    def _standing(self, host: Target) -> list[_Tunnel]:
        listing = host.run(style_of(self.end.here).listing, purpose="look what the ends agreed on").stdout
        return self._tunnels(listing)

    def _strongest(self, host: Target, able: Able, patience: float = 0.0) -> _Tunnel | None:
        """The tunnel that runs the strongest, once there is one."""
        deadline = time.monotonic() + patience
        while True:
            if found := [each for each in self._standing(host) if _is_strongest(self.end, each, able)]:
                return max(found, key=lambda each: int(each[0].unique_id))
            if time.monotonic() > deadline:
                return None
            time.sleep(_PAUSE)

    def _end_all_but(self, kept: _Tunnel | None, host: Target) -> None:
        """Take down what stood before, where it does not go by itself. The moment is for what is on its way."""
        if kept is None:
            return
        style, name = style_of(self.end.here), self.end.connection
        others = [each for each in self._standing(host) if each[1].spi_in != kept[1].spi_in]
        ends = {
            style.end(name, sa.unique_id)
            if sa.unique_id != kept[0].unique_id
            else style.end_tunnel(name, child.unique_id)
            for sa, child in others
        }
        if ends:
            script = "\n".join(["sleep 1", *(f"{each} >&2 || true" for each in sorted(ends))])
            host.run(script, purpose="take down what stood before")


def _run(host: Target, script: str, purpose: str) -> str:
    return host.run(f"{{\n{script}\n}} 2>&1 || echo '{_FAILED}'", purpose=purpose).stdout


def _inbound(tunnels: Sequence[_Tunnel]) -> set[str]:
    return {child.spi_in for _, child in tunnels}
