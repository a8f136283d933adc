"""One host: its disk (an overlay over the image), its boot in systemd-nspawn, and commands inside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab import processes
from lab.commands import CLEAN_ENVIRONMENT, run
from lab.errors import LabError
from lab.image import PACKAGES_IN_HOST

if TYPE_CHECKING:
    from lab.image import Image
    from lab.layout import Layout

NSPAWN_RUN = Path("/run/systemd/nspawn")

ENVIRONMENT = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
"""Without it a host could not set its own net sysctls."""


@dataclass(frozen=True)
class Machine:
    """What is needed to boot a host, kept on disk for the process that looks after it."""

    name: str
    hostname: str
    root: str
    packages: str
    namespace: str

    def save(self, file: Path) -> None:
        """Write the description down."""
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, file: Path) -> Machine:
        """Read a description back."""
        return cls(**json.loads(file.read_text()))


def describe(layout: Layout, host: str, image: Image) -> Machine:
    """The description of a host of this lab."""
    name = layout.namespace(host)
    return Machine(name, host, str(layout.root(host)), str(image.packages), f"/run/netns/{name}")


def mount_disk(layout: Layout, host: str, image: Image) -> Path:
    """Lay an empty disk over the image and mount the two as the host's root."""
    directory = layout.host_directory(host)
    for part in ("upper", "work", "root"):
        (directory / part).mkdir(mode=0o755, parents=True)
    options = f"lowerdir={image.root},upperdir={directory / 'upper'},workdir={directory / 'work'}"
    root = layout.root(host)
    fast = run(["mount", "-t", "overlay", "overlay", "-o", f"{options},volatile", root], check=False)
    if fast.returncode != 0:  # `volatile` spares the flushing to disk; older kernels do not have it
        run(["mount", "-t", "overlay", "overlay", "-o", options, root])
    return root


def unmount_disk(layout: Layout, host: str) -> None:
    """Undo `mount_disk`; nothing happens where nothing is mounted."""
    if os.path.ismount(layout.root(host)):
        run(["umount", "--recursive", layout.root(host)])


def boot_command(machine: Machine) -> list[str]:
    """The command that boots the host and stays for as long as it runs."""
    command = [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        "--keep-unit",
        "--register=no",
        f"--machine={machine.name}",
        f"--hostname={machine.hostname}",
        f"--directory={machine.root}",
        f"--network-namespace-path={machine.namespace}",
        "--capability=CAP_NET_ADMIN,CAP_NET_RAW",
        "--bind=/dev/net/tun",
        f"--bind-ro={machine.packages}:{PACKAGES_IN_HOST}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=pipe",
    ]
    if Path("/run/systemd/system").is_dir():
        scope = ["--quiet", "--scope", "--collect", f"--unit={machine.name}", "--property=Delegate=yes"]
        return ["systemd-run", *scope, "--", *command]
    return command


def prepare_cgroups(machine: Machine) -> list[Path]:
    """Make control groups for a host of its own, where no systemd on this machine does; returns those to start it in.

    Without them the systemds of several hosts would take one another's processes for their own.
    """
    if Path("/run/systemd/system").is_dir():
        return []
    made = []
    for mounted in _cgroup_mounts():
        group = mounted / machine.name
        _remove_tree(group)
        group.mkdir(exist_ok=True)
        made.append(group)
    return made


def _cgroup_mounts() -> list[Path]:
    """The hierarchies systemd keeps its services in: version 2, and version 1's named one."""
    found = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(where))
    return found


def _remove_tree(group: Path) -> None:
    """Remove a control group with all below it; the kernel only takes empty directories, innermost first."""
    for directory, _, _ in os.walk(group, topdown=False):
        try:
            Path(directory).rmdir()
        except OSError:
            return


def remove_runtime_traces(name: str) -> None:
    """Remove what nspawn and the control groups leave on this machine after a host is gone."""
    for mounted in _cgroup_mounts():
        _remove_tree(mounted / name)
    for kind in ("propagate", "unix-export"):
        shutil.rmtree(NSPAWN_RUN / kind / name, ignore_errors=True)


def leader(layout: Layout, host: str) -> int | None:
    """The number, on this machine, of the process that is number 1 in the host."""
    nspawn = processes.recorded(layout.process_directory, f"nspawn-{host}")
    for child in processes.children(nspawn) if nspawn else []:
        try:
            status = Path(f"/proc/{child}/status").read_text()
        except OSError:
            continue
        if any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in status.splitlines()):
            return child
    return None


def run_as_root(layout: Layout, host: str, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a shell script as root inside a running host."""
    first = leader(layout, host)
    if first is None:
        raise LabError(f"The host {host} of lab {layout.lab!r} is not running.")
    done = subprocess.run(
        ["nsenter", "--target", str(first), "--all", "--", "/bin/sh", "-s"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
        env=CLEAN_ENVIRONMENT,
    )
    if check and done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "nothing said").splitlines()[-1]
        raise LabError(f"A script on {host} failed with status {done.returncode}: {last}")
    return done


def start_keeper(layout: Layout, host: str) -> None:
    """Start the process that boots a host whose disk is ready, and looks after it from then on."""
    keeper = processes.launch(
        [sys.executable, "-P", "-m", "lab.keeper", layout.lab, host],
        layout.host_directory(host) / "console.log",
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    processes.record(layout.process_directory, f"keeper-{host}", keeper)
