"""CSR generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from runbook.step import Check, Part
from steps.certificates import certificate_request
from steps.certificates.key_places import place_of
from steps.section import ControllerSection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class CsrGeneration(ControllerSection):
    r"""Write a request for a certificate for each site. It asks an authority to vouch for the site's name.

    A certificate signing request (CSR) holds the site's name and its public key, signed with the private one. It asks
    for the name as a DNS subject alternative name, since nothing else is looked at any more, and for signing only; it
    does not ask for client authentication, which Let's Encrypt no longer issues and strongSwan does not need. By hand:

        openssl req -new -sha384 -key home.key -subj /CN=home.example.org \
            -addext subjectAltName=DNS:home.example.org -addext keyUsage=critical,digitalSignature -out home.csr.pem

    To check by hand: `openssl req -in home.csr.pem -noout -text -verify`. A request that fits its key is kept; one that
    does not (another name, another key) is made again, which costs nothing.

    What can go wrong: the name in sites.yaml has a slip. The authority refuses it, or never finds the host.
    """

    name: ClassVar[str] = "csr"
    title: ClassVar[str] = "CSR generation"
    needs: ClassVar[tuple[str, ...]] = ("key",)

    def targets(self) -> Sequence[str]:
        """Where the keys are: only who has one can sign a request with it."""
        return place_of(self.network).holders(self.network)

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - nothing depends on it
        """Each site's request, PEM and DER."""
        return place_of(self.network).requests(self.network, self.vault, target)

    def checks(self) -> Sequence[Check]:
        """The requests in plain words: "check the CSR looks correct"."""
        return [Check("the requests say what they should", tuple(self.targets()), lambda _: self._described())]

    def _described(self) -> list[str]:
        return [
            f"{site.name}: {line}"
            for site in self.network.sites.values()
            if self.vault.csr(site).is_file()  # there is none for a site that could not be read
            for line in certificate_request.describe_csr(self.vault.csr(site).read_bytes())
        ]
