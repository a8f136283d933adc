"""A slow line to the sites, for a lab: every byte arrives half a round trip later, in both directions.

    python -m bench.line 50

stands in the controller's place and listens on its loopback, for each site on its own port. On the end of its standard
input it prints one JSON object for each connection that it carried, and ends.

`netem` is not in every kernel, hence a proxy. It also delays what a proxy hides: TCP's own handshake, which the kernel
answers at once. Nothing that was sent arrives earlier than one and a half round trips after the connection was begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from lab.lab import SSH_PORT
from lab.layout import HOME, VPS4

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lab import Lab

PORTS = {HOME.name: 2301, VPS4.name: 2302}
"""Where each site is found on the controller's loopback."""
ADDRESSES = {HOME.name: HOME.ipv4, VPS4.name: VPS4.ipv4}
READY = "ready"


@dataclass
class Connection:
    """What passed over one connection. `turns` counts how often the client spoke after it had heard, and TCP's own."""

    host: str
    turns: int = 1
    up: int = 0
    down: int = 0


@dataclass
class Line:
    """What was carried while a line was open."""

    connections: Sequence[Connection] = ()

    def logins(self) -> dict[str, int]:
        """Connections made, by host."""
        return {host: sum(each.host == host for each in self.connections) for host in PORTS}

    def turns(self) -> int:
        """The most turns that any host needed."""
        return max(sum(each.turns for each in self.connections if each.host == host) for host in PORTS)


@contextlib.contextmanager
def slow_line(lab: Lab, rtt: int) -> Iterator[Line]:
    """Have the sites of `lab` be `rtt` milliseconds away for who uses `slow_config`; tells afterwards what passed."""
    argv = [sys.executable, "-m", "bench.line", str(rtt)]
    line = Line()
    with lab.admin_popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as proxies:
        try:
            if proxies.stdout is None or proxies.stdout.readline().strip() != READY:
                raise OSError("the proxies of the slow line do not start")
            yield line
        finally:
            out, _ = proxies.communicate()
    line.connections = [Connection(**json.loads(each)) for each in out.splitlines()]


def slow_config(lab: Lab) -> tuple[str, str]:
    """Write an ssh_config by which the sites are reached over the slow line, and a sites.yaml that uses it."""
    config = (lab.directory / "ssh_config").read_text()
    for place in (HOME, VPS4):
        there = f"    HostName 127.0.0.1\n    Port {PORTS[place.name]}\n"
        config = config.replace(f"    HostName {place.fqdn}\n", there)
    slow = lab.directory / "slow_config"
    slow.write_text(config)
    sites = lab.directory / "slow.yaml"
    text = (lab.directory / "sites.yaml").read_text()
    sites.write_text(text.replace("ssh_config: ssh_config", f"ssh_config: {slow}"))
    return str(slow), str(sites)


def _nothing(_: bytes) -> None:
    """Note nothing."""


class Proxy:
    """The proxy in front of one host."""

    def __init__(self, host: str, rtt: float, carried: list[Connection]) -> None:
        """Delay by half of `rtt` seconds each way; every connection is noted in `carried`."""
        self._host = host
        self._rtt = rtt
        self._carried = carried

    async def listen(self) -> None:
        """Take connections from now on."""
        await asyncio.start_server(self._carry, "127.0.0.1", PORTS[self._host])

    async def _carry(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        begun = asyncio.get_running_loop().time()
        connection = Connection(self._host)
        self._carried.append(connection)
        heard = True

        def up(data: bytes) -> None:
            nonlocal heard
            connection.turns += heard
            connection.up += len(data)
            heard = False

        def down(data: bytes) -> None:
            nonlocal heard
            connection.down += len(data)
            heard = True

        await asyncio.sleep(self._rtt * 1.5)  # SYN there and back, and the ACK on its way
        far, forth = await asyncio.open_connection(ADDRESSES[self._host], SSH_PORT)
        await asyncio.gather(
            self._pass_on(near, forth, not_before=begun + self._rtt * 1.5, sent=up),
            self._pass_on(far, back, not_before=0, arrived=down),
        )

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        not_before: float,
        sent: Callable[[bytes], None] = _nothing,
        arrived: Callable[[bytes], None] = _nothing,
    ) -> None:
        """Have what is sent arrive half a round trip later, and none of it before `not_before` on the loop's clock."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        clock = asyncio.get_running_loop().time

        async def deliver() -> None:
            while True:
                due, data = await under_way.get()
                if (left := due - clock()) > 0:
                    await asyncio.sleep(left)
                if not data:
                    break
                arrived(data)
                writer.write(data)
                await writer.drain()
            writer.close()

        async def send() -> None:
            data = b"more"
            while data:
                try:
                    data = await reader.read(65536)
                except ConnectionError:
                    data = b""
                if data:
                    sent(data)
                under_way.put_nowait((max(clock() + self._rtt / 2, not_before), data))

        with contextlib.suppress(ConnectionError):
            await asyncio.gather(send(), deliver())


async def _serve(rtt: float) -> None:
    carried: list[Connection] = []
    for host in PORTS:
        await Proxy(host, rtt, carried).listen()
    print(READY, flush=True)  # noqa: T201 - for who started this program
    await asyncio.to_thread(sys.stdin.read)
    for connection in carried:
        print(json.dumps(asdict(connection)))  # noqa: T201 - same


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]) / 1000))
