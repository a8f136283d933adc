"""With which keys the user logs in, as ssh(1) chooses them.

Fabric tries every key of the agent even under IdentitiesOnly, stops at an identity file that does not exist, and
cannot ask for a passphrase.
"""

from __future__ import annotations

import base64
import binascii
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.auth_strategy import AuthStrategy, InMemoryPrivateKey
from paramiko.pkey import UnknownKeyType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_TRIES: Final = 3
"""How often a passphrase may be mistyped (ssh_config(5), NumberOfPasswordPrompts)."""
_DEFAULT_FILES: Final = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
_UNREADABLE: Final = (ValueError, OSError, paramiko.SSHException, UnknownKeyType, UnsupportedAlgorithm)


@dataclass(frozen=True)
class Prompts:
    """How the user is asked; None where there is no terminal."""

    ask: Callable[[str], bool] | None = None
    password: Callable[[str], str] | None = None


class KeyRing:
    """The user's key files, each read once, and its passphrase asked for once, whatever the number of hosts.

    What is read stays in memory. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._read: dict[Path, paramiko.PKey | str] = {}
        self._lock = threading.Lock()

    def load(self, path: Path, password: Callable[[str], str] | None) -> paramiko.PKey | str:
        """Return a file's key, or in a few words why there is none to be had."""
        with self._lock:
            if path not in self._read:
                self._read[path] = _load(path, password)
            return self._read[path]


def _load(path: Path, password: Callable[[str], str] | None) -> paramiko.PKey | str:
    try:
        return _read_key(path, None)
    except TypeError:  # what cryptography raises for a key that is encrypted
        if password is None:
            return "needs a passphrase; no terminal to ask at"
    except _UNREADABLE:
        return "cannot be read"
    for _ in range(_TRIES):
        if not (passphrase := password(f"Passphrase for {path}:")):
            return "no passphrase was given"
        try:
            return _read_key(path, passphrase.encode())
        except _UNREADABLE:
            continue
    return "wrong passphrase"


class Identities(AuthStrategy):
    """The user's keys in ssh(1)'s order: those the agent holds, named ones first, then files it does not hold."""

    def __init__(
        self,
        ssh_config: Mapping[str, Any],
        fabric_config: object,  # noqa: ARG002 - Fabric's signature
        username: str,
        *,
        prompts: Prompts,
        keys: KeyRing,
    ) -> None:
        super().__init__(ssh_config=ssh_config)  # type: ignore[arg-type] # what Fabric gives is one host's lookup
        self.tried: list[str] = []
        self._settings = ssh_config
        self._user = username
        self._prompts = prompts
        self._keys = keys

    def authenticate(self, transport: paramiko.Transport) -> Any:  # noqa: ANN401 - paramiko's own result
        """Log in, or raise AuthFailure; the agent's connection is closed either way."""
        self._agent = paramiko.Agent() if _agent_answers() else None
        try:
            return super().authenticate(transport)
        finally:
            if self._agent:
                self._agent.close()

    def get_sources(self) -> Iterator[InMemoryPrivateKey]:
        """Yield each key to try, loading a file only when its turn comes: it may want a passphrase."""
        files = [Path(name).expanduser() for name in self._settings.get("identityfile", _DEFAULT_FILES)]
        blobs = {path: blob for path in files if (blob := _public_blob(path))}
        held = list(self._agent.get_keys()) if self._agent else []
        named = [key for key in held if key.asbytes() in blobs.values()]
        only = self._settings.get("identitiesonly", "no").lower() == "yes"
        for key in named if only else [*named, *(key for key in held if key not in named)]:
            self.tried.append(f"{key.comment or key.get_name()} (agent)")
            yield InMemoryPrivateKey(self._user, key)
        in_agent = {key.asbytes() for key in held}
        for path in files:
            if blobs.get(path) in in_agent or not path.exists() or path.suffix == ".pub":
                continue
            loaded = self._keys.load(path, self._prompts.password)
            if isinstance(loaded, str):
                self.tried.append(f"{path} ({loaded})")
            else:
                self.tried.append(str(path))
                yield InMemoryPrivateKey(self._user, loaded)


def _read_key(path: Path, passphrase: bytes | None) -> paramiko.PKey:
    # paramiko hands the passphrase on to cryptography, which wants bytes; the annotation says str
    return paramiko.PKey.from_path(path, passphrase)  # type: ignore[arg-type] # see above


def _public_blob(path: Path) -> bytes | None:
    """Return the public key beside an identity file (or in it: `IdentityFile x.pub` names a key of the agent)."""
    public = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
    try:
        return base64.b64decode(public.read_bytes().split()[1], validate=True)
    except (OSError, IndexError, binascii.Error):
        return None


def _agent_answers() -> bool:
    """Whether an agent listens; paramiko leaks a socket where the variable points at none."""
    address = os.environ.get("SSH_AUTH_SOCK")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(address)
        except OSError:
            return False
    return True
