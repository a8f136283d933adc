"""Why there is no connection, with which keys, and through which hosts."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import paramiko
import pytest
from paramiko.common import cMSG_SERVICE_REQUEST, cMSG_USERAUTH_REQUEST
from sshd import (
    CANARY,
    QUICK,
    Listener,
    Sshd,
    make_box,  # noqa: F401 - the fixture `box`
    needs_root,
    one_sentence,
    one_sshd,  # noqa: F401 - the fixture `sshd`
    one_stack,  # noqa: F401 - the fixture `stack`
    run,
)
from told import told_as

from runbook import catalogue
from runbook.errors import HostKeyError, UnreachableError, UsageError
from runbook.login import _config, _connection
from runbook.ssh import SSHHost

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from runbook.errors import Entry

pytestmark = needs_root


class Mute(Listener):
    """Accepts, and says nothing until it is closed."""

    def __init__(self) -> None:
        self.over = threading.Event()
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        with connection:
            self.over.wait()

    def close(self) -> None:
        self.over.set()
        super().close()


class Slammer(Listener):
    """Accepts, and hangs up."""

    def serve(self, connection: socket.socket) -> None:
        connection.recv(100)  # so that it is an end and no reset
        connection.close()


class Web(Listener):
    """Accepts, and speaks something else."""

    def serve(self, connection: socket.socket) -> None:
        with connection:
            connection.sendall(b"HTTP/1.0 400 Bad Request\r\n" * 200)
            connection.recv(100)


def failure(host: SSHHost, entry: Entry) -> str:
    with pytest.raises(UnreachableError) as error:
        host.run("true", purpose="try")
    assert error.value.exit_code == 5
    told_as(error, entry)
    return one_sentence(error)


def test_each_reason_has_its_sentence(box: Callable[..., SSHHost], stack: ExitStack) -> None:
    reasons = {}
    entries = {Mute: catalogue.NO_GREETING, Slammer: catalogue.HUNG_UP, Web: catalogue.NOT_SSH}
    for listener, entry in entries.items():
        server = listener()
        stack.callback(server.close)
        reasons[listener.__name__] = failure(box(port=server.port, limits=QUICK), entry)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    reasons["closed"] = failure(box(port=port, limits=QUICK), catalogue.PORT_REFUSED)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # the only place in its queue
            reasons["full"] = failure(box(port=port, limits=QUICK), catalogue.SSH_SILENT)
    reasons["name"] = failure(SSHHost("home", "nowhere.invalid", limits=QUICK), catalogue.NAME_UNRESOLVED)
    reasons["route"] = failure(SSHHost("home", "[fe80::1]:22", limits=QUICK), catalogue.NO_ROUTE)
    reasons["user"] = failure(box("nobody-of-that-name"), catalogue.LOGIN_REFUSED)
    assert "did not greet as SSH within 2 s" in reasons["Mute"]
    assert "closed the connection before the log-in" in reasons["Slammer"]
    assert "no SSH connection" in reasons["Web"]
    assert "refuses connections" in reasons["closed"]
    assert "did not answer within 1 s" in reasons["full"]
    assert reasons["name"] == "home: the name nowhere.invalid does not resolve"
    assert re.search(r"refused the log-in of nobody-of-that-name; keys tried: \S+/client$", reasons["user"])


def test_paramiko_itself_says_nothing(stack: ExitStack, tmp_path: Path) -> None:
    server = Web()
    stack.callback(server.close)
    (tmp_path / "config").touch()
    program = (
        "import logging, sys, pathlib, runbook.errors, runbook.ssh\nlogging.basicConfig()\n"
        f"host = runbook.ssh.SSHHost('home', '127.0.0.1:{server.port}', ssh_config=pathlib.Path(sys.argv[1]))\n"
        "try:\n    host.login()\nexcept runbook.errors.UnreachableError:\n    print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program, str(tmp_path / "config")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("refused\n", "")


def test_small_packets_are_not_held_back(box: Callable[..., SSHHost]) -> None:
    host = box()
    host.login()
    assert host._line is not None
    assert host._line._transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_log_in_does_not_wait_to_hear_that_it_may_ask(box: Callable[..., SSHHost]) -> None:
    host = box()
    host.login()
    assert host._line is not None
    handler = host._line._transport.auth_handler
    sent: list[bytes] = []
    handler.transport = SimpleNamespace(  # nobody who answers
        lock=threading.Lock(),
        session_id=b"session",
        _log=lambda *_: None,
        _send_message=lambda message: sent.append(message.asbytes()[:1]),
    )
    handler.auth_publickey("user", paramiko.ECDSAKey.generate(), threading.Event())
    assert sent == [cMSG_SERVICE_REQUEST, cMSG_USERAUTH_REQUEST]


def test_an_ssh_config_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read") as error:
        SSHHost("home", "box", ssh_config=tmp_path / "none").login()
    told_as(error, catalogue.SSH_CONFIG)


def test_a_host_that_runs_no_commands(stack: ExitStack) -> None:
    with_no_sessions = Sshd(kinds=("ed25519",), MaxSessions="0")
    stack.callback(with_no_sessions.close)
    host = SSHHost("home", "box", ssh_config=with_no_sessions.config(with_no_sessions.line()))
    stack.callback(host.close)
    assert "so nothing was run" in failure(host, catalogue.NO_SESSION)


# Keys of the user


def key_file(folder: Path, passphrase: str = "") -> Path:
    path = folder / "own"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path))
    return path


@pytest.fixture
def own(tmp_path: Path, stack: ExitStack) -> Callable[..., tuple[Sshd, Path]]:
    """Return what makes a server that accepts a new key alone, and an ssh_config for it."""

    def make(passphrase: str, settings: str) -> tuple[Sshd, Path]:
        key = key_file(tmp_path, passphrase)
        server = Sshd(kinds=("ed25519",))
        stack.callback(server.close)
        (server.folder / "client.pub").write_text(key.with_suffix(".pub").read_text())
        config = tmp_path / "config"
        known = tmp_path / "known"
        known.write_text(server.line())
        config.write_text(
            f"Host box\n  HostName 127.0.0.1\n  Port {server.port}\n  User root\n  UserKnownHostsFile {known}\n"
            + settings.format(key=key)
        )
        return server, config

    return make


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> Callable[[Path], None]:
    """Return what puts a key into an agent of the test's own."""
    words = run("ssh-agent", "-s")
    for name, value in re.findall(r"(SSH_\w+)=([^;]+);", words):
        monkeypatch.setenv(name, value)
    stack.callback(os.kill, int(os.environ["SSH_AGENT_PID"]), signal.SIGTERM)
    return lambda path: (run("ssh-add", "-q", str(path)), None)[1]


def test_a_passphrase_is_asked_for_once(own: Callable[..., Any], stack: ExitStack) -> None:
    _, config = own(CANARY, "  IdentityFile {key}-absent\n  IdentityFile {key}\n  IdentitiesOnly yes\n")
    asked: list[str] = []

    def password(prompt: str) -> str:
        asked.append(prompt)
        return CANARY

    host = SSHHost("home", "box", ssh_config=config, password=password)
    stack.callback(host.close)
    host.login()
    host.relogin()
    assert len(asked) == 1
    assert "/own" in asked[0]
    assert CANARY not in repr(host._login)


@pytest.mark.parametrize(("answer", "why"), [(None, "needs a passphrase; no terminal"), ("wrong", "wrong passphrase")])
def test_a_locked_key_is_named(own: Callable[..., Any], answer: str | None, why: str) -> None:
    _, config = own(CANARY, "  IdentityFile {key}\n  IdentitiesOnly yes\n")
    password = (lambda _: answer) if answer else None
    host = SSHHost("home", "box", ssh_config=config, password=password)
    assert f"own ({why}" in failure(host, catalogue.LOGIN_REFUSED)


@pytest.mark.parametrize(
    "settings",
    ["", "  IdentityFile {key}\n  IdentitiesOnly yes\n", "  IdentityFile {key}.pub\n  IdentitiesOnly yes\n"],
)
def test_the_agent_is_used(
    own: Callable[..., Any], agent: Callable[[Path], None], tmp_path: Path, stack: ExitStack, settings: str
) -> None:
    _, config = own("", settings)
    agent(tmp_path / "own")
    (tmp_path / "own").write_text("not a key")
    host = SSHHost("home", "box", ssh_config=config)
    stack.callback(host.close)
    host.login()


def test_identities_only_keeps_other_keys_of_the_agent_back(
    own: Callable[..., Any], agent: Callable[[Path], None], tmp_path: Path
) -> None:
    _, config = own("", "  IdentityFile {key}-absent\n  IdentitiesOnly yes\n")
    agent(tmp_path / "own")
    assert "there is no key to try" in failure(SSHHost("home", "box", ssh_config=config), catalogue.NO_KEY)


def test_an_agent_that_is_gone_is_no_obstacle(
    box: Callable[..., SSHHost], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    box().login()


# Jump hosts


@pytest.fixture
def jumps(sshd: Sshd, stack: ExitStack) -> Callable[..., SSHHost]:
    """Return what makes a host behind two jump hosts, visited in order, with these lines known."""
    first, second = Sshd(kinds=("ed25519",)), Sshd(kinds=("ed25519",))
    for server in (first, second):
        stack.callback(server.close)
        (server.folder / "client.pub").write_text((sshd.folder / "client.pub").read_text())

    def make(*known: str, target: int | None = None, **options: Any) -> SSHHost:  # noqa: ANN401 - handed on
        lines = {"first": first.line(), "second": second.line(), "box": sshd.line()}
        config = sshd.config(
            "".join(lines.get(word, word) for word in known),
            port=target,
            more="Host box\n  ProxyJump first,second\n"
            + "".join(
                f"Host {name}\n  HostName 127.0.0.1\n  Port {server.port}\n  User root\n"
                for name, server in (("first", first), ("second", second))
            ),
        )
        host = SSHHost("home", "box", ssh_config=config, **options)
        host.servers = (first, second)  # type: ignore[attr-defined] # for the test to look at
        stack.callback(host.close)
        return host

    return make


def test_jump_hosts_are_visited_in_order(jumps: Callable[..., Any], sshd: Sshd) -> None:
    host = jumps("first", "second", "box")
    assert host.run("id -u", purpose="try").stdout == "0\n"
    first, second = host.servers
    assert f"target 127.0.0.1 port {second.port}" in first.log
    assert f"target 127.0.0.1 port {sshd.port}" in second.log
    host.relogin()
    assert (first.connections, second.connections, host.logins) == (2, 2, 2)


@pytest.mark.parametrize("unknown", ["first", "second", "box"])
def test_each_jump_hosts_key_is_verified(jumps: Callable[..., Any], unknown: str) -> None:
    host = jumps(*({"first", "second", "box"} - {unknown}))
    with pytest.raises(HostKeyError, match="is not known") as error:
        host.run("true", purpose="try")
    one_sentence(error)
    told_as(error, catalogue.HOST_KEY_UNKNOWN)
    assert error.value.hint.endswith(f"{unknown}; then: runbook resume")


def test_a_target_that_the_jump_host_cannot_reach(jumps: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "the jump host before it cannot reach 127.0.0.1" in failure(
        jumps("first", "second", target=port), catalogue.JUMP_FAILED
    )


def test_a_jump_host_for_everything_is_not_its_own(sshd: Sshd, stack: ExitStack) -> None:
    config = sshd.config(sshd.line(), more=f"Host hop\n  HostName localhost\n  Port {sshd.port}\n  User root\n")
    config.write_text(config.read_text() + "  ProxyJump hop\n")
    with (sshd.folder / "known_hosts_box").open("a") as known:
        known.write(sshd.line(name=f"[localhost]:{sshd.port}"))
    host = SSHHost("home", "box", ssh_config=config)
    stack.callback(host.close)
    before = sshd.connections
    assert host.run("id -u", purpose="try").stdout == "0\n"
    assert sshd.connections - before == 2  # to the jump host, and from there
    assert sshd.log.count("server_request_direct_tcpip") == 1


@pytest.mark.parametrize(
    ("target", "user", "where", "port"),
    [
        ("admin@[2001:db8::1]:2222", "admin", "2001:db8::1", 2222),
        ("[2001:db8::1]", None, "2001:db8::1", 22),
        ("2001:db8::1", None, "2001:db8::1", 22),
        ("admin@home.example.test:2200", "admin", "home.example.test", 2200),
    ],
)
def test_targets_as_ssh_takes_them(tmp_path: Path, target: str, user: str | None, where: str, port: int) -> None:
    (tmp_path / "config").touch()
    connection = _connection(target, _config(tmp_path / "config"))
    assert (connection.host, connection.port) == (where, port)
    assert user in (None, connection.user)
