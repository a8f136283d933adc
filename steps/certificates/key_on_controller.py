"""Keys made and kept on the controller, as in the article: each is copied to its host, over SSH alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from runbook.errors import StepError
from runbook.resources.file import File
from runbook.script import quote
from runbook.step import CONTROLLER, Finding, Later, Part
from steps import catalogue, pki
from steps.certificates import certificate_request, key_on_host
from steps.certificates.private_key import PrivateKey
from steps.ipsec.styles import style_of
from steps.vault import owner, read_if_there

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runbook.script import Reading
    from runbook.target import Target
    from steps.network import Network, Site
    from steps.vault import Vault


MEANING: Final = "made here, and copied to the hosts"
_FILES: Final = {"keys": ".key", "certificates": ".pem", "renewals": ".json"}
"""What is kept of a site here under its name, and cannot be made anew at no cost."""


def files(site: Site) -> Mapping[str, str]:  # noqa: ARG001 - the same everywhere
    """Nothing."""
    return {}


def holders(network: Network) -> Sequence[str]:  # noqa: ARG001 - it has them all
    """The controller."""
    return (CONTROLLER,)


def keys(network: Network, vault: Vault, target: str) -> Sequence[Part]:
    """A key for each site; on a site, that it has none whose original is lost here."""
    if target != CONTROLLER:
        return [Counterpart(network.sites[target], vault)]
    sites = network.sites.values()
    return [PrivateKey(vault.key(site), partial(_guard, vault, site), serves=(site.name,)) for site in sites]


def requests(network: Network, vault: Vault, target: str) -> Sequence[Part]:
    """Each site's request, PEM and DER."""
    return [part for site in network.sites.values() for part in _request(vault, site)] if target == CONTROLLER else []


def fingerprint(vault: Vault, site: Site) -> str:
    """By the key itself."""
    key = read_if_there(vault.key(site))
    return pki.public_fingerprint(pki.load_key(key)) if key else ""


def installed(vault: Vault, site: Site, path: str) -> Part | None:
    """A copy, in the form that strongSwan reads; what is here stays as it is."""
    key = _usable(vault, site)
    return File(path, pki.as_pkcs8(key), "400", secret=True) if key else None


def _usable(vault: Vault, site: Site) -> bytes | None:
    """The site's key, if it is there and is one; why not is the key step's to say."""
    key = read_if_there(vault.key(site))
    try:
        return key if key and pki.load_key(key) else None
    except pki.CertificateError:
        return None


def _request(vault: Vault, site: Site) -> Sequence[Part]:
    pem, der, serves = vault.csr(site), vault.csr_der(site), (site.name,)
    key = _usable(vault, site)
    if key is None:
        return [Later("file", str(path), "key", serves) for path in (pem, der)]
    request = read_if_there(pem)
    ours = pki.public_fingerprint(pki.load_key(key))
    if request is None or certificate_request.csr_problems(request, ours, site.fqdn):
        request = certificate_request.new_csr(key, site.fqdn)
    contents = {pem: request, der: certificate_request.csr_der(request)}
    return [File(str(path), each, "644", owner(), serves=serves) for path, each in contents.items()]


def _guard(vault: Vault, site: Site, hosts: Mapping[str, Target]) -> None:
    there = hosts[site.name].run(_in_use(site), purpose="look for a key").stdout.strip()
    if there != "absent":
        raise _lost(vault.key(site), site, there)


def _in_use(site: Site) -> str:
    """Shell that prints what the host has of a key whose original must be here.

    One that was made there, while sites.yaml said so, has its original there, and is no loss.
    """
    path, original = quote(_on_host(site)), quote(key_on_host.original(site))
    return f"if {key_on_host.same_key(original, path)}; then echo absent; else rb_state {path}; fi"


@dataclass(frozen=True)
class Counterpart(Part):
    """A host's key has its original here; a host whose key is lost here must not be given another in silence."""

    site: Site
    vault: Vault = field(repr=False)

    @property
    def key(self) -> str:
        """The key on the host."""
        return f"original of {_on_host(self.site)}"

    def probe(self) -> str:
        """Whether the host has a key, and which: by its SHA-256."""
        return _in_use(self.site)

    def judge(self, found: Reading) -> Finding:
        """In order unless the host has a key, and there is none here."""
        original = self.vault.key(self.site)
        if found.text.strip() == "absent" or original.exists():
            return self.in_order()
        return self.unknown(_lost(original, self.site, found.text.strip()))


def _on_host(site: Site) -> str:
    return style_of(site).key_path(site)


def _lost(original: Path, site: Site, state: str) -> StepError:
    """What is said of a host's key, in that state, which has no original."""
    there, kept = _on_host(site), original.parent
    same = [each for each in sorted(kept.glob("*.key")) if sha256(each.read_bytes()).hexdigest() in state]
    if same:
        was = same[0].stem
        renamed = ", ".join(f"{kind}/{was}{end} to {site.name}{end}" for kind, end in _FILES.items())
        return StepError(
            catalogue.KEY_RENAMED, target=site.name, there=there, here=same[0], directory=kept.parent, renamed=renamed
        )
    return StepError(catalogue.KEY_LOST, target=site.name, there=there, original=original, directory=kept)
