"""Keys and certificates of a name that a site had in an earlier sites.yaml: they go once no connection needs them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from runbook.resources.block import BEGIN, END
from runbook.resources.made import made, made_facts
from runbook.script import quote
from runbook.step import Change, Finding, Part
from steps.certificates.key_places import PLACES
from steps.ipsec.styles import STYLES
from steps.ipsec.swanctl import MANAGED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.script import Reading
    from steps.network import Site

_FACT: Final = "credentials_made"
FACTS: Final = made_facts(_FACT, ("key", "credentials"), ("connection",), ("private key /", "file /"))
"""The fact `credentials_made`: the keys and the certificates on the host that are ours, of whatever name."""
_STRONGSWAN: Final = ("/etc/swanctl", "/etc/ipsec.conf", "/etc/ipsec.secrets", "/etc/ipsec.d")
_SUFFIXES: Final = re.compile(r"(\.chained)?\.(key|pem|der)$")


def of_earlier_names(site: Site, facts: Mapping[str, str]) -> Sequence[EarlierName]:
    """What is ours of a name that is not the site's any more, wherever it is kept and however that is configured."""
    present = {path for style in STYLES.values() for path in (style.key_path(site), style.leaf_path(site))}
    present.update(path for place in PLACES.values() for path in place.files(site))
    return [part for part in map(EarlierName.of, made(facts, _FACT)) if part.path not in present]


@dataclass(frozen=True)
class EarlierName(Part):
    """A key or a certificate that nothing is to be left of; whoever has made it can undo its making after that.

    One that a file of the admin's names is in use by something that is not ours, and stays. Of strongSwan's it need
    name no file: a connection that has the certificate, or is known by its name, uses the key that lies there, too.
    """

    kind: str
    path: str
    strongswan: tuple[str, ...] = _STRONGSWAN
    elsewhere: str = "/etc"

    @classmethod
    def of(cls, key: str) -> EarlierName:
        """What a part of that key has made."""
        kind, _, path = key.partition(" /")
        return cls(kind, f"/{path}")

    @property
    def key(self) -> str:
        """As the part that has made it is called: by that, what was left there is told from what others changed."""
        return f"{self.kind} {self.path}"

    def probe(self) -> str:
        """Its state, without a digest; and which file of the admin's has its name, lines of ours and remarks apart."""
        path, file = quote(self.path), PurePosixPath(self.path).name
        # what only permits to read it does not need it
        search = "grep -RlsF -D skip --exclude-dir=apparmor.d --exclude-dir=alternatives"
        stem = quote(_SUFFIXES.sub("", file))
        strongswan = " ".join(map(quote, self.strongswan))
        return f"""\
state=$(rb_state {path} | cut -d ' ' -f -3)
printf '%s\\n' "$state"
[ "$state" != absent ] || exit 0
needs() {{ # NAME PLACE...: files of the admin's there that have the name
    name=$1
    shift
    {search} -e "$name" -- "$@" | sort | while IFS= read -r file; do
        ! head -n 1 -- "$file" | grep -q '^{MANAGED}' || continue
        ! sed '/^{BEGIN}$/,/^{END}$/d; s/#.*//' "$file" | grep -qF -e "$name" || printf '%s\\n' "$file"
    done
}}
{{
    needs {stem} {strongswan}
    needs {quote(file)} {quote(self.elsewhere)}
}} | head -n 1"""

    def judge(self, found: Reading) -> Finding:
        """In order when nothing is there, or something else needs it."""
        state, _, named = found.text.partition("\n")
        if state == "absent":
            return self.in_order()
        if named.strip():
            return self.in_order(f"of an earlier name; it stays, for {named.strip()} names it")
        path, above = quote(self.path), quote(str(PurePosixPath(self.path).parent))
        like = '"$image/above.$index"'
        change = Change(
            summary=f"remove {self.path}, of a name that this site has no more",
            save=f"rb_save {path}\nmkdir -- {like}\n{_alike(above, like)}",
            apply=(
                f'rb_remove {path}\n! cat "${{image%/*}}"/*/made.* 2>/dev/null | grep -qxF -- {above} || '
                f"rmdir --ignore-fail-on-non-empty -- {above}"
            ),
            # where there is another by now, for the site has that name again, it is in use
            undo=(
                f"[ ! -e {path} ] || exit 0\n[ -d {above} ] || {{\nmkdir -p -- {above}\n{_alike(like, above)}\n}}\n"
                f"rb_restore {path}"
            ),
            settle=f"rb_tidy {path}",
            diff=f"- {self.path} ({state})",
        )
        return self.drift(change)


def _alike(one: str, other: str) -> str:
    """Shell that gives a directory another's owner and mode."""
    return f"chown --reference={one} -- {other}\nchmod --reference={one} -- {other}"
