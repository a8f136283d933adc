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
THEIRS: Final = (
    "find -L /etc/sysctl.conf /etc/sysctl.d /run/sysctl.d /usr/local/lib/sysctl.d /usr/lib/sysctl.d /etc/ufw "
    "/etc/network /etc/systemd /run/systemd/network /etc/NetworkManager /etc/wireguard /etc/rc.local "
    "-type f ! -name '*ipsec-runbook*' -exec sed 's/#.*//; s/^[[:space:]]*;.*//' {} + 2>/dev/null | grep -qE "
    + quote(r"ipv4[./](ip_forward|conf[./]all[./]forwarding)|IP(v4)?Forward")
)
"""Whether the admin says at any place that is read at boot whether the host forwards, in whatever words."""
_SET: Final = each_change(
    ["ipsec-firewall"],
    [f"sysctl {NAME}"],
    """\
        if [ -e "$image/after.$number" ]; then
            if left_so; then echo "$image/kept.$number"; else echo; fi
        elif [ "$(head -n 1 "$image/before.$number")" = 0 ]; then echo "$image/kept.$number"; fi""",
)
"""What was cut off counts as done where it switches it on, and as not done where it takes that back."""
FACTS: Final = f"""\
if [ "$(cat /proc/sys/net/ipv4/conf/all/forwarding 2>/dev/null)" = 1 ] && ! {THEIRS}; then
    kept=$({_SET} | tail -n 1)
    # an interface that is new may be of something that has found it on: it would be switched off with the others
    for each in /proc/sys/net/ipv4/conf/*/forwarding; do
        case $each in */all/*|*/default/*|*/ipsec[0-9]*) ;; *) grep -qsF "$each " "$kept" || kept= ;; esac
    done
    [ ! -f "$kept" ] || printf '{_FACT}=%s %s\\n' "$(sed -n '1s/.* //p' "$kept")" "$kept"
fi
"""
"""The fact `forwarding_before`: where it is on and we have set it, what it was before, and where that is kept."""


def as_before(facts: Mapping[str, str]) -> Sequence[Sysctl]:
    """What we have set is set back; what the admin's own files set stays, as does what somebody has set since."""
    value, _, kept = facts.get(_FACT, "").partition(" ")
    return [Sysctl(NAME, value, "no tunnel of this host carries IPv4 any more", kept)] if value else []
