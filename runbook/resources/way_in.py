"""The way in of whoever is at work here: what rules of iptables would do with their next log-in.

Rules in force can let in no more than the answers to a connection that stands: then no change of them could be proved
by a new log-in. And the file that is loaded at boot can lack what is in force now.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from runbook import catalogue
from runbook.errors import StepError
from runbook.resources.fate import Fate, Packet, fate_of
from runbook.resources.iptables import PROGRAMS
from runbook.script import quote
from runbook.step import Finding, Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook.resources.iptables import Family
    from runbook.script import Reading

_CONNECTION = """\
# sudo keeps the variable from us, but not from root who looks at sudo
pid=$$ way=
while [ "$pid" -gt 1 ] && [ -z "$way" ]; do
    way=$(tr '\\0' '\\n' 2>/dev/null <"/proc/$pid/environ" | sed -n 's/^SSH_CONNECTION=//p')
    pid=$(sed 's/.*) [A-Z] \\([0-9]*\\) .*/\\1/' "/proc/$pid/stat")
done
[ -n "$way" ] || exit 0
# shellcheck disable=SC2086 # four words (ssh(1), ENVIRONMENT): client, its port, server, its port
set -- $way
back=$(ip route get "$1" from "$3" 2>/dev/null | sed -n 's/^local.*/lo/p; s/.* dev \\([^ ]*\\).*/\\1/p' | head -n 1)
# it came by the interface that has the address if the answers leave there too; else nobody knows
[ "$back" = lo ] || [ "$(ip -o address show to "$3" | awk '{ print $2 }')" = "$back" ] || back=
echo "$1 $3 $4 $back"
"""
"""Prints from where to where the connection goes by which this script came, and by which interface; or nothing."""


@dataclass(frozen=True)
class WayIn(Part):
    """That one could log in anew: before the rules in force are changed, and after the next boot."""

    files: Mapping[Family, str]
    """The files that are loaded at boot."""
    follows: tuple[str, ...] = ()
    """The rules in force."""

    @property
    def key(self) -> str:
        """What it is about."""
        return "the way in"

    def probe(self) -> str:
        """The connection, the rules in force of its family, and those in the file."""
        return (
            f"{_CONNECTION}"
            f"case $1 in *:*) program={PROGRAMS[6]} file={quote(self.files[6])} ;;\n"
            f"*) program={PROGRAMS[4]} file={quote(self.files[4])} ;; esac\n"
            "\"$program-save\" 2>/dev/null | sed '/^# [GC]/d; s/ *\\[[0-9]*:[0-9]*\\] *//'\n"
            'echo --; [ ! -f "$file" ] || cat -- "$file"'
        )

    def judge(self, found: Reading) -> Finding:
        """In order; with a warning where the next boot would shut the door."""
        return self.in_order(self.shut_by_a_boot(found.text))

    def shut_by_a_boot(self, said: str) -> str:
        """What to say where the next boot would, by what the probe said; else nothing."""
        packet, _, stored = _read(said)
        outcome = fate_of(packet, stored) if packet else None
        if not packet or not outcome or outcome.fate is not Fate.DROPPED:
            return ""
        return (
            f"{self.files[_family(packet)]}, once it is loaded, turns away your next log-in from {packet.source} to "
            f"port {packet.port} ({outcome.by}): let it in there before anything reboots this host"
        )

    def again(self, found: Reading) -> Finding:
        """The rules in force are about to change, which a new log-in has to prove."""
        packet, in_force, _ = _read(found.text)
        outcome = fate_of(packet, in_force) if packet else None
        if not packet or not outcome or outcome.fate is not Fate.DROPPED:
            return self.judge(found)
        return self.unknown(
            StepError(
                catalogue.WAY_IN_CLOSED,
                source=packet.source,
                port=packet.port,
                rule=outcome.by,
                program=PROGRAMS[_family(packet)],
            )
        )


def _read(said: str) -> tuple[Packet | None, str, str]:
    """The first packet of the next connection like this one; the rules in force; those in the file."""
    connection, _, rules = said.partition("\n")
    in_force, _, stored = rules.partition("--\n")
    if not connection:
        return None, "", ""
    source, destination, port, *interface = connection.split()
    return Packet(ip_address(source), ip_address(destination), int(port), *interface), in_force, stored


def _family(packet: Packet) -> Family:
    return packet.source.version
