"""What the product does on each host, written down by the product itself.

    python -m bench.recorded RECORD audit --file sites.yaml

is the product, which writes each script that it sends, in the order sent, with what came back, to the file RECORD.
The scripts of an apply hold private keys: RECORD is for root alone, and goes with the lab that the keys are for.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from runbook import cli, session
from runbook.ssh import SSHHost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab import Lab
    from runbook.host import Answer

_MARKED = re.compile(r"\n@[0-9a-f]{16} (\d+ \d+)\n")
"""How a batch tells a fragment's number and exit code (`runbook.script`)."""


@dataclass(frozen=True)
class Sent:
    """A script as it was sent to a host, and how it ended there."""

    host: str
    purpose: str
    script: str
    code: int
    fragments: Sequence[str]


@dataclass(frozen=True)
class Record:
    """All that a run sent, and what it opened for that, by host."""

    sent: Sequence[Sent]
    channels: dict[str, int]
    logins: dict[str, int]

    @property
    def hosts(self) -> list[str]:
        """Every host that anything was sent to."""
        return list(dict.fromkeys(each.host for each in self.sent))


def fragment_codes(output: str) -> list[str]:
    """The number and the exit code of each fragment that a batch ran."""
    return _MARKED.findall(output)


def record(lab: Lab, path: Path, command: Sequence[str], sites: str) -> Record:
    """Run a command of the product on `lab`, and tell what it did; raises OSError where the product failed."""
    argv = [sys.executable, "-m", "bench.recorded", str(path), *command, "--file", sites]
    done = lab.admin(argv)
    if done.returncode:
        raise OSError(f"the recorded {command[0]} failed: {done.stdout}{done.stderr}")
    found = json.loads(path.read_text())
    return Record([Sent(**each) for each in found["sent"]], found["channels"], found["logins"])


class _Recording(SSHHost):
    """A host that writes down what is sent to it."""

    everyone: ClassVar[list[_Recording]] = []
    sent: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as the original
        super().__init__(*args, **options)
        self.everyone.append(self)

    def run(self, script: str, **options: Any) -> Answer:  # noqa: ANN401 - as the original
        """Run it, and write it down."""
        noted = {"host": self.name, "purpose": options["purpose"], "script": script}
        self.sent.append(noted)
        answer = super().run(script, **options)
        noted.update(code=answer.code, fragments=fragment_codes(answer.stdout))
        return answer


def _write_down(path: Path) -> None:
    """Be the product, and write down what it sends."""
    vars(session)["SSHHost"] = _Recording
    try:
        cli.main()
    finally:
        found = {
            "sent": _Recording.sent,
            "channels": {each.name: each.channels for each in _Recording.everyone},
            "logins": {each.name: each.logins for each in _Recording.everyone},
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(found))


if __name__ == "__main__":
    _write_down(Path(sys.argv.pop(1)))
