"""The worst moment of a firewall change: the admin's way in is closed, and the host opens it again by itself."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest
from faults import product as faulty
from product import Product
from told import told_as

from lab import Lab
from runbook import catalogue
from runbook.images import IMAGES, REVERT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from product import Run

pytestmark = pytest.mark.lab

SITES = ("home", "vps4")
SOON = 20
"""Seconds until the host takes back what a killed controller left; the last test but one waits for the real minute."""
RULES = "iptables-save; ip6tables-save"
STORED = "cat /etc/network/iptables.save /etc/network/ip6tables.save"
ARMED = "systemctl list-units --all --plain --no-legend 'ipsec-runbook-revert-*'"

OTHERS = """\
set -e
for program in iptables ip6tables; do
    $program -N f2b-sshd
    $program -A f2b-sshd -j RETURN
    $program -I INPUT -p tcp -m multiport --dports 22 -j f2b-sshd
    $program -N DOCKER-USER
    $program -I FORWARD -j DOCKER-USER
    $program -t nat -N DOCKER
    $program -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
done
"""
"""What fail2ban and Docker have in the kernel, and in no file."""

BAN = "iptables -I f2b-sshd -s 198.51.100.7/32 -j REJECT"
"""What fail2ban does meanwhile."""

CLOSER = """\
for program in iptables ip6tables; do
cat >/usr/local/sbin/$program-restore <<END
#!/bin/sh
/usr/sbin/$program-restore "\\$@" || exit
refuse="INPUT -p tcp --dport 22 -m conntrack --ctstate NEW -j REJECT --reject-with tcp-reset"
/usr/sbin/$program -D \\$refuse 2>/dev/null
! /usr/sbin/$program-save | grep -q ipsec-runbook:ipsec || /usr/sbin/$program -I \\$refuse
END
chmod 755 /usr/local/sbin/$program-restore
done
"""
"""A base policy under which nobody can log in any more while our rules for IPsec are in force."""


DOOR = "-p tcp -m tcp --dport 22 -j ACCEPT"
SHUTTER = f"""\
cat >/usr/local/sbin/shut-the-door <<'END'
#!/bin/sh
for program in iptables ip6tables; do /usr/sbin/$program -D in-new {DOOR}; done
END
chmod 755 /usr/local/sbin/shut-the-door
echo 'session optional pam_exec.so /usr/local/sbin/shut-the-door' >>/etc/pam.d/sshd
"""
"""Whoever logs in shuts the door behind them, as some daemons do that wait for a knock."""
OPENED = f"""\
sed -i /shut-the-door/d /etc/pam.d/sshd
for program in iptables ip6tables; do $program -A in-new {DOOR}; done
"""


def rules(lab: Lab, site: str) -> str:
    """The host's rules without what counts and dates them."""
    return re.sub(r"^#.*\n| ?\[\d+:\d+\]", "", lab.root(site, RULES).stdout, flags=re.MULTILINE)


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 2 * REVERT_SECONDS
    while not done() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert done()


def resume(product: Product) -> Run:
    return product.run("resume", "--yes")


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"survive-lockout-{os.getpid()}")
    lab.down()
    lab.up(print)
    for site in SITES:
        lab.root(site, OTHERS)
    yield Product(lab)
    lab.down()


def test_a_controller_killed_before_the_proof_leaves_the_rules_as_they_were(product: Product) -> None:
    lab = product.lab
    before, stored = rules(lab, "home"), lab.root("home", STORED).stdout
    killed = product.run("apply", "--yes", by=faulty({"unproved": ["home", SOON]}))
    assert killed.code == -signal.SIGKILL, killed.out + killed.err
    assert "ipsec-runbook:web" in rules(lab, "home")
    assert lab.root("home", ARMED).stdout != ""

    lab.root("home", BAN)
    wait_until(lambda: "ipsec-runbook" not in rules(lab, "home"))
    assert "198.51.100.7" in rules(lab, "home")
    lab.root("home", BAN.replace("-I", "-D"))
    assert rules(lab, "home") == before
    assert lab.root("home", STORED).stdout == stored


def test_a_host_rebooted_before_the_proof_comes_back_with_its_stored_rules(product: Product) -> None:
    lab = product.lab
    stored = lab.root("home", STORED).stdout
    killed = product.run("resume", "--yes", by=faulty({"unproved": ["home", SOON]}))
    assert killed.code == -signal.SIGKILL, killed.out + killed.err
    assert "ipsec-runbook:web" in rules(lab, "home")
    lab.reboot("home")
    assert "ipsec-runbook" not in rules(lab, "home")
    assert lab.root("home", STORED).stdout == stored
    assert lab.root("home", ARMED).stdout == ""
    lab.root("home", OTHERS)


def test_a_change_that_shuts_the_admin_out_fails_clearly_and_is_undone_by_the_host(product: Product) -> None:
    lab = product.lab
    lab.root("home", CLOSER)
    failed = resume(product)
    assert failed.code == 1, failed.out + failed.err
    assert (
        "FAILED ipsec-firewall on home: no new login is possible after this change, so home undoes it by itself "
        f"within {REVERT_SECONDS} seconds" in failed.out
    ), [line for line in failed.out.splitlines() if "FAILED" in line]
    assert "Traceback" not in failed.out + failed.err
    report = max((lab.directory / ".runbook" / "logs").glob("*-resume.json"))
    told_as(json.loads(report.read_text())["failures"][0], catalogue.LOGIN_LOST)
    shut = rules(lab, "home")
    assert "ipsec-runbook:ipsec" in shut
    assert "tcp-reset" in shut
    assert lab.ssh("home", "true", timeout=30).returncode != 0

    lab.wait_for_ssh("home", 2 * REVERT_SECONDS)
    wait_until(lambda: "ipsec-runbook:ipsec" not in rules(lab, "home"))  # the other family follows at once
    wait_until(lambda: "tcp-reset" not in rules(lab, "home"))
    now = rules(lab, "home")
    assert "ipsec-runbook:web" in now
    assert "ipsec-runbook:ipsec" not in lab.root("home", STORED).stdout
    for chain in ("-j f2b-sshd", "-j DOCKER-USER", "-j DOCKER\n"):
        assert now.count(chain) == 2, chain


def test_when_it_is_mended_and_a_reversal_is_still_armed_one_command_goes_on_to_the_end(product: Product) -> None:
    lab = product.lab
    lab.root("home", "rm -f /usr/local/sbin/iptables-restore /usr/local/sbin/ip6tables-restore")
    killed = product.run("resume", "--yes", by=faulty({"unproved": ["home", REVERT_SECONDS]}))
    assert killed.code == -signal.SIGKILL, killed.out + killed.err
    assert lab.root("home", ARMED).stdout != ""
    done = resume(product)  # at once: what the host would take back in a minute must not be taken for done
    assert done.code == 0, done.out + done.err
    assert product.audit().code == 0
    for site in SITES:
        assert lab.root(site, ARMED).stdout == ""
        now = rules(lab, site)
        assert all(now.count(chain) == 2 for chain in ("-j f2b-sshd", "-j DOCKER-USER", "-j DOCKER\n"))
        assert "f2b" not in lab.root(site, STORED).stdout


def test_rules_that_let_no_new_log_in_in_are_seen_beforehand_and_not_changed(product: Product) -> None:
    lab = product.lab
    lab.root("vps4", "iptables-save | grep -v ipsec-runbook:web | iptables-restore; " + SHUTTER)
    before, stored = rules(lab, "vps4"), lab.root("vps4", f"{STORED}; ls {IMAGES}").stdout
    failed = product.run("apply", "--yes", "--json")
    assert failed.code == 1, failed.out + failed.err
    assert failed.document["failures"][0]["target"] == "vps4"
    parts = told_as(failed.document["failures"][0], catalogue.WAY_IN_CLOSED)
    assert "to port 22 (-P INPUT DROP)" in parts["error"]
    assert rules(lab, "vps4") == before.replace(f"-A in-new {DOOR}\n", "")
    assert lab.root("vps4", f"{STORED}; ls {IMAGES}").stdout == stored
    assert lab.root("vps4", ARMED).stdout == ""

    lab.root("vps4", OPENED)
    done = resume(product)
    assert done.code == 0, done.out + done.err
    assert "ipsec-runbook:web" in rules(lab, "vps4")


def test_a_reboot_that_would_shut_the_door_is_not_offered(product: Product) -> None:
    lab = product.lab
    files = "/etc/network/iptables.save /etc/network/ip6tables.save"
    boot = lab.root("vps4", "cat /proc/sys/kernel/random/boot_id").stdout
    lab.root("vps4", f"touch /run/reboot-required; sed -i.was '/--dport 22 /d' {files}")
    done = product.run("apply", "--yes", "--reboot")
    lab.root("vps4", f"rm /run/reboot-required; for each in {files}; do mv $each.was $each; done")
    assert done.code == 0, done.out + done.err
    assert "a reboot is needed, and not offered: the host asks for one" in done.out
    assert "let it in there before anything reboots this host" in done.out
    assert lab.root("vps4", "cat /proc/sys/kernel/random/boot_id").stdout == boot
