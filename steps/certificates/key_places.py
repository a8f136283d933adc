"""Where the sites' keys are made and kept: another place is a module with what `Place` lists, and its line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from steps.certificates import key_on_controller, key_on_host

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.step import Part
    from steps.network import Network, Site
    from steps.vault import Vault


class Place(Protocol):
    """A module that looks after the keys in one place."""

    @property
    def MEANING(self) -> str:  # noqa: N802 - a module's constant
        """Where the keys are by it, in a few words: for whoever chooses one."""

    def files(self, site: Site) -> Mapping[str, str]:
        """What it keeps on a site's host besides what strongSwan is given: for the reference."""

    def holders(self, network: Network) -> Sequence[str]:
        """The targets that have the keys, and so make the requests."""

    def keys(self, network: Network, vault: Vault, target: str) -> Sequence[Part]:
        """What a target should have of keys, the originals."""

    def requests(self, network: Network, vault: Vault, target: str) -> Sequence[Part]:
        """What a target should have of certificate requests; on the controller, for whoever sends them."""

    def fingerprint(self, vault: Vault, site: Site) -> str:
        """Which key a site's certificate must be for (`pki.public_fingerprint`); empty while there is none.

        Raises:
            CertificateError: It cannot be told.
        """

    def installed(self, vault: Vault, site: Site, path: str) -> Part | None:
        """The key where strongSwan looks for it; None while there is none."""


PLACES: Final[Mapping[str, Place]] = MappingProxyType(
    {
        "controller": key_on_controller,
        "host": key_on_host,
    },
)
"""By the name that `keys` of sites.yaml has for it; the first is the default."""


DEFAULT: Final = next(iter(PLACES))
MEANINGS: Final = {name: place.MEANING for name, place in PLACES.items()}


def place_of(network: Network) -> Place:
    """Where a network's keys are."""
    return PLACES[network.keys]
