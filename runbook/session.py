"""One run of a command: a network's procedure, its targets, the journal, the log, and who is told."""

from __future__ import annotations

import json as jsonlib
import os
import shlex
import signal
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from checkpoints import Journal, State
from logs import Redactor, RunLog
from runbook import catalogue, prompt
from runbook.document import Document
from runbook.errors import SITES, RunbookError, UsageError
from runbook.events import Failed, Planned
from runbook.executor import Executor
from runbook.identities import KeyRing
from runbook.images import IMAGES
from runbook.local import LocalHost
from runbook.logview import of_event, of_script
from runbook.narrator import Narrator
from runbook.ssh import SSHHost
from runbook.step import CONTROLLER
from runbook.target import Target
from runbook.terminal import Terminal
from runbook.whole import write_whole
from steps.description.sites_yaml import load
from steps.procedure import procedure
from steps.section import lan_target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path
    from types import FrameType

    from runbook.events import Event, Plan
    from runbook.executor import Confirm
    from runbook.host import Exchange
    from runbook.step import Step
    from steps.network import Network


class Session:
    """Holds what a command needs, and closes it."""

    def __init__(  # noqa: PLR0913 - each is what commands differ in
        self,
        file: Path,
        command: str,
        *,
        yes: bool,
        json: bool,
        wanted: Collection[str] = frozenset(),
        steps: Callable[[Network], Sequence[Step]] = procedure,
    ) -> None:
        """Read `file` and describe the targets; nothing is connected yet.

        `wanted` are the flags of what is offered, `steps` what is to be worked through.

        Raises UsageError for a `sites.yaml` that cannot be followed, or when there is nobody to ask.
        """
        self.file, self.network = file, load(file)
        self.interactive = sys.stdin.isatty() and not json
        self.redact = Redactor()
        self.terminal = Terminal(sys.stderr if json else sys.stdout, self.redact)
        self.narrator = Narrator(self.terminal, self._places(), asking=self.interactive and not yes)
        self._steps = steps(self.network)
        self._keys = KeyRing()
        self._questions = prompt.Questions(self.terminal, self.redact.learn)
        self.document = Document()
        self._command = command
        self.file_option = f" --file {shlex.quote(str(file))}" if file != SITES else ""
        """The option that names this very file in a command that is proposed; empty for the usual one."""
        resumed = command in {"apply", "resume"}
        resume = " ".join([f"runbook resume{self.file_option}", *wanted])
        self.again = resume if resumed else shlex.join(["runbook", *sys.argv[1:]])
        """The command that goes on when this run has failed."""
        data = self.network.directory / ".runbook"
        self._report = data / "logs" / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{command}.json"
        self.log_path = self._report.with_suffix(".jsonl")
        self._log = open_log(self.log_path, data, self.redact, self.terminal.line)
        self._log.write("begun", command=command)
        self.targets = self._targets(self.network, data)
        self.journal = _open_journal(data, self.terminal.line, self.redact)
        self.executor = Executor(
            self._steps,
            self.targets,
            self.journal,
            self._notify,
            self._confirm(yes=yes),
            prompt.Offers(self.terminal, self.narrator) if self.interactive and not yes else None,
            wanted,
        )

    def __enter__(self) -> Session:  # noqa: PYI034 - not meant to be derived from
        """Begin to show progress; what changes nothing ends at once by Ctrl-C."""
        self.terminal.__enter__()
        self._interrupt = signal.signal(signal.SIGINT, self._stop_at_once)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Free the hosts, end every connection, and the log; an error is told without what this run has learnt."""
        if isinstance(error, RunbookError):
            error.redact = self.redact
        self.executor.release()
        for target in self.targets.values():
            target.host.close()
        self.terminal.__exit__()
        self._log.write("ended", error=str(error) or type(error).__name__ if error else "")
        self._log.close()
        signal.signal(signal.SIGINT, self._interrupt)

    def _stop_at_once(self, _signal: int, _frame: FrameType | None) -> None:
        self.terminal.line(f"stopped; to begin anew: {self.again}")
        os._exit(130)

    def limit_to(self, site: str, *others: str) -> None:
        """Look at one site, and these other targets; raises UsageError for a site that is not in the file."""
        if site not in self.network.sites:
            raise UsageError(f"there is no site {site!r}", hint=f"the sites are: {', '.join(self.network.sites)}")
        self.executor.limit_to({site, *others})

    def tell_left_behind(self) -> None:
        """Say which hosts the file does not name any more, although what was applied there was never taken back."""
        for site in self.executor.left_behind():
            file, undo = self.file.name, f"runbook rollback --all --site {site} --file FILE"
            self.terminal.line(
                f"{site} is no longer in {file}, and still has what was applied there; to take that back, with a FILE "
                f"beside {file} that describes it: {undo}"
            )

    def tell_unfinished(self) -> None:
        """Say what the checkpoints know of that was begun and not finished; the hosts themselves are asked next."""
        latest = self.journal.latest()
        for checkpoint in latest.values():
            if checkpoint.state is State.INTENT:
                note = checkpoint.note
                what = f"undoing {checkpoint.step}" if note == "undo" else f"{checkpoint.step} {note}".rstrip()
                self.terminal.line(f"{checkpoint.target}: {what} was cut off; it is verified again")
            elif checkpoint.state is State.FAILED:
                self.terminal.line(f"{checkpoint.target}: {checkpoint.step} failed: {checkpoint.note}")

    def report(self, plans: Sequence[Plan], exit_code: int) -> str:
        """The run's JSON document; it is kept beside the log."""
        document = self.document.build(self._command, plans, exit_code)
        text = jsonlib.dumps(self.redact.everywhere(document), indent=2)
        try:
            write_whole(self._report, text + "\n")
        except UsageError as error:
            self.terminal.line(f"the report is not kept: {error}")
        return text

    def finish_step_on_interrupt(self, resume: str) -> None:
        """Have the first Ctrl-C finish the step in hand, the second stop at once; `resume` is the command to go on."""

        def interrupted(_signal: int, _frame: FrameType | None) -> None:
            if self.executor.stop_requested:
                self.terminal.line(f"stopped at once; what was under way is verified again by: {resume}")
                os._exit(130)
            self.executor.stop_requested = True
            self.terminal.line("interrupted: the step in hand is finished first; Ctrl-C again stops at once")

        signal.signal(signal.SIGINT, interrupted)

    def _confirm(self, *, yes: bool) -> Confirm:
        if yes or not self.interactive:
            return prompt.yes
        return prompt.Asker(self.terminal, self.narrator, self._steps, " ".join(self.again.split()[:2]))

    def tell_how_to_go_on(self, error: RunbookError) -> None:
        """Let an error name the commands that go on and look closer, for this very file."""
        error.again, error.file = self.again, self.file_option

    def audit(self) -> list[Plan]:
        """Compare every step with its targets, and know of what cannot be told what to do about it."""
        plans = self.executor.audit()
        for plan in plans:
            self._advise(plan)
        return plans

    def _advise(self, plan: Plan) -> None:
        for error in (each.error for found in plan.findings.values() for each in found if each.error):
            self.tell_how_to_go_on(error)

    def _notify(self, event: Event) -> None:
        if isinstance(event, Failed):
            self.tell_how_to_go_on(event.error)
        if isinstance(event, Planned):
            self._advise(event.plan)
        self._log.write(type(event).__name__.lower(), **of_event(event))
        self.document(event)
        self.narrator(event)

    def _observe(self, exchange: Exchange) -> None:
        self._log.write("script", **of_script(exchange))

    def _places(self) -> dict[str, str]:
        """Where each target is, in the user's own words."""
        return {CONTROLLER: "this machine", **{site.name: site.ssh for site in self.network.sites.values()}}

    def _targets(self, network: Network, data: Path) -> dict[str, Target]:
        local = LocalHost(CONTROLLER, observe=self._observe)
        targets = {CONTROLLER: Target(local, str(data / "images"), self.terminal.progress)}
        for site in network.sites.values():
            targets[site.name] = self._remote(site.name, site.ssh)
            if site.lan_host:
                targets[lan_target(site)] = self._remote(lan_target(site), site.lan_host)
        return targets

    def _remote(self, name: str, target: str) -> Target:
        host = SSHHost(
            name,
            target,
            ssh_config=self.network.ssh_config,
            ask=self._questions.confirm if self.interactive else None,
            password=self._questions.password if self.interactive else None,
            keys=self._keys,
            observe=self._observe,
        )
        return Target(host, IMAGES, self.terminal.progress)


def open_log(path: Path, data: Path, redact: Redactor, warn: Callable[[str], None] = lambda _: None) -> RunLog:
    """Begin a run's log in `data`, which is made for the user's eyes alone; raises UsageError where that cannot be."""
    try:
        if not data.exists():
            data.mkdir(mode=0o700)
        return RunLog(path, redact, warn)
    except OSError as error:
        raise _not_kept("log", data, error) from error


def _open_journal(data: Path, warn: Callable[[str], None], redact: Redactor) -> Journal:
    """Read a network's checkpoints in `data`; raises UsageError where that cannot be."""
    try:
        return Journal(data / "checkpoints" / "journal.jsonl", warn, redact)
    except OSError as error:
        raise _not_kept("checkpoints", data, error) from error


def _not_kept(what: str, data: Path, error: OSError) -> UsageError:
    return UsageError(catalogue.NO_LOG_PLACE, what=what, path=data, directory=data.parent, why=error.strerror)


def refuse_without_answer(*, yes: bool, json: bool) -> None:
    """Refuse to begin what must be confirmed when there is nobody to confirm it; raises UsageError."""
    if not yes and (json or not sys.stdin.isatty()):
        raise UsageError("there is no terminal to confirm the changes at", hint="give --yes, or run it at a terminal")
