"""The article's two sites as a network, for tests of what follows from it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network
from pathlib import Path

from steps.certificates.certificate_options import Certificates
from steps.ipsec.ipsec_options import Ipsec
from steps.network import End, Link, Network, Site


def ends(ipsec: Ipsec | None = None, *, dynamic: bool = False, domain: str = "example.org") -> tuple[End, End]:
    """The end at home, which initiates, and the end at vps4."""
    home_at = () if dynamic else (IPv4Address("192.0.2.2"),)
    home = Site("home", "home", f"home.{domain}", home_at, 0x1, "eth0")
    vps4 = Site("vps4", "vps4", f"vps4.{domain}", (IPv4Address("192.0.2.1"),), 0x8E71, "eth0")
    network = Network(
        prefix=IPv6Network("fdd7:5938:e2e6::/48"),
        link_subnet_id=3,
        ssh_config=None,
        certificates=Certificates("letsencrypt", "admin@example.org", agree_to_terms=True),
        ipsec=ipsec or Ipsec(),
        sites={"home": home, "vps4": vps4},
        links=(Link(("home", "vps4"), "home"),),
        directory=Path("/"),
    )
    return network.link_ends(network.links[0])
