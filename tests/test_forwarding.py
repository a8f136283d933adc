"""Whether the admin says of a host that it forwards: where that is so, it is not switched off with the last tunnel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from netns import Namespace, needs_root

from steps.firewalls.forwarding import THEIRS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_root


@pytest.mark.parametrize(
    ("path", "line", "said"),
    [
        ("sysctl.d/router.conf", "net.ipv4.ip_forward = 1", True),
        ("sysctl.d/router.conf", "net/ipv4/conf/all/forwarding=1", True),
        ("rc.local", "echo 1 >/proc/sys/net/ipv4/ip_forward", True),
        ("network/interfaces", "    up modprobe x; sysctl -w net.ipv4.ip_forward=1", True),
        ("systemd/network/10-lan.network", "IPv4Forwarding=on", True),
        ("wireguard/wg0.conf", "PostUp = sysctl -w net.ipv4.ip_forward=1", True),
        ("sysctl.d/router.conf", "# net.ipv4.ip_forward = 1", False),
        ("sysctl.d/router.conf", " ; net.ipv4.ip_forward = 1", False),
        ("sysctl.d/60-ipsec-runbook.conf", "net.ipv4.conf.all.forwarding = 1", False),
    ],
)
def test_it_is_seen_in_whatever_words(tmp_path: Path, path: str, line: str, *, said: bool) -> None:
    with Namespace(tmp_path) as host:
        file = host.etc / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{line}\n")
        assert (host.run(THEIRS).code == 0) is said
