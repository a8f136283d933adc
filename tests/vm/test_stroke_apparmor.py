"""The article's override: charon reads its key in /etc/ssl itself, which Debian's profile of it does not allow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from runbook.step import Finding, Verdict
from steps.addresses import AddingAddresses
from steps.apparmor import AppArmor
from steps.connection import Connection
from steps.credentials import Credentials
from steps.ipsec_firewall import IpsecFirewall
from steps.ping import PingTest
from steps.strongswan import IpsecInstallation

if TYPE_CHECKING:
    from conftest import Sites

pytestmark = [pytest.mark.vm, pytest.mark.slow]

PROGRAM = "/usr/lib/ipsec/charon"
LOCAL = "/etc/apparmor.d/local/usr.lib.ipsec.charon"
BOTH = pytest.mark.parametrize("host", ["home", "vps4"])
START_AGAIN = """\
systemctl restart strongswan-starter
for _ in $(seq 300); do
    ! ipsec statusall >/dev/null 2>&1 || exit 0
    sleep 0.1
done
exit 1
"""
"""As at a boot: charon's package is set up after the starter has started it, and it runs unconfined until then."""


@pytest.fixture(scope="module")
def stroke(with_lan: Sites) -> Sites:
    """The same hosts with ipsec.conf, their keys and certificates in the article's places."""
    moved = {name: replace(site, config="stroke") for name, site in with_lan.network.sites.items()}
    found = replace(with_lan, network=replace(with_lan.network, sites=moved))
    found.apply(IpsecInstallation, Credentials)
    for host in found.hosts:
        found.sh(host, START_AGAIN)
    return found


def key(host: str) -> str:
    return f"/etc/ssl/{host}.example.test/{host}.example.test.key"


def verdict(sites: Sites, host: str) -> Finding:
    target = sites.targets()[host]
    target.learn(AppArmor.facts)
    (finding,) = AppArmor(sites.network).verify(target, {})
    return finding


def charon_reads(sites: Sites, host: str) -> tuple[bool, bool]:
    """Whether charon, told to read its secrets now, has its key; and whether the kernel tells of a denial."""
    said = sites.sh(
        host,
        f"""\
dmesg -c >/dev/null
cursor=$(journalctl -q -n 0 --show-cursor | sed -n 's/^-- cursor: //p')
ipsec rereadsecrets >&2
for _ in $(seq 300); do
    said=$(journalctl -q -t charon -o cat --after-cursor="$cursor")
    case $said in *'{key(host)}'*) break ;; esac
    sleep 0.1
done
printf '%s\\n' "$said"
dmesg
""",
    )
    lines = said.splitlines()
    read = any("loaded" in line and f"private key from '{key(host)}'" in line for line in lines)
    denied = any(
        'apparmor="DENIED"' in line and f'profile="{PROGRAM}"' in line and f'name="{key(host)}"' in line
        for line in lines
    )
    return read, denied


@BOTH
def test_charon_is_confined_and_kept_from_its_key_until_the_override_and_again_after_it(
    stroke: Sites, host: str
) -> None:
    confined = stroke.sh(host, "cat /proc/$(pidof charon)/attr/current")
    assert confined == f"{PROGRAM} (enforce)\n"
    before = stroke.sh(host, f"stat -c '%a %U:%G' {LOCAL}; cat {LOCAL}")
    assert charon_reads(stroke, host) == (False, True)
    found = verdict(stroke, host)
    assert found.verdict is Verdict.DRIFT
    assert found.change is not None
    assert found.change.summary.startswith(f"let charon read {key(host)} and 1 more: ")

    executor, (plan,) = stroke.apply(AppArmor)
    assert host in plan.changes
    assert f"{key(host)} r," in stroke.sh(host, f"cat {LOCAL}").splitlines()
    assert charon_reads(stroke, host) == (True, False)
    _, (again,) = stroke.apply(AppArmor)
    assert not again.changes

    for name in plan.changes:
        executor.rollback("apparmor", {name: executor.images()[name][:1]})
    assert not executor.failures
    assert stroke.sh(host, f"stat -c '%a %U:%G' {LOCAL}; cat {LOCAL}") == before
    assert charon_reads(stroke, host) == (False, True)


def test_with_the_override_the_confined_daemons_have_their_tunnel(stroke: Sites) -> None:
    stroke.apply(AppArmor, IpsecFirewall, AddingAddresses, Connection, PingTest)
    for host in ("home", "vps4"):
        assert stroke.sh(host, "cat /proc/$(pidof charon)/attr/current") == f"{PROGRAM} (enforce)\n"
        assert "ESTABLISHED" in stroke.sh(host, "ipsec statusall")
        assert "has private key" in stroke.sh(host, "ipsec listcerts")
        assert verdict(stroke, host).verdict is Verdict.IN_ORDER
