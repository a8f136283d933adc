"""What a tunnel is, told with the names and addresses of the network at hand."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from steps.description.sites_yaml import load
from steps.ipsec.styles import style_of
from steps.tunnel.picture import picture

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steps.ipsec.ipsec_options import Start
    from steps.network import Network, Site

_LESSON: Final = """\
{picture}

A tunnel is an agreement of two hosts, and nothing more: no wire, and as a rule no interface. What {here} sends to the
private networks of {there} is encrypted on {here}, crosses the internet as a packet between the two outer addresses,
is decrypted on {there}, and goes on there as what it was. The agreement has two layers, made one after the other.
Which of them fails tells where to look.

THE IKE SA: WHO ARE YOU?

A security association (SA) is a set of keys, and what they are for, that the two ends know and nobody else. The first
is made by IKE, the Internet Key Exchange. {initiator} calls {responder} on UDP port 500. The two agree on a key that
nobody who listens can work out, and from then on they talk encrypted; on UDP port 4500 where a NAT lies between, or
an address may change. Then each proves its name: it shows its certificate and signs with the private key that only it
has. The other end takes exactly one name, from exactly the authorities that it trusts:

    on {here}
      I am         {here_fqdn}
      you must be  {there_fqdn}
    on {there}
      I am         {there_fqdn}
      you must be  {here_fqdn}

The ciphers of this layer are `proposals`: {ike}. The IKE SA carries none of your traffic. Where it is missing, look
at names, certificates, keys, clocks, these ciphers, and UDP ports 500 and 4500.

THE CHILD SA: WHICH NETWORKS, WHICH CIPHERS?

Over the IKE SA the two agree on the keys for your packets: the CHILD SA. It is called {conn} on {here}, and {reverse}
on {there}. ESP (Encapsulating Security Payload) is what carries the packets: IP protocol 50{encapsulated}. Its
ciphers are `esp_proposals`: {esp}. Where the IKE SA stands and this does not, no certificate and no key is to blame.
It is the networks, these ciphers, or a kernel that cannot do them. To take the first for the second is what cost the
author of the article two and a half days.

TUNNEL MODE

A whole packet goes inside another. This is a ping from {here} to {there}, as the internet sees it, and what is in it:

    outside (ESP)       {here_outer} -> {there_outer}
    inside (encrypted)  {here_inner} -> {there_inner}

So the private addresses never show outside, and the outer packet may be IPv4 though the inner one is IPv6. The other
mode, transport, encrypts what two hosts say to each other and has no place for a network behind them.

TRAFFIC SELECTORS

What goes in is decided by addresses alone. Each end has two lists, local_ts and remote_ts (ts: traffic selectors),
and the lists of one end are those of the other the other way round:

    on {here}
      local_ts   {here_ts}
      remote_ts  {there_ts}
    on {there}
      local_ts   {there_ts}
      remote_ts  {here_ts}

On {here}, a packet from one of the first to one of the second goes into the tunnel; what comes out of it must fit the
other way round. What fits nowhere is not encrypted, and does not leave either: what is for {prefix} and has no way
through a tunnel is refused. Where the ends disagree, the responder refuses the CHILD SA (TS_UNACCEPTABLE), or makes
it smaller without a word (narrowing). Here nobody types a selector: all four lists follow from sites.yaml.

WHEN IT IS UP

{initiator} is the initiator: {rises}. Unless sites.yaml says otherwise, the CHILD SA gets new keys every hour, and
within a day both ends prove themselves anew. An end that falls silent is asked whether it lives; if it does not, the
tunnel is taken down{again}.

TO SEE IT

    {conns}
        what this end is prepared for: names, addresses, selectors
    {sas}
        the IKE SA, and below it the CHILD SA: ciphers, packets
    {initiate}
        bring it up from {here}, and watch
    ip -6 route show table 220
        what goes into a tunnel
    tcpdump -ni {interface} 'esp or udp port 4500'
        the outside, on {here}

What can go wrong: `runbook explain ping`; and when a run finds a tunnel down, it reads both ends and says which layer
failed, and why.
"""


_RISES: Final[Mapping[Start, str]] = MappingProxyType(
    {
        "trap": "the first packet for {responder} brings the tunnel up, and may be lost over it",
        "start": "it brings the tunnel up as soon as strongSwan runs there, and again where it has ended",
        "add": "it brings the tunnel up when you tell it to (`start: add`)",
        "ignore": "it would bring the tunnel up, which strongSwan is not told of (`start: ignore`)",
    }
)
"""What the initiator does by itself, by `start` of sites.yaml."""
_SELECTORS: Final = "\n" + 17 * " "


def lesson(network: Network, *, width: int, unicode: bool) -> str:
    """The lesson on the network's first link, from its initiator's end, with a picture of at most `width` columns."""
    ends = network.link_ends(network.links[0])
    here, there = ends if ends[0].initiates else (ends[1], ends[0])
    drawn = "\n".join(f" {line}" for line in picture(network, width - 1, unicode=unicode))
    wrapped = network.ipsec.encapsulation == "always"
    style = style_of(here.here)
    return _LESSON.format(
        picture=drawn,
        here=here.here.name,
        there=there.here.name,
        here_fqdn=here.here.fqdn,
        there_fqdn=there.here.fqdn,
        initiator=here.here.name,
        responder=there.here.name,
        ike=_listed(network.ipsec.ike_proposals),
        esp=_listed(network.ipsec.esp_proposals),
        rises=_RISES[here.start].format(responder=there.here.name),
        again=" and brought up again" if here.start in {"trap", "start"} else "",
        conn=here.connection,
        conns=style.typed["conns"],
        sas=style.typed["sas"],
        initiate=style.initiate(here.connection),
        reverse=there.connection,
        encapsulated=", here always inside UDP 4500" if wrapped else ", or inside UDP 4500 where a NAT lies between",
        here_outer=_outer(here.here),
        there_outer=_outer(there.here),
        here_inner=network.link_address(here.here),
        there_inner=network.link_address(there.here),
        here_ts=_SELECTORS.join(map(str, here.local_ts)),
        there_ts=_SELECTORS.join(map(str, here.remote_ts)),
        prefix=network.prefix,
        interface=here.here.interface,
    )


def example() -> Network:
    """The README's network, which is the article's, for who has none yet."""
    return load(Path(str(files("steps") / "example.yaml")))


def _listed(words: tuple[object, ...]) -> str:
    return ", ".join(map(str, words))


def _outer(site: Site) -> str:
    """One outer address of a site, or what stands for it."""
    return str(site.addresses[0]) if site.addresses else f"the address that {site.name} has today"
