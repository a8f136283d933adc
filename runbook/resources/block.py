"""A block of lines of ours in a file that is the admin's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runbook.script import embed, quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from runbook.script import Reading

BEGIN: Final = "# ipsec-runbook: begin"
END: Final = "# ipsec-runbook: end"


@dataclass(frozen=True)
class Block(Part):
    """Lines between two markers at the end of a file; the rest of the file stays as it is, to the byte."""

    path: str
    lines: str
    reload: str = ""
    """Shell that has the block take effect."""

    @property
    def key(self) -> str:
        """The file."""
        return f"block in {self.path}"

    def probe(self) -> str:
        """The block, with its markers."""
        return f"[ ! -f {quote(self.path)} ] || sed -n '/^{BEGIN}$/,/^{END}$/p' {quote(self.path)}"

    def judge(self, found: Reading) -> Finding:
        """Compare the block; what is around it is not ours."""
        wanted = f"{BEGIN}\n{self.lines}{END}\n"
        if found.text == wanted:
            return self.in_order()
        reload = f"\n{self.reload}" if self.reload else ""
        change = Change(
            summary=f"{'change' if found.text else 'add'} our lines in {self.path}",
            apply=self._put(wanted) + reload,
            undo=self._put(found.text),
            settle=self.reload,
            diff="\n".join([*(f"- {e}" for e in found.text.splitlines()), *(f"+ {e}" for e in wanted.splitlines())]),
        )
        return self.drift(change) if found.text else self.absent(change)

    def _put(self, block: str) -> str:
        path = quote(self.path)
        return (
            f"mode=$(stat -c %a -- {path} 2>/dev/null || echo 644)\n"
            f"owner=$(stat -c %U:%G -- {path} 2>/dev/null || echo root:root)\n"
            f"{{ [ ! -f {path} ] || sed '/^{BEGIN}$/,/^{END}$/d' {path}\n{embed(block.encode())}}} | "
            f'rb_put {path} "$mode" "$owner"'
        )
