"""A whole host, as one flat picture to compare with another: what a change left behind, and what an undo did not.

The files are read from outside, on the host's root as this machine mounts it, so reading leaves no trace on the host;
the rest is asked of the running host in one script.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import stat
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lab.lab import Lab

IGNORED: tuple[tuple[str, str], ...] = (
    ("file:/var/log/*", "logs grow with everything that happens"),
    ("file:/tmp/*", "scratch space of whoever runs; services get directories with random names in it"),
    ("file:/var/tmp/*", "the same"),
    ("file:/run/*", "what lies below the file system mounted there, in use only before it is"),
    ("file:/var/lib/apt/lists/*", "apt's copies of the package lists, renewed by every update"),
    ("file:/var/cache/apt/*", "apt's caches, made anew at will"),
    ("file:/var/lib/apt/periodic/*", "time stamps of apt's timers"),
    ("file:/var/lib/apt/daily_lock", "a lock of apt's timers"),
    ("file:/var/lib/dpkg/lock*", "dpkg's locks"),
    ("file:/var/lib/dpkg/triggers/Lock", "the same"),
    ("file:/var/lib/dpkg/*-old", "dpkg's copies of its own state before the last change"),
    ("file:/var/cache/debconf/*-old", "debconf's copies of its own state before the last change"),
    ("file:/var/backups/*", "daily copies of dpkg's and apt's state"),
    ("file:/etc/ld.so.cache", "the linker's cache, made anew by every package with a library"),
    ("file:/var/cache/ldconfig/*", "the same"),
    ("file:/var/cache/man/*", "the manual pages' index"),
    ("file:/etc/.pwd.lock", "a lock of the account tools"),
    ("file:/etc/passwd-", "the account tools' copy of the file before the last change"),
    ("file:/etc/shadow-", "the same"),
    ("file:/etc/group-", "the same"),
    ("file:/etc/gshadow-", "the same"),
    ("file:/etc/subuid-", "the same"),
    ("file:/etc/subgid-", "the same"),
    ("file:/var/lib/systemd/random-seed", "new at every boot"),
    ("file:/var/lib/systemd/timers/*", "time stamps of timers"),
    ("file:/var/lib/systemd/catalog/*", "the journal's catalogue, made anew after installations"),
    ("file:/var/lib/logrotate/*", "time stamps of log rotation"),
    ("file:/var/lib/private", "made by systemd for whatever service first asks"),
    ("file:/var/cache/private", "the same"),
    ("file:/var/lib/sudo/*", "whom sudo has lectured"),
    ("file:/home/*/.bash_history", "what a person typed"),
    ("file:/root/.bash_history", "the same"),
    ("file:/home/*/.sudo_as_admin_successful", "Debian's sudo notes there that it was used once"),
    ("unit:session-*.scope", "log-ins come and go"),
    ("unit:user@*.service", "the same"),
    ("unit:user-runtime-dir@*.service", "the same"),
    ("unit:user-*.slice", "the same"),
    ("unit:user.slice", "the same"),
    ("unit-file:session-*.scope", "the same"),
    ("unit:apt-daily*.service", "runs now and then, by its timer"),
    ("unit:dpkg-db-backup.service", "the same"),
    ("unit:systemd-tmpfiles-clean.service", "the same"),
    ("unit:logrotate.service", "the same"),
    ("unit:man-db.service", "the same"),
    ("unit:systemd-hostnamed.s*", "started when asked, ends by itself"),
    ("unit:systemd-timedated.service", "the same"),
    ("unit:systemd-localed.service", "the same"),
)
"""What moves by itself, as patterns of keys, each with the reason why it says nothing about a change."""

QUESTIONS = {
    "package": (
        "dpkg-query -W -f '${binary:Package}\\t${db:Status-Abbrev}${Version}\\n'"
        " && apt-mark showmanual | sed 's/$/ (mark)\\tmanual/'"
    ),
    "unit-file": "systemctl list-unit-files --no-legend --no-pager | awk '{print $1 \"\\t\" $2}'",
    "unit": 'systemctl list-units --plain --no-legend --no-pager | awk \'{print $1 "\\t" $3 " " $4}\'',
    "iptables": "iptables-save",
    "ip6tables": "ip6tables-save",
    "link": "ip -o link show",
    "address": "ip -o address show",
    "route": "ip -4 route show table all && ip -6 route show table all | sed 's/^/inet6 /'",
    "rule": "ip -4 rule show && ip -6 rule show | sed 's/^/inet6 /'",
    "sysctl": (
        "for f in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/forwarding"
        " /proc/sys/net/ipv6/conf/*/forwarding /proc/sys/net/ipv6/conf/*/accept_ra"
        ' /proc/sys/net/ipv6/conf/*/accept_dad; do printf \'%s\\t%s\\n\' "$f" "$(cat "$f")"; done'
    ),
    "user": "getent passwd | sed 's/:/\\t/'",
    "group": "getent group | sed 's/:/\\t/'",
}
"""What is asked of the running host. A line is a key and, after a tab, its value."""

SETTLED = """\
for _ in $(seq 50); do
    [ -n "$(ip -6 -o address show tentative)" ] || break
    sleep 0.1
done"""
"""Waits until duplicate address detection is over, since routes come of it."""

MARK = "#### "
COUNTERS = re.compile(r" ?\[\d+:\d+\]")
LEASE = re.compile(r"\\.*| expires \S+| tentative\b")
CARD = re.compile(r"^\d+: ([^ :@]+)(?:@\S+)?:? *(.*)$")
PASSING = re.compile(r"\\.*| link-netns\S* \S+| qlen \d+| mode DEFAULT| group default")


def take(lab: Lab, host: str, ignored: Sequence[tuple[str, str]] = IGNORED) -> dict[str, str]:
    """The host as it is now: a value for every file, package, unit, rule, address, route, setting and account."""
    picture: dict[str, str] = {}
    script = "\n".join(f"echo '{MARK}{kind}'\n{question}" for kind, question in QUESTIONS.items())
    kind = ""
    for line in lab.root(host, f"set -eu\n{SETTLED}\n{script}\n").stdout.splitlines():
        if line.startswith(MARK):
            kind = line.removeprefix(MARK)
            continue
        _note(picture, kind, line)
    picture.update(_files(lab.layout.root(host)))
    passing = re.compile("|".join(fnmatch.translate(pattern) for pattern, _ in ignored) or r"(?!)")
    return {key: value for key, value in sorted(picture.items()) if not passing.match(key)}


def diff(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What is different, a line for each thing (more for a text): `+` came, `-` went, `~` changed."""
    lines = []
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key), after.get(key)
        if was == now:
            continue
        if was is None:
            lines.append(f"+ {key}: {now}")
        elif now is None:
            lines.append(f"- {key}: {was}")
        else:
            lines += _changed(key, was, now)
    return lines


def _changed(key: str, was: str, now: str) -> list[str]:
    if "\n" not in was + now:
        return [f"~ {key}: {was} -> {now}"]
    changes = list(unified_diff(was.splitlines(), now.splitlines(), n=0, lineterm=""))[2:]
    return [f"~ {key}: {line}" for line in changes if not line.startswith("@@")]


def _note(picture: dict[str, str], kind: str, line: str) -> None:
    """Add one line of the host's answer to the picture."""
    if kind in ("iptables", "ip6tables"):
        if not line.startswith("#"):
            picture[kind] = picture.get(kind, "") + COUNTERS.sub("", line) + "\n"
    elif kind in ("link", "address"):
        name, words = CARD.sub(r"\1 \2", line).split(" ", 1)
        words = " ".join((PASSING if kind == "link" else LEASE).sub("", words).split())
        key = f"link:{name}" if kind == "link" else f"address:{name} {' '.join(words.split()[:2])}"
        picture[key] = words
    elif kind in ("route", "rule"):
        key = f"{kind}:{' '.join(LEASE.sub('', line).split())}"
        picture[key] = str(int(picture.get(key, "0")) + 1)
    else:
        name, _, value = line.partition("\t")
        picture[f"{kind}:{name}"] = value.strip()


def _files(root: Path) -> dict[str, str]:
    return {f"file:/{path.relative_to(root)}": _describe(path) for path in _walk(root)}


def _walk(root: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            yield Path(directory, name)


def _describe(path: Path) -> str:
    """A file's kind, mode, owner and group, and what is in it; its times are left out, for they say nothing more."""
    status = path.lstat()
    owner = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        return f"{owner} -> {path.readlink()}"
    if stat.S_ISREG(status.st_mode):
        return f"{owner} {status.st_size} sha256:{_hash(path)}"
    if stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
        return f"{owner} {os.major(status.st_rdev)},{os.minor(status.st_rdev)}"
    return owner


def _hash(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
