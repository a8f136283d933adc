"""What the lab hands to whoever uses it: how to log in, and its own description in the product's format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.commands import run
from lab.layout import ADMIN_USER, HOME, HOSTS, LAN, VPS4, Layout

if TYPE_CHECKING:
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
links:
  - between: [home, vps4]
    initiator: home
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


def write_sites(layout: Layout, *, userland_esp: bool) -> None:
    """Write the lab's network as a user would, in sites.yaml."""
    text = SITES.format(ipsec=USERLAND_IPSEC if userland_esp else "")
    (layout.directory / "sites.yaml").write_text(text)


def make_log_in(layout: Layout) -> str:
    """Make the key and the files that log in to every host; returns the public key."""
    directory = layout.directory
    key = directory / "id_ed25519"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {layout.lab}", "-f", key])
    entries = []
    for place in HOSTS.values():
        address = place.ipv4 if place is LAN else place.fqdn
        entry = SSH_HOST.format(name=place.name, address=address, user=ADMIN_USER, directory=directory)
        entries.append(entry + (f"    ProxyJump {HOME.name}\n" if place is LAN else ""))
    (directory / "ssh_config").write_text("\n".join(entries))
    return key.with_suffix(".pub").read_text()


def make_host_keys(layout: Layout, host: str) -> Path:
    """Make the host's SSH keys, of all the kinds Debian's sshd has; returns the directory they lie in."""
    directory = layout.host_directory(host) / "keys"
    (directory / "etc/ssh").mkdir(mode=0o700, parents=True)
    run(["ssh-keygen", "-q", "-A", "-f", directory])
    return directory / "etc/ssh"


def write_known_hosts(layout: Layout) -> None:
    """Write down the keys of every host, by each of its names and addresses."""
    lines = []
    for place in HOSTS.values():
        outer = [place.fqdn, place.ipv6] if place in (HOME, VPS4) else []
        names = ",".join([place.name, place.ipv4, *outer])
        keys = sorted((layout.host_directory(place.name) / "keys/etc/ssh").glob("*.pub"))
        lines += [f"{names} {' '.join(key.read_text().split()[:2])}\n" for key in keys]
    (layout.directory / "known_hosts").write_text("".join(lines))
