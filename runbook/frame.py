"""The form in which a script travels to a shell, and its output back.

A shell reads its standard input piece by piece and runs each command as soon as it has it. So the script goes inside
a function, and what calls the function stands in one compound command behind it: if the line is cut anywhere before
the last brace, the shell has parsed nothing that it could run (POSIX, Shell Command Language, 2.9.4).

The output comes between two marks, fresh random ones for each run. What a login shell or sudo prints before the first
is dropped, and an answer without the last is known to be cut short. A process that the script leaves in the
background and that holds the output open is not waited for.

A line that drops must not cut a script in half, and the first thing it wrote into the broken pipe would (SIGPIPE, in
the middle of dpkg). So the output passes through a drain that goes on taking it when nobody takes it any more.
"""

from __future__ import annotations

import secrets
import shlex
from typing import TYPE_CHECKING

from runbook.host import Answer

if TYPE_CHECKING:
    from runbook.host import OnLine

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""root's PATH on Debian (login.defs(5), ENV_SUPATH)."""


def new_mark(kind: str = "runbook") -> str:
    """Return a word that no output holds by chance and no script can know.

    By one of the usual kind, as an argument of its own, a script is known among processes (`runbook.lock`).
    """
    return f"{kind}-{secrets.token_hex(16)}"


def wrap(script: str, mark: str, *, path: str = PATH, behind: str = "") -> bytes:
    """Return what a POSIX shell must read to run `script` framed by `mark`; nothing less of it runs anything.

    The script's lines count from 2 in the shell's messages. Its standard input is empty, and it runs in a subshell,
    so that neither its `exit` nor its traps can take the last mark away.

    The shells round it outlive a SIGTERM to all of them, and wait: else timeout(1) would see its child end and spare a
    script that ignores the signal its SIGKILL. The drains do not, so that no last mark comes from a script ended so.
    What the shells themselves say of processes that were killed goes nowhere.

    Args:
        script: What to run.
        mark: From `new_mark`.
        path: The PATH it finds.
        behind: An argument of a process on the same machine; the script starts when there is no such process left.

    Raises:
        ValueError: The script holds a NUL, which no shell can read.
    """
    if "\0" in script:
        raise ValueError("a shell script cannot hold a NUL")
    # A bracket round the last letter keeps grep from finding its own argument.
    wait = (
        f"while grep -qsxz '{behind[:-1]}[{behind[-1]}]' /proc/[0-9]*/cmdline; do sleep 0.2; done\n" if behind else ""
    )
    return (
        f"runbook_script() {{ :\n{script}\n}}\n"
        "runbook_drain() { cat; cat >/dev/null; }\n"
        "{\n"
        f"PATH={shlex.quote(path)} LC_ALL=C; export PATH LC_ALL; umask 022; cd /\n"
        f"{wait}"
        f"echo {mark} >&2; echo {mark}; exec 4>&2 2>/dev/null; trap : TERM\n"
        "{ trap : TERM; { trap : TERM; (runbook_script) </dev/null; runbook_code=$?\n"
        f'echo {mark} >&2; echo {mark} "$runbook_code"\n'
        "} 2>&1 >&3 3>&- 4>&- | runbook_drain >&4 3>&-; } 3>&1 | runbook_drain\n"
        "}\n"
    ).encode("utf-8", "surrogateescape")


class _Stream:
    """One stream as it arrives, and where the marks lie in it."""

    def __init__(self, mark: bytes) -> None:
        self.data = bytearray()
        self._mark = mark
        self._marks: list[int] = []
        self._searched = 0

    def feed(self, data: bytes) -> None:
        self.data += data
        while (found := self.data.find(self._mark, self._searched)) >= 0:
            self._marks.append(found)
            self._searched = found + len(self._mark)
        self._searched = max(self._searched, len(self.data) - len(self._mark) + 1)

    @property
    def begin(self) -> int | None:
        """Where the script's own output begins: behind the first mark and its line end."""
        return self._marks[0] + len(self._mark) + 1 if self._marks else None

    @property
    def end(self) -> int | None:
        """Where the script's own output ends: at the second mark."""
        return self._marks[1] if len(self._marks) > 1 else None

    @property
    def own(self) -> str:
        """The script's own output so far."""
        return "" if self.begin is None else _text(self.data[self.begin : self.end])

    @property
    def before(self) -> str:
        """What came before the first mark."""
        return _text(self.data[: self._marks[0]] if self._marks else self.data)

    @property
    def after(self) -> str:
        """What came behind the second mark."""
        return "" if self.end is None else _text(self.data[self.end + len(self._mark) :])


class Frame:
    """Collects the two streams of one run as they arrive and cuts the script's own output out of them."""

    def __init__(self, mark: str, on_line: OnLine | None = None) -> None:
        self._out = _Stream(mark.encode())
        self._err = _Stream(mark.encode())
        self._on_line = on_line
        self._told = 0

    def feed_stdout(self, data: bytes) -> None:
        """Take what arrived on standard output."""
        self._out.feed(data)

    def feed_stderr(self, data: bytes) -> None:
        """Take what arrived on standard error, and tell each whole line of the script's own at once."""
        self._err.feed(data)
        if self._on_line is None or self._err.begin is None:
            return
        self._told = max(self._told, self._err.begin)
        limit = len(self._err.data) if self._err.end is None else self._err.end
        while (end := self._err.data.find(b"\n", self._told, limit)) >= 0:
            line = self._err.data[self._told : end]
            self._told = end + 1
            self._on_line(_text(line))

    @property
    def begun(self) -> bool:
        """Whether the shell had the whole script and began to run it."""
        return self._err.begin is not None

    @property
    def ended(self) -> bool:
        """Whether the last mark has arrived on both streams: the answer is whole."""
        return self._err.end is not None and "\n" in self._out.after

    @property
    def noise(self) -> str:
        """What came on standard error before the script began: sudo's words, a login shell's."""
        return self._err.before

    @property
    def words(self) -> str:
        """The script's own standard error so far."""
        return self._err.own

    def answer(self, seconds: float) -> Answer:
        """Return the script's own output and exit code, once `ended`."""
        return Answer(self._out.own, self._err.own, int(self._out.after.split("\n")[0]), seconds)


def _text(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "surrogateescape")
