"""Upgrading what is installed, before anything is added to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from runbook.resources.reboot import Reboot
from runbook.resources.upgrade import PackageLists, Upgrades
from steps.firewalls import firewall
from steps.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.step import Part


class Upgrade(Section):
    """Offer to upgrade each host's packages, and the reboot where that needs one. Nothing else waits for it.

    A host that has not been upgraded for long gets its daemons twice: now as they were, and later as they are. The
    answer is no unless you say yes, here or by `--upgrade` and `--reboot`, since an upgrade cannot be taken back and a
    reboot interrupts whatever else the host does. Hosts are rebooted one after the other, each waited for until it is
    back with another boot id; then it is read anew and the run goes on. None is offered where the firewall rules that
    the boot loads would turn away your next log-in. By hand:

        apt-get update && apt-get dist-upgrade
        test -e /run/reboot-required && reboot

    To check by hand: `apt-get -s dist-upgrade` lists nothing to install; `uname -r` names the newest kernel of
    `ls /boot/vmlinuz-*`.

    What can go wrong: a host that does not come back is to be looked at on its console; the run stops for that host
    and says so after ten minutes. Files of the admin's that a package has a new version of stay as the admin has them.
    """

    name: ClassVar[str] = "upgrade"
    title: ClassVar[str] = "Upgrading the hosts"

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - the same everywhere
        """The lists, what is newer by them, and the reboot."""
        return [PackageLists(), Upgrades(), Reboot(firewall.way_in(facts))]
