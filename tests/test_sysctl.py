"""Kernel parameters, in the kernel of a network namespace of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from netns import Namespace, in_order, look, make, needs_root, shellcheck
from scratch import unmake

from runbook.resources.sysctl import Sysctl
from runbook.script import Reading
from runbook.step import Verdict
from runbook.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_root

FORWARDING = Sysctl("net.ipv6.conf.all.forwarding", "1")
ALL = "grep . /proc/sys/net/ipv6/conf/*/forwarding /proc/sys/net/ipv6/conf/*/accept_ra"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Namespace]:
    with Namespace(tmp_path) as namespace:
        namespace.sh("ip link add wan0.7 type veth peer name lan0; ip link add lan1 type veth peer name lan2")
        yield namespace


def test_it_is_set_and_every_interface_comes_back_to_its_own(host: Namespace, tmp_path: Path) -> None:
    target = Target(host, str(tmp_path / "images"))
    host.sh("echo 1 >/proc/sys/net/ipv6/conf/lan0/forwarding")
    before = host.sh(ALL)
    assert look(target, [FORWARDING])[0].verdict is Verdict.DRIFT
    assert host.sh(ALL) == before
    assert in_order(make(target, [FORWARDING], "image"))
    assert host.sh("cat /proc/sys/net/ipv6/conf/wan0.7/forwarding") == "1\n"
    unmake(target, "image")
    assert host.sh(ALL) == before


def test_the_timer_puts_it_back_also_where_an_interface_has_gone(host: Namespace, tmp_path: Path) -> None:
    target = Target(host, str(tmp_path / "images"))
    before = host.sh(ALL)
    make(target, [Sysctl("net/ipv6/conf/wan0.7/accept_ra", "2"), FORWARDING], "image")
    host.sh(f"ip link del lan1; /bin/sh {tmp_path}/images/image/revert")
    gone = ("/lan1/", "/lan2/")
    assert host.sh(ALL).splitlines() == [line for line in before.splitlines() if not any(each in line for each in gone)]


def test_a_name_with_a_dot_in_it_is_written_with_slashes(host: Namespace, tmp_path: Path) -> None:
    target = Target(host, str(tmp_path / "images"))
    assert in_order(make(target, [Sysctl("net/ipv6/conf/wan0.7/accept_ra", "2")], "image"))
    assert host.sh("cat /proc/sys/net/ipv6/conf/wan0.7/accept_ra") == "2\n"


def test_a_kernel_without_the_parameter_is_said_to_be(host: Namespace, tmp_path: Path) -> None:
    (found,) = look(Target(host, str(tmp_path)), [Sysctl("net.ipv6.conf.nowhere.forwarding", "1")])
    assert found.verdict is Verdict.UNKNOWN
    assert "has no net.ipv6.conf.nowhere.forwarding" in found.note


def test_its_scripts_pass_shellcheck() -> None:
    change = FORWARDING.judge(Reading("0\n")).change
    assert change
    shellcheck(FORWARDING.probe(), change.save, change.apply, change.undo)
