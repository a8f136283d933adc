"""A run that is kept waiting, kept out, or told to stop: it says so, and one command goes on."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pexpect
import pytest
from faults import product as faulty
from product import RUNBOOK, Product
from told import told_as

import steps.catalogue
from lab import Lab
from runbook import catalogue, complaints
from runbook.lock import PATH, Owner
from steps.certificates.webroot import CHALLENGES, WEBROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.lab

SITES = ("home", "vps4")
UPDATES = "/var/lib/dpkg/updates"
"""What dpkg had not yet put together when it was interrupted; apt installs nothing until that is done."""
SERVED = f"{WEBROOT}{CHALLENGES}"
WAITING = "nginx on home .*Waiting for cache lock"


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"survive-held-up-{os.getpid()}")
    lab.down()
    lab.up(print)
    lab.root("vps4", f"dpkg-query -s bash >{UPDATES}/0001")  # as when dpkg was killed at work
    yield Product(lab)
    lab.down()


@pytest.fixture
def other_place(product: Product, tmp_path: Path) -> str:
    """The same network described elsewhere: another controller's place."""
    for name in ("sites.yaml", "ssh_config", "acme-ca.pem", "trust-anchor.pem"):
        shutil.copy(product.lab.directory / name, tmp_path)
    return str(tmp_path / "sites.yaml")


@contextmanager
def dpkg_at_work(lab: Lab, host: str) -> Iterator[None]:
    """Hold the lock that apt and dpkg take while they work."""
    with (lab.layout.root(host) / "var/lib/dpkg/lock-frontend").open("a") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        yield


def journal(lab: Lab) -> dict[tuple[str, str], str]:
    path = lab.directory / ".runbook" / "checkpoints" / "journal.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return {(each["step"], each["target"]): each["state"] for each in entries}


def at_a_terminal(lab: Lab, *arguments: str) -> pexpect.spawn:
    argv = lab.admin_argv([*RUNBOOK, *arguments, "--file", str(lab.directory / "sites.yaml"), "--yes"])
    return pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=120, dimensions=(50, 200))


def reported(lab: Lab, command: str) -> dict[str, Any]:
    """What the last such run reported of itself."""
    return json.loads(max((lab.directory / ".runbook" / "logs").glob(f"*-{command}.json")).read_text())


def interrupted(lab: Lab) -> bool:
    said = lab.root("vps4", "apt-get --yes --download-only install nginx 2>&1", check=False).stdout
    return "dpkg was interrupted" in said


def test_a_full_disk_is_one_sentence_and_nothing_half_done(product: Product) -> None:
    lab = product.lab
    assert interrupted(lab)
    before = lab.root("home", "dpkg -l; ls -A /var/lib").stdout
    lab.root("home", "mkdir /var/lib/ipsec-runbook; mount -t tmpfs -o size=16k tmpfs /var/lib/ipsec-runbook")
    lab.root("home", "head -c 16k /dev/zero >/var/lib/ipsec-runbook/full 2>/dev/null", check=False)
    failed = product.run("apply", "--yes")
    assert failed.code == 1, failed.out + failed.err
    said = [line for line in failed.out.splitlines() if "FAILED nginx on home" in line]
    assert len(said) == 1
    assert "keeping what is there before the change: " in said[0]
    assert "No space left on device" in said[0]
    told_as(reported(lab, "apply")["failures"][0], complaints.DISK_FULL)
    assert "Traceback" not in failed.out + failed.err
    lab.root("home", "umount /var/lib/ipsec-runbook; rmdir /var/lib/ipsec-runbook")
    assert lab.root("home", "dpkg -l; ls -A /var/lib").stdout == before
    assert journal(lab)["nginx", "home"] == "failed"
    assert journal(lab)["nginx", "vps4"] == "done"


def test_an_installation_that_was_interrupted_is_finished_first(product: Product) -> None:
    lab = product.lab
    assert journal(lab)["nginx", "vps4"] == "done", "in the run before, beside the host without room"
    assert not interrupted(lab)
    assert lab.root("vps4", f"ls {UPDATES}; dpkg --audit; systemctl is-active nginx").stdout == "active\n"


def test_a_second_run_is_kept_out_while_dpkg_is_waited_for_in_sight(product: Product, other_place: str) -> None:
    lab = product.lab
    with dpkg_at_work(lab, "home"):
        first = at_a_terminal(lab, "resume")
        first.expect(WAITING)
        second = product.run("apply", "--yes", file=other_place)
        assert second.code == 6, second.out + second.err
        assert re.search(r"another run holds (home|vps4): root@\S+ since 20", second.err)
        told_as(product.run("apply", "--yes", "--json", file=other_place).document["failures"][0], catalogue.LOCKED)
        assert lab.root("vps4", f"cat {PATH}").stdout == lab.root("home", f"cat {PATH}").stdout
        audit = product.run("audit", "--step", "key", file=other_place)
        assert "home: another run holds it: root@" in audit.out
    first.expect(r"changed.* home: \d changes")
    first.sendintr()
    first.expect("the step in hand is finished first")
    first.expect("to go on: runbook resume --file")
    first.expect(pexpect.EOF)
    first.close()
    assert first.exitstatus == 4
    assert journal(lab)["nginx", "home"] == "done"
    assert "intent" not in journal(lab).values()
    assert [lab.root(site, f"ls {PATH}", check=False).stdout for site in SITES] == ["", ""]


def test_a_challenge_that_a_killed_run_left_is_told_by_the_audit(product: Product) -> None:
    lab = product.lab
    killed = product.run("resume", "--yes", by=faulty({"published": True}))
    assert killed.code == -signal.SIGKILL, killed.out + killed.err
    assert sorted(lab.root(site, f"ls -A {SERVED} | wc -l").stdout for site in SITES) == ["0\n", "1\n"]
    assert "remove 1 of the authority's challenges" in product.run("audit", "--step", "nginx").out


def test_a_second_ctrl_c_stops_at_once_and_the_next_run_goes_on(product: Product) -> None:
    lab = product.lab
    with dpkg_at_work(lab, "home"):
        run = at_a_terminal(lab, "resume")
        run.expect("strongswan on home .*Waiting for cache lock")
        run.sendintr()
        run.expect("the step in hand is finished first")
        run.sendintr()
        run.expect("stopped at once; .*runbook resume --file")
        run.expect(pexpect.EOF)
        run.close()
        assert run.exitstatus == 130
        assert journal(lab)["strongswan", "home"] == "intent"
        again = at_a_terminal(lab, "resume")
        again.expect("home: strongswan was cut off; it is verified again")
        again.expect("waiting for a script of an earlier run to end")
    again.expect("every step is in order")
    again.expect(pexpect.EOF)
    again.close()
    assert again.exitstatus == 0
    left = [lab.root(site, f"ls -A {SERVED}").stdout for site in SITES]
    assert left == ["", ""], "the challenge of the run that was killed is gone"


def test_runs_killed_while_they_wait_do_not_wait_for_each_other(product: Product) -> None:
    lab = product.lab
    at_work = f"runbook-{'0' * 32}"
    lab.root("home", f"systemd-run -q --unit earlier sh -c 'sleep 600; :' {at_work}")
    for _ in range(3):
        run = at_a_terminal(lab, "resume")
        run.expect("waiting for a script of an earlier run to end")
        run.kill(signal.SIGKILL)
        run.close()
    lab.root("home", "systemctl stop earlier")
    assert product.run("resume", "--yes").code == 0
    assert lab.root("home", "grep -lsxzE 'runbook-[0-9a-f]{32}' /proc/[0-9]*/cmdline", check=False).stdout == ""


def test_a_lock_of_a_run_that_is_over_keeps_nobody_out(product: Product) -> None:
    lab = product.lab
    gone = subprocess.Popen(["true"])
    gone.wait()
    me = Owner.this_process()
    for over in (replace(me, pid=gone.pid), replace(me, started=me.started - 1), replace(me, boot="another boot")):
        lab.root("home", f"cat >{PATH} <<'END'\n{over.text}\nEND")
        assert f"home: another run holds it: {me.who} since {me.since} (over)" in product.run("audit").out
        assert product.apply().code == 0
        assert lab.root("home", f"ls {PATH}", check=False).stdout == ""


@pytest.mark.parametrize("text", [replace(Owner.this_process(), machine="another", boot="its boot").text, "nonsense"])
def test_a_lock_from_elsewhere_is_freed_by_unlock_alone(product: Product, text: str) -> None:
    lab = product.lab
    lab.root("vps4", f"cat >{PATH} <<'END'\n{text}\nEND")
    kept_out = product.run("apply", "--yes")
    assert kept_out.code == 6
    assert "runbook unlock" in kept_out.err
    assert lab.root("home", f"ls {PATH}", check=False).stdout == ""
    freed = product.run("unlock", "--yes")
    assert freed.code == 0
    assert "vps4 is free" in freed.out
    assert product.apply().code == 0


def test_a_file_that_finds_no_room_is_one_sentence_and_leaves_no_half(product: Product) -> None:
    lab = product.lab
    where = "/etc/nginx/conf.d"
    lab.root("vps4", f"mount -t tmpfs -o size=4k tmpfs {where}; head -c 4k /dev/zero >{where}/full")
    failed = product.run("apply", "--yes")
    assert failed.code == 1, failed.out + failed.err
    said = [line for line in failed.out.splitlines() if "FAILED" in line]
    assert "FAILED nginx on vps4: file /etc/nginx/conf.d/ipsec-runbook.conf: " in failed.out, said
    assert "No space left on device" in failed.out
    assert f"or take the step back with: runbook rollback --step nginx --file {product.sites}" in failed.out
    assert lab.root("vps4", f"ls -A {where}").stdout == "full\n"
    told_as(reported(lab, "apply")["failures"][0], complaints.DISK_FULL)
    drop_in = "/run/systemd/system/nginx.service.d"
    lab.root("vps4", f"umount {where}; systemctl stop nginx; mkdir -p {drop_in}")
    lab.root("vps4", f"printf '[Service]\\nExecStartPre=/bin/false\\n' >{drop_in}/fail.conf; systemctl daemon-reload")
    failed = product.run("resume", "--yes")
    told_as(reported(lab, "resume")["failures"][0], complaints.SERVICE_FAILED)
    assert "journalctl -u nginx.service" in failed.out
    lab.root("vps4", f"rm -r {drop_in}; systemctl daemon-reload")
    done = product.run("resume", "--yes")
    assert done.code == 0, done.out + done.err
    assert product.audit().code == 0


def test_a_file_half_written_beside_one_in_order_is_gone_after_a_run_that_changes_nothing(product: Product) -> None:
    """As an undoing leaves it that is cut off."""
    lab = product.lab
    half = lab.root("home", "tail -qn 1 /var/lib/ipsec-runbook/images/*-nginx/beside").stdout.split()[0]
    assert half.endswith(".ipsec-runbook-new")
    lab.root("home", f"echo half >{half}")
    assert product.run("audit").code == 0
    assert lab.root("home", f"cat {half}").stdout == "half\n", "an audit changes nothing"
    assert product.apply().code == 0
    assert lab.root("home", f"ls {half}", check=False).stdout == ""


def test_an_interface_that_does_not_come_up_at_boot_is_said(product: Product) -> None:
    lab = product.lab
    interfaces = "/etc/network/interfaces"
    lab.root("vps4", f"sed -i.was /^auto.eth0/d {interfaces}")
    assert product.audit().not_in_order == {("addresses", "vps4", "addresses of eth0 at boot")}
    failed = product.run("apply", "--yes")
    assert failed.code == 1, failed.out
    told_as(reported(lab, "apply")["failures"][0], steps.catalogue.ADDRESSES_UNKEPT)
    lab.root("vps4", f"sed -i 's/^auto lo/allow-hotplug eth0\\nauto lo/' {interfaces}")
    assert product.audit().code == 0, "as soon as there is a cable, it comes up"
    lab.root("vps4", f"mv {interfaces}.was {interfaces}")
    assert product.audit().code == 0
