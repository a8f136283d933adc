"""AppArmor: what strongSwan may read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final

from runbook.resources.block import Block
from runbook.script import Reading
from runbook.step import Finding, Part
from steps.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROFILE: Final = "/etc/apparmor.d/usr.sbin.swanctl"
LOCAL: Final = "/etc/apparmor.d/local/usr.sbin.swanctl"
NEEDED: Final = "/etc/swanctl/** r,"


class AppArmor(Section):
    """See to it that AppArmor, where it is in force, lets strongSwan read its keys, certificates and configuration.

    Everything of ours lies in /etc/swanctl, which Debian's profile of swanctl allows; swanctl hands it to the daemon,
    so the daemon's own profile does not matter. Only where the profile in force has been narrowed is a line added to
    its local override, which a new version of the profile leaves alone.

        nano /etc/apparmor.d/local/usr.sbin.swanctl
        apparmor_parser -r /etc/apparmor.d/usr.sbin.swanctl

    To check by hand: `aa-status`, and `journalctl -k -g DENIED` after `swanctl --load-all`.
    """

    name: ClassVar[str] = "apparmor"
    title: ClassVar[str] = "AppArmor"
    needs: ClassVar[tuple[str, ...]] = ("strongswan",)

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - the same for every site
        """What the profile allows."""
        return [Access(Block(LOCAL, f"{NEEDED}\n", f"apparmor_parser -r {PROFILE} >&2"))]


_STATE: Final = f"""\
if [ ! -e /sys/kernel/security/apparmor/profiles ]; then echo absent
elif [ ! -e {PROFILE} ]; then echo no-profile
elif grep -Eqs '^[[:space:]]*/etc/swanctl/\\*\\* +[a-z]*r[a-z]*,' {PROFILE}; then echo allows
else echo narrowed; fi
"""
_NOTES: Final = {
    "absent": "not on this host: its kernel has no AppArmor",
    "no-profile": "no profile of swanctl is in force",
    "allows": f"the profile allows {NEEDED}",
}


@dataclass(frozen=True)
class Access(Part):
    """Read access to /etc/swanctl under the profile in force; an override only where that lacks it."""

    override: Block

    @property
    def key(self) -> str:
        """The profile."""
        return "AppArmor profile of swanctl"

    def probe(self) -> str:
        """What the profile says, then our override."""
        return _STATE + self.override.probe()

    def judge(self, found: Reading) -> Finding:
        """In order with what was found, unless the profile has been narrowed."""
        state, _, block = found.text.partition("\n")
        if state != "narrowed":
            return self.in_order(_NOTES.get(state, state))
        return replace(self.override.judge(Reading(block)), key=self.key)
