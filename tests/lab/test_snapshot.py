"""Two pictures of a host differ by exactly what was done to it in between."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from lab import snapshot

if TYPE_CHECKING:
    from lab import Lab

CHANGES = """
printf x > /etc/left-behind
chmod 0600 /etc/hosts
ln -sf /nowhere /etc/motd.link
ip -6 addr add fdd7:5938:e2e6:3::99/128 dev eth0 nodad
ip -6 route add unreachable fdd7:5938:e2e6::/48
ip -6 rule add pref 300 table 300
ip6tables -A in-new -p esp -j ACCEPT
sysctl -qw net.ipv6.conf.all.accept_ra=2
systemctl mask --quiet ssh.socket
useradd --no-create-home --uid 4242 --gid 100 somebody
apt-mark -qq auto curl
"""
UNDO = """
rm /etc/left-behind /etc/motd.link
chmod 0644 /etc/hosts
ip -6 addr del fdd7:5938:e2e6:3::99/128 dev eth0
ip -6 route del unreachable fdd7:5938:e2e6::/48
ip -6 rule del pref 300 table 300
ip6tables -D in-new -p esp -j ACCEPT
sysctl -qw net.ipv6.conf.all.accept_ra=1
systemctl unmask --quiet ssh.socket
userdel somebody
apt-mark -qq manual curl
"""


def test_a_difference_is_told_by_what_it_is() -> None:
    before = {"a": "1", "b": "2", "rules": "x\ny\n", "same": "s"}
    after = {"b": "3", "c": "4", "rules": "x\nz\n", "same": "s"}
    expected = ["- a: 1", "~ b: 2 -> 3", "+ c: 4", "~ rules: -y", "~ rules: +z"]
    assert snapshot.diff(before, after) == expected


def test_whatever_is_ignored_has_its_reason() -> None:
    assert all(pattern and reason for pattern, reason in snapshot.IGNORED)
    patterns = [pattern for pattern, _ in snapshot.IGNORED]
    assert len(patterns) == len(set(patterns))


@pytest.mark.lab
@pytest.mark.parametrize("host", ["home", "vps4", "lan"])
def test_an_untouched_host_looks_the_same_twice(lab: Lab, host: str) -> None:
    before = snapshot.take(lab, host)
    assert lab.ssh(host, "sudo true; ls /; journalctl -n1 >/dev/null 2>&1").returncode == 0
    started = time.monotonic()
    after = snapshot.take(lab, host)
    assert time.monotonic() - started < 8
    assert snapshot.diff(before, after) == []
    rules = set() if host == "lan" else {"iptables", "ip6tables"}
    assert {key.partition(":")[0] for key in after} == {"file", *snapshot.QUESTIONS} - {"iptables", "ip6tables"} | rules


@pytest.mark.lab
@pytest.mark.parametrize("host", ["home", "vps4"])
def test_what_was_done_is_seen_and_what_was_undone_is_not(lab: Lab, host: str) -> None:
    before = snapshot.take(lab, host)
    lab.root(host, f"set -e\n{CHANGES}")
    changed = "\n".join(snapshot.diff(before, snapshot.take(lab, host)))
    for trace in (
        "+ file:/etc/left-behind: -rw-r--r-- 0:0 1 sha256:",
        "~ file:/etc/hosts: -rw-r--r--",
        "+ file:/etc/motd.link: lrwxrwxrwx 0:0 -> /nowhere",
        "+ address:eth0 inet6 fdd7:5938:e2e6:3::99/128: inet6 fdd7:5938:e2e6:3::99/128 scope global nodad",
        "+ route:inet6 unreachable fdd7:5938:e2e6::/48",
        "+ rule:inet6 300: from all lookup 300",
        "~ ip6tables: +-A in-new -p esp -j ACCEPT",
        "~ sysctl:/proc/sys/net/ipv6/conf/all/accept_ra: 1 -> 2",
        "~ unit-file:ssh.socket: disabled -> masked",
        "+ user:somebody: x:4242:100",
        "- package:curl (mark)",
    ):
        assert trace in changed
    lab.root(host, f"set -e\n{UNDO}")
    assert snapshot.diff(before, snapshot.take(lab, host)) == []
