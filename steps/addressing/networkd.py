"""systemd-networkd: what it is to give an interface stands in a drop-in beside the file that it manages it by.

That file may be the admin's, in /etc/systemd/network, or netplan's, which lies in /run and is made anew at each boot:
the drop-in counts for either (systemd.network(5)), and neither is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Interface
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from runbook.resources.address import UnreachableRoute
from runbook.resources.file import Absent, File
from runbook.script import embed, quote
from runbook.step import Change, Finding, Part, Told, Verdict
from steps.addressing.outdated_addresses import address_command, route_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.script import Reading
    from steps.network import Interface, Subnet

UNIT: Final = "systemd-networkd.service"
OURS: Final = "60-ipsec-runbook.conf"
SPARED: Final = f"/etc/systemd/networkd.conf.d/{OURS}"
_SPARED: Final = b"""\
# managed by ipsec-runbook
# Or each start of systemd-networkd, and an upgrade of systemd starts it anew, takes charon's rule and routes away.
[Network]
ManageForeignRoutes=no
ManageForeignRoutingPolicyRules=no
# Or of a default route that it has learnt from router advertisements, it takes for foreign what that leads to, and the
# route goes with each second start (systemd 257, https://github.com/systemd/systemd/issues/40510). Before systemd 256
# it says that it does not know this.
ManageForeignNextHops=no
"""
_SETTLE: Final = f"""\
mkdir -p /run/systemd/networkd.conf.d
{{ {embed(_SPARED)}}} >/run/systemd/networkd.conf.d/{OURS}
systemctl try-restart {UNIT} >&2
rm /run/systemd/networkd.conf.d/{OURS}
rmdir --ignore-fail-on-non-empty /run/systemd/networkd.conf.d
"""
"""Has networkd read its files as they were before, and leave alone what is charon's this time, too."""
_ELSEWHERE: Final = "this interface's addresses are not managed by systemd-networkd, or by another file"


class Networkd:
    """A drop-in for each .network file, and one that has networkd leave what is charon's alone."""

    facts: Final = f"""\
networkd_links=
if systemctl is-active --quiet {UNIT} 2>/dev/null; then
    echo networkd_runs=yes
    networkd_links=$(networkctl --no-pager --no-legend --full list 2>/dev/null |
        awk '$5 ~ /^configur/ || $5 == "failed" {{ printf "%s ", $2 }}')
fi
printf 'addresses_by_systemd-networkd=%s\\n' "$networkd_links"
for networkd_each in $networkd_links; do
    printf 'networkd_file_%s=%s\\n' "$networkd_each" "$(
        networkctl --no-pager --json=short status "$networkd_each" 2>/dev/null |
            sed -n 's/.*"NetworkFile":"\\([^"]*\\)".*/\\1/p')"
done
networkd_ours=
for networkd_each in /etc/systemd/network/*.network.d/{OURS} {SPARED}; do
    [ ! -f "$networkd_each" ] || networkd_ours="$networkd_ours$networkd_each:"
done
printf 'networkd_ours=%s\\n' "$networkd_ours"
"""
    listing: Final = "networkctl list"
    files: Final[Mapping[str, str]] = {
        f"/etc/systemd/network/FILE.network.d/{OURS}": (
            "The host's addresses in the private networks, by systemd-networkd, beside the file that it is told by."
        ),
        SPARED: "That systemd-networkd leaves strongSwan's rule and routes alone.",
    }
    kept: Final = f"/etc/systemd/network/*.network.d/{OURS}"

    def parts(
        self, addresses: Sequence[tuple[Interface, str]], refused: Sequence[Subnet], facts: Mapping[str, str]
    ) -> Sequence[Part]:
        """The drop-ins, and that networkd has read them. It takes away what is charon's wherever it runs."""
        wanted: dict[str, list[tuple[Interface, str]]] = {}
        for address, interface in addresses:
            if (path := _drop_in(interface, facts)) is None:
                return [_shared(interface, facts)]
            wanted.setdefault(path, []).append((address, interface))
        files: dict[str, bytes] = {SPARED: _SPARED} if addresses or "networkd_runs" in facts else {}
        for number, (path, given) in enumerate(wanted.items()):
            files[path] = drop_in(given, () if number else refused).encode()
        old = [each for each in facts.get("networkd_ours", "").split(":") if each and each not in files]
        stored: list[Part] = [*(Absent(each, _ELSEWHERE) for each in old), *(File(*each) for each in files.items())]
        follows = tuple(each.key for each in stored)
        return [*stored, *([Loaded(tuple(files), tuple(addresses), follows)] if files else [])]


def drop_in(addresses: Sequence[tuple[Interface, str]], refused: Sequence[Subnet]) -> str:
    """What is added to a .network file; each section with the command that does the same."""
    sections = ["# managed by ipsec-runbook: made from sites.yaml"]
    for address, interface in addresses:
        nodad = "\nDuplicateAddressDetection=none" if isinstance(address, IPv6Interface) else ""
        sections.append(f"# {address_command(address, interface)}\n[Address]\nAddress={address}{nodad}")
    sections += [
        f"# {route_command(each)}\n[Route]\nDestination={each}\nType=unreachable\nMetric={UnreachableRoute.metric}"
        for each in refused
    ]
    return "\n\n".join(sections) + "\n"


def _drop_in(interface: str, facts: Mapping[str, str]) -> str | None:
    """Where it goes for an interface; None where the .network file is also that of others, which would have it all."""
    file = facts.get(f"networkd_file_{interface}", "")
    users = [name for name, value in facts.items() if name.startswith("networkd_file_") and value == file]
    return f"/etc/systemd/network/{PurePosixPath(file).name}.d/{OURS}" if file and len(users) == 1 else None


def _shared(interface: str, facts: Mapping[str, str]) -> Part:
    file = facts.get(f"networkd_file_{interface}", "")
    others = [
        name.removeprefix("networkd_file_")
        for name, value in facts.items()
        if name.startswith("networkd_file_") and value == file and name != f"networkd_file_{interface}"
    ]
    why = (
        f"{file} is for {' and '.join(others)} too, and what is added to it is given to each of them: "
        f"let {interface} have a .network file of its own, and run this again"
    )
    return Told(f"addresses of {interface} at boot", Verdict.UNKNOWN, why)


@dataclass(frozen=True)
class Loaded(Part):
    """That the running networkd has read these files, which give these addresses."""

    files: tuple[str, ...]
    addresses: tuple[tuple[Interface, str], ...]
    follows: tuple[str, ...]

    @property
    def key(self) -> str:
        """The daemon."""
        return "systemd-networkd's loaded configuration"

    def probe(self) -> str:
        """The files that it was not started anew for. Its invocation tells when it was (systemd.exec(5))."""
        return f"""\
started=$(stat -c %.Z /run/systemd/units/invocation:{UNIT} 2>/dev/null || echo 0)
for file in {" ".join(quote(each) for each in self.files)}; do
    stat -c %.Z "$file" 2>/dev/null | awk -v started="$started" '$1 > started {{ exit 1 }}' || echo "$file"
done"""

    def judge(self, found: Reading) -> Finding:
        """In order when there is none."""
        unread = found.text.splitlines()
        return self.drift(self._start_anew(f"it has not read {unread[0]}")) if unread else self.in_order()

    def again(self, found: Reading) -> Finding:  # noqa: ARG002 - whatever it has read, it reads anew
        """The files are about to change."""
        return self.drift(self._start_anew("its files change"))

    def _start_anew(self, why: str) -> Change:
        """As an upgrade of systemd does; a reload (networkctl(1)) does not read networkd.conf, and takes more away."""
        words = " ".join(quote(f"{interface}/{address}") for address, interface in self.addresses)
        return Change(
            summary=f"start {UNIT} anew: {why}",
            apply=f"""\
systemctl restart {UNIT} >&2
for _ in $(seq 100); do
    left=
    for each in {words}; do
        ip -o address show dev "${{each%%/*}}" | grep -qF " ${{each#*/}} " || left=$each
    done
    [ -n "$left" ] || exit 0
    sleep 0.1
done
echo "systemd-networkd was started anew, and does not give ${{left%%/*}} ${{left#*/}}" >&2
exit 1""",
            settle=_SETTLE,
        )
