from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from machine import Pair
from made_pki import issue

from checkpoints import Journal
from runbook.executor import Choice, Executor
from runbook.login import Limits
from runbook.ssh import SSHHost
from runbook.target import Target
from steps import pki
from steps.description.sites_yaml import load
from steps.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from runbook.events import Plan
    from runbook.step import Finding
    from steps.network import Network
    from steps.section import Section

RELEASES = {"home": "trixie", "vps4": "bookworm"}
IMAGES = "/var/lib/ipsec-runbook/images"
PATIENT = Limits(connect=50, login=50, silence=50)
"""What is emulated is ten times slower, and beside other work slower still. A firewall's change waits 60 s, no more."""

SITES = """\
ula_prefix: fdd7:5938:e2e6::/48
link_subnet: 3
ssh_config: {ssh_config}
certificates:
  directory: letsencrypt
  trust_anchors: [root.pem]
  contact: hostmaster@example.test
  agree_to_terms: true
sites:
  home:
    ssh: home
    fqdn: home.example.test
    address: 203.0.113.10
    subnet: 1
    interface: eth0
    lan_interface: lan0
  vps4:
    ssh: vps4
    fqdn: vps4.example.test
    address: 203.0.113.20
    subnet: 8e71
    interface: eth0
links:
  - between: [home, vps4]
    initiator: home
"""

LAN = """\
set -e
if [ ! -e /run/netns/lan ]; then
    printf 'auto lan0\\niface lan0 inet6 manual\\n' >/etc/network/interfaces.d/lan0
    ip netns add lan
    ip link add lan0 type veth peer name eth0 netns lan
    ip link set lan0 up
    ip -n lan link set eth0 up
    ip -n lan address add fdd7:5938:e2e6:1::10/64 dev eth0 nodad
    ip -n lan route add default via fdd7:5938:e2e6:1::1
fi
"""
"""A machine on home's LAN; of a pair that was lent, it may be there already."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "vm: boots emulated machines (root, qemu-system-x86_64); minutes")


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """They take their time."""
    for each in items:
        if each.get_closest_marker("vm"):
            each.add_marker(pytest.mark.timeout(3600))


@dataclass(frozen=True)
class Sites:
    """The machines as the product sees them, by a sites.yaml and SSH alone."""

    pair: Pair
    network: Network
    hosts: dict[str, SSHHost]

    def targets(self) -> dict[str, Target]:
        """Targets of which nothing has been read yet."""
        return {name: Target(host, IMAGES) for name, host in self.hosts.items()}

    def sh(self, name: str, script: str) -> str:
        """What a script prints that root runs on a host; it must succeed."""
        return self.targets()[name].run(script, purpose="test", timeout=900).stdout

    def audit(self, section: type[Section]) -> dict[tuple[str, str], Finding]:
        """What a section of the procedure finds, by host and part."""
        executor = self._connected(section)
        (plan,) = executor.audit()
        assert not executor.failures, executor.failures
        return {(host, each.key): each for host, found in plan.findings.items() for each in found}

    def apply(self, *sections: type[Section], fails: bool = False) -> tuple[Executor, Sequence[Plan]]:
        """Apply sections of the procedure, all that they ask confirmed; what was found at each, before."""
        executor = self._connected(*sections)
        plans = executor.apply()
        assert bool(executor.failures) is fails, executor.failures
        return executor, plans

    def _connected(self, *sections: type[Section]) -> Executor:
        journal = Journal(self.network.directory / ".runbook" / "journal")
        steps = [section(self.network) for section in sections]
        executor = Executor(steps, self.targets(), journal, lambda _: None, lambda _: Choice.APPLY)
        executor.connect()
        return executor


@pytest.fixture(scope="session")
def pair() -> Iterator[Pair]:
    """Two machines for all these tests; a pair that is up already can be lent by its name, and then stays."""
    if lent := os.environ.get("RUNBOOK_TEST_MACHINES"):
        yield Pair(lent, RELEASES, print)
        return
    machines = Pair(f"vm-{os.getpid()}", RELEASES, print)
    try:
        machines.up()
        yield machines
    finally:
        machines.down()


@pytest.fixture(scope="session")
def sites(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    directory = tmp_path_factory.mktemp("sites")
    now = datetime.now(UTC)
    dates = {"before": now - timedelta(days=1), "after": now + timedelta(days=30)}
    root = issue("Root", None, **dates)
    (directory / "root.pem").write_bytes(pki.to_pem(root.cert))
    (directory / "sites.yaml").write_text(SITES.format(ssh_config=pair.ssh_config))
    network = load(directory / "sites.yaml")
    intermediate, vault = issue("Intermediate", root, **dates), Vault(network)
    for site in network.sites.values():
        key = pki.new_key()
        leaf = issue(site.fqdn, intermediate, ca=False, names=[site.fqdn], key=pki.load_key(key), **dates)
        _write(vault.key(site), key)
        _write(vault.certificate(site), pki.to_pem(leaf.cert) + pki.to_pem(intermediate.cert))
    hosts = {
        name: SSHHost(name, site.ssh, ssh_config=network.ssh_config, limits=PATIENT)
        for name, site in network.sites.items()
    }
    yield Sites(pair, network, hosts)
    for host in hosts.values():
        host.close()


@pytest.fixture(scope="session")
def with_lan(sites: Sites) -> Sites:
    sites.sh("home", LAN)
    return sites


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)
