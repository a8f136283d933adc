"""What programs on a host complain of: the kinds of failure that their words give away."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from runbook.errors import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRIPT_FAILED: Final = Entry(
    "script-failed",
    "{target}: {what}: {said}",
    "{target} is not as was expected; the program's own words above say in what",
    "runbook log{file}",
    "mend what they name on {target}, then: {again}",
)
DISK_FULL: Final = Entry(
    "disk-full",
    "{target}: {what}: {said}",
    "a disk of {target} is full, or has no inode left",
    "on {target}: df -h; df -i",
    "as root on {target} make room (apt-get clean; journalctl --vacuum-size=100M), then: {again}",
    (r"No space left on device", r"Disk quota exceeded", r"You don't have enough free space"),
)
READ_ONLY: Final = Entry(
    "read-only",
    "{target}: {what}: {said}",
    "a file system of {target} is mounted read-only: by its administrator, in a container, or after a disk's fault",
    "on {target}: findmnt -O ro; journalctl -k -p err -n 20",
    "as root on {target}: mount -o remount,rw / (check the disk first), then: {again}",
    (r"Read-only file system",),
)
APT_LOCKED: Final = Entry(
    "apt-locked",
    "{target}: {what}: {said}",
    "another program installs packages on {target}, perhaps the daily upgrade (unattended-upgrades)",
    "on {target}: ps -eo pid,etime,args | grep -E '[a]pt|[d]pkg|[u]nattended'",
    "wait until it is done, then: {again}",
    (r"Could not get lock \S*/(?:dpkg|apt)/", r"Unable to (?:acquire|lock)", r"dpkg frontend lock"),
)
DPKG_INTERRUPTED: Final = Entry(
    "dpkg-broken",
    "{target}: {what}: {said}",
    "an installation was cut off or failed there before, and packages are left half installed",
    "on {target}: dpkg --audit",
    "as root on {target}: dpkg --configure -a && apt-get --fix-broken install; then: {again}",
    (r"dpkg was interrupted", r"Sub-process \S*dpkg returned an error", r"unmet dependencies", r"held broken packages"),
)
PACKAGE_UNKNOWN: Final = Entry(
    "package-not-found",
    "{target}: {what}: {said}",
    "a slip in the name, or the package sources of {target} lack the release or the section that {package} is in",
    "on {target}: apt-cache policy {package}; cat /etc/apt/sources.list /etc/apt/sources.list.d/*",
    "as root on {target}: add Debian's `main` to the sources, apt-get update; or correct the name; then: {again}",
    (r"Unable to locate package (?P<package>\S+)", r"Package '?(?P<package>[^' ]+)'? has no installation candidate"),
)
KEY_UNEXPECTED: Final = Entry(
    "signing-key-unexpected",
    "{target}: the signing key that {url} gives has the fingerprint {fingerprint}, which is not expected",
    "the repository has a new key, the address in sites.yaml is another's, or something on the way changes what comes",
    "curl -s {url} | gpg --show-keys --with-fingerprint",
    "if its owner says elsewhere that it is theirs, add it to the fingerprints in sites.yaml; then: {again}",
    (r"the signing key of (?P<url>\S+) has the fingerprint (?P<fingerprint>\S+), which is not expected",),
)
NO_SIGNING_KEY: Final = Entry(
    "signing-key-none",
    "{target}: what {url} gives is no OpenPGP key",
    "the address in sites.yaml is that of something else, or something on the way answers in its place",
    "on {target}: /usr/lib/apt/apt-helper download-file {url} /tmp/key; head -n 3 /tmp/key",
    "correct the address of the signing key in sites.yaml, then: {again}",
    (r"what (?P<url>\S+) gives is no signing key",),
)
NOT_SIGNED: Final = Entry(
    "repository-not-signed",
    "{target}: the repository {url} is not signed by a key that is expected of it, so nothing is taken from it",
    "it is another's than the keys are, it has a new key, or something on the way changes what is sent",
    "curl -s {url}/dists/{suite}/InRelease | gpg --verify",
    "correct the repository or its fingerprints in sites.yaml, then: {again}",
    (r"the repository (?P<url>\S+) (?P<suite>\S+) is not signed by a key that is expected of it",),
)
APT_UNREACHABLE: Final = Entry(
    "apt-unreachable",
    "{target}: {what}: {said}",
    "{target} has no way to its package mirror: its DNS, its route, or a firewall for what goes out",
    "on {target}: getent ahosts deb.debian.org; apt-get update",
    "mend the network of {target}, or name another mirror in /etc/apt/sources.list, then: {again}",
    (
        r"Temporary failure resolving", r"Could not resolve '", r"Could not connect to \S+", r"Unable to connect to",
        r"Cannot initiate the connection to", r"Could not handshake",
    ),
)  # fmt: skip
APT_BROKEN: Final = Entry(
    "apt-repository-broken",
    "{target}: {what}: {said}",
    "a package source of {target} is gone, is not signed by a key that is trusted there, or is out of date",
    "on {target}: apt-get update; cat /etc/apt/sources.list /etc/apt/sources.list.d/*",
    "as root on {target}: mend or remove the source that is named, then: {again}",
    (
        r"does not have a Release file", r"NO_PUBKEY", r"is not signed", r"(?:no longer|not yet) valid",
        r"(?:Release|InRelease)'? .*is (?:expired|not valid)", r"Malformed (?:entry|line|stanza)",
        r"Failed to fetch", r"list of sources could not be read", r"Hash Sum mismatch",
    ),
)  # fmt: skip
SERVICE_FAILED: Final = Entry(
    "service-failed",
    "{target}: {what}: {said}",
    "{unit} does not start: its configuration is wrong, or something that it needs is taken or missing",
    "on {target}: systemctl status {unit}; journalctl -u {unit} -n 30",
    "mend what they name, then: {again}",
    (r"Job for (?P<unit>\S+) failed", r"Failed to (?:re)?start (?P<unit>\S+?):"),
)
DENIED: Final = Entry(
    "denied",
    "{target}: {what}: {said}",
    "{target} keeps even root from it: AppArmor, the limits of a container, or a file made immutable (chattr +i)",
    "on {target}: journalctl -k -g DENIED -n 10; systemd-detect-virt; lsattr PATH",
    "allow it there, then: {again}",
    (r"Operation not permitted", r"[Pp]ermission denied"),
)

BY_WORDS: Final = (
    DISK_FULL, READ_ONLY, KEY_UNEXPECTED, NO_SIGNING_KEY, NOT_SIGNED,
    APT_LOCKED, DPKG_INTERRUPTED, APT_UNREACHABLE, APT_BROKEN, PACKAGE_UNKNOWN, SERVICE_FAILED,
    DENIED,
)  # fmt: skip
"""Those that a program's words give away, the cause before what merely follows from it."""


def by_words(said: str) -> tuple[Entry, Mapping[str, str]]:
    """The entry that a failed script's standard error gives away, and the words that it tells."""
    for entry in BY_WORDS:
        for pattern in entry.said:
            if match := re.search(pattern, said):
                return entry, match.groupdict()
    return SCRIPT_FAILED, {}


ENTRIES: Final = tuple(each for each in list(vars().values()) if isinstance(each, Entry))
"""All of them."""
