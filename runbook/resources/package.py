"""Debian packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.resources.remains import BROUGHT_REMAINS, GIVE_BACK_REMAINS, NOTE_REMAINS, SEEN_REMAINS
from runbook.script import quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runbook.script import Reading

LOCK_SECONDS = 300
"""How long another package manager at work is waited for."""

APT = f"DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout={LOCK_SECONDS}"
OPTIONS = "--no-install-recommends -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"

CONFIGURE = "DEBIAN_FRONTEND=noninteractive dpkg --configure -a --force-confdef --force-confold"

LEFT = f"""\
while read -r path; do
    made="$image/left.$index.$(printf %s "$path" | tr / _)"
    if [ -d "$path" ]; then rmdir --ignore-fail-on-non-empty -- "$path"
    elif [ ! -e "$made" ] || sha256sum <"$path" 2>/dev/null | cmp -s - "$made"; then rm -f -- "$path"; fi
done <"$image/left.$index"
{GIVE_BACK_REMAINS}"""
"""Takes away what the packages left behind, where it was not there before and is as they made it; gives back what lay
there of them.
Of an installation that was cut off there is no record of how they made it: nothing but it was there to make it."""

SEEN = f"""\
while read -r path; do
    [ ! -f "$path" ] || sha256sum <"$path" >"$image/left.$index.$(printf %s "$path" | tr / _)"
done <"$image/left.$index"
{SEEN_REMAINS}"""
"""Remembers how the packages made what they will leave behind."""

_UNDO = f"""\
ours=$(while read -r name; do
    case $(dpkg-query -W -f '${{db:Status-Status}}' "$name" 2>/dev/null) in ''|not-installed) ;; *) echo "$name" ;; esac
done <"$image/added.$index")
way=purge # takes the configuration along, and all that lies beside it: not where that was there before
if grep -qxF -f "$image/remains.$index" "$image/added.$index"; then way=remove; fi
if [ -n "$ours" ]; then
    # shellcheck disable=SC2086 # a list of names
    going=$({APT} -s "$way" -- $ours | sed -n -E 's/^(Purg|Remv) ([^ ]*).*/\\2/p')
    others=$(printf '%s\\n' "$going" | grep -vxF "$ours" || true)
    if [ -z "$others" ]; then
        # shellcheck disable=SC2086 # a list of names
        {APT} "$way" -- $ours >&2
    else
        echo "these need what is to go, and stay with it: $others" >&2
        # dpkg takes away nothing but what it is told to, and leaves what others need
        # shellcheck disable=SC2086 # a list of names
        DEBIAN_FRONTEND=noninteractive dpkg "--$way" -- $ours >&2 || true
    fi
fi
rest=$(while read -r name; do
    case $(dpkg-query -W -f '${{db:Status-Status}}' "$name" 2>/dev/null) in config-files) echo "$name" ;; esac
done <"$image/added.$index" | grep -vxF -f "$image/remains.$index" || true)
# shellcheck disable=SC2086 # a list of names
[ -z "$rest" ] || {APT} purge -- $rest >&2"""
"""Takes away what this very change installed, and nothing that the admin has installed since; of a package that was
gone but for its configuration, all but that."""

TAKE_AWAY = f"{_UNDO}\n{LEFT}"


_NOTE_GOING = """
for name in {going}; do
    dpkg-query -W -f '${{Package}}=${{Version}}\\n' "$name"
    apt-mark showauto "$name" | sed 's/$/ auto/'
done >"$image/gone.$index"
sync -- "$image/gone.$index"
"""
"""Notes the version of each package that is to go, and whether only others had wanted it."""

_ONLY_THESE_GO = """\
others=$({simulated} | sed -n 's/^Remv \\([^ ]*\\).*/\\1/p' | grep -vxF {going} || true)
[ -z "$others" ] || {{ echo "these would have to go as well, which is yours to decide:" "$others" >&2; exit 1; }}
"""

_COME_BACK = f"""
grep '=' "$image/gone.$index" | while read -r package; do
    {APT} install --no-install-recommends -- "$package" >&2 </dev/null ||
        {APT} install --no-install-recommends -- "${{package%%=*}}" >&2 </dev/null || exit
done
sed -n 's/ auto$//p' "$image/gone.$index" | xargs -r apt-mark auto >&2
"""
"""Installs what had to go again: in the version that it had, where that is still to be had."""


@dataclass(frozen=True)
class Packages(Part):
    """Packages that are to be installed, with what they depend on and nothing that they only recommend."""

    names: tuple[str, ...]
    leaves: tuple[str, ...] = ()
    """What the packages make outside their own files and do not take away again: files, then their directories."""
    rivals: tuple[str, ...] = ()
    """Packages that make way where they conflict with these; never any other does."""

    @property
    def key(self) -> str:
        """The packages' names."""
        return f"packages {' '.join(self.names)}"

    def probe(self) -> str:
        """The names of those that are not installed, a line each; with a minus, of rivals that keep them out."""
        names, rivals = (" ".join(map(quote, each)) for each in (self.names, self.rivals))
        script = (
            'is_there() { [ "$(dpkg-query -W -f \'${db:Status-Status}\' "$1" 2>/dev/null)" = installed ]; }\n'
            f'for name in {names}; do is_there "$name" || echo "$name"; done'
        )
        if not self.rivals:
            return script
        return f"""\
{script}
for name in {rivals}; do
    if is_there "$name" &&
        dpkg-query -W -f '${{Conflicts}}\\n' "$name" | sed 's/[, ]/\\n/g' | grep -qxF {either(self.names)}
    then echo "-$name"; fi
done"""

    def judge(self, found: Reading) -> Finding:
        """In order when all are installed."""
        told = found.text.split()
        missing = [name for name in told if not name.startswith("-")]
        if not missing:
            return self.in_order()
        return self.absent(self._install(missing, [name[1:] for name in told if name.startswith("-")]))

    def _install(self, missing: Sequence[str], going: Sequence[str]) -> Change:
        words = " ".join(quote(name) for name in [*missing, *(f"{each}-" for each in going)])
        install = f"install {OPTIONS}{'' if going else ' --no-remove'} -- {words}"
        only = _ONLY_THESE_GO.format(simulated=f"{APT} -s {install}", going=either(going)) if going else ""
        return Change(
            summary=f"install {' '.join(missing)}" + f" in place of {' '.join(going)}" * bool(going),
            save=noting(self.leaves) + self._note(going),
            apply=(
                f"{APT} update >&2\n"
                f"{self._first()}"
                f"{only}"
                f"{APT} -s {install} | sed -n 's/^Inst \\([^ ]*\\) (.*/\\1/p' >\"$image/added.$index\"\n"
                # half an installation may be of what is depended on alone, and read as if nothing had been begun
                ': >"$image/open.$index"; sync -- "$image/added.$index" "$image/open.$index"\n'
                # an installation that was cut off is finished first, since apt refuses to do anything before
                f"{APT} {install} >&2 || {{ {CONFIGURE} >&2; {APT} {install} >&2; }}\n"
                f'{SEEN}rm -f -- "$image/open.$index"'
            ),
            undo=f'{CONFIGURE} >&2 || true\n{BROUGHT_REMAINS}{self._undo(going)}rm -f -- "$image/open.$index"',
            irreversible="the system users and groups that Debian's packages make stay when they are purged",
            diff="\n".join(
                [
                    *(f"- package {name}, which conflicts with what comes" for name in going),
                    *(f"+ package {name}, and what it depends on" for name in missing),
                ]
            ),
        )

    def _first(self) -> str:
        """Shell for what is to be seen to before anything is installed."""
        return ""

    def _note(self, going: Sequence[str]) -> str:
        """Shell that notes, beforehand, what makes way."""
        return _NOTE_GOING.format(going=" ".join(map(quote, going))) if going else ""

    def _undo(self, going: Sequence[str]) -> str:
        """Shell that takes away what came, and gives back what made way."""
        return f"{TAKE_AWAY}{_COME_BACK if going else ''}"


def either(names: Iterable[str]) -> str:
    """Words that have grep look for any of these."""
    return " ".join(f"-e {quote(name)}" for name in names)


def noting(leaves: Iterable[str]) -> str:
    """Shell that notes, beforehand, which of these paths are not there yet, and what lies there of other packages."""
    absent = "".join(f'[ -e {quote(path)} ] || echo {quote(path)} >>"$image/left.$index"\n' for path in leaves)
    return f': >"$image/added.$index"; : >"$image/left.$index"\n{absent}{NOTE_REMAINS}'
