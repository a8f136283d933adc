"""The lab as its users see it: bring it up, use it, take it down."""

from __future__ import annotations

import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

from lab import image, life, machine, net, processes, services
from lab.commands import require_machine
from lab.errors import LabError
from lab.layout import ADMIN, DEFAULT_RELEASES, HOSTS, LABS, ULA_PREFIX, Layout, require_host
from lab.wire import Counter, capture

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

SSH_PORT = 22
BOOT_PATIENCE = 60.0


def _silent(_line: str) -> None:
    """Say nothing."""


def lab_names() -> list[str]:
    """The labs that there are on this machine."""
    return sorted(each.name for each in LABS.iterdir()) if LABS.exists() else []


class Lab:
    """Throwaway Debian hosts on this machine, with an internet of their own.

    Two sites (`home`, `vps4`), a machine behind home (`lan`), DNS and a CA between them, and the controller's place in
    that internet; with releases for them, also a third site (`vps5`) and a machine behind it (`lan5`). All that is
    known of a lab is on disk, so any process can use or remove it by its name.
    """

    def __init__(self, name: str = "default", releases: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.layout = Layout(name)
        known = life.state(self.layout).get("releases", DEFAULT_RELEASES)
        self.releases: dict[str, str] = {**known, **(releases or {})}
        self.hosts = [require_host(host).name for host in self.releases]

    @property
    def directory(self) -> Path:
        """Where sites.yaml, ssh_config, id_ed25519, known_hosts, acme-ca.pem and trust-anchor.pem lie."""
        return self.layout.directory

    def up(self, progress: Callable[[str], None] = _silent) -> None:
        """Make the lab, or mend it, until every host answers on SSH; what runs already is left alone."""
        require_machine()
        images = image.ensure(self.releases.values(), progress)
        started = time.monotonic()
        with life.turn(self.layout):
            if life.is_of_this_boot(self.layout) and life.state(self.layout).get("complete"):
                life.mend(self.layout, self.releases)
                self._wait_for_all()
            else:
                life.make(self.layout, self.releases, images, progress, self._wait_for_all)
        progress(f"lab {self.name!r} is up, after {time.monotonic() - started:.1f} s")

    def down(self) -> None:
        """Remove every trace of this lab; nothing happens where there is none. The images stay."""
        require_machine()
        with life.turn(self.layout):
            life.remove(self.layout)

    def status(self) -> list[dict[str, Any]]:
        """For each host: its release, whether it is up, its addresses, and how to log in."""
        report: list[dict[str, Any]] = []
        for place in (HOSTS[host] for host in self.hosts):
            login = ["ip", "netns", "exec", self.layout.namespace(ADMIN.name), "ssh"]
            report.append(
                {
                    "host": place.name,
                    "release": self.releases[place.name],
                    "up": life.is_of_this_boot(self.layout) and machine.leader(self.layout, place.name) is not None,
                    "addresses": [place.ipv4, place.ipv6],
                    "login": " ".join([*login, "-F", str(self.directory / "ssh_config"), place.name]),
                }
            )
        return report

    def reboot(self, host: str) -> None:
        """Reboot a host for real and wait until it answers again; what was not on its disk is gone."""
        require_host(host)
        before = machine.leader(self.layout, host)
        if before is None:
            raise LabError(f"The host {host} of lab {self.name!r} is not running.")
        machine.run_as_root(self.layout, host, "systemctl reboot", check=False)
        deadline = time.monotonic() + BOOT_PATIENCE
        while processes.start_time(before) is not None:
            if time.monotonic() > deadline:
                processes.end([before])
            time.sleep(0.05)
        self.wait_for_ssh(host)

    def put_behind_router(self, host: str) -> None:
        """Put a router that translates addresses and ports between a host and the internet, until the host reboots.

        The host's own settings are as they were: it is for the caller to give it `layout.BEHIND_ROUTER`. In the DNS it
        has IPv4 alone from now on.
        """
        place = require_host(host)
        net.put_behind_router(self.layout, place)
        services.rename(self.layout, place.fqdn, place.ipv4)

    def root(self, host: str, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root in a host, past its firewall and sshd: for tests and snapshots."""
        require_host(host)
        return machine.run_as_root(self.layout, host, script, check=check)

    def admin_argv(self, argv: Sequence[str]) -> list[str]:
        """That command line, as one that runs where the controller stands in the lab's internet."""
        return ["ip", "netns", "exec", self.layout.namespace(ADMIN.name), *argv]

    def admin(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 - subprocess.run's own
        """Run a command where the controller stands; options are those of `subprocess.run`, with text captured."""
        settings: dict[str, Any] = {"capture_output": True, "text": True, "check": False, **options}
        if "input" not in options:
            settings.setdefault("stdin", subprocess.DEVNULL)
        if {"stdout", "stderr"} & options.keys():
            del settings["capture_output"]
        done: subprocess.CompletedProcess[str] = subprocess.run(self.admin_argv(argv), **settings)  # noqa: PLW1510
        return done

    def admin_popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:  # noqa: ANN401 - Popen's own
        """Start a command where the controller stands; options are those of `subprocess.Popen`, in text mode."""
        started: subprocess.Popen[str] = subprocess.Popen(self.admin_argv(argv), **{"text": True, **options})
        return started

    def ssh(self, host: str, command: str, **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 - as `admin`
        """Run a command on a host as its admin would, over SSH from the controller."""
        return self.admin(["ssh", "-F", str(self.directory / "ssh_config"), host, command], **options)

    def capture(self, *more: str) -> AbstractContextManager[Counter]:
        """Count what passes between the sites meanwhile: packets of ESP; of the private, and `more`, in the clear."""
        return capture(self.layout.namespace("switch"), "wan", ULA_PREFIX, *more)

    def new_authority(self, *, chain_length: int) -> None:
        """Put another ACME CA in the old one's place, with another root; `trust-anchor.pem` is that one then."""
        services.restart_authority(self.layout, chain_length=chain_length)

    def wait_for_ssh(self, host: str, patience: float = BOOT_PATIENCE) -> None:
        """Wait until the host is up and its sshd answers."""
        place = require_host(host)
        console = self.layout.host_directory(host) / "console.log"
        deadline = time.monotonic() + patience
        while not (machine.leader(self.layout, host) and self._answers(place.name)):
            if processes.recorded(self.layout.process_directory, f"keeper-{host}") is None:
                raise LabError(f"{host} is off and stays off; its console is {console}.")
            if time.monotonic() > deadline:
                raise LabError(f"{host} does not answer on SSH after {patience:.0f} s; its console is {console}.")
            time.sleep(0.05)

    def _answers(self, host: str) -> bool:
        """Whether sshd greets: from the controller's place, or for a machine on a LAN from its own."""
        place = require_host(host)
        namespace = self.layout.namespace(place.name if place.behind else ADMIN.name)

        def greet() -> bool:
            with socket.create_connection((place.ipv4, SSH_PORT), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"

        try:
            return net.inside(namespace, greet)
        except (OSError, LabError):
            return False

    def _wait_for_all(self) -> None:
        for host in self.hosts:
            self.wait_for_ssh(host)
