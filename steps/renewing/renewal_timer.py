"""A systemd timer on the controller that renews certificates twice a day, while nobody looks."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from runbook.errors import StepError
from runbook.resources.file import Absent, File
from runbook.script import quote
from runbook.step import CONTROLLER, Change, Check, Finding, Part, Step, Told, Verdict
from steps import catalogue
from steps.vault import owner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.script import Reading
    from runbook.target import Target

_RUN_SECONDS = 900.0


class RenewalTimer(Step):
    """Have systemd renew the certificates by itself, twice a day at random times, on this machine.

    It runs `runbook renew --yes` as you, without you: hosts must be reached by an SSH key without a passphrase (no
    agent is there to be asked), and sudo on them must want no password. That is tried at once, by a first run.

        systemctl list-timers 'ipsec-runbook-*'
        journalctl -u 'ipsec-runbook-renew-*'

    A renewal that fails is a failed unit, stands in the journal, and is told by `runbook status` and `runbook audit`.
    """

    name: ClassVar[str] = "renewal-timer"
    title: ClassVar[str] = "Renewal timer"
    facts: ClassVar[str] = "[ ! -d /run/systemd/system ] || echo systemd=runs"  # as sd_booted(3) asks

    def __init__(self, file: Path, *, wanted: bool) -> None:
        """For the network that `file` describes: to be there, or to be gone."""
        self._file = file.absolute()
        self._wanted = wanted
        self._units = Units.of_this_user(self._file)

    def targets(self) -> Sequence[str]:
        """This machine."""
        return (CONTROLLER,)

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - there is one
        """The service, the timer, and that it is at work."""
        units = self._units
        if self._wanted and "systemd" not in facts:
            otherwise = f"have something else run `runbook renew --yes --file {quote(str(self._file))}` every day"
            return [Told("renewal timer", Verdict.UNKNOWN, f"no systemd runs on this machine: {otherwise}")]
        if not self._wanted:
            why = "certificates are no longer renewed by themselves"
            return [AtWork(units, wanted=False), Absent(units.timer, why), Absent(units.service, why)]
        service = File(units.service, units.service_text(self._file).encode(), "644", owner())
        timer = File(units.timer, units.timer_text(self._file).encode(), "644", owner())
        return [service, timer, AtWork(units, wanted=True, follows=(service.key, timer.key))]

    def checks(self) -> Sequence[Check]:
        """A first run, as every later one will be."""
        return [Check("a run of the timer's own", (CONTROLLER,), self._run_once)] if self._wanted else []

    def _run_once(self, hosts: Mapping[str, Target]) -> Sequence[str]:
        systemctl, name = self._units.systemctl, self._units.name
        journal = f"journalctl{' --user' if self._units.user else ''} -u {name}.service"
        script = (
            f"if {systemctl} start {name}.service; then echo done; else {journal} -q -n 12 -o cat; fi\n"
            f"echo --\n{systemctl} list-timers --no-legend {name}.timer\necho --\n"
            'loginctl show-user "$(id -un)" -p Linger --value 2>/dev/null || true'
        )
        said = hosts[CONTROLLER].run(script, purpose="renew by the timer's service", timeout=_RUN_SECONDS).stdout
        outcome, following, lingers = (each.strip() for each in said.rsplit("--\n", 2))
        if outcome != "done":
            raise StepError(catalogue.TIMER_FAILED, said=" / ".join(outcome.splitlines()[-4:]), journal=journal)
        told = [f"next: {' '.join(following.split()[:4])}"]
        if self._units.user and lingers != "yes":
            told.append("it runs only while you are logged in; to have it run always: sudo loginctl enable-linger")
        return told


@dataclass(frozen=True)
class Units:
    """The two units of one network: root's are the system's, anybody else's their own."""

    directory: Path
    name: str
    user: bool

    @classmethod
    def of_this_user(cls, file: Path) -> Units:
        """Named after the file's path, so that each network has its own."""
        name = f"ipsec-runbook-renew-{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
        if os.geteuid() == 0:
            return cls(Path("/etc/systemd/system"), name, user=False)
        config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        return cls(Path(config) / "systemd" / "user", name, user=True)

    @property
    def systemctl(self) -> str:
        """The command that speaks to the manager of these units."""
        return "systemctl --user" if self.user else "systemctl"

    @property
    def service(self) -> str:
        """Where the service is described."""
        return str(self.directory / f"{self.name}.service")

    @property
    def timer(self) -> str:
        """Where the timer is described."""
        return str(self.directory / f"{self.name}.timer")

    def service_text(self, file: Path) -> str:
        """A run (systemd.service(5)); its interpreter and the file are named in full."""
        command = " ".join(map(_word, (sys.executable, "-m", "runbook", "renew", "--yes", "--file", str(file))))
        online = "" if self.user else "Wants=network-online.target\nAfter=network-online.target\n"
        return (
            f"# managed by ipsec-runbook: `runbook renew --install-timer` made it, `--remove-timer` takes it away\n"
            f"[Unit]\nDescription=Renewal of the certificates of {_percent(str(file))}\n{online}\n"
            f"[Service]\nType=oneshot\nExecStart={command}\n"
        )

    def timer_text(self, file: Path) -> str:
        """Twice a day (systemd.timer(5)): at random, so that not all the world asks an authority at midnight."""
        return (
            "# managed by ipsec-runbook, as the service beside it\n"
            f"[Unit]\nDescription=Renewal of the certificates of {_percent(str(file))}, twice a day\n\n"
            "[Timer]\nOnCalendar=*-*-* 00/12:00:00\nRandomizedDelaySec=12h\nPersistent=true\n\n"
            "[Install]\nWantedBy=timers.target\n"
        )


def _percent(text: str) -> str:
    """Keep systemd from reading specifiers into a text (systemd.unit(5))."""
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """One word of a command line as systemd reads it (systemd.service(5), command lines)."""
    escaped = _percent(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'


@dataclass(frozen=True)
class AtWork(Part):
    """The timer runs now and after every start of the machine, as its files say; or it does not run at all."""

    units: Units
    wanted: bool
    follows: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The timer's unit."""
        return f"timer {self.units.name}.timer"

    def probe(self) -> str:
        """Whether it is enabled, whether it runs, and whether systemd has to read it anew."""
        timer, systemctl = quote(f"{self.units.name}.timer"), self.units.systemctl
        return (
            f"enabled=$({systemctl} is-enabled {timer} 2>/dev/null) || true\n"
            f"active=$({systemctl} is-active {timer} 2>/dev/null) || true\n"
            f"stale=$({systemctl} show -p NeedDaemonReload --value {timer} 2>/dev/null) || true\n"
            'printf \'%s %s %s\\n\' "${enabled:-not-found}" "${active:-inactive}" "${stale:-no}"'
        )

    def judge(self, found: Reading) -> Finding:
        """In order when it is at work with what its files say; or when nothing of it is."""
        enabled, active, stale = (*found.text.split(), "", "", "")[:3]
        if self.wanted and (enabled, active, stale) == ("enabled", "active", "no"):
            return self.in_order()
        if not self.wanted:
            return self.in_order() if active != "active" and enabled != "enabled" else self.drift(self._ended())
        return self.absent(self._begun()) if enabled == "not-found" else self.drift(self._begun())

    def again(self, found: Reading) -> Finding:  # noqa: ARG002 - whatever it was
        """Its files are about to change."""
        return self.drift(self._begun())

    def _begun(self) -> Change:
        systemctl, timer = self.units.systemctl, quote(f"{self.units.name}.timer")
        return Change(
            summary=f"enable and start {self.units.name}.timer: twice a day",
            apply=f"{systemctl} daemon-reload\n{systemctl} enable --quiet {timer}\n{systemctl} restart {timer}",
            undo=f"{systemctl} disable --quiet --now {timer} 2>/dev/null || true",
            settle=f"{systemctl} daemon-reload",
        )

    def _ended(self) -> Change:
        systemctl, timer = self.units.systemctl, quote(f"{self.units.name}.timer")
        return Change(
            summary=f"stop and disable {self.units.name}.timer",
            apply=f"{systemctl} disable --quiet --now {timer}",
            undo=f"{systemctl} enable --quiet --now {timer}",
        )
