"""What rules of iptables do with the packets of a connection, told from their text alone.

It reads what iptables-save prints, or a file for iptables-restore, and follows two packets from chain to chain: the one
that begins the connection, and one that goes on with it, for rules may let in the first alone. What is not understood
may hold or not: where that makes a difference, it says that it cannot tell. It never says more than it knows; the tests
hold it against the kernel.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PATH: Final = (
    ("raw", "PREROUTING"),
    ("mangle", "PREROUTING"),
    ("nat", "PREROUTING"),
    ("mangle", "INPUT"),
    ("filter", "INPUT"),
    ("security", "INPUT"),
    ("nat", "INPUT"),
)
"""The chains that a packet for the host itself passes, in order (nft(8), the priorities of hooks)."""
_PASSES_ON: Final = {"LOG", "NFLOG", "ULOG", "AUDIT", "TRACE", "MARK", "CONNMARK", "TCPMSS", "CLASSIFY", "DSCP", "TOS"}
"""Targets behind which a packet goes on to the next rule (iptables-extensions(8))."""
_COUNTS: Final = re.compile(r"^\[\d+:\d+\]\s*")
_UNTOLD: Final = "?"


class Fate(Enum):
    """What becomes of a packet, or of a connection."""

    ACCEPTED = "accepted"
    DROPPED = "dropped"
    UNKNOWN = "cannot be told"


_WORSE: Final = (Fate.ACCEPTED, Fate.UNKNOWN, Fate.DROPPED)


@dataclass(frozen=True)
class Packet:
    """A packet of a TCP connection to the host, from a source port that nobody knows beforehand."""

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    port: int
    interface: str = ""
    """The one it arrives by; empty for one that is not known, and is not the loopback's."""
    begins: bool = field(default=True, kw_only=True)
    """Whether it begins the connection: with SYN alone; later ones have ACK (RFC 9293, 3.5)."""


@dataclass(frozen=True)
class Outcome:
    """What becomes of it, and where that is certain, the rule or the policy that decides."""

    fate: Fate
    by: str = ""


def fate_of(packet: Packet, rules: str) -> Outcome:
    """Say what becomes of the connection that `packet` begins by `rules`, which are those of its family."""
    try:
        chains = _parse(rules)
        outcomes = [_Walk(chains, each).outcome() for each in (packet, replace(packet, begins=False))]
    except _UnreadableError:
        return Outcome(Fate.UNKNOWN)
    return max(outcomes, key=lambda each: _WORSE.index(each.fate))


class _UnreadableError(Exception):
    """Something that is not followed."""


@dataclass(frozen=True)
class _Chain:
    policy: str
    rules: list[str] = field(default_factory=list)


_Ends = dict[str, str]
"""The ways in which a packet may leave a chain (ACCEPT, DROP, RETURN, or ?), each with the line by which it does."""


def _parse(rules: str) -> Mapping[tuple[str, str], _Chain]:
    chains: dict[tuple[str, str], _Chain] = {}
    table = ""
    for line in (_COUNTS.sub("", each.strip()) for each in rules.splitlines()):
        words = line.split(None, 2)
        if "is incompatible, use 'nft' tool" in line:  # a table of which nothing is shown
            raise _UnreadableError(line)
        if not words or line.startswith("#") or line == "COMMIT":
            continue
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and len(words) > 1:
            chains[table, words[0][1:]] = _Chain(words[1])
        elif words[0] in {"-A", "--append"} and (table, words[1]) in chains:
            chains[table, words[1]].rules.append(line)
        else:  # iptables-restore takes every command of iptables; rules that are inserted or deleted are not followed
            raise _UnreadableError(line)
    return chains


class _Walk:
    """One packet's way."""

    def __init__(self, chains: Mapping[tuple[str, str], _Chain], packet: Packet) -> None:
        self._chains = chains
        self._packet = packet
        self._left: dict[tuple[str, str], _Ends] = {}

    def outcome(self) -> Outcome:
        """All the ways together, from the first chain to where no packet comes any further."""
        ends: _Ends = {}
        passed = ""
        for table, chain in _PATH:
            # nat looks at the packet that begins a connection alone
            if (table, chain) not in self._chains or (table == "nat" and not self._packet.begins):
                continue
            here = self._by_policy(table, chain)
            ends |= {end: by for end, by in here.items() if end != "ACCEPT"}
            if "ACCEPT" not in here:
                break
            passed = here["ACCEPT"] if (table, chain) == ("filter", "INPUT") else passed
        else:
            ends["ACCEPT"] = passed
        if set(ends) == {"ACCEPT"}:
            return Outcome(Fate.ACCEPTED, passed)
        return Outcome(Fate.DROPPED, ends["DROP"]) if set(ends) == {"DROP"} else Outcome(Fate.UNKNOWN)

    def _by_policy(self, table: str, chain: str) -> _Ends:
        """The ways out of one of the kernel's own chains: where no rule decides, its policy does."""
        ends = dict(self._out_of(table, chain))
        if ends.pop("RETURN", None) is not None:
            policy = self._chains[table, chain].policy
            ends.setdefault("ACCEPT" if policy == "ACCEPT" else "DROP", f"-P {chain} {policy}")
        return ends

    def _out_of(self, table: str, chain: str) -> _Ends:
        if (table, chain) not in self._left:
            self._left[table, chain] = {_UNTOLD: chain}  # for a loop, which the kernel does not take
            self._left[table, chain] = self._follow(table, self._chains[table, chain].rules)
        return self._left[table, chain]

    def _follow(self, table: str, rules: Sequence[str]) -> _Ends:
        ends: _Ends = {}
        for line in rules:
            rule = _rule(line, self._packet, tracked=table != "raw")
            if rule.matches is False:
                continue
            here, goes_on = self._by(rule, table, line)
            ends = here | ends
            if rule.matches and not goes_on:
                return ends
        return {"RETURN": ""} | ends

    def _by(self, rule: _Rule, table: str, line: str) -> tuple[_Ends, bool]:
        """The ways out of a chain by a rule that matches, and whether a packet may go on behind it."""
        if rule.target in {"ACCEPT", "DROP", "RETURN", "REJECT"}:
            return {"DROP" if rule.target == "REJECT" else rule.target: line}, False
        if not rule.target or rule.target in _PASSES_ON:
            return {}, True
        if (table, rule.target) not in self._chains:
            return {_UNTOLD: line}, True
        ends = dict(self._out_of(table, rule.target))
        if rule.goes:
            return ends, False
        return ends, ends.pop("RETURN", None) is not None


@dataclass(frozen=True)
class _Rule:
    matches: bool | None
    """None where it cannot be told."""
    target: str = ""
    goes: bool = False
    """For good (`-g`): what returns from there does not come back here."""


def _rule(line: str, packet: Packet, *, tracked: bool) -> _Rule:
    """Read one rule, and hold the packet against it."""
    words = _words(line)[2:]
    verdicts: list[bool | None] = []
    target, goes = "", False
    strange = negated = False
    while words:
        word = words.pop(0)
        if word == "!":
            negated = True
            continue
        if word in {"-j", "--jump", "-g", "--goto"} and words:
            target, goes = words.pop(0), word in {"-g", "--goto"}
        elif word in {"-m", "--match"} and words:
            strange = words.pop(0) not in _MODULES or strange
        else:
            holds = _holds(word, words, packet)
            if word in _STATES and not tracked:  # whose state it is of, is found out behind that table
                holds = None
            # behind a module that is not known, a word may be a value and no option
            verdicts.append(None if holds is None or (strange and holds is negated) else holds is not negated)
        negated = False
    return _Rule(False if False in verdicts else None if strange or None in verdicts else True, target, goes)


def _words(line: str) -> list[str]:
    """A rule's words as iptables-restore takes them: only double quotes are quotes."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.quotes, lexer.commenters, lexer.whitespace_split = '"', "", True
    try:
        return list(lexer)
    except ValueError as error:
        raise _UnreadableError(line) from error


def _holds(option: str, words: list[str], packet: Packet) -> bool | None:
    """Whether a match holds for the packet, None where that cannot be told; takes its values off `words`."""
    values, judge = _OPTIONS.get(option, (None, None))
    if judge is None or len(words) < (values or 0):
        while words and not words[0].startswith(("-", "!")):
            words.pop(0)
        return None
    try:
        return judge([words.pop(0) for _ in range(values or 0)], packet)
    except ValueError:  # a name, where a number was expected
        return None


def _in_networks(value: str, address: IPv4Address | IPv6Address) -> bool:
    return any([address in ip_network(each, strict=False) for each in value.split(",")])  # noqa: C419 - all are read


def _in_ports(value: str, port: int) -> bool:
    ranges = [each.partition(":") for each in value.split(",")]
    return any([int(low or 0) <= port <= int((high or 65535) if colon else low) for low, colon, high in ranges])  # noqa: C419 - all are read


def _by_interface(value: str, packet: Packet) -> bool | None:
    if not packet.interface and value != "lo":
        return None
    return packet.interface.startswith(value[:-1]) if value.endswith("+") else packet.interface == value


def _of_protocol(value: str) -> bool | None:
    if value in {"tcp", "6", "all", "0"}:
        return True
    return False if value.isdecimal() or value in _OTHER_PROTOCOLS else None


def _in_state(value: str, packet: Packet) -> bool | None:
    states = set(value.upper().split(","))
    return ("NEW" if packet.begins else "ESTABLISHED") in states or (None if states & {"SNAT", "DNAT"} else False)


def _with_flags(mask: str, wanted: str, packet: Packet) -> bool | None:
    """Whether of the flags in the mask just the wanted ones are set; of a later packet, PSH may be."""
    every = "SYN,ACK,FIN,RST,URG,PSH"
    masked = set((every if mask == "ALL" else mask).split(","))
    just = set((every if wanted == "ALL" else wanted).split(",")) - {"NONE"}
    if packet.begins:
        return masked & {"SYN"} == just
    return None if masked & {"PSH"} and just - {"PSH"} == masked & {"ACK"} else masked & {"ACK"} == just


def _yes(_values: Sequence[str], _packet: Packet) -> bool:
    return True


_STATES: Final = ("--ctstate", "--state")
_MODULES: Final = {"tcp", "udp", "multiport", "conntrack", "state", "comment", "addrtype"}
_OTHER_PROTOCOLS: Final = {"udp", "udplite", "icmp", "icmpv6", "ipv6-icmp", "esp", "ah", "gre", "sctp", "dccp", "igmp"}

_OPTIONS: Final[Mapping[str, tuple[int, Callable[[Sequence[str], Packet], bool | None]]]] = {
    **dict.fromkeys(("-s", "--source", "--src"), (1, lambda values, packet: _in_networks(values[0], packet.source))),
    **dict.fromkeys(
        ("-d", "--destination", "--dst"), (1, lambda values, packet: _in_networks(values[0], packet.destination))
    ),
    **dict.fromkeys(("-i", "--in-interface"), (1, lambda values, packet: _by_interface(values[0], packet))),
    **dict.fromkeys(("-p", "--protocol", "--proto"), (1, lambda values, _: _of_protocol(values[0]))),
    **dict.fromkeys(
        ("--dport", "--dports", "--destination-port", "--destination-ports"),
        (1, lambda values, packet: _in_ports(values[0], packet.port)),
    ),
    **dict.fromkeys(_STATES, (1, lambda values, packet: _in_state(values[0], packet))),
    "--dst-type": (1, lambda values, _: "LOCAL" in values[0].split(",") or None),
    "--tcp-flags": (2, lambda values, packet: _with_flags(values[0], values[1], packet)),
    "--syn": (0, lambda _, packet: packet.begins),
    "--comment": (1, _yes),
    "--reject-with": (1, _yes),
}
"""The matches that are understood: how many values each has, and whether it holds for a packet."""
