"""The lab as its users see it: bring it up, use it, take it down."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import content, files, image, machine, net, processes, services
from lab.commands import require_machine
from lab.errors import LabError
from lab.layout import ADMIN, CA, DEFAULT_RELEASES, HOSTS, LABS, LAN, NAMESPACES, ULA_PREFIX, Layout, require_host
from lab.wire import Counter, capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

SSH_PORT = 22
BOOT_PATIENCE = 60.0


def _silent(_line: str) -> None:
    """Say nothing."""


class Lab:
    """Throwaway Debian hosts on this machine, with an internet of their own.

    Two sites (`home`, `vps4`), a machine behind home (`lan`), DNS and a CA between them, and the controller's place in
    that internet. All that is known of a lab is on disk, so any process can use or remove it by its name.
    """

    def __init__(self, name: str = "default", releases: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.layout = Layout(name)
        known = self._state().get("releases", DEFAULT_RELEASES)
        self.releases: dict[str, str] = {**known, **(releases or {})}
        for host in self.releases:
            require_host(host)

    @property
    def directory(self) -> Path:
        """Where sites.yaml, ssh_config, id_ed25519, known_hosts, acme-ca.pem and trust-anchor.pem lie."""
        return self.layout.directory

    def up(self, progress: Callable[[str], None] = _silent) -> None:
        """Make the lab, or mend it, until every host answers on SSH; what runs already is left alone."""
        require_machine()
        images = image.ensure(self.releases.values(), progress)
        started = time.monotonic()
        with self._turn():
            if self._state().get("complete") and not self._is_of_this_boot():
                self._remove()
            if self._state().get("complete"):
                self._mend()
            else:
                self._make(images, progress)
            self._wait_for_all()
        progress(f"lab {self.name!r} is up, after {time.monotonic() - started:.1f} s")

    def down(self) -> None:
        """Remove every trace of this lab; nothing happens where there is none. The images stay."""
        require_machine()
        with self._turn():
            self._remove()

    @staticmethod
    def purge_cache() -> None:
        """Remove the images, which the next `up` then makes anew."""
        image.purge()

    def status(self) -> list[dict[str, Any]]:
        """For each host: its release, whether it is up, its addresses, and how to log in."""
        report: list[dict[str, Any]] = []
        for place in HOSTS.values():
            login = ["ip", "netns", "exec", self.layout.namespace(ADMIN.name), "ssh"]
            report.append(
                {
                    "host": place.name,
                    "release": self.releases[place.name],
                    "up": self._is_of_this_boot() and machine.leader(self.layout, place.name) is not None,
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

    def capture(self, prefix: str = ULA_PREFIX) -> AbstractContextManager[Counter]:
        """Count what passes between the sites meanwhile: packets of ESP, and of this prefix in the clear."""
        return capture(self.layout.namespace("switch"), "wan", prefix)

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
        """Whether sshd greets: from the controller's place, or for the LAN machine from its own."""
        place = require_host(host)
        namespace = self.layout.namespace(LAN.name if place is LAN else ADMIN.name)

        def greet() -> bool:
            with socket.create_connection((place.ipv4, SSH_PORT), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"

        try:
            return net.inside(namespace, greet)
        except (OSError, LabError):
            return False

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self.layout.state_file.read_text())
        except (OSError, ValueError):
            return {}
        return state

    def _is_of_this_boot(self) -> bool:
        return self._state().get("boot") == _boot_id()

    def _save_state(self, **state: object) -> None:
        self.layout.state_file.write_text(json.dumps(state))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let one process at a time change this lab; the lock is the directory itself, so it leaves no trace."""
        while True:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.directory, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if not _is_same_directory(self.directory, descriptor):
                    continue  # removed while we waited
                yield
            finally:
                os.close(descriptor)
            return

    def _make(self, images: Mapping[str, image.Image], progress: Callable[[str], None]) -> None:
        self._remove(keep_directory=True)
        userland_esp = not net.kernel_has_esp()
        self._save_state(boot=_boot_id(), releases=self.releases, userland_esp=userland_esp, complete=False)
        progress(f"lab {self.name!r}: three hosts, {'userland' if userland_esp else 'kernel'} ESP")
        try:
            public_key = files.make_log_in(self.layout)
            with ThreadPoolExecutor() as pool:
                network = pool.submit(self._make_network)
                disks = [
                    pool.submit(self._make_disk, host, images[release], public_key, userland_esp=userland_esp)
                    for host, release in self.releases.items()
                ]
                for part in (network, *disks):
                    part.result()
            files.write_known_hosts(self.layout)
            files.write_sites(self.layout, userland_esp=userland_esp)
            for host in HOSTS:
                machine.start_keeper(self.layout, host)
            services.start(self.layout)
            self._wait_for_all()
        except BaseException:
            self._remove()
            raise
        self._save_state(boot=_boot_id(), releases=self.releases, userland_esp=userland_esp, complete=True)

    def _make_network(self) -> None:
        net.build_switches(self.layout)
        net.build_controller_side(self.layout)
        services.make_certificates(self.layout)

    def _make_disk(self, host: str, base: image.Image, public_key: str, *, userland_esp: bool) -> None:
        root = machine.mount_disk(self.layout, host, base)
        keys = content.Keys(files.make_host_keys(self.layout, host), public_key)
        content.furnish(root, HOSTS[host], keys, userland_esp=userland_esp)
        machine.describe(self.layout, host, base).save(self.layout.host_directory(host) / "machine.json")

    def _mend(self) -> None:
        """Start again what has ended in a lab that was up: a host that was switched off, a service."""
        if self.releases != self._state()["releases"]:
            raise LabError(f"The lab {self.name!r} is there with other releases: take it down first.")
        running = processes.all_recorded(self.layout.process_directory)
        for host in HOSTS:
            if f"keeper-{host}" not in running:
                machine.start_keeper(self.layout, host)
        services.start(self.layout)

    def _wait_for_all(self) -> None:
        for host in HOSTS:
            self.wait_for_ssh(host)

    def _remove(self, *, keep_directory: bool = False) -> None:
        layout = self.layout
        if self._is_of_this_boot():
            running = processes.all_recorded(layout.process_directory)
            keepers = [pid for name, pid in running.items() if name.startswith("keeper-")]
            processes.end(keepers, gently=True)  # first, lest they start anew what ends next
            processes.end(processes.all_recorded(layout.process_directory).values())
        for place in (*HOSTS, CA.name):
            processes.end(processes.in_namespace(NAMESPACES / layout.namespace(place)))
        for host in HOSTS:
            machine.unmount_disk(layout, host)
            machine.remove_runtime_traces(layout.namespace(host))
        net.remove_all(layout)
        for entry in layout.directory.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        if not keep_directory:
            layout.directory.rmdir()
            _remove_empty(LABS, LABS.parent)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _is_same_directory(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_empty(*directories: Path) -> None:
    for directory in directories:
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()
