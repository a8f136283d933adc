"""Misfortunes for a run: as a program, this file is the product with one of them built in.

    python faults.py '{"kill": ["nginx", "home", "intent", "after"]}' resume --file sites.yaml --yes
    python faults.py '{"unproved": ["home", 20]}' resume --file sites.yaml --yes
    python faults.py '{"published": true}' resume --file sites.yaml --yes
    python faults.py '{"cut": {"home": [3, "begun"]}}' resume --file proxied.yaml --yes

`kill` ends this very process, by SIGKILL, before or after a checkpoint is written; where that checkpoint does not
come, before the first one of a later step. `unproved` ends it when it is about to prove a target's firewall change by
a new login, `published` once a challenge of the authority is served. `cut` drops the line to a target at its n-th exec:
`before` it is asked for, when the channel stands but no script is `sent` yet, or when the script has `begun` on the
host.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from checkpoints import Checkpoint, Journal
from lab.layout import HOME, VPS4
from runbook import cli, images
from runbook.frame import Frame
from runbook.ssh import SSHHost
from steps.certificates.webroot import Webroot
from steps.procedure import PROCEDURE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import paramiko

    from lab import Lab
    from runbook.login import Line

STEPS = [section.name for section in PROCEDURE]
PORTS = {"home": 2201, "vps4": 2202}
"""Where a proxied run finds the sites, on the controller's loopback."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes close(2) a reset: what was under way is lost, as with a line that drops."""


def product(fault: Mapping[str, object]) -> list[str]:
    """The command line of the product with this fault."""
    return [sys.executable, str(Path(__file__).resolve()), json.dumps(fault)]


def proxied_sites(lab: Lab) -> str:
    """A description of the lab's network by which the sites are reached through the proxies of a `cut` run."""
    directory = lab.directory
    config = (directory / "ssh_config").read_text()
    for place in (HOME, VPS4):
        config = config.replace(
            f"    HostName {place.fqdn}\n", f"    HostName 127.0.0.1\n    Port {PORTS[place.name]}\n"
        )
    (directory / "proxied_config").write_text(config)
    sites = (directory / "sites.yaml").read_text().replace("ssh_config: ssh_config", "ssh_config: proxied_config")
    (directory / "proxied.yaml").write_text(sites)
    return str(directory / "proxied.yaml")


def kill_at(step: str, target: str, state: str, side: str) -> None:
    """Have this process killed beside a checkpoint."""
    record = Journal.record
    last = STEPS.index(step)

    def recording(self: Journal, checkpoint: Checkpoint) -> None:
        here = (checkpoint.step, checkpoint.target, checkpoint.state) == (step, target, state)
        if STEPS.index(checkpoint.step) > last or (here and side == "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        record(self, checkpoint)
        if here:
            os.kill(os.getpid(), signal.SIGKILL)

    Journal.record = recording  # type: ignore[method-assign] # the misfortune


def kill_unproved(target: str, seconds: int) -> None:
    """Have this process killed when a firewall change is in force on `target`, and no new login has proved it.

    The host takes it back after so many seconds, in place of the usual minute.
    """
    images.REVERT_SECONDS = seconds  # type: ignore[misc] # a test need not wait for all of it
    relogin = SSHHost.relogin

    def proving(self: SSHHost) -> None:
        if self.name == target:
            os.kill(os.getpid(), signal.SIGKILL)
        relogin(self)

    SSHHost.relogin = proving  # type: ignore[method-assign] # the misfortune


def kill_published() -> None:
    """Have this process killed when an authority's challenge is published, and nobody has looked at it."""

    def check(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    Webroot.check = check  # type: ignore[method-assign] # the misfortune


class Proxy:
    """A line to a host that can be cut."""

    def __init__(self, port: int, to: str) -> None:
        """Listen on the loopback's `port` for who wants to reach sshd at `to`."""
        self._to = to
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Drop every connection that passes here; new ones can be had."""
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection((self._to, 22))
            self._ends += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    for end in (one, other):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def cut_at(points: Mapping[str, Sequence[object]]) -> None:
    """Have the line to each of these targets drop at an exec: the how-manyth, and when."""
    proxies = {place.name: Proxy(PORTS[place.name], place.ipv4) for place in (HOME, VPS4)}
    execs: Counter[str] = Counter()
    in_hand = threading.local()
    exec_open, feed = SSHHost._open, Frame.feed_stderr

    def opening(self: SSHHost, command: str) -> tuple[Line, paramiko.Channel]:
        execs[self.name] += 1
        nth, when = points.get(self.name, (0, ""))
        mine = execs[self.name] == nth
        if mine and when == "before":
            proxies[self.name].cut()
        opened = exec_open(self, command)
        if mine and when == "sent":
            proxies[self.name].cut()
        in_hand.target = self.name if mine and when == "begun" else ""
        return opened

    def feeding(self: Frame, data: bytes) -> None:
        feed(self, data)
        if self.begun and getattr(in_hand, "target", ""):
            proxies[in_hand.target].cut()
            in_hand.target = ""

    SSHHost._open = opening  # type: ignore[method-assign] # the misfortune
    Frame.feed_stderr = feeding  # type: ignore[method-assign] # the misfortune


if __name__ == "__main__":
    fault = json.loads(sys.argv.pop(1))
    if "kill" in fault:
        kill_at(*fault["kill"])
    if "unproved" in fault:
        kill_unproved(*fault["unproved"])
    if "published" in fault:
        kill_published()
    if "cut" in fault:
        cut_at(fault["cut"])
    cli.main()
