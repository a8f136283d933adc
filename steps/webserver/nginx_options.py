"""What `nginx` of `sites.yaml` says."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORIES: Mapping[str, str] = MappingProxyType(
    {
        "debian": "",
        "nginx.org": "https://nginx.org/packages/mainline/debian",
    },
)
"""The repositories that have a short name (https://nginx.org/en/linux_packages.html#Debian); the first is the default,
and is what the host has anyway."""
SIGNING_KEY = "https://nginx.org/keys/nginx_signing.key"
FINGERPRINTS = (
    "573BFD6B3D8FBC641079A6ABABF5BD827BD9BF62",
    "8540A6F18833A80E9C1653A42FD21310B49F6B46",
    "9E9BE90EACBCDE69FE9B204CBCDCD8A38D88A2B3",
)
"""nginx.org's three keys (https://nginx.org/en/pgp_keys.html)."""


@dataclass(frozen=True)
class Nginx:
    """Where the hosts get nginx from: `repository` is a key of `REPOSITORIES` or a URL.

    Of a repository that is not Debian's, `signing_key` is the URL of the keys that sign it, all of which must have one
    of `fingerprints`.
    """

    repository: str = next(iter(REPOSITORIES))
    signing_key: str = SIGNING_KEY
    fingerprints: tuple[str, ...] = FINGERPRINTS

    @property
    def url(self) -> str:
        """The repository's URL, whichever way it was given; empty for Debian's."""
        return REPOSITORIES.get(self.repository, self.repository)


DEBIANS = Nginx()
"""What is meant where nothing is said."""
