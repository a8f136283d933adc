"""CSR generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from runbook.resources.file import File
from runbook.step import CONTROLLER, Check, Later, Part
from steps import certificate_request, pki
from steps.section import ControllerSection
from steps.vault import owner, read_if_there

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steps.network import Site


class CsrGeneration(ControllerSection):
    r"""Write, for each site, the request that asks the certificate authority to vouch for its name.

    A certificate signing request (CSR) holds the site's name and its public key, signed with the private one. It asks
    for the name as a DNS subject alternative name, since nothing else is looked at any more, and for signing only; it
    does not ask for client authentication, which Let's Encrypt no longer issues and strongSwan does not need. By hand:

        openssl req -new -sha384 -key home.key -subj /CN=home.example.org \
            -addext subjectAltName=DNS:home.example.org -addext keyUsage=critical,digitalSignature -out home.csr.pem

    To check by hand: `openssl req -in home.csr.pem -noout -text -verify`. A request that fits its key is kept; one that
    does not (another name, another key) is made again, which costs nothing.
    """

    name: ClassVar[str] = "csr"
    title: ClassVar[str] = "CSR generation"
    needs: ClassVar[tuple[str, ...]] = ("key",)

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - nothing depends on it
        """Each site's request, PEM and DER."""
        return [part for site in self.network.sites.values() for part in self._request(site)]

    def checks(self) -> Sequence[Check]:
        """The requests in plain words: "check the CSR looks correct"."""
        return [Check("the requests say what they should", (CONTROLLER,), lambda _: self._described())]

    def _request(self, site: Site) -> Sequence[Part]:
        pem, der, serves = self.vault.csr(site), self.vault.csr_der(site), (site.name,)
        key = read_if_there(self.vault.key(site))
        if key is None:
            return [Later("file", str(path), "key", serves) for path in (pem, der)]
        request = read_if_there(pem)
        if request is None or certificate_request.csr_problems(
            request, pki.public_fingerprint(pki.load_key(key)), site.fqdn
        ):
            request = certificate_request.new_csr(key, site.fqdn)
        contents = {pem: request, der: certificate_request.csr_der(request)}
        return [File(str(path), each, "644", owner(), serves=serves) for path, each in contents.items()]

    def _described(self) -> list[str]:
        return [
            f"{site.name}: {line}"
            for site in self.network.sites.values()
            if self.vault.csr(site).is_file()  # there is none for a site that could not be read
            for line in certificate_request.describe_csr(self.vault.csr(site).read_bytes())
        ]
