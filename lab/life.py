"""A lab's life on disk and on the machine: made, mended, removed, by one process at a time.

What was made is written down as it is made, so that any later process can remove it, also after one that was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import content, files, machine, net, processes, services
from lab.errors import AskedWronglyError
from lab.layout import CA, HOSTS, LABS, NAMESPACES, Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lab.image import Image


def state(layout: Layout) -> dict[str, Any]:
    """What is written down of this lab; empty where there is none."""
    try:
        written: dict[str, Any] = json.loads(layout.state_file.read_text())
    except (OSError, ValueError):
        return {}
    return written


def is_of_this_boot(layout: Layout) -> bool:
    """Whether the lab was made since this machine started: what ran before then runs no more."""
    return bool(state(layout).get("boot") == _boot_id())


@contextmanager
def turn(layout: Layout) -> Iterator[None]:
    """Let one process at a time change this lab; the lock is the directory itself, so it leaves no trace."""
    while True:
        layout.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(layout.directory, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_same_directory(layout.directory, descriptor):
                continue  # removed while we waited
            yield
        finally:
            os.close(descriptor)
        return


def make(
    layout: Layout,
    releases: Mapping[str, str],
    images: Mapping[str, Image],
    progress: Callable[[str], None],
    wait: Callable[[], None],
) -> None:
    """Make the lab from nothing and wait for its hosts; where that fails, nothing is left."""
    remove(layout, keep_directory=True)
    userland_esp = not net.kernel_has_esp()
    facts = {"boot": _boot_id(), "releases": dict(releases), "userland_esp": userland_esp}
    layout.state_file.write_text(json.dumps({**facts, "complete": False}))
    progress(f"lab {layout.lab!r}: {len(releases)} hosts, {'userland' if userland_esp else 'kernel'} ESP")
    try:
        public_key = files.make_log_in(layout, releases)
        with ThreadPoolExecutor() as pool:
            network = pool.submit(_make_network, layout)
            disks = [
                pool.submit(_make_disk, layout, host, images[release], public_key, userland_esp=userland_esp)
                for host, release in releases.items()
            ]
            for part in (network, *disks):
                part.result()
        files.write_known_hosts(layout, releases)
        files.write_sites(layout, releases, userland_esp=userland_esp)
        for host in releases:
            machine.start_keeper(layout, host)
        services.start(layout)
        wait()
    except BaseException:
        remove(layout)
        raise
    layout.state_file.write_text(json.dumps({**facts, "complete": True}))


def mend(layout: Layout, releases: Mapping[str, str]) -> None:
    """Start again what has ended in a lab that was up: a host that was switched off, a service."""
    if releases != state(layout)["releases"]:
        raise AskedWronglyError(f"The lab {layout.lab!r} is there with other releases: take it down first.")
    running = processes.all_recorded(layout.process_directory)
    for host in releases:
        if f"keeper-{host}" not in running:
            machine.start_keeper(layout, host)
    services.start(layout)


def remove(layout: Layout, *, keep_directory: bool = False) -> None:
    """Remove every trace of the lab, however much of it there is."""
    if is_of_this_boot(layout):
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


def _make_network(layout: Layout) -> None:
    net.build_switches(layout)
    net.build_controller_side(layout)
    services.make_certificates(layout)


def _make_disk(layout: Layout, host: str, base: Image, public_key: str, *, userland_esp: bool) -> None:
    root = machine.mount_disk(layout, host, base)
    keys = content.Keys(files.make_host_keys(layout, host), public_key)
    content.furnish(root, HOSTS[host], keys, userland_esp=userland_esp)
    machine.describe(layout, host, base).save(layout.host_directory(host) / "machine.json")


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
