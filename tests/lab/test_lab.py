"""A lab comes up whole, its hosts are real ones, and nothing of it is left when it is gone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab_traces import traces_of

from lab import Lab, LabError, processes, services
from lab.layout import CA, NAMESPACES
from runbook.errors import UsageError
from runbook.rehearsal import lab_down, lab_status

pytestmark = pytest.mark.lab

REPOSITORY = Path(__file__).parents[2]
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


def test_every_host_is_up_and_is_what_was_asked_for(lab: Lab) -> None:
    for entry in lab.status():
        assert entry["up"]
        answer = lab.ssh(entry["host"], "hostname; . /etc/os-release; echo $VERSION_CODENAME; sudo -n id -u")
        assert answer.stdout.split() == [entry["host"], entry["release"], "0"], answer.stderr
        assert lab.root(entry["host"], "systemctl is-system-running --wait").stdout == "running\n"


def test_up_again_changes_nothing(lab: Lab) -> None:
    before = {host: lab.root(host, BOOT_ID).stdout for host in lab.hosts}
    running = processes.all_recorded(lab.layout.process_directory)
    started = time.monotonic()
    lab.up()
    assert time.monotonic() - started < 2
    assert before == {host: lab.root(host, BOOT_ID).stdout for host in lab.hosts}
    assert running == processes.all_recorded(lab.layout.process_directory)


def test_fresh_hosts_have_the_articles_firewall_and_neither_nginx_nor_strongswan(lab: Lab) -> None:
    for host in ("home", "vps4"):
        assert lab.root(host, "command -v nginx swanctl ipsec", check=False).stdout == ""
        for family in ("iptables", "ip6tables"):
            rules = lab.root(host, f"{family} -S").stdout
            assert {"-P INPUT DROP", "-P FORWARD DROP", "-P OUTPUT ACCEPT", "-N in-new"} <= set(rules.splitlines())
            new = [line for line in rules.splitlines() if line.startswith("-A in-new")]
            assert new == ["-A in-new -p tcp -m tcp --dport 22 -j ACCEPT"]
    assert "-A" not in lab.root("lan", "iptables -S; ip6tables -S").stdout


def test_home_has_no_address_of_its_own_64_yet(lab: Lab) -> None:
    assert "fdd7:" not in lab.root("home", "ip -6 addr").stdout
    assert "fdd7:5938:e2e6:1::10/64" in lab.root("lan", "ip -6 addr").stdout


@pytest.mark.parametrize(
    ("name", "asked_on"), [("home", "vps4"), ("vps4", "home"), ("third", "home"), ("acme", "vps4")]
)
def test_names_resolve_in_both_families_from_hosts_and_controller(lab: Lab, name: str, asked_on: str) -> None:
    question = f"getent ahosts {name}.example.test"
    for answer in (lab.ssh(asked_on, question), lab.admin(question.split())):
        families = {":" in line for line in answer.stdout.splitlines()}
        assert families == {True, False}


def test_the_ca_answers_and_its_root_is_on_disk(lab: Lab) -> None:
    bundle = str(lab.directory / "acme-ca.pem")
    answer = lab.admin(["curl", "-sS", "--cacert", bundle, "https://acme.example.test:14000/dir"])
    assert "newOrder" in answer.stdout, answer.stderr
    anchor = str(lab.directory / "trust-anchor.pem")
    assert lab.admin(["openssl", "verify", "-CAfile", anchor, anchor]).returncode == 0


def test_packages_install_without_a_network(lab: Lab) -> None:
    assert lab.ssh("lan", "sudo apt-get update -qq && sudo apt-get install -qq tcpdump </dev/null").returncode == 0
    assert lab.ssh("lan", "/usr/bin/tcpdump --version").returncode == 0


def test_a_reboot_loses_what_was_not_on_disk(lab: Lab) -> None:
    control = "ip addr add 198.51.100.77/32 dev eth0; iptables -A INPUT -s 198.51.100.77 -j ACCEPT"
    lab.root("vps4", f"{control}; sysctl -qw net.ipv6.conf.all.forwarding=1; touch /root/kept")
    before = lab.root("vps4", BOOT_ID).stdout
    lab.reboot("vps4")
    after = lab.root("vps4", "ip addr; iptables-save; sysctl net.ipv6.conf.all.forwarding; rm /root/kept").stdout
    assert before != lab.root("vps4", BOOT_ID).stdout
    assert "198.51.100.77" not in after
    assert "net.ipv6.conf.all.forwarding = 0" in after
    assert ":INPUT DROP" in after


def test_a_reboot_asked_for_over_ssh_comes_back(lab: Lab) -> None:
    lab.root("home", "ip addr add 198.51.100.78/32 dev eth0")
    before = lab.ssh("home", BOOT_ID).stdout
    lab.ssh("home", "sudo systemctl reboot")
    deadline = time.monotonic() + 30
    while (after := lab.ssh("home", BOOT_ID)).returncode != 0 or after.stdout == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "198.51.100.78" not in lab.ssh("home", "ip addr").stdout
    assert lab.ssh("lan", "hostname").stdout == "lan\n", "the LAN's cable survives home's reboot"


def test_a_host_switched_off_is_down_until_up(lab: Lab) -> None:
    lab.root("lan", "systemctl poweroff", check=False)
    deadline = time.monotonic() + 30
    while "keeper-lan" in processes.all_recorded(lab.layout.process_directory):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert [entry["host"] for entry in lab.status() if not entry["up"]] == ["lan"]
    with pytest.raises(LabError, match=r"lan of lab .* is not running"):
        lab.root("lan", "true")
    lab.up()
    assert all(entry["up"] for entry in lab.status())


def test_a_second_lab_stands_beside_the_first_and_leaves_no_trace(lab: Lab) -> None:
    second = Lab(f"second-{lab.name}"[:31], releases={"home": "bookworm", "vps4": "trixie"})
    second.up()
    lab.root("vps4", "ip addr add 203.0.113.99/24 dev eth0")
    assert second.ssh("home", "cat /etc/debian_version").stdout.startswith("12")
    assert second.admin(["ping", "-c1", "-W1", "203.0.113.99"]).returncode != 0
    assert lab.admin(["ping", "-c1", "-W1", "203.0.113.99"]).returncode == 0
    inside = [pid for host in (*second.hosts, CA.name) for pid in _processes(second, host)]
    assert len(traces_of(second.name)) > 20, "the search for traces finds them"

    script = f"from lab import Lab; Lab({second.name!r}).down()"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=REPOSITORY, timeout=30)

    assert traces_of(second.name) == set()
    assert [pid for pid in inside if processes.start_time(pid)] == []
    assert all(entry["up"] for entry in lab.status())
    lab.root("vps4", "ip addr del 203.0.113.99/24 dev eth0")


def _processes(lab: Lab, place: str) -> list[int]:
    return processes.in_namespace(NAMESPACES / lab.layout.namespace(place))


def test_an_up_that_fails_leaves_no_trace(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Lab(f"broken-{lab.name}"[:31])

    def fail(_layout: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(services, "start", fail)
    with pytest.raises(KeyboardInterrupt):
        broken.up()
    assert traces_of(broken.name) == set()


def test_down_where_there_is_no_lab_does_nothing() -> None:
    Lab(f"none-{os.getpid()}").down()
    assert traces_of(f"none-{os.getpid()}") == set()


def test_one_that_is_not_there_is_said_to_be_none(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab_down("never-was")
    assert capsys.readouterr().out == "there is no lab 'never-was'\n"
    with pytest.raises(UsageError, match=rf"^there is no lab 'never-was'; there are: .*\b{re.escape(lab.name)}\b"):
        lab_status("never-was")
    lab_status(lab.name)
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()] == [
        [host, release, "up"] for host, release in lab.releases.items()
    ]
