"""What charon has loaded: asked of charon, never inferred from a file that was written for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from runbook.script import quote
from runbook.step import Change, Finding, Part
from steps.ipsec.authorities import REMOVED, ca_name
from steps.ipsec.style import OUR_CA_FILES
from steps.ipsec.vici import selector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook.script import Reading
    from steps.ipsec.style import Style, Wanted
    from steps.network import End

TABLE: Final = 220
"""The routing table of charon's own routes (strongswan.conf(5), charon.routing_table)."""
UNSOURCED: Final = "no source address in the private network for what goes to"
"""A route loses its source when that address is removed, and does not get it back with it."""
UNTRAPPED: Final = "charon does not wait for the first packet"
"""Loading succeeds without it: where the other end's name did not resolve just then, nothing tries again. And a tunnel
of before has charon wait as it did before, when it is closed (close_action, trap_manager.c)."""
BY_HAND: Final = "the tunnel that stands goes by a connection of the same name, by hand"
"""It would go on as it began, by what the admin had written, and ours would never be used."""


@dataclass(frozen=True)
class LoadedConnection(Part):
    """What charon runs of a connection is what its file and its certificates say."""

    style: Style
    end: End
    path: str
    wanted: Wanted = field(repr=False)
    follows: tuple[str, ...] = ()
    certificates_only: bool = False
    """A renewal's view: what else differs waits for an apply, and a daemon that has nothing loaded will load all."""

    @property
    def key(self) -> str:
        """The connection's name."""
        return f"loaded connection {self.end.connection}"

    def probe(self) -> str:
        """Our connection as the daemon lists it, which of our certificates it holds, and whether it has read its files.

        Nothing that others have loaded is printed: what they change is not a change of ours. A journal that does not
        reach back to the files' last change (one is vacuumed) cannot tell whether they have been read since.
        """
        style, name, path = self.style, self.end.connection, quote(self.path)
        remote = " ".join(f"-{each.version},{each}" for each in self.end.remote_ts)
        kept = "|".join(quote(ca_name(each)) for each in self.wanted.authorities) or "-"
        ours = " ".join(f"-e {style.mark(each)}" for each in (self.wanted.leaf, *self.wanted.authorities))
        return f"""\
command -v {style.program} >/dev/null || {{ echo 'not installed'; exit 0; }}
{{ {style.view(name)}; }} || {{ echo 'not running'; exit 0; }}
echo --
{{ {style.held}; }} | grep -F {ours} | sort -u
for file in {quote(style.ca_directory)}/{OUR_CA_FILES}; do
    case "${{file##*/}}" in {kept}) ;; *) [ ! -e "$file" ] || printf '%s stale\\n' "${{file##*/}}" ;; esac
done
echo --
for there in {remote}; do
    ip "${{there%,*}}" route show table {TABLE} "${{there#*,}}"
done | grep -v ' src ' | cut -d' ' -f1,3
echo --
{style.trapped(name)}
echo --
if {style.by_hand(name)} && {style.numbers(name)} | grep -q .; then echo 'by hand'; fi
echo --
[ -e {path} ] || {{ echo 'no file'; exit 0; }}
changed=$(stat -c %.Z {path} {REMOVED} 2>/dev/null | sort -n | tail -n 1)
{{ journalctl -q -b --system -o short-unix 2>/dev/null | head -n 1
journalctl -q -b {style.journal} -o short-unix -g {quote(f"({style.loading(name)})$")} -n 1; }} |
    awk -v changed="$changed" '{{ told = told || $1 <= changed; read = NR > 1 && $1 >= changed }}
        END {{ print read ? "current" : told ? "stale" : "not told" }}'"""

    def judge(self, found: Reading) -> Finding:
        """In order when charon lists all as wanted, and has read the file since its last change."""
        problems = self._problems(found.text)
        if not problems:
            return self.in_order(f"not loaded: `start: {self.end.start}`" if self._ignored else "")
        absent = problems[0].startswith("charon ")
        change = self._load(problems)
        return self.absent(change) if absent else self.drift(change)

    def again(self, found: Reading) -> Finding:
        """The file is about to change, so charon must load it."""
        return self.drift(self._load(self._problems(found.text) or ["its file changes"]))

    @property
    def _ignored(self) -> bool:
        return self.end.start == "ignore"

    def _problems(self, text: str) -> list[str]:
        last = text.rstrip().rpartition("\n")[2]
        if last in {"not installed", "not running"}:
            return [] if self.certificates_only else [f"charon is {last}"]
        viewed, held, routes, trapped, by_hand, file = text.split("--\n")
        differences = self.style.differences(self.end, self.wanted, viewed)
        if self.certificates_only:
            kept = "".join(line for line in held.splitlines(keepends=True) if not line.endswith(" stale\n"))
            return [] if differences is None else [*self._missing(kept), *self._unread(file)]
        if self._ignored:
            return [] if differences is None else [f"charon has loaded {self.end.connection}, which it is to ignore"]
        replaced = [BY_HAND] if by_hand.strip() else []
        if differences is None:
            return [f"charon has not loaded {self.end.connection}", *replaced]
        untrapped = [] if differences else self._untrapped(trapped)
        unsourced = [f"{UNSOURCED} {each}" for each in self._unsourced(routes)]
        return [*differences, *self._missing(held), *self._unread(file), *untrapped, *unsourced, *replaced]

    def _untrapped(self, trapped: str) -> list[str]:
        """What is amiss with the trap of a connection that is loaded as wanted."""
        if self.end.start != "trap":
            return []
        sides = [frozenset(map(selector, side.split())) for side in trapped.split("===")]
        if sides == [frozenset(map(str, side)) for side in (self.end.local_ts, self.end.remote_ts)]:
            return []
        return [f"{UNTRAPPED}{f', but for one of an earlier sites.yaml: {trapped.strip()}' if trapped.strip() else ''}"]

    def _unread(self, file: str) -> list[str]:
        return ["charon has not read its files since they were changed"] if file.strip() == "stale" else []

    def _unsourced(self, routes: str) -> list[str]:
        """Where routes lead that should have a source, and have none.

        Where charon does ESP itself, its route for what a hub passes on has none, and takes the place of the hub's own.
        """
        passes_on = self.end.network.beyond(self.end.link, self.end.here)
        return [each.split()[0] for each in routes.splitlines() if not (passes_on and each.endswith(" ipsec0"))]

    def _missing(self, listing: str) -> list[str]:
        """The certificates that charon does not hold, and those that it is not to hold any more, in words."""
        held = dict(line.split(" ") for line in listing.splitlines())
        leaf = held.get(self.style.mark(self.wanted.leaf))
        own = []
        if leaf is None:
            own = [f"charon has not loaded the certificate of {self.end.here.fqdn}"]
        elif leaf != "key":
            own = [f"charon has no private key for the certificate of {self.end.here.fqdn}"]
        missing = [each for each in self.wanted.authorities if self.style.mark(each) not in held]
        return [
            *own,
            *(f"charon has not loaded the CA certificate {each.subject.rfc4514_string()}" for each in missing),
            *(f"charon is to forget the CA certificate of {name}" for name, what in held.items() if what == "stale"),
        ]

    def _load(self, problems: Sequence[str]) -> Change:
        name = self.end.connection
        anew = any(each.startswith((UNTRAPPED, UNSOURCED)) for each in problems)
        by_hand = BY_HAND in problems
        as_the_file_says = self._as_the_file_says(by_hand=by_hand)
        apply = as_the_file_says if self._ignored or by_hand else self.style.load(name)
        return Change(
            summary=f"have charon {'forget' if self._ignored else 'load'} {name}: {problems[0]}",
            apply=apply + (self._make_routes_anew(up=not by_hand) if anew else ""),
            settle=f"if systemctl is-active --quiet {self.style.unit}; then\n{as_the_file_says}\nfi",
            diff="\n".join([*(f"! {problem}" for problem in problems), f"! charon reads {self.style.reads_anew} anew"]),
        )

    def _as_the_file_says(self, *, by_hand: bool) -> str:
        """Shell that loads; what charon then knows no more, or knows otherwise, must not go on carrying traffic."""
        name = self.end.connection
        known = "false" if by_hand else f"{{ {self.style.view(name)}; }} | grep -q ."
        return f"{self.style.load(name)}\n{known} || {self.style.down(name)} >&2 || true"

    def _make_routes_anew(self, *, up: bool) -> str:
        """Shell for what loading does not do, nor does an address that comes back."""
        name = self.end.connection
        lines = [f"{self.style.down(name)} >&2 || true"]
        lines += [self.style.trap(name)] if self.end.start == "trap" else []
        lines += [f"{{\n{self.style.up(name)}\n}} >&2 || true"] if up and self.end.start in {"trap", "start"} else []
        return "\n" + "\n".join(lines)
