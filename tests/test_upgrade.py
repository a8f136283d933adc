"""What is told of newer packages and of a reboot that is needed: by what the host says, by a real shell."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from runbook import catalogue
from runbook.errors import BrokenLineError, HostKeyError, UnreachableError
from runbook.host import Answer
from runbook.local import LocalHost
from runbook.resources import reboot
from runbook.resources.reboot import Reboot
from runbook.resources.upgrade import PackageLists, Upgrades
from runbook.resources.way_in import WayIn
from runbook.script import Reading
from runbook.step import Verdict
from runbook.target import Target

if TYPE_CHECKING:
    from pathlib import Path

SIMULATED = """\
Reading package lists...
Calculating upgrade...
Remv old-thing [1.0]
Inst linux-image-amd64 [6.1.1-1] (6.1.2-1 Debian:12/stable [amd64])
Inst linux-image-6.1.0-22-amd64 (6.1.2-1 Debian:12/stable [amd64])
Conf linux-image-amd64 (6.1.2-1 Debian:12/stable [amd64])
"""


def run(script: str, root: Path) -> str:
    """The script's output where the commands in `root/bin` come first, and /run and /boot are those of `root`."""
    moved = (
        script.replace("/run/", f"{root}/run/")
        .replace("/boot/", f"{root}/boot/")
        .replace("^.boot.", ".*")
        .replace("/var/", f"{root}/var/")
    )
    environment = {"PATH": f"{root}/bin:/usr/bin:/bin"}
    return subprocess.run(["/bin/sh", "-c", moved], env=environment, capture_output=True, text=True, check=True).stdout


def command(root: Path, name: str, script: str) -> None:
    (root / "bin").mkdir(exist_ok=True)
    (root / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (root / "bin" / name).chmod(0o755)


def test_what_could_be_upgraded_is_offered_and_named(tmp_path: Path) -> None:
    command(tmp_path, "apt-get", f"cat <<'E'\n{SIMULATED}E")
    finding = Upgrades().judge(Reading(run(Upgrades().probe(), tmp_path)))
    assert (finding.verdict, finding.change) == (Verdict.IN_ORDER, None)
    assert finding.note == "2 packages, removing 1 can be upgraded"
    assert finding.offer is not None
    assert finding.offer.flag == "--upgrade"
    assert finding.offer.diff.splitlines() == [
        "- old-thing",
        "+ linux-image-amd64 6.1.1-1 -> 6.1.2-1",
        "+ linux-image-6.1.0-22-amd64 6.1.2-1 (new)",
    ]


@pytest.mark.parametrize(("apt", "note"), [("echo 0 upgraded", ""), ("exit 100", "apt cannot tell what could be")])
def test_where_there_is_nothing_or_apt_cannot_say_all_is_in_order(tmp_path: Path, apt: str, note: str) -> None:
    command(tmp_path, "apt-get", apt)
    finding = Upgrades().judge(Reading(run(Upgrades().probe(), tmp_path)))
    assert (finding.verdict, finding.offer, finding.note[: len(note)]) == (Verdict.IN_ORDER, None, note)


@pytest.mark.parametrize(("days", "note"), [(0, ""), (12, "the package lists are 12 days old"), (None, "there are no")])
def test_old_package_lists_are_offered_to_be_brought_up_to_date(tmp_path: Path, days: int | None, note: str) -> None:
    lists = tmp_path / "var/lib/apt/lists"
    (lists / "partial").mkdir(parents=True)
    if days is not None:
        (lists / "deb.debian.org_main_Packages.lz4").touch()
    then = (datetime.now(UTC) - timedelta(days=days or 0, hours=1)).timestamp()
    for each in (lists / "partial", lists):
        subprocess.run(["touch", "-d", f"@{then:.0f}", each], check=True)
    finding = PackageLists().judge(Reading(run(PackageLists().probe(), tmp_path)))
    assert finding.verdict is Verdict.IN_ORDER
    assert finding.note.startswith(note)
    assert (finding.offer is not None) == bool(note)


@pytest.mark.parametrize(
    ("running", "installed", "newer"),
    [
        ("6.1.0-21-amd64", ["6.1.0-21-amd64"], ""),
        ("6.1.0-9-amd64", ["6.1.0-9-amd64", "6.1.0-21-amd64"], "6.1.0-21-amd64"),
        ("6.1.0-21-amd64", ["6.1.0-21-amd64", "6.1.0-21-cloud-amd64"], ""),
        (
            "6.12.41+deb13-cloud-amd64",
            ["6.12.43+deb13-cloud-amd64", "6.12.48+deb13-amd64"],
            "6.12.43+deb13-cloud-amd64",
        ),
        ("6.18.44-hosters", ["6.1.0-21-amd64"], ""),
        ("6.1.0-21-amd64", [], ""),
    ],
)
def test_a_newer_kernel_of_the_same_flavour_wants_a_reboot(
    tmp_path: Path, running: str, installed: list[str], newer: str
) -> None:
    command(tmp_path, "uname", f"echo {running}")
    (tmp_path / "boot").mkdir()
    for each in installed:
        (tmp_path / "boot" / f"vmlinuz-{each}").touch()
    finding = Reboot().judge(Reading(run(Reboot().probe(), tmp_path)))
    assert finding.verdict is Verdict.IN_ORDER
    told = f"a reboot is needed: the kernel that runs is {running}, and {newer} is installed" if newer else ""
    assert (finding.note, finding.offer is not None) == (told, bool(newer))


def test_a_host_that_asks_for_a_reboot_says_for_what(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "reboot-required").touch()
    finding = Reboot().judge(Reading(run(Reboot().probe(), tmp_path)))
    assert finding.note == "a reboot is needed: the host asks for one"
    (tmp_path / "run" / "reboot-required.pkgs").write_text("libc6\nlinux-base\nlibc6\n")
    finding = Reboot().judge(Reading(run(Reboot().probe(), tmp_path)))
    assert finding.note == "a reboot is needed: the host asks for one, because of libc6 linux-base"
    assert finding.offer is not None
    assert finding.offer.flag == "--reboot"


def test_a_reboot_after_which_nobody_could_log_in_is_not_offered(tmp_path: Path) -> None:
    part = Reboot(WayIn({4: "/etc/network/iptables.save", 6: "/etc/network/ip6tables.save"}))
    stored = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport {} -j ACCEPT\nCOMMIT\n"
    said = f"the host asks for one\n==\n192.0.2.99 192.0.2.10 22 eth0\n{stored.format(22)}--\n{stored.format(2222)}"
    finding = part.judge(Reading(said))
    assert (finding.verdict, finding.offer) == (Verdict.IN_ORDER, None)
    assert finding.note.startswith("a reboot is needed, and not offered: the host asks for one; but /etc/network/")
    finding = part.judge(Reading(said.replace("2222", "22")))
    assert (finding.note, finding.offer is not None) == ("a reboot is needed: the host asks for one", True)
    assert run(part.probe(), tmp_path) == "", "where none is needed, nothing else is asked"


GOING = 'systemctl() { [ "$1" != --quiet ] || return 3; echo running; }\n'
"""A host that is up, and no reboot is to come."""


class Rebooting(LocalHost):
    """A host that is away for some log-ins after it was told to reboot, and first comes back as it was."""

    def __init__(self, away: int) -> None:
        super().__init__("far")
        self.away = away
        self.did: list[str] = []
        self.boot = "first"

    def relogin(self) -> None:
        self.away -= 1
        if self.away > 0:
            raise UnreachableError(catalogue.SSH_SILENT, at="far", where="far", seconds=1)
        self.boot = "first" if self.away == 0 else "second"

    def run(self, script: str, *, purpose: str, **settings: object) -> Answer:
        assert script.strip()
        assert settings.get("timeout", 1)
        self.did.append(purpose)
        if self.did.count("see whether it has rebooted") == 1 and purpose.startswith("see"):
            raise BrokenLineError(catalogue.LINE_DROPPED, target="far", purpose=purpose, seconds=1)
        code = 0
        if purpose.startswith("see"):
            with_boot_id = script.replace("cat /proc/sys/kernel/random/boot_id", f"echo {self.boot}")
            code = subprocess.run(["/bin/sh", "-c", f"{GOING}{with_boot_id}"], check=False).returncode
        return Answer(self.boot, "", code, 0.0)


def test_a_reboot_is_over_when_a_new_log_in_finds_another_boot_id() -> None:
    host, pauses = Rebooting(away=3), []
    Reboot().cross(Target(host, "/nowhere"), lambda: pauses.append("pause"))
    assert host.boot == "second"
    assert host.did == [
        "read the boot id",
        "reboot",
        "see whether it has rebooted",  # the line dropped
        "see whether it has rebooted",
        "wait for what starts at boot",
    ]
    assert len(pauses) == 4


def test_one_that_an_earlier_run_left_rebooting_is_waited_for_and_not_rebooted_again() -> None:
    host, pauses = Rebooting(away=3), []
    Reboot().rejoin(Target(host, "/nowhere"), lambda: pauses.append("pause"))
    assert host.did == [*["see whether it has rebooted"] * 2, "wait for what starts at boot"]
    assert len(pauses) == 4


@pytest.mark.parametrize(
    "systemctl", ['[ "$1" = --quiet ]', "case $1 in --quiet) false ;; *) echo stopping ;; esac"], ids=["asked", "going"]
)
def test_one_that_has_not_gone_down_yet_is_not_taken_for_back(systemctl: str) -> None:
    said = subprocess.run(["/bin/sh", "-c", f"systemctl() {{ {systemctl}; }}\n{reboot._GOING}"], check=False)
    assert said.returncode == 1


def test_a_host_whose_key_is_another_now_is_not_waited_for() -> None:
    host = Rebooting(away=3)

    def changed() -> None:
        raise HostKeyError(catalogue.HOST_KEY_CHANGED, name="far", where="there", known="a", key="b")

    host.relogin = changed  # type: ignore[method-assign]
    with pytest.raises(HostKeyError):
        Reboot().rejoin(Target(host, "/nowhere"), lambda: None)


def test_a_host_that_does_not_come_back_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 60))
    monkeypatch.setattr(reboot.time, "monotonic", lambda: next(clock))
    with pytest.raises(UnreachableError, match="far was told to reboot, and is not back after 10 minutes") as caught:
        Reboot().cross(Target(Rebooting(away=99), "/nowhere"), lambda: None)
    assert caught.value.entry is catalogue.NOT_BACK
    assert "did not answer within 1 s" in str(caught.value)
