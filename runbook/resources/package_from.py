"""Packages that are to come from one repository, in place of the distribution's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runbook.resources.package import APT, OPTIONS, TAKE_AWAY, Packages
from runbook.script import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook.script import Reading
    from runbook.step import Finding

_ORIGIN = """\
comes_from() { # NAME URL: whether the version that is installed is one that the repository has
    apt-cache policy "$1" 2>/dev/null | awk -v url="$2" '
        /^ (\\*\\*\\*|   ) [^ ]/ { ours = $1 == "***"; next }
        ours && $2 == url { found = 1 }
        END { exit !found }'
}"""

NOTE = """
mkdir -- "$image/conf.$index"
for name in $names; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || continue
    dpkg-query -W -f '${Package}=${Version}\\n' "$name" >>"$image/gone.$index"
    apt-mark showauto "$name" | sed 's/$/ auto/' >>"$image/gone.$index"
    dpkg-query -W -f '${Conffiles}\\n' "$name" | awk '$1 ~ "^/" { print $1 }' | while read -r path; do
        [ ! -f "$path" ] || cp -a --parents -- "$path" "$image/conf.$index"
    done
done
find /etc >"$image/etc.$index"
for path in $fills; do [ -e "$path" ] || echo "$path"; done >"$image/filled.$index"
sync -- "$image"/*".$index"
"""
"""Notes the version of each package that makes way, keeps its configuration files, and notes what is there beside."""

STAY = """
kept() { # the paths of the configuration files that were there
    (cd -- "$image/conf.$index" && find . -type f) | cut -c 2-
}
stay() { # the configuration that was there is there again, but for what others have changed of it
    kept | while IFS= read -r path; do
        was=$image/conf.$index$path
        if [ -f "$path" ] && { cmp -s -- "$was" "$path" || { cat -- "$was"; echo; } | cmp -s - "$path"; }; then
            cp -a -- "$was" "$path"
        fi
    done
}
"""
KEEP = """
trap stay EXIT
# dpkg keeps a configuration file that has been changed, and would replace any other by the newcomer's
kept | while IFS= read -r path; do echo >>"$path"; done
"""

UNPACK = """
unpack() { # WORDS: what would come, by apt's words for it, as $tried; nothing of the host is changed by that
    tried=$image/tried.$index
    rm -rf -- "$tried" && mkdir -- "$tried" && (
        cd -- "$tried" && apt-get -q -o APT::Sandbox::User=root download "$@" >&2 &&
            for each in ./*.deb; do dpkg-deb --fsys-tarfile "$each" | tar -x || exit; done
    )
}
"""

_COME_BACK = f"""
before() {{ # NAME=VERSION: the same, or the newest of another repository where that version is to be had no more
    there=$(apt-cache madison "${{1%%=*}}" | awk -v url="$origin" '$5 != url {{ print $3 }}')
    if printf '%s\\n' "$there" | grep -qxF -- "${{1#*=}}"; then echo "$1"
    else echo "${{1%%=*}}=$(printf '%s\\n' "$there" | head -n 1)"; fi
}}
if grep -qs '=' "$image/gone.$index"; then
    {APT} update >&2 || true
    # shellcheck disable=SC2086 # a list of names
    came=$(dpkg-query -W -f '${{Conffiles}}\\n' $names 2>/dev/null | awk '$1 ~ "^/" {{ print $1 }}')
    was=$(grep '=' "$image/gone.$index" | while read -r each; do before "$each"; done)
    # shellcheck disable=SC2086 # a list of names
    {APT} install {OPTIONS} --allow-downgrades -- $was >&2
    sed -n 's/ auto$//p' "$image/gone.$index" | xargs -r apt-mark auto >&2
    # a file of its own, and its version (dpkg puts it beside) of one that stayed
    printf '%s\\n' "$came" | sed 'p; s/$/.dpkg-dist/' | grep -vxF -f "$image/etc.$index" | xargs -r rm -f --
    stay
fi
"""
"""Installs what made way again, as it was; what the newcomer brought below /etc goes with it."""

_EMPTY = """
for name in $names; do
    comes_from "$name" "$origin" || xargs -r rm -rf -- <"$image/filled.$index"
done
"""


@dataclass(frozen=True)
class PackagesFrom(Packages):
    """Packages that are to be installed from the repository `origin`, a URL; `rivals` make way for them.

    Files that stand in the configuration stay as they are. Rollback gives back what was installed before.
    """

    origin: str = ""
    fills: tuple[str, ...] = ()
    """Directories that these packages fill, and leave behind when they go: logs, caches."""
    trial: str = ""
    """Shell that looks whether the host can do with what would come, and fails where it cannot: `unpack` gives that."""

    def probe(self) -> str:
        """The names of those that are not installed, or not from there, a line each; with a minus, of rivals."""
        names, rivals = (" ".join(map(quote, each)) for each in (self.names, self.rivals))
        return f"""\
{_ORIGIN}
is_there() {{ [ "$(dpkg-query -W -f '${{db:Status-Status}}' "$1" 2>/dev/null)" = installed ]; }}
for name in {names}; do
    is_there "$name" || {{ echo "$name"; continue; }}
    comes_from "$name" {quote(self.origin)} || echo "=$name"
done
for name in {rivals}; do ! is_there "$name" || echo "-$name"; done"""

    def judge(self, found: Reading) -> Finding:
        """In order when all are installed from there."""
        told = found.text.split()
        wanted = [name.removeprefix("=") for name in told if not name.startswith("-")]
        if not wanted:
            return self.in_order()
        going = [name[1:] for name in told if name.startswith("-")]
        change = self._install(wanted, going)
        change = replace(change, summary=f"{change.summary}, from {self.origin}")
        moved = any(name.startswith("=") for name in told)
        return self.drift(change, "it comes from elsewhere") if moved else self.absent(change)

    def _first(self) -> str:
        return f"{UNPACK}{words('names', self.names)}{trying(self.trial, '$names')}{STAY}{KEEP}"

    def _note(self, going: Sequence[str]) -> str:
        return f"\n{words('names', (*self.names, *going))}{words('fills', self.fills)}{NOTE}"

    def _undo(self, going: Sequence[str]) -> str:
        named = f"{words('names', (*self.names, *going))}origin={quote(self.origin)}\n"
        return f"{named}{_ORIGIN}{STAY}{_COME_BACK}{TAKE_AWAY}{_EMPTY}"


def trying(trial: str, words: str) -> str:
    """Shell that tries what would come: apt's words for it, as the shell has them."""
    if not trial:
        return ""
    return f'coming="{words}"\n{trial}\nrm -rf -- "$image/tried.$index"\n'


def words(name: str, words: Sequence[str]) -> str:
    """A shell variable that holds a list of words."""
    return f"{name}={quote(' '.join(words))}\n"
