"""A real charon, by itself: private mounts, a private network, no trace left.

`CHARON_ROOTS` names further Debian roots (colon-separated directories) with charon-systemd and swanctl in them, to try
other releases than this machine's own; /etc/swanctl and /run of a root are covered, never written.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORIES = "conf.d x509 x509ca x509ocsp x509aa x509ac x509crl pubkey private rsa ecdsa bliss pkcs8 pkcs12"
READY_WITHIN = 30
"""Seconds that charon may take to say that it is ready."""


def roots() -> list[Path]:
    """The roots of this machine that have a charon to run; none when this is not root's process."""
    found = [Path("/"), *map(Path, filter(None, os.environ.get("CHARON_ROOTS", "").split(":")))]
    able = os.geteuid() == 0 and shutil.which("unshare") and shutil.which("nsenter")
    return [root for root in found if able and (root / "usr/sbin/charon-systemd").exists()]


class Charon:
    """A running charon: `configuration` is its /etc/swanctl."""

    def __init__(self, root: Path, configuration: Path, pid: int) -> None:
        self.configuration = configuration
        self._enter = ["nsenter", f"--target={pid}", "--mount", "--net", "chroot", str(root)]

    def swanctl(self, *arguments: str) -> str:
        """Run swanctl beside it; fails when swanctl does."""
        done = subprocess.run([*self._enter, "swanctl", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextmanager
def running(root: Path, configuration: Path) -> Iterator[Charon]:
    """Run a charon with this /etc/swanctl until the block ends."""
    for name in _DIRECTORIES.split():
        (configuration / name).mkdir(exist_ok=True)
    (configuration / "swanctl.conf").write_text("include conf.d/*.conf\n")
    at = shlex.quote(str(root))
    script = f"""
        set -eu
        mount --make-rprivate /
        mount --bind {shlex.quote(str(configuration))} {at}/etc/swanctl
        mount -t tmpfs run {at}/run
        test {at} = / || {{ mount -t proc proc {at}/proc; mount --rbind /dev {at}/dev; }}
        exec chroot {at} env NOTIFY_SOCKET=/etc/swanctl/ready charon-systemd
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(str(configuration / "ready"))
        ready.settimeout(READY_WITHIN)
        daemon = subprocess.Popen(
            ["unshare", "--mount", "--net", "sh", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while b"READY=1" not in ready.recv(4096):
                pass
            yield Charon(root, configuration, daemon.pid)
        finally:
            daemon.terminate()
            daemon.wait(READY_WITHIN)
