"""The product on hosts that are not as one would like them, and what is seen of it from outside."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pexpect
from product import RUNBOOK

from lab.files import SITES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lab import Lab

COPIED = ("sites.yaml", "ssh_config", "acme-ca.pem", "trust-anchor.pem", "known_hosts")
_NETLINK_CONNECTOR, _PROCESSES, _EXECUTED = 11, 1, 2  # linux/netlink.h, connector.h, cn_proc.h
_USUAL_MASK = 0o022
_BUFFER_FORCE = 33  # SO_RCVBUFFORCE, asm-generic/socket.h
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def another_user(lab: Lab, folder: Path, **settings: str) -> Path:
    """A sites.yaml like the lab's own, in a folder of its own, with other settings for `home` in ssh_config."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copy(lab.directory / name, folder / name)
    config = (folder / "ssh_config").read_text().replace(f"{lab.directory}/known_hosts", f"{folder}/known_hosts")
    first = "".join(f"    {key} {value}\n" for key, value in settings.items())
    (folder / "ssh_config").write_text(f"Host home\n{first}\n{config}" if first else config)  # the first value counts
    return folder / "sites.yaml"


def write_network(folder: Path) -> None:
    """The description of a network of which there is nothing, and all that it names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED[1:]:
        (folder / name).touch()
    (folder / "sites.yaml").write_text(SITES.format(ipsec="", vps5="", mesh=""))


def at_a_terminal(
    lab: Lab, *arguments: str, before: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> pexpect.spawn[str]:
    """Start the product at a terminal of its own, by the command `before`."""
    argv = lab.admin_argv([*before, *RUNBOOK, *arguments])
    settings = {**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1", "NO_COLOR": "1", "TERM": "xterm", **(environment or {})}
    return pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=60, dimensions=(50, 200), env=settings)


def plain(text: str) -> str:
    """What a terminal showed, without its colours and movements."""
    return _COLOURS.sub("", text).replace("\r", "")


def type_secret(child: pexpect.spawn[str], question: str, secret: str) -> None:
    """Wait for a question, answer it, and wait until it is shown as answered (the prompt is then drawn once more)."""
    child.expect_exact(question)
    child.send(secret)
    child.expect_exact("*" * len(secret))
    child.send("\r")
    child.expect_exact(question)


def rest(child: pexpect.spawn[str]) -> tuple[int, str]:
    """Wait for the end; the exit code, and what was said since what was last waited for."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, plain(child.before)


class Watch:
    """Keeps the command line and the environment of every program started on this machine, in whatever namespace.

    The kernel tells of each by its process connector (cn_proc); what ends sooner than it can be looked at is missed.
    """

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.told = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_CONNECTOR)
        self._socket.setsockopt(socket.SOL_SOCKET, _BUFFER_FORCE, 1 << 24)
        self._socket.settimeout(0.2)
        self._socket.bind((0, _PROCESSES))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        listen = struct.pack("=IIIIHHI", _PROCESSES, 1, 0, 0, 4, 0, 1)
        self._socket.send(struct.pack("=IHHII", 16 + len(listen), 3, 0, 0, 0) + listen)
        for process in Path("/proc").glob("[0-9]*"):
            self._look(int(process.name))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                message = self._socket.recv(4096)
                what, process = struct.unpack_from("=I12xI", message, 36)
                if what == _EXECUTED:
                    self.told += 1
                    self._look(process)

    def _look(self, process: int) -> None:
        with contextlib.suppress(OSError):
            for part in ("cmdline", "environ"):
                self.seen.add(Path(f"/proc/{process}/{part}").read_bytes())


def births(trace: str) -> dict[str, int]:
    """The mode that each file had when it was made, by strace's account of umask, forks and openings."""
    lines = [(process, call.strip()) for process, _, call in (line.partition(" ") for line in trace.splitlines())]
    forks = [(process, re.search(r"(?:clone3?|v?fork)\b.* = (\d+)$", call)) for process, call in lines]
    parents = {match[1]: process for process, match in forks if match}  # told only after the child's first calls
    masks: dict[str, int] = {}
    made: dict[str, int] = {}

    def mask(process: str) -> int:
        if process not in masks:
            masks[process] = mask(parents[process]) if process in parents else _USUAL_MASK
        return masks[process]

    for process, call in lines:
        if match := re.match(r"umask\(0?(\d+)", call):
            masks[process] = int(match[1], 8)
        elif match := re.match(r'open(?:at)?\(.*"(.+)", \S*O_CREAT\S*, 0?(\d+)', call):
            made.setdefault(match[1], int(match[2], 8) & ~mask(process))
        elif match := re.search(r"(?:clone3?|v?fork)\b.* = (\d+)$", call):
            mask(match[1])
    return made
