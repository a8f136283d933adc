"""Where swanctl looks on a host, and what our files there are called (swanctl(8), FILES)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from steps.network import Site

CA_DIRECTORY: Final = "/etc/swanctl/x509ca"
OUR_CA_FILES: Final = f"{CA_DIRECTORY}/ipsec-runbook-*.pem"
"""A pattern: an admin's own files there are not of this form."""


def key_path(site: Site) -> str:
    """The site's private key."""
    return f"/etc/swanctl/private/{site.fqdn}.key"


def leaf_path(site: Site) -> str:
    """The site's certificate, alone."""
    return f"/etc/swanctl/x509/{site.fqdn}.pem"
