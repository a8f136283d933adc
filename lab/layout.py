"""Where everything of a lab is: names, addresses and directories, all derived from the lab's name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

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
    """One end of a cable: a host, the controller or the CA, with its outer addresses."""

    name: str
    ports: tuple[Port, ...]
    ipv4: str
    ipv6: str

    @property
    def fqdn(self) -> str:
        """The place's name in the lab's DNS."""
        return f"{self.name}.{DOMAIN}"


def _on_the_internet(name: str, number: int) -> Place:
    return Place(name, (Port("eth0", "wan", f"{name}0"),), f"203.0.113.{number}", f"2001:db8:113::{number}")


HOME = Place("home", (Port("eth0", "wan", "home0"), Port("eth1", "lan", "home1")), "203.0.113.10", "2001:db8:113::10")
VPS4 = _on_the_internet("vps4", 20)
LAN = Place("lan", (Port("eth0", "lan", "lan0"),), "192.168.7.10", "fdd7:5938:e2e6:1::10")
CA = _on_the_internet("ca", 53)
ADMIN = _on_the_internet("admin", 100)
HOSTS = {place.name: place for place in (HOME, VPS4, LAN)}

GATEWAY_IPV4, GATEWAY_IPV6 = "203.0.113.1", "2001:db8:113::1"
LAN_GATEWAY_IPV4, LAN_GATEWAY_IPV6 = "192.168.7.1", "fdd7:5938:e2e6:1::1"

DNS_NAMES = {
    HOME.fqdn: (HOME.ipv4, HOME.ipv6),
    VPS4.fqdn: (VPS4.ipv4, VPS4.ipv6),
    f"third.{DOMAIN}": ("203.0.113.30", "2001:db8:113::30"),
    ACME_NAME: (CA.ipv4, CA.ipv6),
}


@dataclass(frozen=True)
class Layout:
    """The names and directories of one lab."""

    lab: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", self.lab):
            raise LabError(f"A lab's name is made of a-z, 0-9 and -, at most 31 of them, and {self.lab!r} is not.")

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

    def namespaces(self) -> list[str]:
        """Every network namespace of this lab; the switches come last, for the cables end there."""
        return [self.namespace(place) for place in (*HOSTS, CA.name, ADMIN.name, "switch")]

    def host_directory(self, host: str) -> Path:
        """Where one host's disk and console lie."""
        return self.directory / "hosts" / host

    def root(self, host: str) -> Path:
        """The host's root directory as mounted on this machine."""
        return self.host_directory(host) / "root"


def require_host(host: str) -> Place:
    """The place of that name, or a sentence that says which there are."""
    if host not in HOSTS:
        raise LabError(f"The lab has no host {host!r}; it has {', '.join(HOSTS)}.")
    return HOSTS[host]
