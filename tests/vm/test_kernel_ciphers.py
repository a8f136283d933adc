"""An end whose kernel lacks the strong cipher, as the article's Debian did: it offers what it has, and that is used."""

from __future__ import annotations

import re
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

pytestmark = [pytest.mark.vm, pytest.mark.slow]

BEFORE = (IpsecInstallation, Credentials, AppArmor, IpsecFirewall, AddingAddresses)
WITHOUT_GCM = """\
set -e
systemctl stop strongswan
ip xfrm state flush
ip xfrm policy flush
for module in $(find /lib/modules -name 'gcm.ko*'); do mv "$module" "$module.away"; done
depmod
until [ ! -e /sys/module/gcm ] || rmmod gcm 2>/dev/null; do
    [ $((waited += 1)) -lt 600 ] || { grep -B3 -A9 'gcm(' /proc/crypto >&2; break; }
    sleep 0.1
done
systemctl start strongswan
[ ! -e /sys/module/gcm ] && [ -z "$(grep 'gcm(' /proc/crypto)" ]
"""
"""No SA holds the module once charon is stopped and all that it or others left is flushed; the kernel frees these
behind the command's back, so unloading is tried until they are."""
WITH_GCM = """\
set -e
for module in $(find /lib/modules -name 'gcm.ko*.away'); do mv "$module" "${module%.away}"; done
depmod
"""
BEST, LEFT = "aes256gcm16-ecp384", "aes256-sha384-ecp384"
FILE, CIPHERS = ("vps4", "file /etc/swanctl/conf.d/ula-net-home.conf"), ("home", "ciphers of ula-net-vps4")


@pytest.fixture(scope="module")
def weak(with_lan: Sites) -> Iterator[Sites]:
    """vps4's kernel has no GCM; the steps before the connection are done."""
    with_lan.apply(*BEFORE)
    try:
        with_lan.sh("vps4", WITHOUT_GCM)
        yield with_lan
    finally:
        with_lan.sh("vps4", WITH_GCM)
        with_lan.apply(*BEFORE, Connection, PingTest)


def encryption(sites: Sites, host: str) -> set[str]:
    """What the kernel encrypts by."""
    return set(re.findall(r"(?:enc|aead) (\S+)", sites.sh(host, "ip xfrm state")))


def test_it_offers_what_its_kernel_has_names_the_rest_and_the_tunnel_runs_with_that(weak: Sites) -> None:
    weak.apply(Connection, PingTest)
    offered = weak.sh("vps4", "grep -o 'esp_proposals = .*' /etc/swanctl/conf.d/ula-net-home.conf").strip()
    assert offered == f"esp_proposals = {LEFT}"
    assert f"{BEST}," in weak.sh("home", "cat /etc/swanctl/conf.d/ula-net-vps4.conf")

    found = weak.audit(Connection)[FILE]
    assert found.verdict is Verdict.IN_ORDER
    assert f"ESP without {BEST}: this host's kernel has no AES_GCM_16" in found.note
    for host in ("home", "vps4"):
        assert encryption(weak, host) == {"cbc(aes)"}
    tunnel = weak.audit(PingTest)[CIPHERS]
    assert tunnel.verdict is Verdict.IN_ORDER
    assert re.fullmatch(
        rf"the tunnel runs AES_CBC-256/HMAC_SHA2_384_192\S*, not {BEST}: vps4's kernel has no AES_GCM_16", tunnel.note
    )


def test_once_its_kernel_has_it_the_tunnel_is_made_anew_by_it(weak: Sites) -> None:
    weak.sh("vps4", WITH_GCM)
    for host in ("home", "vps4"):
        assert encryption(weak, host) == {"cbc(aes)"}, "a tunnel goes on with what it came up with"
    found = weak.audit(PingTest)[CIPHERS]
    assert found.verdict is Verdict.DRIFT
    assert found.change
    assert f"both ends can do {BEST}" in found.change.summary

    weak.apply(Connection, PingTest)
    for host in ("home", "vps4"):
        assert encryption(weak, host) == {"rfc4106(gcm(aes))"}
    assert (weak.audit(PingTest)[CIPHERS].verdict, weak.audit(PingTest)[CIPHERS].note) == (Verdict.IN_ORDER, "")
    _, again = weak.apply(Connection, PingTest)
    assert not any(plan.changes for plan in again)
