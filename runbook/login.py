"""From a target's name to an authenticated SSH connection, by Fabric and paramiko, with what they leave out.

Fabric brings ssh_config, jump hosts and agents. Added here, each after a measured fault: host keys are verified
(`runbook.hostkeys`); TCP_NODELAY (without it a command costs 40 ms on a LAN); a line that goes silent is noticed
(paramiko sends keep-alives and waits for no answer); every wait is bounded; jump hosts are visited in ssh(1)'s order
(Fabric 3.2 reverses them).
"""

from __future__ import annotations

import logging
import math
import re
import shlex
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import fabric
import paramiko
from paramiko.auth_handler import AuthHandler
from paramiko.auth_strategy import AuthFailure
from paramiko.common import cMSG_GLOBAL_REQUEST
from paramiko.packet import Packetizer
from paramiko.ssh_exception import ConfigParseError

from runbook import catalogue
from runbook.errors import UnreachableError, UsageError
from runbook.hostkeys import HostKeys, Policy
from runbook.identities import Identities, KeyRing

if TYPE_CHECKING:
    from pathlib import Path

    from runbook.errors import Entry
    from runbook.identities import Prompts

# paramiko logs tracebacks of its own; what a user must know is in our exceptions.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False

_BRACKETED: Final = re.compile(r"(?:(?P<user>[^@]*)@)?\[(?P<host>[^]]+)\](?::(?P<port>\d+))?")


@dataclass(frozen=True)
class Limits:
    """How long we wait, in seconds: for TCP, for each stage of a log-in, and for any sign of life after it."""

    connect: float = 10.0
    login: float = 15.0
    silence: float = 25.0


class _Listener(Packetizer):
    """Ends the connection when nothing has been heard for too long; the transport's thread looks ten times a second."""

    silence = math.inf

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._heard = time.monotonic()

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:  # noqa: FBT001, FBT002 - paramiko's signature
        data: bytes = super().read_all(n, check_rekey)
        self._heard = time.monotonic()
        return data

    def _check_keepalive(self) -> None:
        if self.silent:
            raise EOFError
        super()._check_keepalive()  # type: ignore[misc] # private in paramiko, hence not in its stubs

    @property
    def silent(self) -> bool:
        return time.monotonic() - self._heard > self.silence


class _Eager(AuthHandler):
    """Asks to be let in without waiting to be told that one may ask: a round trip less for each key that is tried.

    RFC 4253, 10 wants no such wait, and a server takes messages in order.
    """

    def _request_auth(self) -> None:
        super()._request_auth()  # type: ignore[misc] # private in paramiko, hence not in its stubs
        granted = paramiko.Message()
        granted.add_string("ssh-userauth")
        granted.rewind()
        super()._parse_service_accept(granted)  # type: ignore[misc] # same

    def _parse_service_accept(self, m: paramiko.Message) -> None:
        """The grant itself, when it comes: asked already."""


class _Transport(paramiko.Transport):
    """paramiko's, with a log-in by `_Eager`."""

    def auth_publickey(self, username: str, key: paramiko.PKey, event: threading.Event | None = None) -> list[str]:
        # which hash an RSA key is to sign, the server says meanwhile (RFC 8308); a transport that has failed says why
        if "rsa" in key.get_name() or not (self.is_active() and self.initial_kex_done):
            return super().auth_publickey(username, key, event)
        done = event or threading.Event()
        self.auth_handler = _Eager(self)
        self.auth_handler.auth_publickey(username, key, done)
        return [] if event else self.auth_handler.wait_for_response(done)


class Line:
    """One authenticated connection to a target, with the jump hosts under it."""

    def __init__(self, chain: list[fabric.Connection], limits: Limits, by_hand: str) -> None:
        self.by_hand = by_hand
        """The ssh(1) command that goes there."""
        self._chain = chain
        self._limits = limits
        self._spare: paramiko.Channel | None = None
        self.grants_more = True
        """Whether the host grants a channel beside one in use (MaxSessions), as far as is known."""
        self.user: str = chain[-1].user

    @property
    def alive(self) -> bool:
        """Whether the connection stands and has been heard of lately."""
        return bool(self._transport) and self._transport.is_active() and not self._transport.packetizer.silent

    def open_channel(self) -> paramiko.Channel:
        """Open a session channel, or hand out the one opened ahead.

        Raises:
            paramiko.SSHException: The connection is gone, or the host grants no channel.
            EOFError: The connection is gone.
        """
        if not self._transport:
            raise EOFError
        spare, self._spare = self._spare, None
        if spare is not None and not spare.closed:
            return spare
        channel: paramiko.Channel = self._transport.open_session(timeout=self._limits.login)
        return channel

    def open_ahead(self) -> None:
        """Open the next channel now, while the host is at work: a run then costs two round trips in place of three.

        Where the host grants no more than are in use (MaxSessions), it is not asked again.
        """
        if self._spare is None and self.grants_more:
            try:
                self._spare = self.open_channel()
            except (paramiko.SSHException, EOFError, OSError):  # who awaits the answer notices a line that is gone
                self.grants_more = False

    def watch(self) -> None:
        """From now on ask for a sign of life in time, and end the connection when none comes."""
        packetizer = self._transport.packetizer
        packetizer.set_keepalive(self._limits.silence / 3, partial(_ask_for_life, self._transport))
        packetizer.silence = self._limits.silence

    @property
    def _transport(self) -> Any:  # noqa: ANN401 - a Transport whose packetizer is our _Listener, or None
        return self._chain[-1].client.get_transport()

    def close(self) -> None:
        """End the connection and those of the jump hosts under it."""
        for connection in reversed(self._chain):
            transport = connection.client.get_transport()
            if transport is not None and isinstance(transport.sock, socket.socket):
                with suppress(OSError):
                    transport.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads: it is waited for below
            connection.client.close()
            if transport is not None:
                transport.packetizer.complete_handshake()  # its timer would hold up our exit for 15 s
                transport.sock.close()  # paramiko leaves it open where the log-in failed
                if transport.is_alive():
                    transport.join(1)


@dataclass(frozen=True)
class Login:
    """How to log in to one target, as often as it is wanted."""

    name: str
    target: str
    ssh_config: Path | None
    prompts: Prompts
    limits: Limits
    keys: KeyRing = field(default_factory=KeyRing, repr=False)

    def connect(self) -> Line:
        """Connect through the jump hosts and log in.

        Raises:
            UsageError: The ssh_config file cannot be read.
            UnreachableError: No connection or no log-in, with the reason.
            HostKeyError: A key, the target's or a jump host's, is not the one known.
        """
        chain = _chain(self.target, _config(self.ssh_config))
        line = Line(chain, self.limits, _by_hand(chain[-1], self.ssh_config))
        try:
            for below, connection in zip([None, *chain], chain, strict=False):
                at = self.name if connection is chain[-1] else f"{self.name}: jump host {connection.original_host}"
                try:
                    self._open(connection, below)
                except (OSError, EOFError, paramiko.SSHException) as error:
                    raise self._failure(error, connection, at) from error
            line.watch()
        except BaseException:
            line.close()
            raise
        return line

    def _failure(self, error: Exception, connection: fabric.Connection, at: str) -> UnreachableError:
        entry, words = _reason(error, connection, self.limits)
        where = f"{connection.host} port {connection.port}"
        by_hand = _by_hand(connection, self.ssh_config)
        return UnreachableError(entry, at=at, host=connection.host, where=where, ssh=by_hand, **words)

    def _open(self, connection: fabric.Connection, below: fabric.Connection | None) -> None:
        keys = HostKeys(
            connection.host,
            connection.port,
            connection.ssh_config,
            ask=self.prompts.ask,
            command=_by_hand(connection, self.ssh_config),
        )
        connection.client.set_missing_host_key_policy(Policy(keys))
        strategy = partial(Identities, prompts=self.prompts, keys=self.keys)
        connection.config.authentication.strategy_class = strategy
        connection.connect_timeout = self.limits.login
        connection.connect_kwargs = {"transport_factory": partial(_transport, keys, self.limits)}
        if below is not None:
            connection.gateway = below
        elif not connection.gateway:
            # paramiko itself gives up at the first address that has no route or is silent
            address = (connection.host, connection.port)
            connection.connect_kwargs["sock"] = socket.create_connection(address, timeout=self.limits.connect)
        result = connection.open()
        if not connection.transport.is_authenticated():  # a key was taken, and more than a key is wanted
            raise AuthFailure(result)


def _config(path: Path | None) -> fabric.Config:
    """Read ssh_config: `path`, or the user's and the system's. Fabric's own files have no say."""
    try:
        config = fabric.Config(lazy=True, runtime_ssh_path=str(path) if path else None)
        config.load_ssh_config()
    except (OSError, ConfigParseError, UnicodeDecodeError) as error:
        raise UsageError(catalogue.SSH_CONFIG, path=path or "~/.ssh/config", why=error) from error
    return config


def _chain(target: str, config: fabric.Config, seen: tuple[fabric.Connection, ...] = ()) -> list[fabric.Connection]:
    """Return the connections to make, in order: jump hosts, then the target (ssh_config(5), ProxyJump)."""
    final = _connection(target, config)
    jump = final.ssh_config.get("proxyjump", "none")
    if jump == "none" or final in seen:  # Fabric's connections are equal by host, user and port
        final.gateway = final.ssh_config.get("proxycommand") or False
        return [final]
    hops = [hop.strip() for hop in jump.split(",")]
    if _connection(hops[0], config) == final:  # `Host *` with a ProxyJump is about the jump host, too
        return [final]
    # The first hop may have jump hosts of its own; those after it are reached through it.
    below = _chain(hops[0], config, (*seen, final))
    return [*below, *(_connection(hop, config) for hop in hops[1:]), final]


def _connection(target: str, config: fabric.Config) -> fabric.Connection:
    """Return Fabric's connection, not yet open and without a gateway; Fabric cannot read `[2001:db8::1]:2222`."""
    if match := _BRACKETED.fullmatch(target):
        port = int(match["port"]) if match["port"] else None
        return fabric.Connection(match["host"], user=match["user"], port=port, config=config, gateway=False)
    return fabric.Connection(target, config=config, gateway=False)


def _by_hand(connection: fabric.Connection, ssh_config: Path | None) -> str:
    """Return the ssh(1) command that makes this very connection."""
    words = ["ssh", *(["-F", str(ssh_config)] if ssh_config else [])]
    if connection.ssh_config.get("stricthostkeychecking") == "yes":  # ssh(1) would refuse, and not ask
        words += ["-o", "StrictHostKeyChecking=ask"]
    if connection.port != int(connection.ssh_config.get("port", 22)):
        words += ["-p", str(connection.port)]
    user = "" if connection.user == connection.ssh_config.get("user") else f"{connection.user}@"
    return shlex.join([*words, user + connection.original_host])


def _transport(
    keys: HostKeys,
    limits: Limits,
    sock: socket.socket,
    disabled_algorithms: Any = None,  # noqa: ANN401 - paramiko passes it on
) -> paramiko.Transport:
    transport = _Transport(sock, disabled_algorithms=disabled_algorithms, packetizer_class=_Listener)
    options = transport.get_security_options()
    options.key_types = keys.order(list(options.key_types))
    transport.banner_timeout = transport.handshake_timeout = limits.login
    transport.auth_timeout = transport.channel_timeout = transport.clear_to_send_timeout = limits.login
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: a write that nobody takes ends, too (tcp(7))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limits.silence * 1000))
    return transport


def _ask_for_life(transport: Any) -> None:  # noqa: ANN401 - a Transport, and a method its stubs leave out
    """Send what OpenSSH sends for ServerAliveInterval; whatever comes back is a sign of life.

    The transport's reading thread calls this, so it must not wait for one that is writing or exchanging keys.
    """
    if not transport.clear_to_send.is_set() or not transport.clear_to_send_lock.acquire(blocking=False):
        return
    try:
        message = paramiko.Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)  # noqa: FBT003 - paramiko's signature: an answer is wanted
        transport._send_message(message)  # noqa: SLF001 - the public way would wait for the answer
    finally:
        transport.clear_to_send_lock.release()


def _reason(error: Exception, connection: fabric.Connection, limits: Limits) -> tuple[Entry, dict[str, Any]]:
    """Say why there is no connection: the kind of failure, and the words that it alone knows."""
    cause = error.__context__ if isinstance(error, paramiko.SSHException) else error
    match error:
        case AuthFailure():
            return _refusal(error, connection)
        case paramiko.ChannelException():
            return catalogue.JUMP_FAILED, {"why": error.text}
        case paramiko.SSHException() if isinstance(cause, TimeoutError) or "existing session" in str(error):
            return catalogue.NO_GREETING, {"seconds": limits.login}
        case paramiko.SSHException() if not isinstance(cause, EOFError | ConnectionError):
            return catalogue.NOT_SSH, {"why": error}
        case EOFError() | ConnectionResetError() | BrokenPipeError() | paramiko.SSHException():
            return catalogue.HUNG_UP, {}
    return _no_connection(error, limits)


def _no_connection(error: Exception, limits: Limits) -> tuple[Entry, dict[str, Any]]:
    match error:
        case socket.gaierror():
            return catalogue.NAME_UNRESOLVED, {}
        case ConnectionRefusedError():
            return catalogue.PORT_REFUSED, {}
        case TimeoutError():
            return catalogue.SSH_SILENT, {"seconds": limits.connect}
    return catalogue.NO_ROUTE, {"why": getattr(error, "strerror", None) or error}


def _refusal(error: AuthFailure, connection: fabric.Connection) -> tuple[Entry, dict[str, Any]]:
    strategy = error.result.strategy
    tried = strategy.tried if isinstance(strategy, Identities) else []
    if not tried:
        return catalogue.NO_KEY, {"user": connection.user}
    return catalogue.LOGIN_REFUSED, {"user": connection.user, "keys": ", ".join(tried)}
