"""Forwarding of IPv4 where the tunnels carry it no more: it goes back to what it was, where it was ours to set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runbook.resources.made import each_change
from runbook.resources.sysctl import Sysctl
from runbook.script import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME: Final = "net.ipv4.conf.all.forwarding"
_FACT: Final = "forwarding_before"
_THEIRS: Final = (
    "find -L /etc/sysctl.conf /etc/sysctl.d /run/sysctl.d /usr/local/lib/sysctl.d /usr/lib/sysctl.d /etc/ufw "
    "/etc/network /etc/systemd/network /run/systemd/network /etc/rc.local -type f ! -name '*ipsec-runbook*' "
    "-exec sed 's/[#;].*//' {} + 2>/dev/null | grep -qE "
    + quote(r"(ipv4[./](ip_forward|conf[./]all[./]forwarding)|IPForward|IPv4Forwarding)\>[^0-9a-z]*(1|yes|true|ipv4)")
)
"""Whether the admin has a host forward at boot, in whatever words."""
_SET: Final = each_change(
    ["ipsec-firewall"],
    [f"sysctl {NAME}"],
    '        if left_so; then echo "$image/kept.$number"; else echo; fi',
)
FACTS: Final = f"""\
if [ "$(cat /proc/sys/net/ipv4/conf/all/forwarding 2>/dev/null)" = 1 ] && ! {_THEIRS}; then
    kept=$({_SET} | tail -n 1)
    [ ! -f "$kept" ] || printf '{_FACT}=%s %s\\n' "$(sed -n '1s/.* //p' "$kept")" "$kept"
fi
"""
"""The fact `forwarding_before`: where it is on and we have set it, what it was before, and where that is kept."""


def as_before(facts: Mapping[str, str]) -> Sequence[Sysctl]:
    """What we have set is set back; what the admin's own files set stays, as does what somebody has set since."""
    value, _, kept = facts.get(_FACT, "").partition(" ")
    return [Sysctl(NAME, value, "no tunnel of this host carries IPv4 any more", kept)] if value else []
