"""Packages that came from one repository and are to be another's again: the distribution's, as a rule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from runbook.resources.package import APT, CONFIGURE, LEFT, OPTIONS, SEEN, TAKE_AWAY, Packages, noting
from runbook.resources.package_from import KEEP, NOTE, STAY, UNPACK, trying, words
from runbook.resources.remains import BROUGHT_REMAINS
from runbook.script import quote
from runbook.step import Change

if TYPE_CHECKING:
    from runbook.script import Reading
    from runbook.step import Finding

_ELSEWHERE: Final = """\
elsewhere() { # NAME URL: whether the version that is installed is to be had from another repository than that
    apt-cache policy "$1" 2>/dev/null | awk -v url="$2" '
        /^ (\\*\\*\\*|   ) [^ ]/ { ours = $1 == "***"; next }
        ours && $2 != url && $2 != "/var/lib/dpkg/status" { found = 1 }
        END { exit !found }'
}"""

_OTHERS: Final = f"""
rest=$image/rest.$index # apt's sources without that repository: it need not answer any more
rm -rf -- "$rest" && mkdir -- "$rest" && cp -a /etc/apt/sources.list.d/. "$rest" && rm -f -- "$rest/$source"
set -- -o "Dir::Etc::SourceParts=$rest" -o Dir::Cache::PkgCache= -o Dir::Cache::SrcPkgCache= \\
    -o APT::Get::List-Cleanup=false
{APT} "$@" update >&2
coming=$(for name in $wanted; do
    version=$(apt-cache "$@" madison "$name" | awk 'NR == 1 {{ print $3 }}')
    [ -n "$version" ] || {{ echo "Package $name has no installation candidate but in $origin" >&2; exit 1; }}
    echo "$name=$version"
done)
"""
"""The versions that the host's other repositories have."""

_INSTALL: Final = f"""
: >"$image/open.$index"
# shellcheck disable=SC2086 # a list of names
{APT} "$@" -s install {OPTIONS} --no-remove --allow-downgrades -- $coming |
    sed -n 's/^Inst \\([^ ]*\\) (.*/\\1/p' >"$image/added.$index"
sync -- "$image/added.$index" "$image/open.$index"
# shellcheck disable=SC2086 # the same
{APT} "$@" install {OPTIONS} --no-remove --allow-downgrades -- $coming >&2
stay
kept | while IFS= read -r path; do # what stayed need not be there twice
    ! cmp -s -- "$path" "$path.dpkg-dist" || rm -f -- "$path.dpkg-dist"
done
{SEEN}rm -rf -- "$rest" "$image/open.$index"
"""

_RETURN: Final = f"""
{APT} update >&2 || true
was=$(grep '=' "$image/gone.$index" | while read -r each; do
    there=$(apt-cache madison "${{each%%=*}}" | awk -v url="$origin" '$5 == url {{ print $3 }}')
    if printf '%s\\n' "$there" | grep -qxF -- "${{each#*=}}"; then echo "$each"
    else echo "${{each%%=*}}=$(printf '%s\\n' "$there" | head -n 1)"; fi
done)
configured() {{ # the configuration files of what came, and of what is there again
    # shellcheck disable=SC2086 # a list of names
    dpkg-query -W -f '${{Conffiles}}\\n' $names 2>/dev/null | awk '$1 ~ "^/" {{ print $1 }}'
}}
came=$(configured)
kept | while IFS= read -r path; do # as it is done by the change: dpkg replaces what is as it was delivered
    ! cmp -s -- "$image/conf.$index$path" "$path" || echo >>"$path"
done
# shellcheck disable=SC2086 # a list of names
{APT} install {OPTIONS} --allow-downgrades -- $was >&2
sed -n 's/ auto$//p' "$image/gone.$index" | xargs -r apt-mark auto >&2
{{ printf '%s\\n' "$came" && configured; }} | sed 'p; s/$/.dpkg-dist/' | grep -vxF -f "$image/etc.$index" |
    xargs -r rm -f --
grep -vxF -f "$image/remains.$index" "$image/added.$index" | while read -r name; do
    # its own script for that would take along what is another package's by now
    case $(dpkg-query -W -f '${{db:Status-Status}}' "$name" 2>/dev/null) in
        config-files)
            rm -f -- "/var/lib/dpkg/info/$name.postrm" && dpkg --purge -- "$name" >&2 </dev/null
            echo PURGE | debconf-communicate "$name" >/dev/null 2>&1 || true
            ;;
    esac
done
kept | while IFS= read -r path; do
    [ -e "$path" ] || cp -a -- "$image/conf.$index$path" "$path"
done
stay
{LEFT}"""
"""Installs what was there before, in its version where that is still to be had; what came goes, but for what stays."""


@dataclass(frozen=True)
class PackagesBack(Packages):
    """Packages that are not to be from the repository `origin` (a URL) any more, which the file `source` names.

    Files that stand in the configuration stay as they are. Rollback gives back what was installed before.
    """

    origin: str = ""
    source: str = ""
    brings: tuple[str, ...] = ()
    """Packages that come with them and have configuration of their own."""
    trial: str = ""
    """Shell that looks whether the host can do with what would come, and fails where it cannot: `unpack` gives that."""

    def probe(self) -> str:
        """The names of those that are not installed, or that no other repository has so, a line each."""
        return f"""\
{_ELSEWHERE}
for name in {" ".join(map(quote, self.names))}; do
    if [ "$(dpkg-query -W -f '${{db:Status-Status}}' "$name" 2>/dev/null)" != installed ]; then echo "$name"
    elif ! elsewhere "$name" {quote(self.origin)}; then echo "=$name"; fi
done"""

    def judge(self, found: Reading) -> Finding:
        """In order when all are installed, and another repository has them so."""
        told = found.text.split()
        if not told:
            return self.in_order()
        names = " ".join(self.names)
        change = Change(
            summary=f"install {names} from the host's other repositories, in place of that from {self.origin}",
            save=f"{self._words()}fills=\n{NOTE}{noting(self.leaves)}",
            apply=f"{self._words()}{_OTHERS}{UNPACK}{trying(self.trial, '$coming')}{STAY}{KEEP}{_INSTALL}",
            undo=(
                f"{CONFIGURE} >&2 || true\n{BROUGHT_REMAINS}{self._words()}{STAY}"
                f'if grep -qs "=" "$image/gone.$index"; then\n{_RETURN}else\n{TAKE_AWAY}fi\n'
                'rm -rf -- "$image/rest.$index" "$image/open.$index"'
            ),
            irreversible="the system users and groups that Debian's packages make stay when they are purged",
            diff="\n".join(
                [
                    *(f"- package {name} of {self.origin}" for name in self.names if f"={name}" in told),
                    *(f"+ package {name} of the host's other repositories" for name in self.names),
                ]
            ),
        )
        moved = any(name.startswith("=") for name in told)
        return self.drift(change, f"it comes from {self.origin}") if moved else self.absent(change)

    def _words(self) -> str:
        source = PurePosixPath(self.source).name
        names = words("names", (*self.names, *self.brings))
        return f"\n{words('wanted', self.names)}{names}origin={quote(self.origin)}\nsource={quote(source)}\n"
