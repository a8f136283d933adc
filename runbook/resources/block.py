"""A block of lines of ours in a file that is the admin's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runbook.resources.file import unified
from runbook.script import embed, quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from runbook.script import Reading

BEGIN: Final = "# ipsec-runbook: begin"
END: Final = "# ipsec-runbook: end"


_ODD: Final = "odd\n"


@dataclass(frozen=True)
class Block(Part):
    """Lines between two markers, where they are or at the end of a file; the rest of it stays as it is, to the byte.

    A link is followed to the file that it leads to.
    """

    path: str
    lines: str | None
    """None: our lines are to be gone, with their markers."""
    reload: str = ""
    """Shell that has the block take effect."""

    @property
    def key(self) -> str:
        """The file."""
        return f"block in {self.path}"

    def probe(self) -> str:
        """The block, with its markers."""
        path = quote(self.path)
        return (
            f"if [ -f {path} ]; then sed -n '/^{BEGIN}$/,/^{END}$/p' {path}\n"
            f"elif [ -e {path} ]; then printf {quote(_ODD)}; fi"
        )

    def judge(self, found: Reading) -> Finding:
        """Compare the block; what is around it is not ours."""
        there = found.text if found.text.endswith("\n") or not found.text else f"{found.text}\n"
        if there == self._wanted:
            return self.in_order()
        if found.text == _ODD:
            return self.unknown(f"what is at {self.path} is no file: move it out of the way")
        if found.text and not _is_block(there):
            return self.unknown(f"our marker lines in {self.path} are not one pair any more: mend them by hand")
        change = self.change(found.text)
        return self.drift(change) if found.text else self.absent(change)

    def change(self, there: str) -> Change:
        """What makes the block as wanted where `there` is the one pair of markers with their lines, or nothing."""
        reload = f"\n{self.reload}" if self.reload else ""
        path = f"path=$(readlink -m -- {quote(self.path)})\n"
        return Change(
            summary=f"{self._verb(there)} our lines in {self.path}",
            save=f'{path}rb_save "$path"',
            apply=f"{path}{_block(self._wanted)}{_APPLY}{reload}",
            undo=f"{path}{_block(there)}{_UNDO}",
            settle=f'{path}rb_tidy "$path"{reload}',
            diff=unified(there, self._wanted, self.path),
        )

    def _verb(self, there: str) -> str:
        if self.lines is None:
            return "remove"
        return "change" if there else "add"

    @property
    def _wanted(self) -> str:
        return "" if self.lines is None else f"{BEGIN}\n{self.lines}{END}\n"


def _block(text: str) -> str:
    """Shell that keeps the block that is to be in the file."""
    return f'{{ {embed(text.encode("utf-8", "surrogateescape"))}}} >"$image/block.$index"\n'


def _is_block(text: str) -> bool:
    """Whether lines are one block with both markers, each once."""
    lines = text.splitlines()
    return lines[-1] == END and [each for each in lines if each in {BEGIN, END}] == [BEGIN, END]


_REPLACE: Final = f"""sed -e '/^{BEGIN}$/,/^{END}$/{{' -e "/^{END}\\$/r $image/block.$index" -e d -e '}}' -- "$path\""""

_LIKE: Final = """\
mode=$(stat -c %a -- "$path" 2>/dev/null || echo 644)
owner=$(stat -c %u:%g -- "$path" 2>/dev/null || echo root:root)
"""

_APPLY: Final = f"""\
{_LIKE}rb_parents "$path"
if grep -qs '^{BEGIN}$' -- "$path"; then
    {_REPLACE}
else
    [ ! -e "$path" ] || cat -- "$path"
    [ ! -s "$path" ] || [ "$(tail -c 1 -- "$path" | wc -l)" = 1 ] || echo
    cat -- "$image/block.$index"
fi >"$image/left.$index"
rb_put "$path" "$mode" "$owner" <"$image/left.$index\""""
"""In its place, or behind a last line that has its end: else the block would begin in it."""

_UNDO: Final = f"""\
{_LIKE}if [ ! -e "$path" ]; then :
elif ! cmp -s -- "$path" "$image/left.$index"; then
    {_REPLACE} >"$image/edited.$index"
    rb_put "$path" "$mode" "$owner" <"$image/edited.$index"
elif [ -e "$image/kept.$index" ]; then rb_put "$path" "$mode" "$owner" <"$image/kept.$index"
else rb_remove "$path"
fi"""
"""The whole file as it was, unless the admin has changed other lines of it since: then our lines alone."""
