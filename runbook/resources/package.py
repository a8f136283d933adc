"""Debian packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.script import quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from runbook.script import Reading

LOCK_SECONDS = 300
"""How long another package manager at work is waited for."""

APT = f"DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout={LOCK_SECONDS}"
_INSTALL = (
    "install --no-install-recommends --no-remove -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
)

_CONFIGURE = "DEBIAN_FRONTEND=noninteractive dpkg --configure -a --force-confdef --force-confold"

_LEFT = """\
while read -r path; do
    made="$image/left.$index.$(printf %s "$path" | tr / _)"
    if [ -d "$path" ]; then rmdir --ignore-fail-on-non-empty -- "$path"
    elif [ ! -e "$made" ] || sha256sum <"$path" 2>/dev/null | cmp -s - "$made"; then rm -f -- "$path"; fi
done <"$image/left.$index"
"""
"""Takes away what the packages left behind, where it was not there before and is as they made it.
Of an installation that was cut off there is no record of how they made it: nothing but it was there to make it."""

_SEEN = """\
while read -r path; do
    [ ! -f "$path" ] || sha256sum <"$path" >"$image/left.$index.$(printf %s "$path" | tr / _)"
done <"$image/left.$index"
"""
"""Remembers how the packages made what they will leave behind."""

_UNDO = f"""\
ours=$(while read -r name; do
    case $(dpkg-query -W -f '${{db:Status-Status}}' "$name" 2>/dev/null) in ''|not-installed) ;; *) echo "$name" ;; esac
done <"$image/added.$index")
if [ -n "$ours" ]; then
    # shellcheck disable=SC2086 # a list of names
    going=$({APT} -s purge -- $ours | sed -n 's/^Purg \\([^ ]*\\).*/\\1/p')
    others=$(printf '%s\\n' "$going" | grep -vxF "$ours" || true)
    if [ -z "$others" ]; then
        # shellcheck disable=SC2086 # a list of names
        {APT} purge -- $ours >&2
    else
        echo "these need what is to go, and stay with it: $others" >&2
        # dpkg takes away nothing but what it is told to, and leaves what others need
        # shellcheck disable=SC2086 # a list of names
        DEBIAN_FRONTEND=noninteractive dpkg --purge -- $ours >&2 || true
    fi
fi"""
"""Purges what this very change installed, and nothing that the admin has installed since."""


@dataclass(frozen=True)
class Packages(Part):
    """Packages that are to be installed, with what they depend on and nothing that they only recommend."""

    names: tuple[str, ...]
    leaves: tuple[str, ...] = ()
    """What the packages make outside their own files and do not take away again: files, then their directories."""

    @property
    def key(self) -> str:
        """The packages' names."""
        return f"packages {' '.join(self.names)}"

    def probe(self) -> str:
        """The names of those that are not installed, a line each."""
        names = " ".join(quote(name) for name in self.names)
        return (
            f"for name in {names}; do\n"
            '    [ "$(dpkg-query -W -f \'${db:Status-Status}\' "$name" 2>/dev/null)" = installed ] || echo "$name"\n'
            "done"
        )

    def judge(self, found: Reading) -> Finding:
        """In order when all are installed."""
        missing = found.text.split()
        if not missing:
            return self.in_order()
        names = " ".join(quote(name) for name in missing)
        change = Change(
            summary=f"install {' '.join(missing)}",
            save=': >"$image/added.$index"; : >"$image/left.$index"'
            + "".join(_note_absent(path) for path in self.leaves),
            apply=(
                f"{APT} update >&2\n"
                f"{APT} -s {_INSTALL} -- {names} | sed -n 's/^Inst \\([^ ]*\\) (.*/\\1/p' >\"$image/added.$index\"\n"
                # half an installation may be of what is depended on alone, and read as if nothing had been begun
                ': >"$image/open.$index"; sync -- "$image/added.$index" "$image/open.$index"\n'
                # an installation that was cut off is finished first, since apt refuses to do anything before
                f"{APT} {_INSTALL} -- {names} >&2 || {{ {_CONFIGURE} >&2; {APT} {_INSTALL} -- {names} >&2; }}\n"
                f'{_SEEN}rm -f -- "$image/open.$index"'
            ),
            undo=f'{_CONFIGURE} >&2 || true\n{_UNDO}\n{_LEFT}rm -f -- "$image/open.$index"',
            irreversible="the system users and groups that Debian's packages make stay when they are purged",
            diff="\n".join(f"+ package {name}, and what it depends on" for name in missing),
        )
        return self.absent(change)


def _note_absent(path: str) -> str:
    """Shell that notes a path that is not there yet."""
    return f'\n[ -e {quote(path)} ] || echo {quote(path)} >>"$image/left.$index"'
