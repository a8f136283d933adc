"""Hosts as `ip -j` and the others tell of them, for tests of what follows from it."""

from __future__ import annotations

import json
from ipaddress import ip_interface
from typing import Any

from runbook.script import Reading
from steps.interview.survey import Survey, parse

MAC = "02:00:00:00:8e:71"


def link(name: str, *addresses: str, mac: str = MAC, up: bool = True, **flags: bool) -> dict[str, Any]:
    """One interface of `ip -j address show`; `flags` are those of its addresses."""
    return {
        "ifname": name,
        "flags": ["BROADCAST", *(["UP"] if up else [])],
        "link_type": "ether" if mac else "none",
        "address": mac,
        "addr_info": [
            {
                "family": "inet" if ip_interface(each).version == 4 else "inet6",
                "local": str(ip_interface(each).ip),
                "prefixlen": ip_interface(each).network.prefixlen,
                "scope": "link" if ip_interface(each).ip.is_link_local else "global",
                **flags,
            }
            for each in addresses
        ],
    }


LOOPBACK = {**link("lo", mac=""), "link_type": "loopback"}


def surveyed(*links: dict[str, Any], uplink: str = "eth0", **others: str) -> Survey:
    """A host with those interfaces, the first of which (or `uplink`) has the default routes; `others` are readings."""
    default = [{"dst": "default", "dev": uplink, "gateway": "192.0.2.254", "flags": []}] if uplink else []
    readings = {
        "release": "debian\ntrixie\nDebian GNU/Linux 13 (trixie)\n",
        "names": "home\nhome.example.org\n",
        "addresses": json.dumps([LOOPBACK, *links]),
        "routes4": json.dumps(default),
        "routes6": json.dumps(default),
        "forwarding": "0\n0\n",
        "firewall": "firewall_managers=\n",
        "network": f"addresses_by_ifupdown=lo {uplink}\n",
        "esp": "yes\n",
        **others,
    }
    return parse({key: Reading(text) for key, text in readings.items()})
