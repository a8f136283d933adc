"""A network namespace as a host: real kernel, real rules, nobody else's."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import pytest

from runbook.host import Answer
from runbook.script import PRELUDE, quote
from runbook.step import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from runbook.step import Finding, Part
    from runbook.target import Target

MULTI = {"nft": "/usr/sbin/xtables-nft-multi", "legacy": "/usr/sbin/xtables-legacy-multi"}
"""The programs behind iptables on Debian: over nf_tables, and over the kernel's older interface."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network namespace")

# systemd runs no timers in a namespace: the reversal is kept for the test to run it.
SYSTEMCTL = """\
#!/bin/sh
case $1 in is-active) file=active ;; is-enabled) file=enabled ;; *) exit 0 ;; esac
for last; do :; done
grep -qsx "$last" "$(dirname "$0")/$file"
"""
SYSTEMD_RUN = '#!/bin/sh\nfor last; do :; done\nprintf "%s\\n" "$last" >"$(dirname "$0")/armed"\n'


class Namespace:
    """A host that is a network namespace of this machine, with one of the two iptables in its PATH.

    What it writes to /etc lands in the directory `etc`.
    """

    def __init__(self, directory: Path, variant: str = "nft") -> None:
        self.ssh = "192.0.2.99 50000 192.0.2.10 22"
        """From where to where the admin has logged in, as sshd tells (ssh(1), SSH_CONNECTION)."""
        self.name = f"rb-t-{secrets.token_hex(4)}"
        self.etc = directory / f"etc-{self.name}" / "upper"
        self.etc.mkdir(parents=True)
        self.etc.with_name("work").mkdir()
        self.tools = directory / f"bin-{self.name}"
        self.tools.mkdir()
        for family in ("iptables", "ip6tables"):
            for program in ("", "-save", "-restore"):
                (self.tools / f"{family}{program}").symlink_to(MULTI[variant])
        for name, text in (("systemd-run", SYSTEMD_RUN), ("systemctl", SYSTEMCTL)):
            (self.tools / name).write_text(text)
            (self.tools / name).chmod(0o755)
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.sh("ip link set lo up")

    @property
    def _own_etc(self) -> str:
        """Shell that lays `etc` over /etc, for as long as the script runs: ip(8) gives it mounts of its own."""
        return (
            f"mount -t overlay -o lowerdir=/etc,upperdir={self.etc},workdir={self.etc.with_name('work')} overlay /etc\n"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def run(self, script: str, **_: object) -> Answer:
        began = time.monotonic()
        path = f"PATH={self.tools}:/usr/sbin:/usr/bin:/sbin:/bin"
        done = subprocess.run(
            [
                "ip",
                "netns",
                "exec",
                self.name,
                "env",
                "-i",
                path,
                "LC_ALL=C",
                f"SSH_CONNECTION={self.ssh}",
                "/bin/sh",
                "-s",
            ],
            input=(self._own_etc + script).encode(errors="surrogateescape"),
            capture_output=True,
            check=False,
        )
        stdout, stderr = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
        return Answer(stdout, stderr, done.returncode, time.monotonic() - began)

    def login(self) -> None:
        pass

    def relogin(self) -> None:
        pass

    def close(self) -> None:
        pass

    def sh(self, script: str) -> str:
        """What a script prints; it must succeed."""
        answer = self.run(script)
        assert answer.code == 0, answer.stderr
        return answer.stdout

    def rules(self) -> str:
        """All rules of both families, without what counts and dates them."""
        lines = self.sh("iptables-save; ip6tables-save").splitlines()
        return "\n".join(line.split(" [")[0] for line in lines if not line.startswith("#"))

    def nft(self) -> str:
        """All rules of nftables, without what counts them."""
        return self.sh("nft -s list ruleset")

    def load(self, family: int, text: str) -> None:
        """Make `text` the rules of a family, and leave the other none."""
        program = "iptables" if family == 4 else "ip6tables"
        open_ = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
        both = "".join(f"printf %s {quote(open_)} | {each}-restore\n" for each in ("iptables", "ip6tables"))
        answer = self.run(f"{both}{program}-restore <<'END'\n{text}END\n")
        assert answer.code == 0, f"{answer.stderr}\n{text}"


SERVE = """\
import socket
server = socket.create_server(("", 80))
print("ready", flush=True)
while True: server.accept()[0].close()
"""
CONNECT = """\
import socket
try: socket.create_connection(("192.0.2.10", 80), timeout=0.3); print("open")
except OSError: print("closed")
"""


@contextmanager
def serving(host: Namespace) -> Iterator[Callable[[], str]]:
    """Have `host` serve port 80 on a line to a neighbour; gives what tells whether that one finds it open or closed."""
    neighbour = f"{host.name}-n"
    for line in (
        f"netns add {neighbour}",
        f"-n {host.name} link add uplink type veth peer name downlink netns {neighbour}",
        f"-n {host.name} addr add 192.0.2.10/24 dev uplink",
        f"-n {host.name} link set uplink up",
        f"-n {neighbour} addr add 192.0.2.99/24 dev downlink",
        f"-n {neighbour} link set downlink up",
    ):
        subprocess.run(["ip", *line.split()], check=True)

    def ask() -> str:
        argv = ["ip", "netns", "exec", neighbour, "python3", "-c", CONNECT]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    server = ["ip", "netns", "exec", host.name, "python3", "-c", SERVE]
    with subprocess.Popen(server, stdout=subprocess.PIPE) as running:
        assert running.stdout
        running.stdout.readline()
        yield ask
        running.terminate()
    subprocess.run(["ip", "netns", "del", neighbour], check=True)


def look(target: Target, parts: Sequence[Part]) -> list[Finding]:
    """What each part's probe finds now."""
    target.readings.clear()
    target.read([part.probe() for part in parts])
    found = [(part, target.readings[part.probe()]) for part in parts]
    return [replace(part.judge(reading), probe=part.probe(), found=reading) for part, reading in found]


def make(target: Target, parts: Sequence[Part], image: str) -> list[Finding]:
    """Make what is not in order; what is then found."""
    target.make(image, "test", [each for each in look(target, parts) if each.change], {})
    return look(target, parts)


def in_order(findings: Sequence[Finding]) -> bool:
    return all(each.verdict is Verdict.IN_ORDER for each in findings)


def shellcheck(*scripts: str) -> None:
    """Every one of these, behind the prelude, as shellcheck wants it."""
    for script in scripts:
        text = f"#!/bin/sh\nimage=/i index=0\nexport image index\n{PRELUDE}{script}\n"
        # SC2016: what judges a new file is quoted on purpose, rb_put evaluates it.
        # SC1090, SC1091: an image's own scripts are sourced by names that are known on the host only.
        argv = ["shellcheck", "--shell=sh", "--exclude=SC2016,SC1090,SC1091", "-"]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
