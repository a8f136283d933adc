"""Keys made and kept on their hosts: no key ever travels, only requests and certificates do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from runbook.errors import StepError
from runbook.resources.package import Packages
from runbook.script import heredoc, quote
from runbook.step import CONTROLLER, Change, Finding, Part, Verdict
from steps import catalogue
from steps.certificates import certificate_request
from steps.ipsec.styles import style_of
from steps.vault import put, read_if_there, set_aside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.script import Reading
    from runbook.target import Target
    from steps.network import Network, Site
    from steps.vault import Vault

MEANING: Final = "each made on its host, which it never leaves"
DIRECTORY: Final = "/var/lib/ipsec-runbook/keys"
"""Where a host keeps the originals, root-only: strongSwan gets a copy, wherever it is configured to look."""


def original(site: Site) -> str:
    """The site's key."""
    return f"{DIRECTORY}/{site.fqdn}.key"


def files(site: Site) -> Mapping[str, str]:
    """The original."""
    return {original(site): "the private key, where it was made"}


def holders(network: Network) -> Sequence[str]:
    """Every site."""
    return tuple(network.sites)


def keys(network: Network, vault: Vault, target: str) -> Sequence[Part]:
    """On each site, what makes keys, and a key."""
    if target == CONTROLLER:
        return []
    site = network.sites[target]
    return [Packages(("openssl",)), HostKey(site, made_here=vault.key(site).exists())]


def requests(network: Network, vault: Vault, target: str) -> Sequence[Part]:
    """On each site, that the request kept on the controller is for its key."""
    return [] if target == CONTROLLER else [HostRequest(network.sites[target], vault)]


def fingerprint(vault: Vault, site: Site) -> str:
    """By the request, which the host has signed with its key."""
    request = read_if_there(vault.csr(site))
    return certificate_request.csr_fingerprint(request) if request else ""


def installed(vault: Vault, site: Site, path: str) -> Part | None:
    """A copy, made on the host."""
    return InstalledKey(path, original(site), fingerprint(vault, site))


@dataclass(frozen=True)
class HostKey(Part):
    """A private key on its host: made there once, judged there by openssl, never read by us."""

    site: Site
    made_here: bool
    """Whether the controller has had a key for the site: what strongSwan has there may be that one."""

    @property
    def key(self) -> str:
        """The key's file."""
        return f"private key {original(self.site)}"

    def probe(self) -> str:
        """One line of state, without the key's digest, of what a link leads to; which key it is."""
        path = quote(original(self.site))
        led = f'key={path}\n[ ! -f "$key" ] || key=$(readlink -f -- "$key")\n'
        return led + _state('"$key"') + f"\n{_public(path)}"

    def judge(self, found: Reading) -> Finding:
        """In order when openssl can read it and it is for root's eyes only."""
        state, public = found.text.splitlines()
        path = original(self.site)
        if state == "absent":
            return self.absent(self._make())
        if public == NO_KEY:
            why = "openssl cannot read it (is it locked by a passphrase, or damaged?)"
            at = f"on {self.site.name}: "
            return self.unknown(StepError(catalogue.KEY_UNUSABLE, path=path, why=why, at=at))
        if state == "file 600 root:root":
            return self.in_order()
        _, mode, owner = state.split(" ")
        change = Change(
            summary=f"make {path} readable by root alone (it is {mode} {owner})",
            apply=f"chown root:root -- {quote(path)}\nchmod 600 -- {quote(path)}",
            undo=f"chown {quote(owner)} -- {quote(path)}\nchmod {quote(mode)} -- {quote(path)}",
        )
        return self.drift(change)

    def _make(self) -> Change:
        """A new one, unless strongSwan has one on the host whose original is lost."""
        path, in_use = original(self.site), style_of(self.site).key_path(self.site)
        source = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp384r1"
        summary = f"make a secp384r1 key in {path}, which never leaves the host"
        if not self.made_here:
            source = f"if [ -e {quote(in_use)} ]; then cat -- {quote(in_use)}; else {source}; fi"
            summary += f" (where there is one in {in_use}, keep that)"
        return Change(
            summary=summary,
            apply=f"(umask 077; mkdir -p -- {DIRECTORY})\n{source} | rb_put {quote(path)} 600 root:root {_SOUND}",
            undo=set_aside(path),
            diff=f"+ private key {path} (never shown)",
        )


NO_KEY: Final = "no key"
_SOUND: Final = quote('openssl pkey -in "$new" -passin pass: -noout')
"""A pipe may have ended early: what it was to write must be a key."""


def _pkcs8(path: str) -> str:
    """Shell that prints a key as strongSwan reads it."""
    return f"openssl pkey -in {path} -passin pass: 2>/dev/null"


def same_key(original: str, copy: str) -> str:
    """Shell that succeeds where strongSwan has a copy of a host's original: both paths are quoted."""
    return f"[ -f {original} ] && {_pkcs8(original)} | cmp -s -- - {copy}"


def _state(path: str) -> str:
    """Shell that prints what is at a path, on one line, without a digest."""
    return f"printf '%s\\n' \"$(rb_state {path} | cut -d' ' -f-3)\""


def _public(path: str) -> str:
    """Shell that prints SHA-256 of a key's SubjectPublicKeyInfo, as `pki.public_fingerprint` does."""
    return (
        f"public=$(openssl pkey -in {path} -passin pass: -pubout 2>/dev/null) || public=\n"
        f'if [ -z "$public" ]; then echo {quote(NO_KEY)}; else\n'
        "    printf '%s\\n' \"$public\" | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1\nfi"
    )


@dataclass(frozen=True)
class HostRequest(Part):
    """The request on the controller is for the key on the host; the host makes it, with openssl."""

    site: Site
    vault: Vault = field(repr=False)

    @property
    def key(self) -> str:
        """The request's file."""
        return f"request {self.vault.csr(self.site)}"

    def probe(self) -> str:
        """Which key the host has."""
        return _public(quote(original(self.site)))

    def judge(self, found: Reading) -> Finding:
        """In order when the request is there, in both forms, for that key."""
        public = found.text.strip()
        if public == NO_KEY:
            return Finding(self.key, Verdict.LATER, "known after key")
        request = read_if_there(self.vault.csr(self.site))
        if request is None:
            return self.absent(self._ask("there is none"))
        problems = certificate_request.csr_problems(request, public, self.site.fqdn)
        if not problems and read_if_there(self.vault.csr_der(self.site)) != certificate_request.csr_der(request):
            problems = ["its DER form is missing"]
        return self.drift(self._ask(problems[0])) if problems else self.in_order()

    def _ask(self, why: str) -> Change:
        return Change(
            summary=f"have {self.site.name} make a request for {self.site.fqdn} with its key ({why})",
            obtain=self._obtain,
            diff=f"+ {self.vault.csr(self.site)}",
            irreversible="the request stays in .runbook/csr: it holds no secret, and the next one takes its place",
        )

    def _obtain(self, hosts: Mapping[str, Target]) -> None:
        host, controller = hosts[self.site.name], hosts[CONTROLLER]
        path = quote(original(self.site))
        subject, config = _wanted(self.site.fqdn)
        make = (
            f"openssl req -new -sha384 -batch -key {path} -subj {quote(subject)} -config /dev/stdin {heredoc(config)}"
        )
        pem = host.run(make, purpose="make a certificate request").stdout.encode()
        public = host.run(_public(path), purpose="see for which key it is").stdout.strip()
        if problems := certificate_request.csr_problems(pem, public, self.site.fqdn):
            raise StepError(catalogue.REQUEST_UNUSABLE, target=self.site.name, why=problems[0])
        controller.run(put(self.vault.csr(self.site), pem, "644"), purpose="keep a certificate request")
        der = certificate_request.csr_der(pem)
        controller.run(put(self.vault.csr_der(self.site), der, "644"), purpose="keep it in DER, too")


def _wanted(fqdn: str) -> tuple[str, str]:
    """The subject and the configuration with which openssl asks for what `certificate_request.new_csr` does."""
    fits = len(fqdn) <= certificate_request.LONGEST_COMMON_NAME
    critical = "" if fits else "critical, "
    return f"/CN={fqdn}" if fits else "/", (
        "[req]\ndistinguished_name = name\nreq_extensions = wanted\nstring_mask = utf8only\n[name]\n[wanted]\n"
        f"subjectAltName = {critical}DNS:{fqdn}\nkeyUsage = critical, digitalSignature\n"
        "basicConstraints = critical, CA:FALSE\n"
    )


@dataclass(frozen=True)
class InstalledKey(Part):
    """The key where strongSwan looks for it: a copy of the original, made on the host.

    In PKCS#8 PEM, as `pki.as_pkcs8` has it, whatever form the original is in.
    """

    path: str
    source: str
    public: str
    """SHA-256 of the public key that belongs to it, as `pki.public_fingerprint` has it."""

    @property
    def key(self) -> str:
        """The copy's path."""
        return f"file {self.path}"

    def probe(self) -> str:
        """The copy's state without its digest, which key it is, and its form. The original is another part's matter."""
        path = quote(self.path)
        form = f"if {_pkcs8(path)} | cmp -s -- - {path}; then echo PKCS#8; else echo other; fi"
        return f"{_state(path)}\n{_public(path)}\n{form}"

    def judge(self, found: Reading) -> Finding:
        """In order when it is the site's, for root's eyes only."""
        state, public, form = found.text.splitlines()
        if (state, public, form) == ("file 400 root:root", self.public, "PKCS#8"):
            return self.in_order()
        if state.split(" ", 1)[0] not in {"absent", "file", "link"}:
            return self.unknown(f"a {state.split(' ', 1)[0]} is at {self.path}: move it out of the way")
        path = quote(self.path)
        change = Change(
            summary=f"{'create' if state == 'absent' else 'change'} {self.path} (400, root:root), from {self.source}",
            save=f"rb_save {path}",
            apply=f"rb_parents {path}\n{_pkcs8(quote(self.source))} | rb_put {path} 400 root:root {_SOUND}",
            undo=f"rb_restore {path}",
            settle=f"rb_tidy {path}",
            diff=f"--- {self.path}\n+++ {self.path}\n+ (a private key, not shown)",
        )
        return self.absent(change) if state == "absent" else self.drift(change)
