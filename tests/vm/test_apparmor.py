"""The AppArmor section where the kernel has AppArmor: what it says is what swanctl then meets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runbook.step import Finding, Verdict
from steps.apparmor import AppArmor
from steps.credentials import Credentials
from steps.strongswan import IpsecInstallation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Sites

pytestmark = [pytest.mark.vm, pytest.mark.slow]

PROFILE = "/etc/apparmor.d/usr.sbin.swanctl"
LOCAL = "/etc/apparmor.d/local/usr.sbin.swanctl"
NEEDED = "/etc/swanctl/** r,"
BOTH = pytest.mark.parametrize("host", ["home", "vps4"])
RELOAD = f"apparmor_parser -r {PROFILE}"
NARROW = f"sed -i '\\,^ */etc/swanctl/\\*\\* *r\\,$,d' {PROFILE}\n{RELOAD}"


def verdict(sites: Sites, host: str) -> Finding:
    target = sites.targets()[host]
    target.learn(AppArmor.facts)
    (finding,) = AppArmor(sites.network).verify(target, {})
    return finding


def load_creds(sites: Sites, host: str) -> str:
    """What swanctl says; its exit status says nothing."""
    return sites.sh(host, "swanctl --load-creds --clear 2>&1 || true")


def loads_all(said: str, host: str) -> bool:
    return (
        "Permission denied" not in said
        and f"/etc/swanctl/x509/{host}.example.test.pem" in said
        and said.count("/etc/swanctl/x509ca/ipsec-runbook-") == 2
        and f"/etc/swanctl/private/{host}.example.test.key" in said
    )


def denied(sites: Sites, host: str, path: str) -> bool:
    """Whether the kernel has told of a denial; what it told before is forgotten."""
    told = sites.sh(host, "dmesg -c")
    return any('apparmor="DENIED"' in line and f'name="{path}' in line for line in told.splitlines())


@pytest.fixture(scope="module", autouse=True)
def _credentials(sites: Sites) -> None:
    sites.apply(IpsecInstallation, Credentials)


@pytest.fixture
def profile(sites: Sites, host: str) -> Iterator[None]:
    """The profile as the package brings it, again afterwards."""
    sites.sh(host, f"cp -a {PROFILE} /root/")
    yield
    sites.sh(host, f"cp -a /root/usr.sbin.swanctl {PROFILE}; : >{LOCAL}; {RELOAD}")


@BOTH
def test_the_profile_that_debian_brings_is_enforced_and_in_order(sites: Sites, host: str) -> None:
    assert "/usr/sbin/swanctl (enforce)" in sites.sh(host, "cat /sys/kernel/security/apparmor/profiles")
    finding = verdict(sites, host)
    assert (finding.verdict, finding.note) == (Verdict.IN_ORDER, "the profile in force lets swanctl read what it needs")
    assert loads_all(load_creds(sites, host), host)


@BOTH
@pytest.mark.usefixtures("profile")
def test_a_narrowed_profile_is_seen_mended_once_and_given_back(sites: Sites, host: str) -> None:
    sites.sh(host, NARROW)
    before = sites.sh(host, f"stat -c '%a %U:%G' {LOCAL}; cat {LOCAL}")
    assert not loads_all(load_creds(sites, host), host)
    assert denied(sites, host, "/etc/swanctl/private/")
    assert verdict(sites, host).verdict is Verdict.DRIFT

    executor, (plan,) = sites.apply(AppArmor)
    assert list(plan.changes) == [host]
    assert NEEDED in sites.sh(host, f"cat {LOCAL}").splitlines()
    denied(sites, host, "")
    assert loads_all(load_creds(sites, host), host)
    assert not denied(sites, host, "/etc/swanctl")

    _, (again,) = sites.apply(AppArmor)
    assert not again.changes

    executor.rollback("apparmor", {host: executor.images()[host][:1]})
    assert not executor.failures
    assert sites.sh(host, f"stat -c '%a %U:%G' {LOCAL}; cat {LOCAL}") == before
    assert not loads_all(load_creds(sites, host), host)
    assert denied(sites, host, "/etc/swanctl/private/")


@pytest.mark.parametrize("host", ["vps4"])
@pytest.mark.usefixtures("profile")
class TestWhatCountsIsWhatTheKernelEnforces:
    def test_an_override_that_was_written_and_never_loaded(self, sites: Sites, host: str) -> None:
        sites.sh(host, NARROW)
        sites.apply(AppArmor)
        sites.sh(host, f"cp {LOCAL} /root/ours; : >{LOCAL}; {RELOAD}; cp /root/ours {LOCAL}")
        assert verdict(sites, host).verdict is Verdict.DRIFT
        sites.apply(AppArmor)
        assert verdict(sites, host).verdict is Verdict.IN_ORDER
        assert sites.sh(host, f"cat {LOCAL}") == sites.sh(host, "cat /root/ours")

    def test_a_profile_that_leaves_out_the_private_keys_alone(self, sites: Sites, host: str) -> None:
        rule = "/etc/swanctl/{swanctl.conf,conf.d/**,x509/**,x509ca/**} r,"
        sites.sh(host, f"sed -i 's|^ */etc/swanctl/[*][*] .*|{rule}|' {PROFILE}\n{RELOAD}")
        finding = verdict(sites, host)
        assert finding.change is not None
        assert finding.change.summary.startswith("let swanctl read /etc/swanctl/private/ and 1 more: ")

    def test_a_profile_narrowed_on_disk_and_not_loaded_or_loaded_and_not_enforced(
        self, sites: Sites, host: str
    ) -> None:
        sites.sh(host, NARROW.replace(RELOAD, ":"))
        assert verdict(sites, host).verdict is Verdict.IN_ORDER
        sites.sh(host, f"apparmor_parser -r --Complain {PROFILE}")
        finding = verdict(sites, host)
        assert (finding.verdict, finding.note.split(":")[0]) == (
            Verdict.IN_ORDER,
            "the profile of swanctl is in force as `complain`",
        )
        sites.sh(host, f"apparmor_parser -R {PROFILE}")
        finding = verdict(sites, host)
        assert (finding.verdict, finding.note) == (Verdict.IN_ORDER, "no profile of swanctl is in force")
        assert loads_all(load_creds(sites, host), host)

    @pytest.mark.parametrize(
        "beyond", [f"echo 'deny /etc/swanctl/private/** r,' >{LOCAL}", f"sed -i /local/d {PROFILE}"]
    )
    def test_what_no_override_can_mend_is_said(self, sites: Sites, host: str, beyond: str) -> None:
        sites.sh(host, f"{beyond}\n{NARROW}")
        executor, _ = sites.apply(AppArmor, fails=True)
        assert "has a rule that denies it" in str(executor.failures[host])
