"""How many connections and exec channels the work takes, by the count of each host's own sshd."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from product import Product

from lab import Lab
from steps.procedure import PROCEDURE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.lab

SITES = ("home", "vps4")
DROP_IN = "/etc/ssh/sshd_config.d/00-told.conf"
PUBLISHING = 2
"""Channels that publish a challenge and withdraw it."""
FIREWALLS = {"web-firewall", "ipsec-firewall"}
READING = 2
"""Channels of an audit: what must be known to decide what to read, then all the reading."""
PROOFS = {site: {"nginx": 1, "ping": 1} for site in ("home", "vps4")}
"""Channels that prove a step that is in order already."""
JUMP = "home"
"""The way to the machine on its LAN, which pings too: a log-in more, from the start."""
RELEASE = 1
"""The channel that frees a host's lock, after the last step."""
LIMITED = [step.name for step in PROCEDURE if step.name not in {"apparmor", "upgrade"}]
"""Those that work on fresh hosts unasked: this kernel has no AppArmor, and an upgrade is only offered."""


@dataclass(frozen=True)
class Opened:
    logins: int
    channels: int

    def __sub__(self, earlier: Opened) -> Opened:
        return Opened(self.logins - earlier.logins, self.channels - earlier.channels)


Count = dict[str, Opened]


def count(lab: Lab) -> Count:
    """What has been opened at each site so far."""
    read = "journalctl --sync; journalctl -q -o cat -t sshd -t sshd-session"
    told = {site: lab.root(site, read).stdout.splitlines() for site in SITES}
    return {
        site: Opened(
            logins=sum(line.startswith("Accepted publickey") for line in lines),
            channels=sum(line.startswith("Starting session: command") for line in lines),
        )
        for site, lines in told.items()
    }


def since(earlier: Count, now: Count) -> Count:
    return {site: now[site] - earlier[site] for site in SITES}


def configure(lab: Lab, site: str, *settings: str) -> None:
    """Have a site's sshd tell what it opens, under these further settings."""
    lines = "\\n".join(["LogLevel VERBOSE", *settings])
    lab.root(site, f"printf '{lines}\\n' >{DROP_IN}; systemctl reload ssh.service")


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"channels-{os.getpid()}")
    lab.down()
    lab.up(print)
    for site in SITES:
        configure(lab, site)
    yield Product(lab)
    lab.down()


@pytest.fixture(scope="module")
def audit_before(product: Product) -> Count:
    """An audit of hosts on which nothing is done."""
    begin = count(product.lab)
    assert product.audit().code == 3
    return since(begin, count(product.lab))


@pytest.fixture(scope="module")
def applied(product: Product, audit_before: Count) -> Mapping[str, Count]:  # noqa: ARG001 - after it
    """What each step of a first apply opened, and under the name "connect" what came before them."""
    at = {"connect": count(product.lab)}
    code, said = product.apply_at_a_terminal(lambda step: at.update({step: count(product.lab)}))
    assert code == 0, said
    ends = [*list(at.values())[1:], count(product.lab)]
    return {step: since(begin, end) for (step, begin), end in zip(at.items(), ends, strict=True)}


@pytest.fixture(scope="module")
def audit_after(product: Product, applied: Mapping[str, Count]) -> Count:  # noqa: ARG001 - after it
    """An audit of hosts on which all is in order."""
    begin = count(product.lab)
    assert product.audit().code == 0
    return since(begin, count(product.lab))


def test_an_audit_is_one_connection_and_two_channels_a_host(audit_before: Count, audit_after: Count) -> None:
    assert audit_before == audit_after == dict.fromkeys(SITES, Opened(logins=1, channels=READING))


def test_an_apply_begins_as_an_audit_does_and_logs_in_to_what_proves_it(applied: Mapping[str, Count]) -> None:
    assert applied["connect"] == {site: Opened(logins=1 + (site == JUMP), channels=READING) for site in SITES}


def test_every_step_that_works_on_a_site_was_counted(applied: Mapping[str, Count]) -> None:
    assert list(applied) == ["connect", *LIMITED]


@pytest.mark.parametrize("step", LIMITED)
def test_a_step_is_two_channels_a_host_at_most(applied: Mapping[str, Count], step: str) -> None:
    aside = {"certificate": PUBLISHING, "ping": RELEASE}
    for opened in applied[step].values():
        assert opened.channels - aside.get(step, 0) <= 2


def test_an_apply_that_changes_nothing_reads_proves_and_frees(product: Product, audit_after: Count) -> None:  # noqa: ARG001 - after it
    begin = count(product.lab)
    assert product.apply().code == 0
    found = since(begin, count(product.lab))
    assert {site: each.channels for site, each in found.items()} == {
        site: READING + sum(proofs.values()) + RELEASE for site, proofs in PROOFS.items()
    }
    assert {site: each.logins for site, each in found.items()} == {site: 1 + (site == JUMP) for site in SITES}


def test_a_firewall_change_is_proved_by_one_login_and_nothing_else_logs_in(applied: Mapping[str, Count]) -> None:
    for step in set(applied) - {"connect"}:
        assert {opened.logins for opened in applied[step].values()} == {int(step in FIREWALLS)}, step


def test_a_host_that_grants_one_session_at_a_time_is_worked_on(product: Product, audit_after: Count) -> None:  # noqa: ARG001 - after it
    configure(product.lab, "vps4", "MaxSessions 1")
    begin = count(product.lab)
    assert product.audit().code == 0
    assert since(begin, count(product.lab))["vps4"] == Opened(logins=1, channels=READING)
    configure(product.lab, "vps4")
