"""Where everything of a lab is: names, addresses and directories, all derived from the lab's name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lab.errors import AskedWronglyError

LABS = Path("/var/lib/ipsec-runbook/lab")
CACHE = Path("/var/cache/ipsec-runbook/lab")
NAMESPACES = Path("/run/netns")
NAMESPACE_FILES = Path("/etc/netns")

DOMAIN = "example.test"
ADMIN_USER = "thejc"
ULA_PREFIX = "fdd7:5938:e2e6::/48"

DEFAULT_RELEASES = {"home": "trixie", "vps4": "bookworm", "lan": "bookworm"}
KNOWN_RELEASES = ("bookworm", "trixie")

ACME_NAME = f"acme.{DOMAIN}"
ACME_PORT = 14000
ACME_MANAGEMENT_PORT = 15000


@dataclass(frozen=True)
class Port:
    """One network card: what the host calls it, which switch its cable leads to, and the cable's name there."""

    name: str
    switch: str
    cable: str


@dataclass(frozen=True)
class Place:
    """One end of a cable: a host, the controller or the CA, with its outer addresses.

    `lan_address` is a gateway's own, IPv4, on its LAN; `behind` names the gateway that a machine on a LAN is behind.
    """

    name: str
    ports: tuple[Port, ...]
    ipv4: str
    ipv6: str
    lan_address: str = ""
    behind: str = ""

    @property
    def fqdn(self) -> str:
        """The place's name in the lab's DNS."""
        return f"{self.name}.{DOMAIN}"


def _on_the_internet(name: str, number: int, lan: str = "", lan_address: str = "") -> Place:
    ports = (Port("eth0", "wan", f"{name}0"), *((Port("eth1", lan, f"{name}1"),) if lan else ()))
    return Place(name, ports, f"203.0.113.{number}", f"2001:db8:113::{number}", lan_address)


HOME = _on_the_internet("home", 10, "lan", "192.168.7.1")
VPS4 = _on_the_internet("vps4", 20)
VPS5 = _on_the_internet("vps5", 50, "lan5", "192.168.8.1")
LAN = Place("lan", (Port("eth0", "lan", "lan0"),), "192.168.7.10", "fdd7:5938:e2e6:1::10", behind="home")
LAN5 = Place("lan5", (Port("eth0", "lan5", "lan50"),), "192.168.8.10", "fdd7:5938:e2e6:5::10", behind="vps5")
CA = _on_the_internet("ca", 53)
ADMIN = _on_the_internet("admin", 100)
HOSTS = {place.name: place for place in (HOME, VPS4, VPS5, LAN, LAN5)}
"""Every host that a lab can have; it has those for which it is given a release."""

ROUTER = Place("router", (Port("eth0", "wan", "router0"), Port("eth1", "line", "router1")), "", "")
"""Between a host and the internet where the host is put behind it; it has the host's outer address then."""
ROUTER_INNER, BEHIND_ROUTER = "192.168.1.1", "192.168.1.10"
"""What the router is called on its inner side, and the address it has for the one host there."""

GATEWAY_IPV4, GATEWAY_IPV6 = "203.0.113.1", "2001:db8:113::1"

DNS_NAMES = {
    **{place.fqdn: (place.ipv4, place.ipv6) for place in (HOME, VPS4, VPS5)},
    f"third.{DOMAIN}": ("203.0.113.30", "2001:db8:113::30"),
    ACME_NAME: (CA.ipv4, CA.ipv6),
}


@dataclass(frozen=True)
class Layout:
    """The names and directories of one lab."""

    lab: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", self.lab):
            raise AskedWronglyError(
                f"A lab's name is made of a-z, 0-9 and -, at most 31 of them, and {self.lab!r} is not."
            )

    @property
    def directory(self) -> Path:
        """Where all the files of this lab lie; readable by root alone."""
        return LABS / self.lab

    @property
    def state_file(self) -> Path:
        """What was made when, for the next process that asks."""
        return self.directory / "state.json"

    @property
    def process_directory(self) -> Path:
        """One small file for each process that belongs to this lab."""
        return self.directory / "processes"

    def namespace(self, place: str) -> str:
        """The network namespace (and, for a host, the machine name and control group) of a place."""
        return f"rb-{self.lab}-{place}"

    def host_directory(self, host: str) -> Path:
        """Where one host's disk and console lie."""
        return self.directory / "hosts" / host

    def root(self, host: str) -> Path:
        """The host's root directory as mounted on this machine."""
        return self.host_directory(host) / "root"


def require_host(host: str) -> Place:
    """The place of that name, or a sentence that says which there can be."""
    if host not in HOSTS:
        raise AskedWronglyError(f"No lab has a host {host!r}; its hosts can be {', '.join(HOSTS)}.")
    return HOSTS[host]
