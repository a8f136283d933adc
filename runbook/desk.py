"""Where `runbook init` works from: the terminal, the hosts it has met, the log; nothing here asks for an answer."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self

from logs import Redactor
from runbook.identities import KeyRing
from runbook.logview import of_script
from runbook.prompt import Questions
from runbook.session import open_log
from runbook.ssh import SSHHost
from runbook.terminal import Terminal
from steps.interview.reach import PORT, addresses_of, look_at_all
from steps.interview.survey import survey
from steps.interview.survey_words import Told, arrivals, words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import TextIO

    from runbook.host import Exchange
    from steps.interview.answers import Known
    from steps.interview.survey import Address, Survey


_LABELS: Final = 12


class Desk:
    """Meets hosts and looks names up; what was read once is not read again."""

    def __init__(self, data: Path, out: TextIO, *, interactive: bool) -> None:
        """Keep a log in `data`, tell on `out`; `interactive`: there is somebody to ask."""
        self._redact = Redactor()
        self.terminal = Terminal(out, self._redact)
        self.questions = Questions(self.terminal, self._redact.learn)
        self.interactive = interactive
        self._log = open_log(data / "logs" / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-init.jsonl", data, self._redact)
        self._log.write("begun", command="init")
        self.found: dict[str, Sequence[Told]] = {}
        """What was read of each host, in words, by its SSH target."""
        self._keys = KeyRing()
        self._hosts: dict[str, SSHHost] = {}

    def __enter__(self) -> Self:
        """Begin to show progress."""
        self.terminal.__enter__()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """End every connection, and the log."""
        for host in self._hosts.values():
            host.close()
        self.terminal.__exit__()
        self._log.write("ended", error=str(error) or type(error).__name__ if error else "")
        self._log.close()

    def meet(self, target: str, ssh_config: Path | None) -> Survey:
        """Log in to a host and read it.

        Raises:
            RunbookError: It cannot be reached, its key is refused, or root cannot be had.
        """
        host = SSHHost(
            target,
            target,
            ssh_config=ssh_config,
            ask=self.questions.confirm if self.interactive else None,
            password=self.questions.password if self.interactive else None,
            keys=self._keys,
            observe=self._observe,
        )
        self.terminal.busy(f"reading {target}")
        try:
            found = survey(host)
        except BaseException:
            host.close()
            raise
        finally:
            self.terminal.done(f"reading {target}")
        if target in self._hosts:
            self._hosts[target].close()
        self._hosts[target] = host
        self.found[target] = words(found, time.time())
        self.tell(target, self.found[target])
        return found

    def say(self, text: str) -> None:
        """Say something, broken where the terminal is narrow."""
        for line in self.terminal.wrapped(text):
            self.terminal.line(line)

    def tell(self, title: str, found: Sequence[Told]) -> None:
        """Show what was read of a host, a line for each thing; what has to be mended is marked."""
        self.terminal.line()
        self.terminal.line(self.terminal.paint(title, "bold"))
        for each in found:
            first, *more = self.terminal.wrapped(each.text, _LABELS + 2)
            self.terminal.line(f"{self._mark(each.wrong)} {each.what:{_LABELS}}{first}")
            for line in more:
                self.terminal.line(f"{'':{_LABELS + 2}}{line}")

    def note(self, text: str, *, wrong: bool = False) -> None:
        """Say one thing that was found; marked, where it has to be mended."""
        for number, line in enumerate(self.terminal.wrapped(text, 2)):
            self.terminal.line(f"{self._mark(wrong and not number)} {line}")

    def complain(self, wrong: str, advice: Mapping[str, str] | None = None) -> None:
        """Say what is wrong, and what there is to say about it."""
        self.note(wrong, wrong=True)
        for label, text in (advice or {}).items():
            self.note(f"{label}: {text}")

    def _mark(self, wrong: object) -> str:
        return self.terminal.paint("!", "yellow", "bold") if wrong else " "

    def look_up(self, name: str) -> Sequence[Address] | None:
        """The addresses of a name, by this machine's resolver; None where it has none."""
        self.terminal.busy(f"looking {name} up")
        try:
            return addresses_of(name)
        finally:
            self.terminal.done(f"looking {name} up")

    def look_out(self, sites: Mapping[str, str], known: Known) -> list[Told]:
        """Try port 80 of each site's name, by SSH target, while its host looks on; what was found is shown."""
        asked = {self._hosts[ssh]: known.names.get(name) or () for ssh, name in sites.items()}
        self.terminal.busy(f"trying port {PORT}")
        try:
            seen = look_at_all(asked)
        finally:
            self.terminal.done(f"trying port {PORT}")
        found = []
        for host, each in seen.items():
            for told in arrivals(known.surveys[host.name], each):
                found.append(Told(f"port {PORT} of {sites[host.name]} ({told.what}):", told.text, wrong=told.wrong))
                self.note(f"{found[-1].what} {told.text}", wrong=told.wrong)
        return found

    def _observe(self, exchange: Exchange) -> None:
        self._log.write("script", **of_script(exchange))
