"""AppArmor: what strongSwan may read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final

from runbook.resources.block import Block
from runbook.script import Reading, quote
from runbook.step import Part, Verdict
from steps.ipsec.styles import style_of
from steps.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.step import Finding
    from steps.ipsec.style import Confined

_OVERRIDE: Final = "override:"


class AppArmor(Section):
    """Let strongSwan read its files under AppArmor. AppArmor keeps programs from files that they have no need of.

    Everything of ours lies in /etc/swanctl, which Debian's profile of swanctl allows; swanctl hands it to the daemon,
    so the daemon's own profile does not matter. With `config: stroke` the daemon itself reads its key in /etc/ssl,
    which its profile does not allow. What counts is what the kernel enforces, so the kernel is asked, file by file.
    Only where it says no are lines added to the profile's local override, which a new version of the profile leaves
    alone.

        nano /etc/apparmor.d/local/usr.sbin.swanctl                 (or usr.lib.ipsec.charon)
        apparmor_parser -r /etc/apparmor.d/usr.sbin.swanctl

    To check by hand: `aa-status`, and `journalctl -k -g DENIED` after `swanctl --load-all`.

    What can go wrong: `swanctl --load-creds` and `ipsec rereadall` report success even when not a single file was read.
    """

    name: ClassVar[str] = "apparmor"
    title: ClassVar[str] = "AppArmor"
    needs: ClassVar[tuple[str, ...]] = ("strongswan",)

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - the same for every site
        """What strongSwan's programs may read of what this site needs."""
        site = self.site(target)
        return [Access(each) for each in style_of(site).confined(site, self.network.ends(site))]


_ALLOWED: Final = """\
aa=/sys/kernel/security/apparmor
# aa_allowed NAME PATH: what the profile in force allows with a file, a bit for each kind of access.
# This is libapparmor's aa_query_file_path(3): one write, one read; class 2 is files.
aa_allowed() {
    exec 3<>"$aa/.access"
    printf 'label\\000%s\\000\\002%s' "$1" "$2" >&3
    sed -n 's/^allow //p' <&3
}
"""

_MAY_READ: Final = 4
_NOT_CONFINING: Final = ("complain", "unconfined")


@dataclass(frozen=True)
class Access(Part):
    """Read access to files under the profile in force; an override only where the kernel denies it."""

    confined: Confined

    @property
    def paths(self) -> tuple[str, ...]:
        """What is to be read."""
        return self.confined.paths

    @property
    def name(self) -> str:
        """The program's name."""
        return self.confined.program.rpartition("/")[2]

    @property
    def profile(self) -> str:
        """The profile's file, as AppArmor's packages name them after the program."""
        return f"/etc/apparmor.d/{self.confined.program.strip('/').replace('/', '.')}"

    @property
    def local(self) -> str:
        """The file beside it that is the admin's, and that a new version of the profile leaves alone."""
        return f"/etc/apparmor.d/local/{self.profile.rpartition('/')[2]}"

    @property
    def key(self) -> str:
        """The profile."""
        return f"AppArmor profile of {self.name}"

    def probe(self) -> str:
        """How the profile in force is meant, what it allows with each path, and our lines in its override."""
        return f"""\
{self._allowed}
if [ ! -e "$aa/profiles" ]; then echo absent
elif [ -z "$profile" ]; then echo none
else
    cat "$profile/mode"
    for path in {self._words}; do
        printf '%s %s\\n' "$(aa_allowed "$(cat "$profile/name")" "$path")" "$path"
    done
    echo {_OVERRIDE}
    {self._block.probe()}
fi"""

    def judge(self, found: Reading) -> Finding:
        """In order unless a profile that is enforced keeps the program from reading something."""
        told, _, override = found.text.partition(f"{_OVERRIDE}\n")
        mode, *answers = told.splitlines() or [""]
        if mode == "absent":
            return self.in_order("not on this host: its kernel has no AppArmor")
        if mode == "none":
            return self.in_order(f"no profile of {self.name} is in force")
        if mode in _NOT_CONFINING:
            return self.in_order(f"the profile of {self.name} is in force as `{mode}`: it keeps nothing from it")
        allowed = {path: bits for bits, _, path in (line.partition(" ") for line in answers)}
        if set(allowed) != set(self.paths) or not all(allowed.values()):
            return self.unknown(f"the kernel does not say what it lets {self.name} read: see `aa-status`")
        denied = [path for path in self.paths if not int(allowed[path], 16) & _MAY_READ]
        if not denied:
            return self.in_order(f"the profile in force lets {self.name} read what it needs")
        return self._override(denied, override)

    def _override(self, denied: Sequence[str], there: str) -> Finding:
        """Our lines, also where they are there: what was written and never loaded changes nothing."""
        if (block := self._block.judge(Reading(there))).verdict is Verdict.UNKNOWN:
            return self.unknown(block.note)
        change = self._block.change(there)
        more = f" and {len(denied) - 1} more" * (len(denied) > 1)
        return self.drift(
            replace(
                change,
                summary=f"let {self.name} read {denied[0]}{more}: {change.summary}",
                apply=f"{change.apply}\n{self._see}",
            )
        )

    @property
    def _block(self) -> Block:
        lines = "".join(f"{each}\n" for each in self.confined.rules)
        return Block(self.local, lines, f"apparmor_parser -r {self.profile} >&2")

    @property
    def _see(self) -> str:
        """Shell that fails, with the reason, where the override has not been enough."""
        return f"""\
{self._allowed}
for path in {self._words}; do
    [ $(($(aa_allowed "$(cat "$profile/name")" "$path") & {_MAY_READ})) != 0 ] || {{
        echo "{self.profile} still keeps {self.name} from $path: it has a rule that denies it," \\
            "or no line 'include <{self.local.removeprefix("/etc/apparmor.d/")}>'" >&2
        exit 1
    }}
done"""

    @property
    def _allowed(self) -> str:
        return (
            f"{_ALLOWED}profile=$(grep -l '/{self.name}$' \"$aa\"/policy/profiles/*/attach 2>/dev/null | head -n 1)\n"
            "profile=${profile%/attach}\n"
        )

    @property
    def _words(self) -> str:
        return " ".join(map(quote, self.paths))
