"""Where certificates come from: another source is a module with what `Source` lists, and its line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from steps.certificates import acme_source, private_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cryptography import x509

    from runbook.step import Part
    from runbook.target import Target
    from steps.certificates.renewals import Suggestion
    from steps.network import Network, Site
    from steps.vault import Vault


class Source(Protocol):
    """A module that has certificates issued for the sites' requests."""

    @property
    def MEANING(self) -> str:  # noqa: N802 - a module's constant
        """Where the certificates come from by it, in a few words: for whoever chooses one."""

    @property
    def SECTION(self) -> str:  # noqa: N802 - same
        """The section of sites.yaml that it cannot do without, `certificates`; empty where there is none."""

    @property
    def OVER_HTTP(self) -> bool:  # noqa: N802 - same
        """Whether the authority asks each site's web server for a proof."""

    @property
    def COST(self) -> str:  # noqa: N802 - same
        """What having a certificate issued costs that no rollback gives back; empty where it costs nothing."""

    def files(self, vault: Vault) -> Mapping[Path, str]:
        """What it keeps on the controller besides the certificates: for the reference."""

    def parts(self, network: Network, vault: Vault) -> Sequence[Part]:
        """What must be here, on the controller, before it can issue."""

    def anchors(self, network: Network, vault: Vault) -> Sequence[x509.Certificate]:
        """The roots that its certificates must chain to; none while they are not known."""

    def settled(self, network: Network, vault: Vault) -> bool:
        """Whether those roots stay: they are known, and nothing here is about to make them anew."""

    def standing(self, vault: Vault) -> str:
        """How long what is here of it lives, in words; empty where there is nothing."""

    def issued(self, vault: Vault, leaf: x509.Certificate) -> bool:
        """Whether a certificate is known to be of this source, by its signature."""

    def offer(self, network: Network, site: Site) -> str:
        """What it would do to issue one for a site, in words."""

    def issue(
        self, network: Network, vault: Vault, site: Site, hosts: Mapping[str, Target], replaced: x509.Certificate | None
    ) -> bytes:
        """Have the site's request answered: PEM, the leaf and all that came with it; raises RunbookError."""

    def suggestion(self, network: Network, vault: Vault, leaf: x509.Certificate) -> Suggestion | None:
        """When the authority would have a certificate renewed, by its own word; raises RunbookError."""


SOURCES: Final[Mapping[str, Source]] = MappingProxyType(
    {
        "acme": acme_source,
        "private": private_source,
    },
)
"""By the name that `certificate_authority` of sites.yaml has for it; the first is the default."""


DEFAULT: Final = next(iter(SOURCES))
MEANINGS: Final = {name: source.MEANING for name, source in SOURCES.items()}


def source_of(network: Network) -> Source:
    """Where a network's certificates come from."""
    return SOURCES[network.certificate_authority]
