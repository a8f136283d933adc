"""What a run offers on its way, on real hosts: upgrades, a reboot that is waited out, taking a step back."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pexpect
import pytest
from laws import Laws
from newer_package import plant, version
from product import RUNBOOK, Product, Run

from lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

DOWN = "\x1b[B"
CTRL_C = "\x03"
DRAWN = "\x1b[?7h"
"""What the prompt ends with: lines wrap again."""
CONF = "/etc/sysctl.d/60-ipsec-runbook.conf"

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"barriers-{os.getpid()}")
    lab.up(print)
    plant(lab, "home", lists="fresh")
    plant(lab, "vps4", lists="old")
    yield Product(lab)
    lab.down()


@pytest.fixture(scope="module")
def laws(product: Product) -> Laws:
    return Laws.of(product)


class Person:
    """Somebody at a terminal."""

    def __init__(self, product: Product, *arguments: str) -> None:
        argv = product.lab.admin_argv([*RUNBOOK, *arguments, "--file", product.sites])
        environment = {**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1", "NO_COLOR": "1", "TERM": "xterm"}
        settings = {"encoding": "utf-8", "timeout": 180, "dimensions": (60, 200), "env": environment}
        self.child = pexpect.spawn(argv[0], argv[1:], **settings)

    def reads(self, *words: str) -> str:
        """Wait for each of these words in turn; returns what stood before the last."""
        for each in words:
            self.child.expect_exact(each)
        return str(self.child.before)

    def chooses(self, question: str, choice: str = "", *, keys: str = "") -> None:
        """Take a choice by these keys, the first where there are none, once the question stands whole."""
        self.reads(question, choice or "»", DRAWN)
        self.child.send(f"{keys}\r")

    def leaves(self) -> tuple[int, str]:
        """The exit code, and what was said last."""
        self.child.expect(pexpect.EOF)
        self.child.close()
        return self.child.exitstatus, self.child.before


def boot_id(product: Product, host: str) -> str:
    return product.lab.root(host, "cat /proc/sys/kernel/random/boot_id").stdout


def offers(run: Run) -> dict[tuple[str, str], str]:
    """What is offered, by target and part."""
    parts = [part for step in run.document["steps"] for part in step["parts"]]
    return {(part["target"], part["part"]): part["offer"]["summary"] for part in parts if part["offer"]}


@pytest.mark.usefixtures("laws")
def test_an_audit_is_green_and_names_what_is_offered(product: Product) -> None:
    run = product.run("audit", "--step", "upgrade", "--json")
    assert run.code == 0
    assert offers(run) == {
        ("home", "upgrades"): "upgrade 1 package",
        ("vps4", "package lists"): "bring the package lists up to date",
    }
    said = product.run("audit", "--step", "upgrade").out
    assert "home: ok upgrades (1 package can be upgraded; apply --upgrade does it)" in said
    assert "vps4: ok package lists (the package lists are 12 days old" in said


def test_what_is_declined_changes_nothing(product: Product) -> None:
    before = {host: boot_id(product, host) for host in ("home", "vps4")}
    lists = product.lab.root("vps4", "ls -l --full-time /var/lib/apt/lists").stdout
    person = Person(product, "apply")
    person.chooses("Key generation (key)")
    person.chooses("CSR generation (csr)")
    person.reads("vps4: the package lists are 12 days old")
    person.chooses("Upgrading the hosts: bring the package lists up to date?")
    person.reads("+ tiny-thing 1 -> 2", "cannot be taken back")
    person.chooses("Upgrading the hosts: upgrade 1 package?")
    person.chooses("Installing and configuring nginx (nginx)", "stop here", keys="q")
    code, said = person.leaves()
    assert code == 4, said
    assert {host: boot_id(product, host) for host in before} == before
    assert [version(product.lab, host) for host in before] == ["1", "1"]
    assert product.lab.root("vps4", "ls -l --full-time /var/lib/apt/lists").stdout == lists


def test_the_run_goes_on_to_its_end_after_the_upgrade_and_the_reboot_it_asks_for(product: Product) -> None:
    before = {host: boot_id(product, host) for host in ("home", "vps4")}
    run = product.run("apply", "--yes", "--upgrade", "--reboot", "--json")
    assert run.code == 0, run.err
    done = {(part["target"], part["part"]) for part in run.document["steps"][2]["parts"] if part["change"]}
    assert done == {
        ("vps4", "package lists"),
        *((host, part) for host in before for part in ("upgrades", "reboot")),
    }
    assert [version(product.lab, host) for host in before] == ["2", "2"]
    assert all(boot_id(product, host) != before[host] for host in before)
    assert run.document["steps"][-1]["checks"], "the ping is the last step's proof"
    journal = (product.lab.directory / ".runbook" / "checkpoints" / "journal.jsonl").read_text().splitlines()
    barrier = [each["state"] for each in map(json.loads, journal) if each["note"] == "reboot"]
    assert barrier == ["intent", "done"] * 2
    audit = product.audit()
    assert (audit.code, offers(audit)) == (0, {})


def test_yes_alone_neither_upgrades_nor_reboots(product: Product) -> None:
    before = boot_id(product, "vps4")
    product.lab.root("vps4", "touch /run/reboot-required")
    run = product.apply()
    assert (run.code, run.changes, offers(run)) == (0, {}, {("vps4", "reboot"): "reboot"})
    assert boot_id(product, "vps4") == before


def test_ctrl_c_while_a_reboot_is_waited_for_stops_and_resume_waits_for_it_and_goes_on(product: Product) -> None:
    before = boot_id(product, "vps4")
    person = Person(product, "apply")
    person.reads("vps4: a reboot is needed: the host asks for one")
    person.chooses("Upgrading the hosts: reboot?", "yes, on vps4", keys=DOWN)
    person.reads("vps4: reboot: waiting until it is done")
    person.child.send(CTRL_C)
    code, said = person.leaves()
    assert code == 4, said
    assert "runbook resume" in said
    resumed = product.run("resume", "--yes")
    assert (resumed.code, "vps4: upgrade reboot was cut off" in resumed.out) == (0, True), resumed.out
    assert "vps4: reboot: waiting until it is done" in resumed.out
    assert boot_id(product, "vps4") != before
    assert "cut off" not in product.run("status").out


def test_a_step_that_failed_half_way_is_taken_back_where_the_user_says_so(product: Product) -> None:
    lab = product.lab
    lab.root(
        "home",
        f"sysctl -qw net.ipv6.conf.all.forwarding=0; rm {CONF}; cd /etc\n"
        "mount --bind sysctl.d sysctl.d && mount -o remount,bind,ro /etc/sysctl.d",
    )
    person = Person(product, "apply")
    person.chooses("Firewall for IPsec (ipsec-firewall)")
    person.reads("FAILED", "ipsec-firewall failed on home, and this run has changed it there")
    person.chooses("home: what about ipsec-firewall?", "take this step back on home now", keys=DOWN)
    person.reads("undone ipsec-firewall on home")
    code, said = person.leaves()
    assert code == 1, said
    assert "rollback" not in said  # it has been done
    assert lab.root("home", "sysctl -n net.ipv6.conf.all.forwarding").stdout == "0\n"
    lab.root("home", "umount /etc/sysctl.d")
    assert product.apply().code == 0


def test_what_was_changed_since_is_shown_and_asked_about(product: Product) -> None:
    lab = product.lab
    lab.root("home", f"echo '# mine' >>{CONF}")
    person = Person(product, "rollback", "--step", "ipsec-firewall")
    person.reads(f"file {CONF} was changed since:", "+# mine")
    person.chooses(f"home: file {CONF}?")  # keep it
    person.reads(f"KEEP: create {CONF}", "Undo this?")
    person.child.send("y\r")
    person.reads("undone ipsec-firewall on home")
    assert person.leaves()[0] == 0
    assert "# mine" in lab.root("home", f"cat {CONF}").stdout
    assert not lab.root("home", "ls /var/lib/ipsec-runbook/images | grep ipsec-firewall || :").stdout


def test_all_is_taken_back_but_the_upgrade(product: Product, laws: Laws) -> None:
    product.lab.root("home", f"rm {CONF}")
    assert product.apply().code == 0
    laws.kept()
    laws.undone(but="tiny-thing|/var/lib/dpkg/status")
