"""A virtual machine as a host, for what no container of this machine can show: AppArmor, and ESP by the kernel.

Emulated (`-accel tcg`), so any machine that runs the tests can run it; the price is half a minute to a minute for the
boot, and everything inside being some ten times slower. Needs qemu-system-x86 and e2fsprogs, besides the lab's tools.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import struct
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv6Network
from typing import TYPE_CHECKING

from lab import content, files, image
from lab.commands import require_machine, run
from lab.errors import LabError
from lab.layout import ADMIN_USER, HOME, LABS, ULA_PREFIX, VPS4, Layout
from lab.machine import mount_disk, unmount_disk
from lab.wire import Counter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PLACES = {"home": replace(HOME, ports=HOME.ports[:1]), "vps4": VPS4}
"""As in the lab, but for home's card towards its LAN: the second card of each is for the log-in alone."""

ADDED = f"linux-image-cloud-amd64 apparmor tcpdump {image.STRONGSWAN}"
"""What the lab's image lacks to be a machine of its own, and what would take minutes to install under emulation."""

INSTALL = f"""\
set -eu
export DEBIAN_FRONTEND=noninteractive
cat >/etc/apt/sources.list.d/debian.list
apt-get -q update
apt-get -q --yes --no-install-recommends install {ADDED}
rm /etc/apt/sources.list.d/debian.list
apt-get -q update
apt-get clean
"""
BOOT_SECONDS = 1200
"""It is a minute where nothing else runs."""
DISK_SIZE = "3G"
WIRE = "wire.pcap"
"""Every frame that a machine's outer card has sent or received."""

ADMIN_CARD = "auto eth1\niface eth1 inet static\n    address 10.0.2.15/24\n"
"""The address that qemu's own user-mode network forwards the log-in to."""

KERNEL_ARGUMENTS = (
    "root=/dev/vda rw console=ttyS0 net.ifnames=0 loglevel=4 systemd.show_status=false "
    "systemd.mask=serial-getty@ttyS0.service"  # nobody logs in there, and a boot need not wait for its device
)

SSH_CONFIG = """\
Host {name}
    HostName 127.0.0.1
    Port {port}
    HostKeyAlias {name}
    User {user}
    IdentityFile {directory}/id_ed25519
    IdentitiesOnly yes
    UserKnownHostsFile {directory}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
"""


def image_directory(release: str) -> Path:
    """Where the machine image of this release lies, once made; its name tells its recipe, as the lab's do."""
    recipe = json.dumps([image.recipe_hash(release), INSTALL])
    return image.CACHE / f"vm-{release}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure_image(release: str, progress: Callable[[str], None]) -> image.Image:
    """The lab's image of this release with a kernel, AppArmor and strongSwan in it; made where it is not there yet."""
    base = image.ensure([release], progress)[release]
    directory = image_directory(release)
    with image._turn(f"vm-{release}"):
        if not directory.is_dir():
            for remains in image.CACHE.glob(f"vm-{release}-*"):
                shutil.rmtree(remains)
            making = directory.with_name(f"{directory.name}.making")
            with image._spoken(f"machine of Debian {release}", progress):
                _make(release, base, making / "root")
            making.rename(directory)
    return image.Image(directory / "root", base.packages)


def _make(release: str, base: image.Image, root: Path) -> None:
    root.parent.mkdir()
    run(["cp", "-a", base.root, root])
    run(["cp", "-rT", base.packages, f"{root}{image.PACKAGES_IN_HOST}"])
    # Not booted: the packages' services are enabled and not started.
    nspawn = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--pipe", "--as-pid2", "-D", root]
    run([*nspawn, "--resolv-conf=copy-host", "/bin/sh", "-c", INSTALL], stdin=image.sources(release))
    for path in ("etc/resolv.conf", "etc/ssh/ssh_host_*", "etc/machine-id"):
        for each in root.glob(path):
            each.unlink()


@dataclass(frozen=True)
class Machine:
    """A running machine."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    console: Path

    def await_login(self) -> None:
        """Return when sshd answers."""
        deadline = time.monotonic() + BOOT_SECONDS
        while not _speaks_ssh(self.port):
            said = self.console.read_text(errors="replace")[-2000:]
            assert self.process.poll() is None, f"{self.name}: qemu ended: {said}"
            assert time.monotonic() < deadline, f"{self.name}: no log-in within {BOOT_SECONDS} s: {said}"
            time.sleep(0.2)


def _speaks_ssh(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
            return line.recv(4) == b"SSH-"
    except OSError:
        return False


class Pair:
    """Two machines, `home` and `vps4`, on one wire that leads nowhere else; `ssh_config` logs in to both by name."""

    def __init__(self, name: str, releases: dict[str, str], progress: Callable[[str], None]) -> None:
        self.layout = Layout(name)
        self.directory = self.layout.directory
        self.machines: dict[str, Machine] = {}
        self._releases = releases
        self._progress = progress

    @property
    def ssh_config(self) -> Path:
        """What logs in to both by name."""
        return self.directory / "ssh_config"

    def seen_on_the_wire(self) -> Counter:
        """What has passed between the two since they were booted."""
        dump = (self.layout.host_directory("home") / WIRE).read_bytes()
        counter, at = Counter((IPv6Network(ULA_PREFIX),)), 24
        while at < len(dump):
            (length,) = struct.unpack_from("<I", dump, at + 8)
            counter.see(dump[at + 16 : at + 16 + length])
            at += 16 + length
        return counter

    def up(self) -> None:
        """Make the disks, boot both, and return when both can be logged in to."""
        require_machine()
        if shutil.which("qemu-system-x86_64") is None:
            raise LabError("The machines need a tool that is not here: apt-get install qemu-system-x86")
        self.directory.mkdir(mode=0o700, parents=True)
        key = self.directory / "id_ed25519"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.layout.lab, "-f", key])
        authorized = key.with_suffix(".pub").read_text()
        for name, release in self._releases.items():
            disk = self._make_disk(name, ensure_image(release, self._progress), authorized)
            self.machines[name] = self._boot(name, image_directory(release) / "root", disk)
        self._write_log_in()
        began = time.monotonic()
        for machine in self.machines.values():
            machine.await_login()
            self._progress(f"{machine.name}: up after {time.monotonic() - began:.0f} s")

    def down(self) -> None:
        """End the machines by their process numbers and remove all they lay on."""
        for machine in self.machines.values():
            machine.process.kill()
            machine.process.wait()
        for name in self._releases:
            unmount_disk(self.layout, name)
        shutil.rmtree(self.directory, ignore_errors=True)
        with suppress(OSError):  # where another lab stands
            LABS.rmdir()

    def _make_disk(self, name: str, base: image.Image, authorized: str) -> Path:
        """An ext4 file system with the image's files and the host's own."""
        keys = content.Keys(files.make_host_keys(self.layout, name), authorized)
        root = mount_disk(self.layout, name, base)
        content.furnish(root, PLACES[name], keys, userland_esp=False)
        (root / "etc/network/interfaces.d/admin").write_text(ADMIN_CARD)
        disk = self.layout.host_directory(name) / "disk"
        run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", root, disk, DISK_SIZE])
        unmount_disk(self.layout, name)
        return disk

    def _boot(self, name: str, root: Path, disk: Path) -> Machine:
        directory, port = self.layout.host_directory(name), _free_port()
        cable = self.directory / "cable"
        server = "off" if cable.exists() else "on"
        number = len(self.machines) + 1
        console = directory / "console.log"
        (kernel,) = root.glob("boot/vmlinuz-*")
        (initrd,) = root.glob("boot/initrd.img-*")
        # fmt: off
        argv: list[str | Path] = [
            "setpriv", "--pdeathsig", "KILL", "--",  # it does not outlive the tests, however they end
            "qemu-system-x86_64", "-accel", "tcg", "-m", "1024", "-nodefaults", "-display", "none", "-no-reboot",
            "-kernel", kernel, "-initrd", initrd, "-append", KERNEL_ARGUMENTS,
            "-serial", f"file:{console}",
            "-device", "virtio-rng-pci",
            "-drive", f"file={disk},if=virtio,format=raw,cache=unsafe",
            "-netdev", f"stream,id=wan,server={server},addr.type=unix,addr.path={cable}",
            "-object", f"filter-dump,id=wire,netdev=wan,file={directory / WIRE},maxlen=262144",
            "-device", f"virtio-net-pci,netdev=wan,mac=52:54:00:00:00:0{number},romfile=",
            "-netdev", f"user,id=admin,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:{port}-:22",
            "-device", f"virtio-net-pci,netdev=admin,mac=52:54:00:00:01:0{number},romfile=",
        ]
        # fmt: on
        with (directory / "qemu.log").open("wb") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while server == "on" and not cable.exists():
            assert process.poll() is None, (directory / "qemu.log").read_text()
            time.sleep(0.05)
        return Machine(name, port, process, console)

    def _write_log_in(self) -> None:
        entries, known = [], []
        for name, machine in self.machines.items():
            entry = SSH_CONFIG.format(name=name, port=machine.port, user=ADMIN_USER, directory=self.directory)
            entries.append(entry)
            keys = sorted((self.layout.host_directory(name) / "keys/etc/ssh").glob("*.pub"))
            known += [f"{name} {' '.join(key.read_text().split()[:2])}\n" for key in keys]
        self.ssh_config.write_text("\n".join(entries))
        (self.directory / "known_hosts").write_text("".join(known))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
