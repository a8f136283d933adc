"""ICMPv6 ping test."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

from runbook.errors import StepError
from runbook.script import quote
from runbook.step import Change, Check, Finding, Part, Proof
from steps import catalogue
from steps.ipsec.negotiated import negotiated_problems
from steps.ipsec.styles import style_of
from steps.renewing.certificates_in_use import certificates_in_use
from steps.section import Section, lan_target
from steps.tunnel import new_keys, ours, pings
from steps.tunnel.both_ends import explained, listen, listening, moment
from steps.tunnel.strongest import strongest_ciphers, weaker

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runbook.script import Reading
    from runbook.target import Target
    from steps.ipsec.negotiated import Sa
    from steps.network import End, Network, Site

FIRST_TRY = 12
"""Seconds for a tunnel to come up, a lost packet or two included (strongSwan repeats one after 4 s and after 11 s);
where it does not, both ends are listened to at the second try."""


class PingTest(Section):
    """Bring the tunnel up and ping through it, both ways. What the two ends agreed on must be what was planned.

    Then the tunnel gets new keys, by a key exchange of its own: forward secrecy, which is configured in vain more often
    than not, since nothing tells before the first keys are an hour old.

    The article's author lost two and a half days to one misleading error, because one end alone rarely knows why a
    tunnel is down. So when it is, the logs of both ends are read, and the stage that failed is named: no answer at all,
    the IKE SA (who are you?), the CHILD SA (which networks, which ciphers?), or the traffic itself.

        swanctl --initiate --child ula-net-vps4
        swanctl --list-sas
        ping -c4 fdd7:5938:e2e6:3::8e71
        swanctl --rekey --child ula-net-vps4      (then --list-sas: another SPI, and the key exchange behind the cipher)

    (with `config: stroke`: ipsec up ula-net-vps4, ipsec statusall). A tunnel that is down because `start: add` leaves
    it to you, or because of `start: ignore`, is in order, and is not pinged.

    A tunnel goes on by the certificates that it came up with, whatever is loaded since, and shows them again when its
    ends prove themselves anew. So after a renewal a new IKE SA is made beside the old one, which goes once the other
    end has seen the new certificate: the tunnel is not interrupted.

    It also stays with the ciphers that it came up with, and is made anew in the same way where both ends can do
    something stronger of what is planned now, such as after an upgrade; where one cannot, that is said.

    To check by hand that it is encrypted: `tcpdump -n 'esp or udp port 4500'` on the outer interface shows the packets,
    and `tcpdump -n net fdd7:5938:e2e6::/48` there shows none.

    What can go wrong: everything before this. `swanctl --log` on both ends shows it as it happens.
    """

    name: ClassVar[str] = "ping"
    title: ClassVar[str] = "ICMPv6 ping test"
    needs: ClassVar[tuple[str, ...]] = ("connection", "ipsec-firewall")

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - the same everywhere
        """The tunnels that this site initiates, up and as planned, by what their ends have and can do now."""
        ends = [end for end in self.network.ends(self.site(target)) if end.initiates]
        in_use = [certificates_in_use(end, self.vault) for end in ends]
        return [*map(Tunnel, ends), *in_use, *map(strongest_ciphers, ends)]

    def reads(self, target: str) -> Sequence[str]:
        """What strongSwan can do there, by which its tunnels are judged at whichever end."""
        return (style_of(self.site(target)).abilities,)

    def checks(self) -> Sequence[Check]:
        """Both ends' view of each tunnel, and pings through it."""
        links = [
            Check(f"ping through {link.name}", link.between, proof(ends), _lan_targets(end.here for end in ends))
            for link in self.network.links
            for ends in [self.network.link_ends(link)]
        ]
        spokes = [
            Check(
                f"ping from {one.name} to {other.name} through {hub.name}",
                (one.name, hub.name, other.name),
                through(hub, (one, other), self.network),
                _lan_targets((one, other)),
            )
            for hub, one, other in self.network.joined_by_hubs()
        ]
        return [*links, *spokes]


@dataclass(frozen=True)
class Tunnel(Part):
    """A tunnel that is up, between these two names, with the ciphers and networks that were planned."""

    end: End

    @property
    def key(self) -> str:
        """The connection's name."""
        return f"tunnel {self.end.connection}"

    def probe(self) -> str:
        """The daemon's listing without what moves by itself; whether it is one by hand, which ends with its section."""
        return ours.listing(self.end)

    def judge(self, found: Reading) -> Finding:
        """In order when one is up and as planned."""
        style, start = style_of(self.end.here), self.end.start
        associations = ours.associations(self.end, found.text)
        if not associations and start == "add":
            return self.in_order(f"down: `start: add` leaves it to you (`{style.initiate(self.end.connection)}`)")
        if not associations and start == "ignore":
            return self.in_order("down: charon is not told of it (`start: ignore`)")
        if not associations:
            why = "what stands is by hand, and ends" if ours.by_hand(found.text) else "it is down"
            return self.absent(self._initiate(why))
        problems = [negotiated_problems(self.end, each) for each in associations]
        best = min(problems, key=len)
        return self.drift(self._initiate(best[0])) if best else self.in_order()

    def _initiate(self, why: str) -> Change:
        return Change(
            summary=f"bring {self.end.connection} up ({why})",
            apply=f"{self._down()}\ntimeout {FIRST_TRY} /bin/sh -c {quote(self._up())} 2>&1",
            obtain=self._listen_and_try_again,
            # tunnels come and go: whoever takes the step back is not asked about one that is otherwise than it was left
            settle=f"{style_of(self.end.here).down(self.end.connection)} >&2 || true",
            diff=f"+ tunnel {self.end.connection}: {' '.join(map(str, self.end.local_ts))} === "
            f"{' '.join(map(str, self.end.remote_ts))}",
        )

    def _up(self) -> str:
        return style_of(self.end.here).up(self.end.connection)

    def _down(self) -> str:
        return f"{style_of(self.end.here).down(self.end.connection)} >/dev/null 2>&1 || true"

    def _listen_and_try_again(self, hosts: Mapping[str, Target]) -> None:
        """Bring it up while both ends are listened to; raises StepError with why that fails."""
        before = listen(self.end, hosts)
        script = f"{self._down()}\n{{\n{self._up()}\n}} 2>&1 || echo 'initiate failed'"
        said = hosts[self.end.here.name].run(script, purpose=f"bring {self.end.connection} up").stdout
        if "initiate failed" in said:
            raise explained(self.end, hosts, before, said=said.splitlines())


def proof(ends: tuple[End, End]) -> Proof:
    """What proves a link: both ends' security associations as planned, new keys, and pings from both and the LAN."""

    def run(hosts: Mapping[str, Target]) -> Sequence[str]:
        initiator = ends[0] if ends[0].initiates else ends[1]
        if initiator.start in {"add", "ignore"} and not any(_stands(end, hosts) for end in ends):
            return [f"{initiator.link.name} is down, and `start: {initiator.start}` leaves it so: nothing was pinged"]
        scripts = pings.scripts(initiator.network, (ends[0].here, ends[1].here), hosts)
        for end in ends:
            scripts[end.here.name] = f"{_look(end)}\n{scripts[end.here.name]}"

        said = {name: text.split("==\n") for name, text in _ask(hosts, scripts).items()}
        before = {end.here.name: moment(end.here, said[end.here.name][0]) for end in ends}
        agreed = [_agreed(end, said[end.here.name][-2], hosts) for end in ends]
        if not all(agreed):
            raise explained(initiator, hosts, before)
        answers = []
        for name in scripts:
            if lost := pings.lost(said[name][-1]):
                raise explained(initiator, hosts, before, catalogue.PING_LOST, lost=lost, target=name)
            answers += [f"{name}: {line}" for line in said[name][-1].splitlines() if line]
        return [*chain.from_iterable(agreed), new_keys.got(initiator, hosts, *said[initiator.here.name][1:3]), *answers]

    return run


def through(hub: Site, spokes: tuple[Site, Site], network: Network) -> Proof:
    """What proves that two sites reach each other through a third: pings from both and from their LANs."""

    def run(hosts: Mapping[str, Target]) -> Sequence[str]:
        evidence = []
        for name, lines in _ask(hosts, pings.scripts(network, spokes, hosts)).items():
            if lost := pings.lost(lines):
                raise StepError(catalogue.SPOKES_APART, target=name, lost=lost, hub=hub.name)
            evidence += [f"{name}: {line}" for line in lines.splitlines() if line]
        return evidence

    return run


def _stands(end: End, hosts: Mapping[str, Target]) -> bool:
    style = style_of(end.here)
    listed = hosts[end.here.name].run(style.listing, purpose="look whether the tunnel is up").stdout
    return bool(style.associations(listed, end.connection))


def _lan_targets(sites: Iterable[Site]) -> tuple[str, ...]:
    return tuple(lan_target(each) for each in sites if each.lan_host)


def _ask(hosts: Mapping[str, Target], scripts: Mapping[str, str]) -> dict[str, str]:
    """What each script printed on its target, all at once."""

    def ask(name: str) -> str:
        return hosts[name].run(scripts[name], purpose="look at the tunnel and ping", timeout=90).stdout

    with ThreadPoolExecutor(max_workers=len(scripts)) as pool:
        return dict(zip(scripts, pool.map(ask, scripts), strict=True))


def _look(end: End) -> str:
    """Shell that tells where an end stands, and of its tunnels; the one that initiates gives this one new keys."""
    tunnels = new_keys.asking(end) if end.initiates else style_of(end.here).listing
    return f"{listening(end.here)}\necho ==\n{tunnels}\necho =="


def _agreed(end: End, listing: str, hosts: Mapping[str, Target]) -> Sequence[str]:
    """What an end tells of its tunnel; nothing where it has none, or none as planned."""
    name = end.here.name
    found: list[Sa] = style_of(end.here).associations(listing, end.connection)
    if not any(not negotiated_problems(end, each) for each in found):
        return []
    newest = found[-1]
    child = newest.installed[-1]
    wrapped = ", in UDP" if child.encapsulated else ""
    return [
        f"{name}: {end.connection} IKE {newest.proposal}, ESP {child.suite}{wrapped}",
        *(f"{name}: {each}" for each in weaker(end, (newest, child), hosts)),
    ]
