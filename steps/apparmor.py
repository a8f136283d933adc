"""AppArmor: what strongSwan may read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final

from runbook.resources.block import Block
from runbook.script import Reading, quote
from runbook.step import Part, Verdict
from steps.paths import CA_DIRECTORY, key_path, leaf_path
from steps.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.step import Finding

PROFILE: Final = "/etc/apparmor.d/usr.sbin.swanctl"
LOCAL: Final = "/etc/apparmor.d/local/usr.sbin.swanctl"
NEEDED: Final = "/etc/swanctl/** r,"
_BLOCK: Final = Block(LOCAL, f"{NEEDED}\n", f"apparmor_parser -r {PROFILE} >&2")
_OVERRIDE: Final = "override:"


class AppArmor(Section):
    """See to it that AppArmor, where it is in force, lets strongSwan read its keys, certificates and configuration.

    Everything of ours lies in /etc/swanctl, which Debian's profile of swanctl allows; swanctl hands it to the daemon,
    so the daemon's own profile does not matter. What counts is what the kernel enforces, so the kernel is asked, file
    by file. Only where it says no is a line added to the profile's local override, which a new version of the profile
    leaves alone.

        nano /etc/apparmor.d/local/usr.sbin.swanctl
        apparmor_parser -r /etc/apparmor.d/usr.sbin.swanctl

    To check by hand: `aa-status`, and `journalctl -k -g DENIED` after `swanctl --load-all`.

    What can go wrong: `swanctl --load-creds` reports success even when it was not let read a single file.
    """

    name: ClassVar[str] = "apparmor"
    title: ClassVar[str] = "AppArmor"
    needs: ClassVar[tuple[str, ...]] = ("strongswan",)

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - the same for every site
        """What swanctl may read of what this site needs."""
        site = self.site(target)
        files = [
            key_path(site),
            leaf_path(site),
            f"{CA_DIRECTORY}/ca.pem",
            *(f"/etc/swanctl/conf.d/{end.connection}.conf" for end in self.network.ends(site)),
        ]
        # swanctl lists these directories; a rule for what is in one does not let it.
        directories = dict.fromkeys(f"{file.rpartition('/')[0]}/" for file in files)
        return [Access(("/etc/swanctl/swanctl.conf", *directories, *files))]


_ALLOWED: Final = """\
aa=/sys/kernel/security/apparmor
# aa_allowed NAME PATH: what the profile in force allows with a file, a bit for each kind of access.
# This is libapparmor's aa_query_file_path(3): one write, one read; class 2 is files.
aa_allowed() {
    exec 3<>"$aa/.access"
    printf 'label\\000%s\\000\\002%s' "$1" "$2" >&3
    sed -n 's/^allow //p' <&3
}
profile=$(grep -l '/swanctl$' "$aa"/policy/profiles/*/attach 2>/dev/null | head -n 1)
profile=${profile%/attach}
"""

_MAY_READ: Final = 4
_NOT_CONFINING: Final = ("complain", "unconfined")


@dataclass(frozen=True)
class Access(Part):
    """Read access to files under the profile in force; an override only where the kernel denies it."""

    paths: tuple[str, ...]

    @property
    def key(self) -> str:
        """The profile."""
        return "AppArmor profile of swanctl"

    def probe(self) -> str:
        """How the profile in force is meant, what it allows with each path, and our lines in its override."""
        return f"""\
{_ALLOWED}
if [ ! -e "$aa/profiles" ]; then echo absent
elif [ -z "$profile" ]; then echo none
else
    cat "$profile/mode"
    for path in {self._words}; do
        printf '%s %s\\n' "$(aa_allowed "$(cat "$profile/name")" "$path")" "$path"
    done
    echo {_OVERRIDE}
    {_BLOCK.probe()}
fi"""

    def judge(self, found: Reading) -> Finding:
        """In order unless a profile that is enforced keeps swanctl from reading something."""
        told, _, override = found.text.partition(f"{_OVERRIDE}\n")
        mode, *answers = told.splitlines() or [""]
        if mode == "absent":
            return self.in_order("not on this host: its kernel has no AppArmor")
        if mode == "none":
            return self.in_order("no profile of swanctl is in force")
        if mode in _NOT_CONFINING:
            return self.in_order(f"the profile of swanctl is in force as `{mode}`: it keeps nothing from swanctl")
        allowed = {path: bits for bits, _, path in (line.partition(" ") for line in answers)}
        if set(allowed) != set(self.paths) or not all(allowed.values()):
            return self.unknown("the kernel does not say what it lets swanctl read: see `aa-status`")
        denied = [path for path in self.paths if not int(allowed[path], 16) & _MAY_READ]
        if not denied:
            return self.in_order("the profile in force lets swanctl read what it needs")
        return self._override(denied, override)

    def _override(self, denied: Sequence[str], there: str) -> Finding:
        """Our line, also where it is there: one that was written and never loaded changes nothing."""
        if (block := _BLOCK.judge(Reading(there))).verdict is Verdict.UNKNOWN:
            return self.unknown(block.note)
        change = _BLOCK.change(there)
        more = f" and {len(denied) - 1} more" * (len(denied) > 1)
        return self.drift(
            replace(
                change,
                summary=f"let swanctl read {denied[0]}{more}: {change.summary}",
                apply=f"{change.apply}\n{self._see}",
            )
        )

    @property
    def _see(self) -> str:
        """Shell that fails, with the reason, where the override has not been enough."""
        return f"""\
{_ALLOWED}
for path in {self._words}; do
    [ $(($(aa_allowed "$(cat "$profile/name")" "$path") & {_MAY_READ})) != 0 ] || {{
        echo "{PROFILE} still keeps swanctl from $path: it has a rule that denies it," \\
            "or no line 'include <local/usr.sbin.swanctl>'" >&2
        exit 1
    }}
done"""

    @property
    def _words(self) -> str:
        return " ".join(map(quote, self.paths))
