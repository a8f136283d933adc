"""The running nginx: what it has loaded, and what it would make of a new file of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runbook.errors import StepError
from runbook.script import quote
from runbook.step import Change, Finding, Part
from steps import catalogue

if TYPE_CHECKING:
    from runbook.script import Reading


ETC: Final = "/etc/nginx/"


def judged_in_place(path: str, without: str = "") -> str:
    """Shell that judges the whole configuration on a copy with the new file `$new` at `path`, and `without` gone."""
    gone = f' && rm -f -- "$copy/{without.removeprefix(ETC)}"' if without else ""
    return f"""\
copy=$(mktemp -d /run/ipsec-runbook.XXXXXX) && cp -a /etc/nginx/. "$copy"/ &&
    cp -- "$new" "$copy/{path.removeprefix(ETC)}"{gone} &&
    sed -i "s,/etc/nginx/,$copy/,g" "$copy/nginx.conf" && nginx -t -q -c "$copy/nginx.conf"
judged=$?
rm -rf -- "$copy"
[ "$judged" = 0 ]"""


TAKES_WHAT_STANDS: Final = """\
if [ -e /etc/nginx/nginx.conf ]; then
    # shellcheck disable=SC2086 # a list of names
    unpack "$@" $coming
    # one whose syntax is ok wants directories and libraries, which come with it
    said=$("$tried/usr/sbin/nginx" -t -c /etc/nginx/nginx.conf 2>&1) || case $said in
        *'syntax is ok'* | *'shared libraries'*) ;;
        *)
            printf '%s\\n' "$said" 'the nginx that would come refuses the configuration that is there' >&2
            exit 1
            ;;
    esac
fi
"""
"""Shell that fails where the nginx that would come does not take the configuration of the one that serves."""

_SAME: Final = """\
[ "$(readlink "/proc/$(cat /run/nginx.pid 2>/dev/null)/exe")" = "$(readlink -f "$(command -v nginx)")" ]"""
"""Whether the nginx that runs is the one that is installed."""

_LOADED: Final = """\
command -v nginx >/dev/null || { echo 'not installed'; exit 0; }
master=$(cat /run/nginx.pid 2>/dev/null)
[ -n "$master" ] || { echo 'not running'; exit 0; }
nginx -t -q 2>/dev/null || { echo 'invalid configuration'; exit 0; }
@SAME || { echo 'that of an nginx which is installed no more'; exit 0; }
newest=$(for file; do stat -L -c %.Z "$file" 2>/dev/null || :; done | sort -n | tail -n 1)
boot=$(for _ in 1 2 3; do
    read -r up _ </proc/uptime; now=$(date +%s.%N); read -r later _ </proc/uptime
    echo "$up $now $later"
done | awk 'NR == 1 || $3 - $1 < least { least = $3 - $1; boot = $2 - $1 } END { printf "%.2f", boot }')
tr ' ' '\\n' <"/proc/$master/task/$master/children" | while read -r pid; do
    # one that is on its way out has told so, or has no words left
    case $(tr '\\000' ' ' <"/proc/$pid/cmdline" 2>/dev/null) in *'shutting down'*|'') continue ;; esac
    sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f20
done | sort -n | head -n 1 | awk -v boot="$boot" -v hz="$(getconf CLK_TCK)" -v newest="${newest:-0}" '
    { started = boot + $1 / hz }
    END { print (NR && started >= newest) ? "current" : "stale" }'""".replace("@SAME", _SAME)
"""The running workers' start beside the last change of the files that they should have read (proc(5), stat(1)).
A change time, not a modification time: a file put back by rollback keeps its old modification time. The two clocks are
read together, and the closest of three readings counts: on a busy host much time can pass between them."""


@dataclass(frozen=True)
class NginxLoaded(Part):
    """What the running nginx has loaded is what its files say."""

    files: tuple[str, ...]
    """What it must have read since it was changed."""
    follows: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The daemon."""
        return "nginx's loaded configuration"

    def probe(self) -> str:
        """Whether the workers are younger than the configuration."""
        return f"set -- {' '.join(map(quote, self.files))}\n{_LOADED}"

    def judge(self, found: Reading) -> Finding:
        """In order when they are."""
        state = found.text.strip()
        if state == "current":
            return self.in_order()
        if state == "invalid configuration":
            return self.unknown(StepError(catalogue.NGINX_REFUSES))
        change = self._load(state)
        return self.absent(change) if state.startswith("not ") else self.drift(change)

    def again(self, found: Reading) -> Finding:
        """The files are about to change, so it must load them."""
        return self.drift(self._load(found.text.strip()))

    def _load(self, state: str) -> Change:
        current = f'[ "$( ( {self.probe()}\n) )" = current ]'
        load = f"if {_SAME}; then systemctl reload nginx.service; else systemctl restart nginx.service; fi >&2"
        wait = f"for _ in 1 2 3 4 5 6 7 8 9 10; do ! {current} || exit 0; sleep 0.3; done\nexit 1"
        return Change(
            summary=f"load the configuration (it is {state})",
            apply=f"nginx -t -q\n{load}\n{wait}",
            settle=f"if systemctl is-active --quiet nginx.service; then\n{load}\nfi",
        )
