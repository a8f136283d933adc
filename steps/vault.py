"""Where a run's data lies: `.runbook/` beside `sites.yaml`, for the admin's eyes only."""

from __future__ import annotations

import grp
import os
import pwd
from typing import TYPE_CHECKING

from runbook.script import embed, quote

if TYPE_CHECKING:
    from pathlib import Path

    from steps.network import Network, Site


class Vault:
    """Names the files of a network's data directory; reads what is there, writes nothing. One for a run."""

    def __init__(self, network: Network) -> None:
        """Name the files of `network`."""
        self.directory = network.directory / ".runbook"
        self.account_key = self.directory / "acme" / "account.key"
        self.not_renewed: set[str] = set()
        """The sites, or the controller for all of them, whose certificates stay as they are in this run."""
        self.not_given: set[str] = set()
        """The sites that this run could not give their certificates, nor the roots of the others'."""
        self.ca_key = self.directory / "authority" / "ca.key"
        self.ca_certificate = self.directory / "authority" / "ca.pem"

    def key(self, site: Site) -> Path:
        """The site's private key, PKCS#8 PEM."""
        return self.directory / "keys" / f"{site.name}.key"

    def csr(self, site: Site) -> Path:
        """The site's certificate signing request, PEM."""
        return self.directory / "csr" / f"{site.name}.csr.pem"

    def csr_der(self, site: Site) -> Path:
        """The same request, DER."""
        return self.directory / "csr" / f"{site.name}.csr.der"

    def certificate(self, site: Site) -> Path:
        """The site's certificate with the chain that the CA sent, PEM, leaf first."""
        return self.directory / "certificates" / f"{site.name}.pem"

    def renewal(self, site: Site) -> Path:
        """What is known of the renewal of the site's certificate."""
        return self.directory / "renewals" / f"{site.name}.json"


def read_if_there(path: Path) -> bytes | None:
    """A file's content, or None where there is none."""
    return path.read_bytes() if path.is_file() else None


def put(path: Path, content: bytes, mode: str) -> str:
    """Shell that writes a file of the vault, its directories for the owner's eyes only; the content is not shown."""
    name = quote(str(path))
    make = f"(umask 077; mkdir -p -- {quote(str(path.parent))})"
    return f"{make}\n{{ {embed(content)}}} | rb_put {name} {mode} {quote(owner())}"


def owner() -> str:
    """The present user and group, as `stat` names them."""
    return f"{pwd.getpwuid(os.geteuid()).pw_name}:{grp.getgrgid(os.getegid()).gr_name}"


def set_aside(path: Path | str) -> str:
    """Shell that undoes the making of something that must not be destroyed: it gets another name, once."""
    name = quote(str(path))
    return f'[ ! -e {name} ] || mv -nT -- {name} {name}".set-aside-$(date -u +%Y%m%dT%H%M%S%N)"'
