"""IPsec installation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from runbook.resources.package import Packages
from runbook.resources.service import Masked, Service
from steps import inherited
from steps.ipsec.charon_settings import charon_settings
from steps.ipsec.conf_by_hand import SoundConf
from steps.ipsec.started_by_hand import StartedByHand
from steps.ipsec.styles import others, style_of
from steps.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.step import Part


class IpsecInstallation(Section):
    """Install strongSwan, which makes the tunnel. It agrees on keys with the other end; the kernel encrypts by them.

    Debian has it in two shapes. The modern daemon (charon-systemd) is configured by swanctl, and is the default; with
    `config: stroke`, for all sites or for one, it is charon under the legacy starter, configured by ipsec.conf as in
    the article. Both would fight for UDP port 500, so the other one is masked; where the packages conflict (Debian 13),
    it makes way. A host goes from one to the other by an apply, during which its tunnels are down.

        apt-get install charon-systemd strongswan-swanctl libstrongswan-standard-plugins libstrongswan-extra-plugins
        systemctl mask --now strongswan-starter.service

        apt-get install strongswan-charon strongswan-starter libstrongswan-standard-plugins libstrongswan-extra-plugins
        systemctl mask --now strongswan.service

    To check by hand: `systemctl status strongswan` and `swanctl --stats`; or `systemctl status strongswan-starter` and
    `ipsec statusall`.

    What can go wrong: another IKE daemon (libreswan) holds the port: `ss -lunp sport = :500`. A strongSwan that was
    started by hand (`ipsec restart`) holds it, too: it is stopped, for its unit to start it.
    """

    name: ClassVar[str] = "strongswan"
    title: ClassVar[str] = "IPsec installation"

    facts: ClassVar[str] = inherited.OTHER_DAEMON

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """The packages, the daemon running, the other one never."""
        if other := inherited.other_daemon(facts):
            return other
        style = style_of(self.site(target))
        settings, loaded = charon_settings(style.unit)
        rivals = tuple(each.packages[0] for each in others(style))
        return [
            SoundConf(),
            StartedByHand(),
            settings,  # before the daemon that reads it
            # before the packages, or the new daemon starts without the port that the old one holds; and rollback has
            # the package again before it starts the daemon
            *(Masked(each.unit, "two daemons would fight for UDP port 500") for each in others(style)),
            Packages((*style.packages, *self.network.ipsec.extra_packages), rivals=rivals),
            Service(style.unit),
            loaded,
        ]
