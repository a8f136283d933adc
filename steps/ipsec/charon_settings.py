"""What charon is told of itself, in strongswan.conf(5), whatever tells it of its connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runbook.resources.file import File
from runbook.script import quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook.script import Reading

PATH: Final = "/etc/strongswan.d/ipsec-runbook.conf"
_TEXT: Final = """\
# managed by ipsec-runbook: the next apply overwrites what is changed here
charon {
  # when the ends prove themselves anew, the new IKE SA is there before the old one goes: packets go on meanwhile
  # (so it is by default since strongSwan 6.0)
  make_before_break = yes
}
"""
_READ: Final = "/run/ipsec-runbook-charon-settings"
"""Touched once a running charon has been told to read its settings again; gone at the next boot, when it reads them."""


def charon_settings(unit: str) -> Sequence[Part]:
    """The file, and that the daemon of `unit` has read it. An IKE SA keeps the settings that it began with."""
    file = File(PATH, _TEXT.encode())
    return [file, LoadedSettings(unit, follows=(file.key,))]


@dataclass(frozen=True)
class LoadedSettings(Part):
    """The daemon, where it runs, is younger than its settings, or has been told to read them since."""

    unit: str
    follows: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The daemon's unit."""
        return f"settings that {self.unit} has read"

    def probe(self) -> str:
        """Its start, or when it was told, beside the file's last change (a change, since rollback keeps old times)."""
        return f"""\
changed=$(stat -c %Z {PATH} 2>/dev/null || echo 0)
began=$(TZ=UTC systemctl show -p ExecMainStartTimestamp --value {quote(self.unit)} 2>/dev/null)
if [ -z "$began" ] || ! systemctl is-active --quiet {quote(self.unit)}; then echo 'not running'
elif [ "$(date -d "$began" +%s)" -ge "$changed" ]; then echo current
elif [ "$(stat -c %Z {_READ} 2>/dev/null || echo 0)" -ge "$changed" ]; then echo current
else echo stale; fi"""

    def judge(self, found: Reading) -> Finding:
        """In order where it is not stale: one that does not run will read them."""
        return self.drift(self._reload()) if found.text.strip() == "stale" else self.in_order()

    def again(self, found: Reading) -> Finding:
        """The file is about to change; a daemon that is not there yet will read it when it starts."""
        return self.in_order() if found.text.strip() == "not running" else self.drift(self._reload())

    def _reload(self) -> Change:
        return Change(
            summary="have charon read its settings",
            apply=f"{self._tell}\n: >{_READ}",
            settle=f"! systemctl is-active --quiet {quote(self.unit)} || {{ {self._tell}; }}",
        )

    @property
    def _tell(self) -> str:
        """Shell that sends SIGHUP to charon: below the starter, or the unit's main process itself (charon.c)."""
        return (
            f"charon=$(systemctl show -p MainPID --value {quote(self.unit)}); "
            'if [ "$(cat "/proc/$charon/comm")" = starter ]; then '
            'charon=$(cat "/proc/$charon/task/$charon/children"); fi; kill -HUP "${charon%% *}"'
        )
