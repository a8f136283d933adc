"""What an admin has set up by hand and must no longer count: it stays to be read, and rollback has it count again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runbook.resources.block import BEGIN, END
from runbook.script import quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runbook.script import Reading

RETIRED: Final = "# ipsec-runbook, outdated: "
"""What makes a line a remark."""

_AWK: Final = f"""\
{{ line = $0; was = index(line, "{RETIRED}") == 1; if (was) $0 = line = substr(line, {len(RETIRED) + 1}); hit = 0 }}
$0 == "{BEGIN}" {{ ours = 1 }}
{{ %s }}
ours || !NF || /^[ \\t]*#/ {{ hit = 0 }}
$0 == "{END}" {{ ours = 0 }}
mode == "list" {{ if (hit && !was) print line; next }}
{{ remark = (mode == "retire" ? was || hit : was && !hit) ? "{RETIRED}" : "" }}
{{ printf "%%s%%s%%s", (NR > 1 ? "\\n" : ""), remark, line }}
END {{ if (mode != "list" && ENVIRON["ended"]) printf "\\n" }}
"""
"""`which` stands in the middle; blocks of ours are left alone. Modes: list, retire, restore."""


Reasons = tuple[tuple[str, str], ...]
"""Why lines are outdated: each reason behind a regular expression that the lines have for which it holds."""


def why(reasons: Reasons, lines: Iterable[str]) -> str:
    """The reasons that hold for any of these lines."""
    text = list(lines)
    return "; ".join(reason for pattern, reason in reasons if any(re.search(pattern, line) for line in text))


@dataclass(frozen=True)
class RetiredLines(Part):
    """Lines of a file of the admin's that are outdated: each is made a remark that says so. No line is lost.

    A link is followed to the file that it leads to.
    """

    path: str
    what: str
    """What the lines are."""
    reasons: Reasons
    which: str
    """awk that sets `hit` for such a line; it sees lines made remarks as they were."""
    validator: str = ""
    """Shell that judges the new content, in the file `$new`, before it takes the old one's place."""

    @property
    def key(self) -> str:
        """What they are, and where."""
        return f"{self.what} in {self.path}"

    def probe(self) -> str:
        """The lines that are still in use."""
        path = quote(self.path)
        return f"[ ! -f {path} ] || {self._awk('list')} {path}"

    def judge(self, found: Reading) -> Finding:
        """In order when there is none."""
        if found.code:
            return self.unknown(f"{self.path} cannot be read")
        lines = found.text.splitlines()
        if not lines:
            return self.in_order()
        begin = f'path=$(readlink -f -- {quote(self.path)})\nended=$(tail -c 1 -- "$path" | wc -l | tr -d 0)\n'
        change = Change(
            summary=f"make {len(lines)} line{'s' * (len(lines) > 1)} of {self.path} remarks: {self.what}",
            save=f'cp -- {quote(self.path)} "$image/kept.$index" && sync -- "$image/kept.$index"',
            apply=f'{begin}{self._awk("retire")} "$path" >"$image/new.$index"\n{self._put(self.validator)}',
            undo=(
                f"[ -f {quote(self.path)} ] || exit 0\n{begin}"
                f'if {self._awk("retire")} "$image/kept.$index" | cmp -s - "$path"\n'
                'then cp -- "$image/kept.$index" "$image/new.$index"\n'
                f'else {self._awk("restore")} "$path" >"$image/new.$index"; fi\n{self._put("")}'
            ),
            settle=f"rb_tidy {quote(self.path)}",
            diff="\n".join(line for each in lines for line in (f"- {each}", f"+ {RETIRED}{each}")),
        )
        return self.drift(change, why(self.reasons, lines))

    def _awk(self, mode: str) -> str:
        return f'ended="${{ended:-}}" awk -v mode={mode} {quote(_AWK % self.which)}'

    @staticmethod
    def _put(validator: str) -> str:
        like = '"$(stat -c %a -- "$path")" "$(stat -c %u:%g -- "$path")"'
        return f'rb_put "$path" {like} {quote(validator)} <"$image/new.$index"'


@dataclass(frozen=True)
class SetAside(Part):
    """A file of the admin's that must not be where it is: it goes where it is not read, and no content is lost."""

    path: str
    to: str
    why: str

    @property
    def key(self) -> str:
        """Where it is."""
        return f"outdated file {self.path}"

    def probe(self) -> str:
        """What is there, and at the place where it is to go."""
        return f"rb_state {quote(self.path)}\nrb_state {quote(self.to)}"

    def judge(self, found: Reading) -> Finding:
        """In order when nothing is there. A link just goes: what it leads to stays."""
        state, _, there = found.text.strip().partition("\n")
        path, to = quote(self.path), quote(self.to)
        if state == "absent":
            return self.in_order()
        if state.startswith("link "):
            apply, summary = f"rb_remove {path}", f"remove the link {self.path} ({state.removeprefix('link ')} stays)"
        elif not state.startswith("file "):
            return self.unknown(f"a {state.split(' ', 1)[0]} is at {self.path}: move it away by hand")
        elif there == "absent":
            apply, summary = f"rb_parents {to}\nmv -nT -- {path} {to}", f"move {self.path} to {self.to}"
        else:
            return self.unknown(f"it is outdated, and there is a file {self.to} already: move it away by hand")
        change = Change(
            summary=summary,
            save=f"rb_save {path}",
            apply=apply,
            undo=f'rb_restore {path}\n[ -L "$image/kept.$index" ] || ! cmp -s -- {path} {to} || rm -f -- {to}',
            settle=f"rb_tidy {path}\nrb_tidy {to}",
            diff=f"- {self.path}" + ("" if state.startswith("link ") else f"\n+ {self.to}"),
        )
        return self.drift(change, self.why)
