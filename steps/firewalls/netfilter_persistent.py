"""Firewalls of Debian's package iptables-persistent: rules that netfilter-persistent loads at boot."""

from __future__ import annotations

from typing import Final

from runbook.resources.service import at_work
from steps.firewalls.saved_iptables import SavedRules

PLUGINS: Final = "/usr/share/netfilter-persistent/plugins.d"
"""What netfilter-persistent(8) runs; without iptables-persistent there is none, and it loads nothing."""

PERSISTENT: Final = SavedRules(
    {4: "/etc/iptables/rules.v4", 6: "/etc/iptables/rules.v6"},
    f"""\
    for firewall_each in {PLUGINS}/*-ip"$firewall_family"tables; do
        if [ -x "$firewall_each" ] && systemctl is-enabled --quiet netfilter-persistent 2>/dev/null
        then printf %s "$firewall_each"; fi
    done""",
    "netfilter-persistent, enabled, with the package iptables-persistent,",
    at_work("netfilter-persistent"),
)
