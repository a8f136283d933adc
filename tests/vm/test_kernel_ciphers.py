"""An end whose kernel lacks the strong cipher, as the article's Debian did: it offers what it has, and that is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runbook.step import Verdict
from steps.addresses import AddingAddresses
from steps.apparmor import AppArmor
from steps.connection import Connection
from steps.credentials import Credentials
from steps.ipsec_firewall import IpsecFirewall
from steps.ping import PingTest
from steps.strongswan import IpsecInstallation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Sites

    from runbook.step import Finding
    from runbook.target import Target

pytestmark = [pytest.mark.vm, pytest.mark.slow]

BEFORE = (IpsecInstallation, Credentials, AppArmor, IpsecFirewall, AddingAddresses)
WITHOUT_GCM = """\
swanctl --terminate --ike ula-net-home >/dev/null 2>&1 || true
mkdir -p /root/gcm
find /lib/modules -name 'gcm.ko*' -exec mv {} /root/gcm/ \\;
depmod
modprobe -qr gcm || true
test -z "$(grep 'gcm(' /proc/crypto)"
"""
WITH_GCM = """\
swanctl --terminate --ike ula-net-home >/dev/null 2>&1 || true
mv /root/gcm/gcm.ko* /lib/modules/*/kernel/crypto/
depmod
"""


@pytest.fixture(scope="module")
def weak(with_lan: Sites) -> Iterator[Sites]:
    """vps4's kernel has no GCM; the steps before the connection are done."""
    with_lan.apply(*BEFORE)
    with_lan.sh("vps4", WITHOUT_GCM)
    yield with_lan
    with_lan.sh("vps4", WITH_GCM)
    with_lan.apply(Connection, PingTest)


def findings(sites: Sites, section: type[Connection | PingTest], host: str) -> dict[str, Finding]:
    target: Target = sites.targets()[host]
    return {each.key: each for each in section(sites.network).verify(target)}


def test_it_offers_what_its_kernel_has_names_the_rest_and_the_tunnel_runs_with_that(weak: Sites) -> None:
    executor, _ = weak.apply(Connection, PingTest)
    assert not executor.failures
    offered = weak.sh("vps4", "grep -o 'esp_proposals = .*' /etc/swanctl/conf.d/ula-net-home.conf").strip()
    assert offered == "esp_proposals = aes256-sha384-ecp384"
    assert "aes256gcm16-ecp384," in weak.sh("home", "cat /etc/swanctl/conf.d/ula-net-vps4.conf")

    found = findings(weak, Connection, "vps4")["file /etc/swanctl/conf.d/ula-net-home.conf"]
    assert found.verdict is Verdict.IN_ORDER
    assert "ESP without aes256gcm16-ecp384: this host's kernel has no AES_GCM_16" in found.note
    for host in ("home", "vps4"):
        states = weak.sh(host, "ip xfrm state")
        assert "cbc(aes)" in states
        assert "gcm" not in states
    tunnel = findings(weak, PingTest, "home")["tunnel ula-net-vps4"]
    assert tunnel.verdict is Verdict.IN_ORDER
    assert tunnel.note.startswith("the tunnel runs AES_CBC-256/HMAC_SHA2_384_192")
