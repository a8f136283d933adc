"""Whom are we talking to: a server's key against known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

Fabric loads no known_hosts and accepts every key (fabric #1804, #2071), and paramiko's own reader knows neither
`@revoked`, patterns nor HostKeyAlias, and stops at the first line that it cannot read. So the judgement is made here,
for the target and for every jump host, as ssh(1) makes it.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import paramiko

from runbook import catalogue
from runbook.errors import HostKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_USER_FILES: Final = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_GLOBAL_FILES: Final = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_SSH_PORT: Final = 22
_TITLES: Final = {"ssh-ed25519": "ED25519", "ssh-rsa": "RSA", "ssh-dss": "DSA"}


@dataclass(frozen=True)
class KnownKey:
    """One line of a known_hosts file that is about the server: its marker, key type, key, and where it stands."""

    marker: str
    kind: str
    blob: bytes
    where: str


class HostKeys:
    """What is known of one server's keys, and the judgement on the one it shows."""

    def __init__(
        self,
        host: str,
        port: int,
        settings: Mapping[str, str],
        *,
        ask: Callable[[str], bool] | None,
        command: str,
    ) -> None:
        """Read the files that ssh(1) would.

        Args:
            host: The name or address connected to (ssh_config's HostName).
            port: The TCP port.
            settings: What ssh_config says of it, keys in lower case: userknownhostsfile, globalknownhostsfile,
                hostkeyalias.
            ask: Puts a yes-or-no question to the user; None where there is no terminal.
            command: The ssh(1) command with which the user would accept the key by hand.
        """
        plain = settings.get("hostkeyalias", host).lower()
        bare = port == _SSH_PORT or "hostkeyalias" in settings
        self.name = plain if bare else f"[{plain}]:{port}"
        self._plain = plain
        self._ask = ask
        self._command = command
        self._user_files = _paths(settings.get("userknownhostsfile", _USER_FILES))
        files = [*self._user_files, *_paths(settings.get("globalknownhostsfile", _GLOBAL_FILES))]
        self._lines = [line for path in files for line in _read(path)]
        self._known = [key for hosts, key in self._lines if _matches(hosts, self.name)]

    def order(self, algorithms: Sequence[str]) -> list[str]:
        """Return `algorithms` with those of the known keys first: a server shows one key only, the first we want."""
        known = {key.kind for key in self._known if not key.marker}
        return sorted(algorithms, key=lambda algorithm: _kind(algorithm) not in known)

    def verify(self, key: paramiko.PKey, algorithms: Iterable[str]) -> None:
        """Return if the server's `key` is the one known, or the user accepts it now; it is then remembered.

        Args:
            key: The key that the server has proved to hold.
            algorithms: Those we can negotiate. A server known by a key of one of them that shows a key of another
                kind has changed.

        Raises:
            HostKeyError: It is revoked, has changed, or is unknown and not accepted.
        """
        blob, kind = key.asbytes(), key.get_name()
        if revoked := next((known for known in self._known if (known.marker, known.blob) == ("@revoked", blob)), None):
            path = shlex.quote(revoked.where.rpartition(":")[0])
            raise HostKeyError(catalogue.HOST_KEY_REVOKED, name=self.name, where=revoked.where, path=path)
        plain = [known for known in self._known if not known.marker]
        if any(known.blob == blob for known in plain):
            return
        usable = {kind, *(_kind(algorithm) for algorithm in algorithms)}
        if changed := next((known for known in plain if known.kind in usable), None):
            raise self._changed(changed, kind, blob)
        # ssh(1) falls back on the name without the port, where that line has the very key (sshconnect.c).
        if any(known.blob == blob and not known.marker for hosts, known in self._lines if _matches(hosts, self._plain)):
            return
        self._accept(kind, blob)

    def _changed(self, known: KnownKey, kind: str, blob: bytes) -> HostKeyError:
        file = shlex.quote(known.where.rpartition(":")[0])
        return HostKeyError(
            catalogue.HOST_KEY_CHANGED,
            name=self.name,
            where=known.where,
            known=f"{title(known.kind)} {fingerprint(known.blob)}",
            key=f"{title(kind)} {fingerprint(blob)}",
            kind=title(kind).lower(),
            forget=f"ssh-keygen -R {shlex.quote(self.name)} -f {file}",
        )

    def _accept(self, kind: str, blob: bytes) -> None:
        if self._ask is None:
            raise self._unknown(kind, blob, "and there is no terminal to ask at")
        question = (
            f"The authenticity of host '{self.name}' can't be established.\n"
            f"{title(kind)} key fingerprint is {fingerprint(blob)}.\n"
            "Are you sure you want to continue connecting?"
        )
        if not self._ask(question):
            raise self._unknown(kind, blob, "and was not accepted")
        if self._user_files:
            self._keep(self._user_files[0], f"{self.name} {kind} {base64.b64encode(blob).decode()}\n")

    def _keep(self, path: Path, line: str) -> None:
        try:
            _append(path, line)
        except OSError as error:
            raise HostKeyError(
                catalogue.HOST_KEY_NOT_KEPT, name=self.name, path=path, directory=path.parent, why=error.strerror
            ) from error

    def _unknown(self, kind: str, blob: bytes, why: str) -> HostKeyError:
        return HostKeyError(
            catalogue.HOST_KEY_UNKNOWN,
            name=self.name,
            key=f"{title(kind)} {fingerprint(blob)}",
            kind=title(kind).lower(),
            why=why,
            ssh=self._command,
        )


class Policy(paramiko.MissingHostKeyPolicy):
    """Hands paramiko's question about a key, between key exchange and authentication, to `HostKeys`.

    The client's own stores of keys stay empty, so that every key comes here.
    """

    def __init__(self, keys: HostKeys) -> None:
        self._keys = keys

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002 - paramiko's name
        """Judge `key`; see `HostKeys.verify`."""
        transport = client.get_transport()
        self._keys.verify(key, transport.get_security_options().key_types if transport else ())


def fingerprint(blob: bytes) -> str:
    """Return a key's fingerprint as ssh-keygen(1) prints it: SHA256 and unpadded base64."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def title(kind: str) -> str:
    """Return a key type as ssh(1) names it to people: ED25519, ECDSA, RSA."""
    return _TITLES.get(kind, "ECDSA" if kind.startswith("ecdsa-") else kind)


def _kind(algorithm: str) -> str:
    """Return the type of key that a signature algorithm uses (RFC 8332: rsa-sha2-* use ssh-rsa keys)."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _paths(words: str) -> list[Path]:
    return [Path(word.replace("%d", "~", 1)).expanduser() for word in shlex.split(words) if word != "none"]


def _read(path: Path) -> Iterator[tuple[str, KnownKey]]:
    """Yield the host patterns and the key of each line; what cannot be read is passed over, as ssh(1) does."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        marker = fields.pop(0) if line.lstrip().startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#"):  # noqa: PLR2004 - hosts, type, key
            continue
        try:
            blob = base64.b64decode(fields[2], validate=True)
        except binascii.Error:
            continue
        yield fields[0], KnownKey(marker, fields[1], blob, f"{path}:{number}")


def _matches(patterns: str, name: str) -> bool:
    """Whether a line's host field is about `name`: a hash of it, or patterns of which none says `!` to it."""
    if patterns.startswith("|1|"):
        return _hash_matches(patterns, name)
    found = False
    for word in patterns.lower().split(","):
        pattern = re.sub(r"\[", "[[]", word.removeprefix("!"))  # a bracket stands for itself here, not for a set
        if fnmatch.fnmatchcase(name, pattern):
            if word.startswith("!"):
                return False
            found = True
    return found


def _hash_matches(hashed: str, name: str) -> bool:
    try:
        return paramiko.HostKeys.hash_host(name, hashed) == hashed
    except (binascii.Error, AssertionError, IndexError):  # a damaged line
        return False


def _append(path: Path, line: str) -> None:
    """Add one line to known_hosts, in one write, never rewriting what is there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        whole = not size or os.pread(descriptor, 1, size - 1) == b"\n"
        os.write(descriptor, (line if whole else "\n" + line).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
