"""Files, links and directories: whole things at a path that is ours to state."""

from __future__ import annotations

import difflib
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from runbook.script import embed, quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from runbook.script import Reading

SHOWN_BYTES = 65536
"""A file of this size or more is compared, not shown."""


def unified(before: str, after: str, was: str, now: str = "") -> str:
    """The difference as `diff -u` shows it, named `was` and `now`; what is not UTF-8 can be seen, not read.

    Of what is no text, the lengths.
    """
    if any(map(_NO_TEXT.search, (before, after))):
        lengths = [f"{len(each.encode('utf-8', 'surrogateescape'))} bytes" for each in (before, after) if each]
        return "\n".join((f"--- {was}", f"+++ {now or was}", f"(binary, {' -> '.join(lengths)})"))
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), was, now or was, lineterm=""))
    if before != after and not lines:
        lines = [f"--- {was}", f"+++ {now or was}", "(only line ends differ)"]
    return "\n".join(lines).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


_NO_TEXT: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Control characters that no text file has: not the tab, the ends of lines and pages, or a colour's escape."""


@dataclass(frozen=True)
class File(Part):
    """A file with content, mode and owner; `secret` content is compared by its SHA-256 and never shown."""

    path: str
    content: bytes = field(repr=False)
    mode: str = "644"
    owner: str = "root:root"
    secret: bool = False
    validator: str = ""
    """Shell that judges the new content, in the file `$new`, before it takes the old one's place."""
    why: str = ""
    serves: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The file's path."""
        return f"file {self.path}"

    def probe(self) -> str:
        """One line of state; then, unless secret, the content."""
        path = quote(self.path)
        if self.secret:
            return f"rb_state {path}"
        return f"rb_state {path}\n[ ! -f {path} ] || [ -L {path} ] || head -c {SHOWN_BYTES} -- {path}"

    def judge(self, found: Reading) -> Finding:
        """Compare content, mode and owner."""
        state, _, content = found.text.partition("\n")
        if state == self.state:
            return self.in_order()
        if state.split(" ", 1)[0] not in {"absent", "file", "link"}:
            return self.unknown(_in_the_way(self.path, state))
        change = Change(
            summary=self._summary(state),
            save=f"rb_save {quote(self.path)}",
            apply=f"rb_parents {quote(self.path)}\n{self._put()}",
            undo=f"rb_restore {quote(self.path)}",
            settle=f"rb_tidy {quote(self.path)}",
            diff=self._diff(state, content),
            secret=embed(self.content) if self.secret else "",
        )
        return self.absent(change, self.why) if state == "absent" else self.drift(change, self.why)

    @property
    def state(self) -> str:
        """The line that `rb_state` prints when all is as wanted."""
        return f"file {self.mode} {self.owner} {hashlib.sha256(self.content).hexdigest()}"

    def _put(self) -> str:
        # what is on its way to the file may be cut short by itself, which a pipeline does not notice
        whole = f'[ "$(sha256sum <"$new" | cut -d" " -f1)" = {hashlib.sha256(self.content).hexdigest()} ]'
        judge = f"{whole} && {{ {self.validator}\n}}" if self.validator else whole
        arguments = " ".join(quote(each) for each in (self.path, self.mode, self.owner, judge))
        return f"{{ {embed(self.content)}}} | rb_put {arguments}"

    def _summary(self, state: str) -> str:
        kind, _, rest = state.partition(" ")
        if kind == "absent":
            return f"create {self.path} ({self.mode}, {self.owner})"
        if kind != "file":
            return f"replace the {kind} {self.path} by a file"
        was, _, content = rest.rpartition(" ")  # a group's name may have spaces in it
        if content == self.state.rpartition(" ")[2]:
            return f"set {self.path} from {was} to {self.mode} {self.owner}"
        return f"change {self.path}"

    def _diff(self, state: str, content: str) -> str:
        if self.secret:
            return f"--- {self.path}\n+++ {self.path}\n+ (a secret of {len(self.content)} bytes, not shown)"
        if len(content.encode("utf-8", "surrogateescape")) >= SHOWN_BYTES:
            return f"--- {self.path}\n+++ {self.path}\n(too large to be shown)"
        was = content if state.startswith("file ") else ""
        return unified(was, self.content.decode("utf-8", "surrogateescape"), self.path)


@dataclass(frozen=True)
class Absent(Part):
    """A path where no file or link is to be; what is there is kept and comes back by rollback."""

    path: str
    why: str
    follows: tuple[str, ...] = ()
    """The packages that bring the file: where they are still to be installed, it will be there to remove."""

    @property
    def key(self) -> str:
        """The path."""
        return f"no file {self.path}"

    def probe(self) -> str:
        """What is there."""
        return f"rb_state {quote(self.path)}"

    def judge(self, found: Reading) -> Finding:
        """In order when nothing is there."""
        state = found.text.strip()
        if state == "absent":
            return self.in_order()
        if state.split(" ", 1)[0] not in {"absent", "file", "link"}:
            return self.unknown(_in_the_way(self.path, state))
        return self.drift(self._remove(state, ""), self.why)

    def again(self, found: Reading) -> Finding:
        """Nothing is there, and it will be."""
        return self.drift(self._remove(found.text.strip(), " (it comes with what is installed)"), self.why)

    def _remove(self, state: str, coming: str) -> Change:
        path = quote(self.path)
        # a package that came takes its file with it when it goes, and whatever stood in its place: that comes back last
        # as well; first, lest the directory be empty, which would go, too
        undone = '"$image/undone.$index"'
        return Change(
            summary=f"move {self.path} out of the way{coming}",
            save=f"rb_save {path}",
            apply=f"rb_remove {path}",
            undo=f"rb_restore {path}" + (f"\n: >{undone}" if self.follows else ""),
            settle=f"[ ! -e {undone} ] || rb_restore {path}\nrb_tidy {path}",
            diff=f"--- {self.path}\n- {state}",
        )


@dataclass(frozen=True)
class Directory(Part):
    """A directory with mode and owner."""

    path: str
    mode: str = "755"
    owner: str = "root:root"

    @property
    def key(self) -> str:
        """The directory's path."""
        return f"directory {self.path}"

    def probe(self) -> str:
        """One line of state."""
        return f"rb_state {quote(self.path)}"

    def judge(self, found: Reading) -> Finding:
        """Compare mode and owner."""
        state = found.text.strip()
        path = quote(self.path)
        if state == f"directory {self.mode} {self.owner}":
            return self.in_order()
        # five digits and more also clear the bits that a directory inherits from the one above it (chmod(1))
        give = f"chown -- {quote(self.owner)} {path}\nchmod -- {self.mode:0>5} {path}"
        make = f"rb_parents {path}\nmkdir -p -- {path}\n{give}"
        if state == "absent":
            kept = quote(f"{self.path} is not empty: it is kept")
            undo = f"[ ! -d {path} ] || rmdir -- {path} 2>/dev/null || echo {kept}"
            summary = f"create {self.path}/ ({self.mode}, {self.owner})"
            return self.absent(Change(summary, make, undo, settle=f"rb_tidy {path}"))
        if not state.startswith("directory "):
            return self.unknown(_in_the_way(self.path, state))
        was = state.partition(" ")[2]
        kept = '"$image/kept.$index"'  # a directory with the same owner, who may have no name, and mode
        change = Change(
            summary=f"set {self.path}/ from {was} to {self.mode} {self.owner}",
            save=f"mkdir -- {kept}\nchown --reference={path} -- {kept}\nchmod --reference={path} -- {kept}",
            apply=make,
            undo=f"chown --reference={kept} -- {path}\nchmod --reference={kept} -- {path}",
        )
        return self.drift(change)


def _in_the_way(path: str, state: str) -> str:
    """Why a part cannot be made: something is there that is not ours to replace, or cannot be read."""
    if not state:
        return f"what is at {path} cannot be read"
    return f"a {state.split(' ', 1)[0]} is at {path}: move it out of the way"
