"""A reboot that a host needs, and waiting for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runbook import catalogue
from runbook.errors import BrokenLineError, HostKeyError, StepError, SudoError, UnreachableError
from runbook.script import quote
from runbook.step import Barrier, Change, Finding

if TYPE_CHECKING:
    from runbook.resources.way_in import WayIn
    from runbook.script import Reading
    from runbook.step import Pause
    from runbook.target import Target

FLAG: Final = "--reboot"
BACK_SECONDS: Final = 600
"""How long a host may take to be back: a server's firmware alone takes minutes."""
STARTED_SECONDS: Final = 180
"""How long it may then take until all that starts at boot has started."""

_BOOT_ID: Final = "cat /proc/sys/kernel/random/boot_id"
"""Different after each boot (random(4))."""
_UNIT: Final = "ipsec-runbook-reboot"
_REBOOT: Final = f"systemd-run --quiet --collect --unit={_UNIT} --on-active=1 systemctl reboot"
"""A moment later, so that the answer still comes through."""
_GOING: Final = (
    f'systemctl --quiet is-active {_UNIT}.timer || [ "$(systemctl is-system-running)" = stopping ] || exit 0\n'
    "echo 'it has not gone down yet' >&2; exit 1"
)
"""Fails where a reboot is still to come."""
_STARTED: Final = f"timeout {STARTED_SECONDS} systemctl is-system-running --wait >/dev/null || true"

_WANTED: Final = r"""
if [ -e /run/reboot-required ]; then
    by=$(sort -u /run/reboot-required.pkgs 2>/dev/null | xargs)
    echo "the host asks for one${by:+, because of $by}"
fi
running=$(uname -r) version='[0-9][^-]*\(-[0-9][0-9]*\)\{0,1\}'
flavour=$(printf %s "$running" | sed "s/^$version-//")
installed=$(printf '%s\n' /boot/vmlinuz-* | sed -n "s/^.boot.vmlinuz-\($version-$flavour\)$/\1/p")
newest=$(printf '%s\n' "$running" "$installed" | sort -V | tail -n 1)
[ "$newest" = "$running" ] || echo "the kernel that runs is $running, and $newest is installed"
"""
"""Why one is needed: update-notifier and unattended-upgrades leave word in /run; and the kernel that runs may not be
the newest one installed of its flavour (amd64, cloud-amd64)."""


@dataclass(frozen=True)
class Reboot(Barrier):
    """The reboot that a host needs for what was installed there to be what runs."""

    way_in: WayIn | None = None
    """What a boot would do to the admin's way in, where that can be told: a reboot that shuts it is not offered."""

    @property
    def key(self) -> str:
        """There is one such thing on a host."""
        return "reboot"

    def probe(self) -> str:
        """Why one is needed; nothing where none is."""
        if not self.way_in:
            return _WANTED
        return f'why=$({_WANTED})\n[ -n "$why" ] || exit 0\nprintf \'%s\\n==\\n\' "$why"\n{self.way_in.probe()}'

    def judge(self, found: Reading) -> Finding:
        """Offered where it is needed."""
        wanted, _, way_in = found.text.partition("==\n")
        why = "; ".join(wanted.splitlines())
        if not why:
            return self.in_order()
        if shut := self.way_in.shut_by_a_boot(way_in) if self.way_in else "":
            return self.in_order(f"a reboot is needed, and not offered: {why}; but {shut}")
        reboot = Change(summary="reboot", irreversible="what runs there is interrupted", flag=FLAG)
        return self.offers(reboot, f"a reboot is needed: {why}")

    def cross(self, target: Target, pause: Pause) -> None:
        """Reboot, and wait until a new log-in finds another boot id, and all that starts at boot started."""
        before = target.run(_BOOT_ID, purpose="read the boot id").stdout.strip()
        target.run(_REBOOT, purpose="reboot")
        _wait(target, pause, f'[ "$({_BOOT_ID})" != {quote(before)} ]')

    def rejoin(self, target: Target, pause: Pause) -> None:
        """Wait until a log-in finds it up; one that has not gone down yet is waited for, too."""
        _wait(target, pause, _GOING)


def _wait(target: Target, pause: Pause, over: str) -> None:
    """Wait for a log-in that finds the reboot `over`, by this shell, and for all that starts at boot."""
    deadline = time.monotonic() + BACK_SECONDS
    last = ""
    while time.monotonic() < deadline:
        pause()
        try:
            target.host.relogin()
            target.run(over, purpose="see whether it has rebooted")
        except (HostKeyError, SudoError):
            raise
        except (UnreachableError, BrokenLineError, StepError) as error:
            last = f": {error}"
            continue
        target.run(_STARTED, purpose="wait for what starts at boot", timeout=STARTED_SECONDS + 30)
        return
    minutes = BACK_SECONDS // 60
    raise UnreachableError(catalogue.NOT_BACK, target=target.name, minutes=minutes, why=last)
