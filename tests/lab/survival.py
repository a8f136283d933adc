"""What must be true after a misfortune: the state after an undisturbed run or before it, with nothing left over."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from faults import product as faulty
from faults import proxied_sites
from product import RUNBOOK, Product

from lab import Lab, machine, snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from product import Run

SITES = ("home", "vps4")
OURS = ("file:/var/lib/ipsec-runbook*", "the before-images, one for each time a step was applied")
NEW_EACH_TIME = re.compile(
    r"file:/etc/swanctl/(private|x509|x509ca)/.*\.(key|pem)"  # a key, its certificate, and the CA of this lab
    r"|file:/etc/swanctl/conf.d/ula-net-.*\.conf"  # names the CA
)
"""Files whose content is another in each run; their mode and owner are not."""
ANY_ORDER = re.compile(r"file:/etc/network/ip6?tables\.save|file:/var/lib/apt/extended_states")
"""Files that get entries of several steps. Where one step fails, those that do not need it go on: its entries come last
then, to no other effect. Their mode, owner and size are the same, and what is in them is audited."""
SERIAL = re.compile(r"(?<=-)[0-9a-f]{6,8}(?=[-.])")
"""In a CA certificate's file name: its serial number, and a digest."""
LINK_LOCAL = re.compile(r"fe80::[0-9a-f:]+")
"""The address that charon's TUN device gives itself, by chance."""

Pictures = dict[str, dict[str, str]]


def as_comparable(picture: Mapping[str, str]) -> dict[str, str]:
    """A picture of a host without what is another in each run."""
    return dict(_as_comparable(key, value) for key, value in picture.items())


def _as_comparable(key: str, value: str) -> tuple[str, str]:
    if NEW_EACH_TIME.fullmatch(key):
        key, value = SERIAL.sub("ID", key), " ".join(value.split()[:2])
    elif ANY_ORDER.fullmatch(key):
        value = " ".join(value.split()[:3])
    elif key in {"iptables", "ip6tables"}:
        value = "\n".join(sorted(value.splitlines()))
    elif "ipsec0" in key:
        key, value = LINK_LOCAL.sub("fe80::ID", key), LINK_LOCAL.sub("fe80::ID", value)
    return key, value


def apply_until_the_power_fails(lab: Lab, sites: str) -> tuple[int, str]:
    """Have home's power fail while packages are unpacked there, and come back; the run's exit code, and what it said.

    No orderly reboot: apt would put that off until it is done (DPkg::Inhibit-Shutdown).
    """
    argv = [*RUNBOOK, "apply", "--file", sites, "--yes"]
    with lab.admin_popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        while lab.root("home", "grep -lsz '[u]npack' /proc/[0-9]*/cmdline | grep -q .", check=False).returncode:
            assert run.poll() is None
        leader = machine.leader(lab.layout, "home")
        assert leader
        os.kill(leader, signal.SIGKILL)
        said, _ = run.communicate()
    lab.wait_for_ssh("home")
    return run.returncode, said


@dataclass
class Ordeal:
    """A lab whose hosts go from their state before to the one after and back, however often they are disturbed."""

    lab: Lab
    before: Pictures = field(default_factory=dict)
    after: Pictures = field(default_factory=dict)
    points: list[tuple[str, str, str]] = field(default_factory=list)
    """Every checkpoint of an undisturbed run: step, target, state."""
    seconds: float = 0.0
    """How long an undisturbed run takes."""
    is_fresh: bool = False

    @property
    def product(self) -> Product:
        return Product(self.lab)

    def start(self) -> None:
        """Have hosts as before any run: those of the last trial, where it took everything back, else new ones."""
        if not self.is_fresh:
            self.lab.down()
            self.lab.up(print)
            self._learn_what_is_undisturbed()
        self.is_fresh = False

    def _learn_what_is_undisturbed(self) -> None:
        """Apply and roll back without any misfortune.

        What packages leave behind when they are purged (accounts, /var/www/html) is there before each trial then.
        """
        began = time.monotonic()
        self.resume()
        self.seconds = time.monotonic() - began
        self.after = self.pictures()
        self.points = [(each["step"], each["target"], each["state"]) for each in self.journal()]
        done = self.run("rollback", "--all")
        assert done.code == 0, done.out + done.err
        self.before = self.pictures()

    def pictures(self) -> Pictures:
        return {site: snapshot.take(self.lab, site, (*snapshot.IGNORED, OURS)) for site in SITES}

    def run(self, command: str, *arguments: str, fault: Mapping[str, object] | None = None) -> Run:
        """Run the product, with a misfortune if there is to be one."""
        file = proxied_sites(self.lab) if fault and "cut" in fault else ""
        return self.product.run(command, "--yes", *arguments, file=file, by=faulty(fault) if fault else ())

    def resume(self) -> Run:
        """The one command that goes on: it must reach the end, and leave nothing but the end state."""
        done = self.run("resume")
        assert done.code == 0, done.out + done.err
        return done

    def is_after(self) -> None:
        """The hosts are as after an undisturbed run."""
        now = self.pictures()
        self.nothing_is_left(now)
        left = {site: snapshot.diff(as_comparable(self.after[site]), as_comparable(now[site])) for site in SITES}
        assert left == {"home": [], "vps4": []}, left
        audit = self.product.run("audit")
        assert audit.code == 0, audit.out
        assert set(self.latest().values()) <= {"done", "undone"}, self.latest()

    def goes_back(self) -> None:
        """The one command that goes back gives the hosts their state before any run."""
        done = self.run("rollback", "--all")
        assert done.code == 0, done.out + done.err
        self.is_before()

    def is_before(self) -> None:
        """The hosts are as before any run."""
        now = self.pictures()
        self.nothing_is_left(now)
        left = {site: snapshot.diff(self.before[site], now[site]) for site in SITES}
        assert left == {"home": [], "vps4": []}, left
        self.is_fresh = True

    def nothing_is_left(self, now: Pictures) -> None:
        """No file half-written, no reversal armed, no script at work, no host held."""
        for site in SITES:
            half_written = [key for key in now[site] if "ipsec-runbook-new" in key]
            assert half_written == [], half_written
            at_work = "systemctl list-units --all --plain --no-legend 'ipsec-runbook-*'; ls -d /run/ipsec-runbook*"
            scripts = "grep -lsxzE 'runbook-[0-9a-f]{32}' /proc/[0-9]*/cmdline"
            left = self.lab.root(site, f"{at_work}; {scripts}", check=False).stdout
            assert left == "", f"{site}: {left}"

    def latest(self) -> dict[tuple[str, str], str]:
        """The last state of each step and target in the journal."""
        return {(each["step"], each["target"]): each["state"] for each in self.journal()}

    def journal(self) -> list[dict[str, str]]:
        path = self.lab.directory / ".runbook" / "checkpoints" / "journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]
