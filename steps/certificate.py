"""Certificate creation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from runbook.errors import RunbookError
from runbook.step import Later, Part
from steps.certificates.certificate_sources import source_of
from steps.certificates.key_places import place_of
from steps.certificates.site_certificate import SiteCertificate, verified_chain
from steps.section import ControllerSection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from steps.network import Site


class CertificateCreation(ControllerSection):
    """Have the certificate authority vouch for each site's name. Each end will show its certificate to the other.

    The authority (Let's Encrypt, unless sites.yaml names another) is sent the request over ACME. It asks for a file of
    its choosing below `http://NAME/.well-known/acme-challenge/`; the file is put there, fetched by ourselves from
    every address that the name has, and only then is the authority told to look, since it allows five failures an
    hour. What it sends is verified before it is used: the name, the key, the dates, and the chain to a root that you
    trust. A certificate that is good is never ordered twice; it is renewed, for the same request, when its authority
    says so, or once two thirds of its lifetime are over: by this step, and by `runbook renew`. By hand:

        certbot certonly --webroot -w /var/lib/acme-challenge --csr home.csr.pem

    With `certificate_authority: private` it is an authority of your own that signs the request, made here and kept in
    .runbook/authority: nobody else is asked, no web server is needed, and nobody else's certificates are trusted. Keep
    a backup of its key, and keep that key secret: whoever has it can be any of your sites. Its certificate is made anew
    for the same key in time; with .runbook/authority moved away, the next apply makes another authority.

    To check by hand: `openssl x509 -noout -subject -dates -ext subjectAltName -in .runbook/certificates/home.pem`.

    What can go wrong: the name does not point at this host; port 80 is closed on one of its addresses (often the IPv6
    one); the authority's limits are used up (try `directory: letsencrypt-staging` first).
    """

    name: ClassVar[str] = "certificate"
    title: ClassVar[str] = "Certificate creation"
    needs: ClassVar[tuple[str, ...]] = ("csr", "nginx", "web-firewall")

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - nothing depends on it
        """What the source needs here, and a certificate for each site."""
        return [*source_of(self.network).parts(self.network, self.vault), *map(self._part, self._sites())]

    def suffices(self) -> bool:
        """A certificate that could not be renewed yet is one."""
        return all(verified_chain(self.network, site, self.vault) for site in self._sites())

    def give_up(self, target: str) -> None:
        """What is not renewed in this run is what the hosts are to have."""
        self.vault.not_renewed.add(target)

    def _sites(self) -> Iterable[Site]:
        return self.network.sites.values()

    def _part(self, site: Site) -> Part:
        """The certificate: one that is there can be judged without its request, which is needed to have one issued."""
        server = self.network.challenge_site
        serves = (site.name, server) if server else (site.name,)
        try:
            keyed = bool(place_of(self.network).fingerprint(self.vault, site))
        except RunbookError:
            keyed = False  # the step of the keys says what is wrong with it
        if keyed and (self.vault.csr(site).is_file() or self.vault.certificate(site).is_file()):
            return SiteCertificate(self.network, site, self.vault, serves)
        return Later("certificate", site.fqdn, "csr", serves)
