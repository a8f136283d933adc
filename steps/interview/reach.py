"""Does port 80 of a name lead to this very host? Asked before the certificate authority asks it.

A program on the host looks on for a few seconds, while this machine connects to every address of the name. It serves a
random word, if nothing listens on port 80 there, and it watches the packets that arrive, before the host's firewall
judges them: so a closed firewall can be told from a packet that never came. Each of our connections is known by the
segment size that it announces (TCP's MSS option), which routers leave alone and which is random here.

The program keeps nothing, writes nothing, needs only Debian's `perl-base`, and ends by itself.
"""

from __future__ import annotations

import secrets
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from importlib.resources import files
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, TypeVar

from runbook.errors import RunbookError
from runbook.script import heredoc, quote
from steps.certificates import web_client
from steps.certificates.web_client import NO_ROUTE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from runbook.host import Answer, Host

    Address = IPv4Address | IPv6Address

H = TypeVar("H", bound="Host")

PORT: Final = 80
WINDOW: Final = 4
"""Seconds that the program on the host looks on."""
PATIENCE: Final = 2.5
"""Seconds after which an address counts as silent: a lost first packet is sent again after one (RFC 6298)."""
READY: Final = 30.0
"""Seconds that the program may take to start."""
_MARKS: Final = range(800, 1200)
"""Segment sizes to be known by: below any that a link forces, above what a firewall takes for an attack."""
_LOOKOUT: Final = (files("steps.interview") / "lookout.pl").read_text(encoding="utf-8")


class Outcome(Enum):
    """What a connection from this machine met."""

    SERVED = auto()
    """Our random word, so it was this host."""
    ANSWERED = auto()
    """Something else."""
    REFUSED = auto()
    SILENT = auto()
    NO_ROUTE = auto()
    """This machine cannot reach that family of addresses at all."""


@dataclass(frozen=True)
class Arrival:
    """What came of one address: how it ended here, and whether the packet was seen to arrive at the host."""

    outcome: Outcome
    seen: bool | None
    """None where the host could not look."""


def addresses_of(name: str) -> list[Address] | None:
    """All addresses of a name, IPv4 first, by this machine's resolver; None where it has none."""
    try:
        found = [ip_address(address) for address, _ in web_client.addresses_of(name, PORT)]
        return sorted(found, key=lambda each: each.version)
    except OSError:
        return None


def look(host: Host, addresses: Sequence[Address]) -> Mapping[Address, Arrival]:
    """Connect to port 80 of each address while the host looks on; takes `WINDOW` seconds at most.

    An address that cannot be judged is missing.

    Raises:
        RunbookError: The host cannot be reached any more.
    """
    word, path = secrets.token_hex(16), f"/.well-known/acme-challenge/{secrets.token_urlsafe(16)}"
    last, *others = secrets.SystemRandom().sample(_MARKS, len(addresses) + 1)
    marks = dict(zip(addresses, others, strict=True))
    script = _script(WINDOW, PORT, path, word, last, *others)
    ready, over = threading.Event(), threading.Event()

    def told(line: str) -> None:
        if line == "ready":
            ready.set()

    def run() -> Answer:
        try:
            return host.run(script, purpose="look out for port 80", timeout=WINDOW + READY, on_line=told)
        finally:
            over.set()
            ready.set()

    with ThreadPoolExecutor(len(addresses) + 1) as pool:
        looking = pool.submit(run)
        if not ready.wait(READY) or over.is_set():
            looking.result()
            return {}
        tries = {each: pool.submit(_connect, each, mark, path, word) for each, mark in marks.items()}
        outcomes = {each: one.result() for each, one in tries.items()}
        for each in addresses:
            _knock(each, last)
        lines = looking.result().stdout.split()
    sighted = "blind" not in lines

    def seen(address: Address) -> bool | None:
        return outcomes[address] is Outcome.SERVED or (str(marks[address]) in lines if sighted else None)

    return {each: Arrival(outcome, seen(each)) for each, outcome in outcomes.items()}


def _script(*words: object) -> str:
    return f"perl - {' '.join(quote(str(each)) for each in words)} {heredoc(_LOOKOUT)}"


def look_at_all(hosts: Mapping[H, Sequence[Address]]) -> Mapping[H, Mapping[Address, Arrival]]:
    """The same for several hosts, side by side; a host that fails meanwhile has an empty answer."""

    def one(host: H, addresses: Sequence[Address]) -> Mapping[Address, Arrival]:
        try:
            return look(host, addresses)
        except RunbookError:
            return {}

    asked = {host: addresses for host, addresses in hosts.items() if addresses}
    if not asked:
        return {}
    with ThreadPoolExecutor(len(asked)) as pool:
        return dict(zip(asked, pool.map(one, asked, asked.values()), strict=True))


def _socket(address: Address, mark: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IP's versions
    line = socket.socket(family, socket.SOCK_STREAM)
    with suppress(OSError):  # unknown elsewhere than on Linux: then its arrival is not seen
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mark)
    return line


def _knock(address: Address, mark: int) -> None:
    """Send the first packet of a connection, and wait for nothing."""
    with _socket(address, mark) as line, suppress(OSError):
        line.settimeout(0)
        line.connect_ex((str(address), PORT))


def _connect(address: Address, mark: int, path: str, word: str) -> Outcome:
    with _socket(address, mark) as line:
        line.settimeout(PATIENCE)
        try:
            line.connect((str(address), PORT))
        except ConnectionRefusedError:
            return Outcome.REFUSED
        except OSError as error:
            return Outcome.NO_ROUTE if error.errno in NO_ROUTE else Outcome.SILENT
        line.settimeout(2 * WINDOW)  # whoever accepted it may be slow
        with suppress(OSError):
            line.sendall(f"GET {path} HTTP/1.0\r\nHost: ipsec-runbook.invalid\r\n\r\n".encode())
            heard = b""
            while word.encode() not in heard and len(heard) < len(word) * 100:
                more = line.recv(4096)
                if not more:
                    return Outcome.ANSWERED
                heard += more
            return Outcome.SERVED if word.encode() in heard else Outcome.ANSWERED
        return Outcome.ANSWERED
