"""IPsec installation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from runbook.resources.package import Packages
from runbook.resources.service import Masked, Service
from steps import inherited
from steps.section import Section
from steps.styles import others, style_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.step import Part


class IpsecInstallation(Section):
    """Install strongSwan, which makes the tunnel. It agrees on keys with the other end; the kernel encrypts by them.

    The modern daemon is used (charon-systemd, configured by swanctl); the legacy starter, which would fight it for UDP
    port 500, is masked.

        apt-get install charon-systemd strongswan-swanctl libstrongswan-standard-plugins libstrongswan-extra-plugins
        systemctl mask strongswan-starter.service

    To check by hand: `systemctl status strongswan` and `swanctl --stats`.

    What can go wrong: another IKE daemon (libreswan, the legacy starter) holds the port: `ss -lunp sport = :500`.
    """

    name: ClassVar[str] = "strongswan"
    title: ClassVar[str] = "IPsec installation"

    facts: ClassVar[str] = inherited.OTHER_DAEMON

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """The packages, the daemon running, the legacy one never."""
        if other := inherited.other_daemon(facts):
            return other
        style = style_of(self.site(target))
        rivals = tuple(each.packages[0] for each in others(style))
        return [
            inherited.SoundConf(),
            # before the packages, or the new daemon starts without the port that the old one holds; and rollback has
            # the package again before it starts the daemon
            *(Masked(each.unit, "two daemons would fight for UDP port 500") for each in others(style)),
            Packages((*style.packages, *self.network.ipsec.extra_packages), rivals=rivals),
            Service(style.unit),
        ]
