"""The disk every fresh host starts from: one Debian per release, and the packages it may install without a network.

An image is made once and kept under a name that is the hash of its recipe, so a change of recipe makes a new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.commands import run
from lab.errors import AskedWronglyError, LabError
from lab.layout import ADMIN_USER, CACHE, KNOWN_RELEASES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DEFAULT_MIRROR = "http://deb.debian.org/debian"
DEFAULT_SECURITY_MIRROR = "http://deb.debian.org/debian-security"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PACKAGES_IN_HOST = "/srv/packages"

INSTALLED = (
    "ca-certificates",
    "curl",
    "dbus",
    "ifupdown",
    "iproute2",
    "iptables",
    "iputils-ping",
    "kmod",
    "openssh-server",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
)
ONLY_IN = {"trixie": ("linux-sysctl-defaults",)}
"""Without it ping is for root alone there; systemd recommends it, so an ordinary installation has it."""

STRONGSWAN = (
    "charon-systemd strongswan-swanctl libstrongswan-standard-plugins libstrongswan-extra-plugins "
    "libcharon-extra-plugins libcharon-extauth-plugins strongswan-pki"
)
INSTALLABLE = (
    "nginx",
    STRONGSWAN,
    "strongswan strongswan-starter strongswan-charon",
    "strongswan",
    "apparmor tcpdump nftables iptables-persistent netfilter-persistent",
    "--no-install-recommends ufw",
    "--no-install-recommends fail2ban",
    "isc-dhcp-client",
    "dhcpcd-base",
)
"""Sets of packages (they cannot all be installed together) that the hosts' own repository holds, whole."""

INDEX = """\
set -eu
cd "$1"
apt-ftparchive packages . > Packages
apt-ftparchive release . > ../Release
mv ../Release Release
"""
"""Makes a directory of packages a repository that apt reads without complaint."""

SETUP = f"""\
set -eu
root=$1
chroot "$root" useradd --create-home --shell /bin/bash --groups sudo {ADMIN_USER}
printf '%s\\n' '{ADMIN_USER} ALL=(ALL:ALL) NOPASSWD: ALL' > "$root/etc/sudoers.d/{ADMIN_USER}"
chmod 0440 "$root/etc/sudoers.d/{ADMIN_USER}"
rm -f "$root"/etc/ssh/ssh_host_*
printf '%s\\n' 'UseDNS no' 'GSSAPIAuthentication no' > "$root/etc/ssh/sshd_config.d/login-without-delay.conf"
printf '%s\\n' force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/throwaway-disk"
mkdir "$root{PACKAGES_IN_HOST}"
set -- {" ".join(f"'{words}'" for words in INSTALLABLE)}
mkdir -p "$root/var/cache/apt/archives"
for packages; do
    # The words of a set are words of the command line.
    # shellcheck disable=SC2086
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --yes --quiet --download-only install $packages
    mv "$root"/var/cache/apt/archives/*.deb "$LAB_PACKAGES"
done
"""
"""Run by mmdebstrap on the finished tree, while its package lists are still there."""

LAST_TOUCHES = f"""\
set -eu
root=$1
rm -f "$root"/etc/apt/sources.list.d/*
printf '%s\\n' 'deb [trusted=yes] file:{PACKAGES_IN_HOST} ./' > "$root/etc/apt/sources.list"
: > "$root/etc/machine-id"
rm -f "$root/etc/resolv.conf" "$root/etc/hostname" "$root/var/lib/dbus/machine-id"
touch "$root/etc/.updated" "$root/var/.updated"
"""
"""Run on the tree when mmdebstrap is done with it."""


@dataclass(frozen=True)
class Image:
    """A finished image: the tree hosts are laid over, and the packages they can install."""

    root: Path
    packages: Path


def recipe_hash(release: str) -> str:
    """What an image of this release is made of, as a short name."""
    recipe = json.dumps([release, INSTALLED, ONLY_IN.get(release), INSTALLABLE, SETUP, LAST_TOUCHES, PACKAGES_IN_HOST])
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def image_directory(release: str) -> Path:
    """Where the image of this release lies, once made."""
    return CACHE / f"{release}-{recipe_hash(release)}"


def mirrors() -> tuple[str, str]:
    """The Debian mirror and the security mirror this machine itself uses; Debian's own where it names none."""
    query = ["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    found: dict[str, str] = {}
    for line in run(query, check=False).stdout.splitlines():
        label, _, address = line.partition(" ")
        if address.startswith(("http://", "https://")):
            found.setdefault(label, address.rstrip("/"))
    return found.get("Debian", DEFAULT_MIRROR), found.get("Debian-Security", DEFAULT_SECURITY_MIRROR)


def sources(release: str) -> str:
    """The apt sources the image is made from."""
    mirror, security = mirrors()
    options = f" [signed-by={KEYRING}]" if KEYRING.exists() else ""
    return (
        f"deb{options} {mirror} {release} main\n"
        f"deb{options} {mirror} {release}-updates main\n"
        f"deb{options} {security} {release}-security main\n"
    )


def ensure(releases: Iterable[str], progress: Callable[[str], None]) -> dict[str, Image]:
    """The images of these releases; those not yet made are made side by side."""
    wanted = sorted(set(releases))
    for release in wanted:
        if release not in KNOWN_RELEASES:
            raise AskedWronglyError(f"The lab has no release {release!r}; it knows {', '.join(KNOWN_RELEASES)}.")
    with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
        return dict(zip(wanted, pool.map(lambda release: _ensure_one(release, progress), wanted), strict=True))


def _ensure_one(release: str, progress: Callable[[str], None]) -> Image:
    directory = image_directory(release)
    with _turn(release):
        if not directory.is_dir():
            _build(release, directory, progress)
    return Image(directory / "root", directory / "packages")


@contextmanager
def _turn(release: str) -> Iterator[None]:
    """Let one process at a time make the image of a release."""
    CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (CACHE / f".{release}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(release: str, directory: Path, progress: Callable[[str], None]) -> None:
    for remains in CACHE.glob(f"{release}-*.making"):
        shutil.rmtree(remains)
    making = directory.with_name(f"{directory.name}.making")
    packages = making / "packages"
    packages.mkdir(parents=True)
    with _spoken(f"image of Debian {release}", progress):
        try:
            _bootstrap(release, making)
            _index(packages)
            making.rename(directory)
            _discard_outdated(release, directory)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise


def _discard_outdated(release: str, current: Path) -> None:
    """Remove the release's images of earlier recipes, but for those a lab still stands on."""
    in_use = Path("/proc/mounts").read_text()
    for other in CACHE.glob(f"{release}-*"):
        if other != current and str(other) not in in_use:
            shutil.rmtree(other)


def _bootstrap(release: str, making: Path) -> None:
    hooks = {"setup": SETUP, "last": LAST_TOUCHES}
    for name, script in hooks.items():
        path = making / name
        path.write_text(f"#!/bin/sh\n{script}")
        path.chmod(0o755)
    argv: list[str | Path] = [
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=apt",
        f"--include={','.join((*INSTALLED, *ONLY_IN.get(release, ())))}",
        f"--customize-hook={making}/setup",
        release,
        making / "root",
        "-",
    ]
    os.chmod(making, 0o755)  # noqa: PTH101, S103 - apt's own user reads the packages in it
    environment = {"LAB_PACKAGES": str(making / "packages"), "LC_ALL": "C.UTF-8"}
    made = run(argv, stdin=sources(release), env=environment, check=False)
    if made.returncode != 0:
        log = CACHE / f"{release}.log"
        log.write_text(made.stdout + made.stderr)
        errors = [line for line in made.stderr.splitlines() if line.startswith("E: ")]
        raise LabError(
            f"The image of Debian {release} could not be made ({(errors or ['?'])[0]}); all of it is in {log}."
        )
    run([making / "last", making / "root"])
    for name in hooks:
        (making / name).unlink()


def _index(packages: Path) -> None:
    run(["sh", "-c", INDEX, "sh", packages])
    for path in (packages, *packages.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)


@contextmanager
def _spoken(what: str, progress: Callable[[str], None], every: float = 10.0) -> Iterator[None]:
    """Say that something long is under way, now and then, with the time it has taken."""
    started = time.monotonic()
    done = threading.Event()

    def speak() -> None:
        while not done.wait(every):
            progress(f"{what}: under way, {time.monotonic() - started:.0f} s")

    progress(f"{what}: to be made, once")
    voice = threading.Thread(target=speak, daemon=True)
    voice.start()
    try:
        yield
    finally:
        done.set()
        voice.join()
    progress(f"{what}: made in {time.monotonic() - started:.0f} s")
