"""What `certificates` of `sites.yaml` says."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DIRECTORIES: Mapping[str, str] = MappingProxyType(
    {
        "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
        "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    },
)
"""The ACME directories (RFC 8555, section 7.1.1) that have a short name."""


@dataclass(frozen=True)
class Certificates:
    """Where the sites' certificates come from, and which roots the peers must chain to.

    `directory` is a key of `DIRECTORIES` or an https URL. `ca_bundle` holds the CAs to trust for the ACME server's own
    HTTPS (None: the system's). No `trust_anchors` means the built-in ISRG roots. `challenge_site` names the one site
    that serves everybody's challenges, the others redirecting to it; None: each serves its own.
    """

    directory: str
    contact: str
    agree_to_terms: bool
    ca_bundle: Path | None = None
    trust_anchors: tuple[Path, ...] = ()
    challenge_site: str | None = None

    @property
    def directory_url(self) -> str:
        """The URL of the ACME directory, whichever way it was given."""
        return DIRECTORIES.get(self.directory, self.directory)
