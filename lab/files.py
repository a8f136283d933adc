"""What the lab hands to whoever uses it: how to log in, and its own description in the product's format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.commands import run
from lab.layout import ADMIN_USER, HOSTS, Layout

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

SITES = """\
ula_prefix: fdd7:5938:e2e6::/48
link_subnet: 3
ssh_config: ssh_config
certificates:
  directory: https://acme.example.test:14000/dir
  ca_bundle: acme-ca.pem
  trust_anchors: [trust-anchor.pem]
  contact: hostmaster@example.test
  agree_to_terms: true
{ipsec}sites:
  home:
    ssh: home
    fqdn: home.example.test
    address: dynamic
    subnet: 1
    interface: eth0
    lan_interface: eth1
    lan_host: lan
  vps4:
    ssh: vps4
    fqdn: vps4.example.test
    address: 203.0.113.20
    subnet: 8e71
    interface: eth0
{vps5}links:
  - between: [home, vps4]
    initiator: home
{mesh}"""

VPS5 = """\
  vps5:
    ssh: vps5
    fqdn: vps5.example.test
    address: 203.0.113.50
    subnet: 5
    interface: eth0
    lan_interface: eth1
"""

LAN5 = """\
    lan_host: lan5
"""

MESH = """\
  - between: [home, vps5]
    initiator: home
  - between: [vps4, vps5]
"""

USERLAND_IPSEC = """\
ipsec:
  encapsulation: always
  extra_packages: [libcharon-extra-plugins]
"""

SSH_HOST = """\
Host {name}
    HostName {address}
    HostKeyAlias {name}
    User {user}
    IdentityFile {directory}/id_ed25519
    IdentitiesOnly yes
    UserKnownHostsFile {directory}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
"""


def write_sites(layout: Layout, hosts: Collection[str], *, userland_esp: bool) -> None:
    """Write the lab's network as a user would, in sites.yaml."""
    text = SITES.format(
        ipsec=USERLAND_IPSEC if userland_esp else "",
        vps5=(VPS5 + (LAN5 if "lan5" in hosts else "")) if "vps5" in hosts else "",
        mesh=MESH if "vps5" in hosts else "",
    )
    (layout.directory / "sites.yaml").write_text(text)


def make_log_in(layout: Layout, hosts: Collection[str]) -> str:
    """Make the key and the files that log in to these hosts; returns the public key."""
    directory = layout.directory
    key = directory / "id_ed25519"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {layout.lab}", "-f", key])
    entries = []
    for place in (HOSTS[host] for host in hosts):
        address = place.ipv4 if place.behind else place.fqdn
        entry = SSH_HOST.format(name=place.name, address=address, user=ADMIN_USER, directory=directory)
        entries.append(entry + (f"    ProxyJump {place.behind}\n" if place.behind else ""))
    (directory / "ssh_config").write_text("\n".join(entries))
    return key.with_suffix(".pub").read_text()


def make_host_keys(layout: Layout, host: str) -> Path:
    """Make the host's SSH keys, of all the kinds Debian's sshd has; returns the directory they lie in."""
    directory = layout.host_directory(host) / "keys"
    (directory / "etc/ssh").mkdir(mode=0o700, parents=True)
    run(["ssh-keygen", "-q", "-A", "-f", directory])
    return directory / "etc/ssh"


def write_known_hosts(layout: Layout, hosts: Collection[str]) -> None:
    """Write down the keys of these hosts, by each of their names and addresses."""
    lines = []
    for place in (HOSTS[host] for host in hosts):
        outer = [] if place.behind else [place.fqdn, place.ipv6]
        names = ",".join([place.name, place.ipv4, *outer])
        keys = sorted((layout.host_directory(place.name) / "keys/etc/ssh").glob("*.pub"))
        lines += [f"{names} {' '.join(key.read_text().split()[:2])}\n" for key in keys]
    (layout.directory / "known_hosts").write_text("".join(lines))
