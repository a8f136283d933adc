"""The admin's own ipsec.conf, with the files that it includes: whether it is sound, and its sections for our tunnels.

Sections of one name are one connection to the starter, the later lines first, whichever file each stands in: one by
hand would go on within ours. And a tunnel goes on as it began: by the section that charon had then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runbook.resources.block import BEGIN, END
from runbook.resources.retired import RetiredLines
from runbook.script import quote
from runbook.step import Finding, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runbook.script import Reading

IPSEC_CONF: Final = "/etc/ipsec.conf"
_STARTER: Final = "/usr/lib/ipsec/starter"
_DEEPEST: Final = 9

SECTIONS: Final = f"""\
conf_files() {{  # FILE DEPTH: the file, and those that it includes
    [ -f "$1" ] && [ "$2" -le {_DEEPEST} ] || return 0
    printf '%s\\n' "$1"
    tr -d '\\r"' <"$1" | sed -n 's/^[[:space:]]*include[[:space:]][[:space:]]*\\([^=[:space:]#]*\\).*/\\1/p' |
        while read -r conf_each; do
            case $conf_each in /*) ;; *) conf_each=${{1%/*}}/$conf_each ;; esac
            # a pattern as sh(1) has it
            for conf_each in $conf_each; do conf_files "$conf_each" $(($2 + 1)); done
        done
}}
conf_sections() {{  # FILE:NAME of each section of a connection that is not of ours
    conf_files {IPSEC_CONF} 0 | sort -u | while read -r conf_each; do
        awk -v file="$conf_each" '
            $0 == "{BEGIN}" {{ ours = 1 }}
            !ours && /^conn[ \\t]/ {{ gsub(/"/, "", $2); if ($2 !~ /^(#|%default$)/) print file ":" $2 }}
            $0 == "{END}" {{ ours = 0 }}' "$conf_each"
    done
}}
"""
"""Shell: these two functions."""

FACTS: Final = f"""\
{SECTIONS}printf 'conf_sections=%s\\n' "$(conf_sections | grep -v '[[:space:]]' | sort -u | tr '\\n' ' ')"
"""
"""The fact `conf_sections`: FILE:NAME of each section that is not of ours."""


def connections(names: Iterable[str], facts: Mapping[str, str]) -> Sequence[Part]:
    """The sections for tunnels that are described from sites.yaml, wherever they are; first, what others have of them.

    A file that is not named any more has lost its section since.
    """
    found = [each.rpartition(":") for each in facts.get("conf_sections", "").split()]
    paths = {name: dict.fromkeys((IPSEC_CONF, *(path for path, _, of in found if of == name))) for name in names}
    return [part for name in paths for part in (Borrowed(name), *(_section(name, path) for path in paths[name]))]


def stands(connection: str) -> str:
    """Shell that succeeds where there is a section for it that is not of ours."""
    return f"( {SECTIONS}conf_sections | grep -q {quote(f':{connection}$')} )"


def _section(name: str, path: str) -> RetiredLines:
    return RetiredLines(
        path,
        f"connection {name} by hand",
        (
            ("", "the same tunnel is described from sites.yaml"),
            (r"subnet\s*=\s*(?:.*,)?\s*([^\s,]+)\s*,(?:.*,)?\s*\1\s*(?:,|$)", "a subnet is listed twice"),
            (r"^\s*keyingtries\s*=\s*1\s*$", "it is tried once, and then given up"),
        ),
        rf'if (/^conn[ \t]/) {{ conn = $2; gsub(/"/, "", conn) }} else if (/^([^ \t#]|[ \t]+include[ \t])/) conn = ""; '
        f'hit = conn == "{name}"',
    )


@dataclass(frozen=True)
class Borrowed(Part):
    """No section by hand that others take their settings from: these would become something else without it."""

    name: str

    @property
    def key(self) -> str:
        """The connection's name."""
        return f"what is also {self.name} in {IPSEC_CONF}"

    def probe(self) -> str:
        """Each section that says `also` of it, as long as it is there by hand."""
        return f"""\
{SECTIONS}conf_sections | grep -q {quote(f":{self.name}$")} || exit 0
conf_files {IPSEC_CONF} 0 | sort -u | while read -r each; do
    tr -d '\\r"' <"$each" | awk -v name={quote(self.name)} '
        /^conn[ \\t]/ {{ conn = $2 }}
        /^[ \\t]+also[ \\t]*=/ {{ sub(/^[ \\t]+also[ \\t]*=[ \\t]*/, ""); if ($1 == name) print conn }}'
done"""

    def judge(self, found: Reading) -> Finding:
        """In order where there is none."""
        others = found.text.split()
        if not others:
            return self.in_order()
        return self.unknown(
            f"{' and '.join(others)} would lose what `also = {self.name}` says, which is for the tunnel described from "
            f"sites.yaml: write the settings of {self.name} out there, and run this again"
        )


@dataclass(frozen=True)
class SoundConf(Part):
    """An ipsec.conf that its own reader takes: in one that is damaged nobody can tell what the admin meant."""

    @property
    def key(self) -> str:
        """The file."""
        return f"{IPSEC_CONF} as it is"

    def probe(self) -> str:
        """What the starter says against it, where there is one."""
        return f"""\
[ -x {_STARTER} ] && [ -f {IPSEC_CONF} ] || exit 0
said=$({_STARTER} --conftest 2>&1) && exit
printf '%s\\n' "$said" | grep -v 'config invalid' | head -n 1
if grep -q "$(printf '\\r')$" {IPSEC_CONF}; then echo 'its lines end in CR LF, as on Windows'; fi"""

    def judge(self, found: Reading) -> Finding:
        """In order where nothing is said."""
        said = "; ".join(line.strip() for line in found.text.splitlines() if line.strip())
        if not said:
            return self.in_order()
        return self.unknown(f"strongSwan's starter does not take it, so it is left alone: {said}")
