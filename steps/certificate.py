"""Certificate creation."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from runbook.errors import RunbookError
from runbook.script import embed, quote
from runbook.step import CONTROLLER, Change, Finding, Later, Part
from steps import chains, pki
from steps.nginx import CHALLENGES, WEBROOT
from steps.section import ControllerSection
from steps.style import OUR_CA_FILES
from steps.styles import style_of
from steps.vault import put, read_if_there, set_aside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cryptography import x509

    from runbook.script import Reading
    from runbook.target import Target
    from steps.network import Network, Site
    from steps.vault import Vault


class CertificateCreation(ControllerSection):
    """Have the certificate authority vouch for each site's name. Each end will show its certificate to the other.

    The authority (Let's Encrypt, unless sites.yaml names another) is sent the request over ACME. It asks for a file of
    its choosing below `http://NAME/.well-known/acme-challenge/`; the file is put there, fetched by ourselves from
    every address that the name has, and only then is the authority told to look, since it allows five failures an
    hour. What it sends is verified before it is used: the name, the key, the dates, and the chain to a root that you
    trust. A certificate that is good is never ordered twice. By hand:

        certbot certonly --webroot -w /var/lib/acme-challenge --csr home.csr.pem

    What can go wrong: the name does not point at this host; port 80 is closed on one of its addresses (often the IPv6
    one); the authority's limits are used up (try `directory: letsencrypt-staging` first).
    """

    name: ClassVar[str] = "certificate"
    title: ClassVar[str] = "Certificate creation"
    needs: ClassVar[tuple[str, ...]] = ("csr", "nginx", "web-firewall")

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - nothing depends on it
        """A certificate for each site."""
        sites = self.network.sites.values()
        ready = {site.name: self.vault.key(site).is_file() and self._can_judge_or_order(site) for site in sites}
        return [
            SiteCertificate(self.network, site, self.vault, self._serves(site))
            if ready[site.name]
            else Later("certificate", site.fqdn, "csr", self._serves(site))
            for site in sites
        ]

    def _serves(self, site: Site) -> tuple[str, ...]:
        """The site, and the one that serves its challenge."""
        server = self.network.certificates.challenge_site
        return (site.name, server) if server else (site.name,)

    def _can_judge_or_order(self, site: Site) -> bool:
        """A certificate that is there can be judged without its request, which is needed to order one."""
        return self.vault.csr(site).is_file() or self.vault.certificate(site).is_file()


@dataclass(frozen=True)
class SiteCertificate(Part):
    """A site's certificate with its chain: obtained once, judged by verifying it as the other end will."""

    network: Network
    site: Site
    vault: Vault = field(repr=False)
    serves: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name that it is for."""
        return f"certificate {self.site.fqdn}"

    @property
    def path(self) -> Path:
        """Where it is kept on the controller."""
        return self.vault.certificate(self.site)

    def probe(self) -> str:
        """One line of state."""
        return f"rb_state {quote(str(self.path))}"

    def judge(self, found: Reading) -> Finding:  # noqa: ARG002 - a certificate is judged by what it is, not by its file
        """In order when it verifies now."""
        bundle = read_if_there(self.path)
        if bundle is None:
            return self.absent(self._order("no certificate yet"))
        try:
            chain = self.verified(bundle)
        except RunbookError as error:
            if self._leaf_is_good(bundle):
                return self.unknown(f"{error}; {self.path} is kept: look at trust_anchors in sites.yaml")
            return self.drift(self._order(str(error)))
        return self.in_order(f"{pki.days_left(chain.leaf, datetime.now(UTC))} days left")

    def verified(self, bundle: bytes) -> chains.Chain:
        """The certificate in `bundle` with its way to a trust anchor; raises RunbookError where there is none."""
        key = pki.load_key(self.vault.key(self.site).read_bytes())
        anchors = trust_anchors(self.network)
        certificates = pki.split_chain(bundle)
        return chains.verify_chain(
            certificates, anchors, self.site.fqdn, pki.public_fingerprint(key), datetime.now(UTC)
        )

    def _leaf_is_good(self, bundle: bytes) -> bool:
        """Whether the fault lies with the chain or our anchors, so that another order would end the same way."""
        try:
            leaf = pki.split_chain(bundle)[0]
            chains.check_leaf(leaf, self.site.fqdn, datetime.now(UTC))
            key = pki.load_key(self.vault.key(self.site).read_bytes())
        except RunbookError:
            return False
        return pki.public_fingerprint(leaf) == pki.public_fingerprint(key)

    def _order(self, why: str) -> Change:
        url = self.network.certificates.directory_url
        return Change(
            summary=f"order a certificate for {self.site.fqdn} from {url}",
            obtain=self._obtain,
            save=f"rb_save {quote(str(self.path))}",
            undo=f"{set_aside(self.path)}\nrb_restore {quote(str(self.path))}",
            diff=f"+ certificate {self.site.fqdn} ({why})",
            irreversible="an order counts against the authority's limits; the certificate is set aside, not revoked",
        )

    def _obtain(self, hosts: Mapping[str, Target]) -> None:
        from steps.acme_order import order, register  # noqa: PLC0415 - a third of what a run that orders nothing would load

        controller = hosts[CONTROLLER]
        authority = self.network.certificates
        if held := self._held_by_host(hosts[self.site.name]):
            controller.run(put(self.path, held, "644"), purpose="keep the certificate that the host has")
            return
        account = register(
            authority.directory_url, self._account_key(controller), authority.contact, authority.ca_bundle
        )
        serving = hosts[authority.challenge_site or self.site.name]
        offered = order(account, self.vault.csr(self.site).read_bytes(), Webroot(serving))
        # kept before it is judged, with every chain offered: whatever comes of it, the order is spent
        everything = dict.fromkeys(pki.to_pem(each) for chain in offered for each in chain)
        controller.run(put(self.path, b"".join(everything), "644"), purpose="keep a certificate")

    def _held_by_host(self, host: Target) -> bytes:
        """The certificate with its chain that the host has for this very key, if it is good: none is ordered then."""
        style = style_of(self.site)
        leaf, authorities = quote(style.leaf_path(self.site)), f"{style.ca_directory}/{OUR_CA_FILES}"
        look = f"[ ! -e {leaf} ] || {{ cat {leaf}; cat {authorities} 2>/dev/null; }} || true"
        there = host.run(look, purpose="look for a certificate").stdout
        bundle = there.encode("utf-8", "surrogateescape")
        try:
            self.verified(bundle)
        except RunbookError:
            return b""
        return bundle

    def _account_key(self, controller: Target) -> bytes:
        from steps.acme_order import new_account_key  # noqa: PLC0415 - see above

        path = self.vault.account_key
        if not path.is_file():
            controller.run(put(path, new_account_key(), "600"), purpose="write the account key")
        return path.read_bytes()


@dataclass(frozen=True)
class Webroot:
    """Where a site's nginx serves challenges from (`steps.acme_order.Challenges`)."""

    host: Target

    def put(self, token: str, body: str) -> None:
        """Serve `body` as the answer to `token`."""
        put = f"{{ {embed(body.encode())}}} | rb_put {self._path(token)} 644 root:root"
        self.host.run(put, purpose="publish a challenge")

    def remove(self, token: str) -> None:
        """Serve it no more."""
        self.host.run(f"rm -f -- {self._path(token)}", purpose="withdraw a challenge")

    def check(self, fqdn: str, token: str, body: str) -> None:
        """Fetch it as the authority will."""
        from steps.challenge_fetch import fetch_challenge  # noqa: PLC0415 - see above

        fetch_challenge(fqdn, token, body)

    def _path(self, token: str) -> str:
        return quote(f"{WEBROOT}{CHALLENGES}{token}")


def verified_chain(network: Network, site: Site, vault: Vault) -> chains.Chain | None:
    """The site's certificate with its chain, if it is there and good now; why not is the certificate step's to say."""
    bundle = read_if_there(vault.certificate(site))
    try:
        return SiteCertificate(network, site, vault).verified(bundle) if bundle else None
    except (RunbookError, OSError):
        return None


def trust_anchors(network: Network) -> list[x509.Certificate]:
    """The roots that a site's certificate must chain to: sites.yaml's, or Let's Encrypt's."""
    named = network.certificates.trust_anchors
    return chains.load_anchors(named) if named else chains.builtin_anchors()
