"""A host with a firewall of its admin's, for the sections that open it: a namespace named vps4, and its network."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from netns import Namespace

from runbook.target import Target
from steps.description.sites_yaml import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runbook.step import Finding, Step
    from steps.network import Network

SITES = """\
ula_prefix: fdd7:5938:e2e6::/48
link_subnet: 3
certificates: {{directory: letsencrypt-staging, contact: hostmaster@example.org, agree_to_terms: true{more}}}
sites:
  home: {{ssh: home, fqdn: home.example.org, address: dynamic, subnet: 1, interface: eth0}}
  vps4: {{ssh: vps4, fqdn: vps4.example.org, address: [192.0.2.10, "2001:db8::10"], subnet: 8e71, interface: eth0}}
links:
  - between: [home, vps4]
"""


def network(path: Path, more: str = "") -> Network:
    (path / "sites.yaml").write_text(SITES.format(more=more))
    return load(path / "sites.yaml")


@contextmanager
def vps4(directory: Path, variant: str = "nft") -> Iterator[Namespace]:
    """The host, with its addresses, without rules."""
    with Namespace(directory, variant) as host:
        host.sh(
            "rm -rf /etc/network; mkdir -p /etc/network/if-pre-up.d /etc/sysctl.d;"
            "ip link add eth0 type veth peer name other; ip link set other up; ip link set eth0 up;"
            "ip addr add 192.0.2.10/24 dev eth0;"
            "ip addr add 2001:db8::10/64 dev eth0 nodad"
        )
        yield host


def target_of(host: Namespace, directory: Path) -> Target:
    target = Target(host, str(directory / "images"))
    target.name = "vps4"
    return target


def verify(step: Step, target: Target) -> list[Finding]:
    target.readings.clear()
    target.learn(step.facts)
    return step.verify(target, {})


def apply(step: Step, target: Target) -> list[Finding]:
    step.apply(target, [each for each in verify(step, target) if each.change], {}, step.name)
    return verify(step, target)
