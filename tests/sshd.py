"""A real sshd on loopback, real unix users with and without sudo, and a line that can be cut or fall silent.

Each connection gets a `sshd -i` of its own behind a listener of ours, so that the port is ready at once and the
connections can be counted. It needs root, as sshd does.
Import the fixtures that a module wants: `one_sshd` is `sshd`, and so on.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from runbook.ssh import Limits, SSHHost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runbook.errors import RunbookError

CANARY = "Tr0ub4dor-canary"
"""A password that may be seen nowhere."""
QUICK = Limits(connect=1, login=2, silence=1.5)
KINDS = ("ed25519", "ecdsa", "rsa")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="sshd and useradd need root")


def run(*words: str, text: str | None = None) -> str:
    """Run a command to its end and return what it printed."""
    return subprocess.run(words, check=True, text=True, capture_output=True, input=text).stdout


class Listener:
    """Accepts connections on a loopback port of its own, and hands each to `serve` in a thread."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def serve(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._socket.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self.serve, args=(connection,))
            self._threads.append(thread)
            thread.start()


class Sshd(Listener):
    """sshd with its own host keys, known to nobody, and one client key that every user accepts."""

    def __init__(self, *, kinds: tuple[str, ...] = KINDS, **options: str) -> None:
        self.folder = folder = Path(tempfile.mkdtemp(prefix="sshd-"))
        folder.chmod(0o755)  # sshd reads the accepted key as the user who logs in
        Path("/run/sshd").mkdir(exist_ok=True)
        for name, kind in [("client", "ed25519"), *((f"host_{kind}", kind) for kind in kinds)]:
            run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(folder / name))
        settings = {
            "AuthorizedKeysFile": str(folder / "client.pub"),
            "StrictModes": "no",  # the folder lies below /tmp, where everybody may write
            "PermitRootLogin": "yes",
            "PasswordAuthentication": "no",
            "UsePAM": "no",
            "LogLevel": "DEBUG1",
            **options,
        }
        lines = [f"HostKey {folder / f'host_{kind}'}" for kind in kinds]
        lines += [f"{key} {value}" for key, value in settings.items()]
        self._config = folder / "sshd_config"
        self._config.write_text("\n".join(lines) + "\n")
        self._servers: list[subprocess.Popen[bytes]] = []
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        command = ["/usr/sbin/sshd", "-i", "-f", str(self._config), "-E", str(self.folder / "sshd.log")]
        with connection, subprocess.Popen(command, stdin=connection.fileno(), stdout=connection.fileno()) as server:
            self._servers.append(server)
            connection.close()

    def close(self) -> None:
        for server in self._servers:
            server.terminate()
        super().close()
        shutil.rmtree(self.folder)

    def settle(self) -> None:
        """Wait until the server of every connection has seen its end."""
        for server in self._servers:
            server.wait()

    @property
    def log(self) -> str:
        """What sshd logged so far."""
        return (self.folder / "sshd.log").read_text()

    def line(self, kind: str = "ed25519", name: str | None = None) -> str:
        """Return the known_hosts line for one of the host keys."""
        words = (self.folder / f"host_{kind}.pub").read_text().split()
        return f"{name or f'[127.0.0.1]:{self.port}'} {words[0]} {words[1]}\n"

    def fingerprint(self, kind: str = "ed25519") -> str:
        return run("ssh-keygen", "-l", "-f", str(self.folder / f"host_{kind}.pub")).split()[1]

    def config(
        self, known: str, name: str = "box", *, user: str = "root", port: int | None = None, more: str = ""
    ) -> Path:
        """Write an ssh_config in which `name` is this server, and a known_hosts with the lines `known`."""
        known_hosts = self.folder / f"known_hosts_{name}"
        known_hosts.write_text(known)
        path = self.folder / f"config_{name}_{user}"
        path.write_text(
            f"{more}\nHost {name}\n  HostName 127.0.0.1\n  Port {port or self.port}\n  User {user}\n"
            f"Host *\n  IdentityFile {self.folder / 'client'}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
        )
        return path


class Relay(Listener):
    """A line to another port that can be cut after so many bytes, or fall silent without a word."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.silent = threading.Event()
        self.left: float = float("inf")
        """Bytes that still get through to the server before the line is cut."""
        self.cut = threading.Event()
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        with connection, socket.create_connection(("127.0.0.1", self._to)) as server:
            while not self.cut.is_set():
                ready, _, _ = select.select([connection, server], [], [], 0.05)
                if self.silent.is_set():
                    self.cut.wait()  # nothing is read, nothing is closed: as a line that died on its way
                    return
                for source in ready:
                    if not self._pass(source, server if source is connection else connection, up=source is connection):
                        return

    def settle(self) -> None:
        """Wait until a line that was cut is gone; the next one will stand."""
        for thread in self._threads:
            thread.join()
        self.cut.clear()

    def close(self) -> None:
        self.cut.set()
        super().close()

    def _pass(self, source: socket.socket, target: socket.socket, *, up: bool) -> bool:
        with contextlib.suppress(OSError):
            data = source.recv(4096)
            if up:
                data = data[: int(min(self.left, len(data)))]
                self.left -= len(data)
            target.sendall(data)
            return bool(data)
        return False


Sudo = Literal["free", "password", "none"]


@contextlib.contextmanager
def unix_user(sudo: Sudo, *, password: str | None = None, shell: str = "/bin/sh") -> Iterator[str]:
    """Make a throw-away user, and a sudoers rule for it; both are gone afterwards."""
    name = f"rb{secrets.token_hex(4)}"
    rule = Path(f"/etc/sudoers.d/{name}")
    run("useradd", "--create-home", "--shell", shell, "--password", "*", name)
    try:
        if password is not None:
            run("chpasswd", text=f"{name}:{password}\n")
        if sudo != "none":
            rule.write_text(f"{name} ALL=(ALL) {'NOPASSWD: ' if sudo == 'free' else ''}ALL\n")
            rule.chmod(0o440)
        yield name
    finally:
        rule.unlink(missing_ok=True)
        subprocess.run(["userdel", "--force", "--remove", name], check=True, capture_output=True)


def visible(*words: str) -> list[str]:
    """Return which of `words` stand in the argument list or environment of any process, as root sees them."""
    seen = bytearray()
    for process in Path("/proc").iterdir():
        for part in ("cmdline", "environ") if process.name.isdigit() and int(process.name) != os.getpid() else ():
            with contextlib.suppress(OSError):
                seen += (process / part).read_bytes()
    return [word for word in words if word.encode() in seen]


def never_asked(reason: str) -> Callable[[str], bool]:
    """Return an `ask` that fails the test."""

    def ask(question: str) -> bool:
        raise AssertionError(f"{reason}: {question}")

    return ask


def one_sentence(error: pytest.ExceptionInfo[RunbookError]) -> str:
    """Return what the user reads, which is one line and holds no Python."""
    text = str(error.value)
    assert text.count("\n") == 0
    assert not re.search(r"Traceback|Error\(|Exception|<.*object", text)
    return text


@pytest.fixture(name="sshd", scope="module")
def one_sshd() -> Iterator[Sshd]:
    """Run a server for the module."""
    server = Sshd()
    yield server
    server.close()


@pytest.fixture(name="stack")
def one_stack() -> Iterator[contextlib.ExitStack]:
    """Return what closes at the test's end whatever the test opened."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(name="box")
def make_box(sshd: Sshd, stack: contextlib.ExitStack) -> Callable[..., SSHHost]:
    """Return what makes a host `home` of the server, as `user`, perhaps through a relay's port, its key known."""

    def make(user: str = "root", port: int | None = None, **options: Any) -> SSHHost:  # noqa: ANN401 - handed on
        config = sshd.config(sshd.line() + sshd.line(name=f"[127.0.0.1]:{port}"), user=user, port=port)
        host = SSHHost("home", "box", ssh_config=config, **options)
        stack.callback(host.close)
        return host

    return make


@pytest.fixture(name="relay")
def one_relay(sshd: Sshd, stack: contextlib.ExitStack) -> Relay:
    """Run a line to the server that can fail."""
    relay = Relay(sshd.port)
    stack.callback(relay.close)
    return relay
