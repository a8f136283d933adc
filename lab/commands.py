"""Running the machine's own tools, with failures told in one sentence."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CLEAN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}
"""What a command inside a host sees: nothing of the person's own environment."""

NEEDED_TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "apt-ftparchive": "apt-utils",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "sysctl": "procps",
    "openssl": "openssl",
    "ssh-keygen": "openssh-client",
    "pebble": "pebble",
    "dnsmasq": "dnsmasq-base",
}


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a tool of this machine and return what it said; a failure names the command and its last words."""
    words = [str(word) for word in argv]
    environment = None if env is None else {**os.environ, **env}
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False, env=environment)
    if check and done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "nothing said").splitlines()[-1]
        raise LabError(f"`{shlex.join(words)}` failed with status {done.returncode}: {last}")
    return done


def require_machine() -> None:
    """Refuse, with what to do about it, where no lab can be had."""
    if not os.path.isdir("/proc/self/ns"):  # noqa: PTH112 - asked before anything else, also on other systems
        raise LabError("The lab needs Linux: its hosts are containers of this machine's kernel.")
    if os.geteuid() != 0:
        raise LabError("The lab needs root, for it makes network namespaces and boots hosts in them: use sudo.")
    missing = sorted({package for tool, package in NEEDED_TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise LabError(f"The lab needs tools that are not here: apt-get install {' '.join(missing)}")
    if not os.path.exists("/dev/net/tun"):  # noqa: PTH110 - as above
        raise LabError("The lab needs /dev/net/tun, which this machine's kernel does not offer: modprobe tun")
