"""That a tunnel stands by the certificates that its ends have now, and not by those before a renewal.

An IKE SA keeps the configuration that it began with, its own certificate included, also through the proof that both
ends give each other anew once a day: the end that asks for that proof shows what it had then, the one that is asked
what it has now (ike_sa.c of strongSwan, reauth and trigger_mbb_reauth). So an end with a new certificate either makes
another IKE SA, or is asked by the other one. Packets go on through the old one until the new one is proved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from runbook.script import quote
from runbook.step import CONTROLLER, Change, Finding, Later, Part, Proof
from steps import catalogue
from steps.certificates.renewals import renewal_of
from steps.certificates.site_certificate import settled_chain, verified_chain
from steps.ipsec.styles import style_of
from steps.tunnel.both_ends import explained, listen
from steps.x509_reading import serial_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography import x509

    from runbook.script import Reading
    from runbook.target import Target
    from steps.network import End
    from steps.vault import Vault

_KIND: Final = "certificates in use by"


def certificates_in_use(end: End, vault: Vault) -> Part:
    """At the end that brings the tunnel up; known later where a certificate is about to take another's place."""
    for site in (end.here, end.there):
        if vault.certificate(site).is_file() and settled_chain(end.network, site, vault) is None:
            return Later(_KIND, end.connection, "certificate")
    return CertificatesInUse(end, vault)


@dataclass(frozen=True)
class CertificatesInUse(Part):
    """What was renewed has been shown through the tunnel; that it has not is noted when it is renewed."""

    end: End
    vault: Vault = field(repr=False)

    @property
    def key(self) -> str:
        """The connection's name."""
        return f"{_KIND} {self.end.connection}"

    def probe(self) -> str:
        """It is noted here: charon does not tell by which certificate of its own a tunnel stands."""
        return ":"

    def judge(self, found: Reading) -> Finding:  # noqa: ARG002 - it is noted here
        """In order when nothing is noted that is still to be shown."""
        renewed = self._renewed()
        if not renewed:
            return self.in_order()
        whose = " and ".join(end.here.name for end, _ in renewed)
        change = Change(
            summary=f"have {self.end.connection} stand by the renewed certificate of {whose}, beside the old one first",
            obtain=self._obtain,
            diff="\n".join(f"+ {end.here.fqdn}, serial number {serial_of(leaf)}" for end, leaf in renewed),
            irreversible="a tunnel goes on by the certificates that it stands by",
        )
        return self.drift(change)

    def _renewed(self) -> list[tuple[End, x509.Certificate]]:
        """Each end that has a certificate to show, with it: the one that brings the tunnel up first.

        For what that end begins shows both, and what it asks for only the other one's.
        """
        renewed = []
        for end in sorted(self.end.network.link_ends(self.end.link), key=lambda each: not each.initiates):
            chain = verified_chain(end.network, end.here, self.vault)
            if chain and end.link.name in renewal_of(self.vault, end.here, chain.leaf).to_show:
                renewed.append((end, chain.leaf))
        return renewed

    def _obtain(self, hosts: Mapping[str, Target]) -> None:
        """Show what is to be shown; a tunnel that is down will come up by what is loaded."""
        host = hosts[self.end.here.name]
        renewed = self._renewed()
        for end, leaf in renewed:
            if _standing(self.end, hosts) and not _is_seen(end, leaf, hosts):
                _show(end, leaf, hosts)
        if earlier := _standing(self.end, hosts)[:-1]:
            # Made by what was loaded before, they are no duplicates to charon. The moment is for what is on its way.
            style = style_of(self.end.here)
            ends = [f"{style.end(self.end.connection, number)} >&2 || true" for number in earlier]
            host.run("\n".join(["sleep 1", *ends]), purpose="take down what stood before")
        for end, leaf in renewed:
            renewal_of(self.vault, end.here, leaf).shown(end.link.name).keep(self.vault, end.here, hosts[CONTROLLER])


def _standing(end: End, hosts: Mapping[str, Target]) -> list[str]:
    """The numbers of the IKE SAs at an end, the newest last."""
    listed = hosts[end.here.name].run(style_of(end.here).numbers(end.connection), purpose="look what stands").stdout
    return sorted(listed.split(), key=int)


def _is_seen(end: End, leaf: x509.Certificate, hosts: Mapping[str, Target]) -> bool:
    """Whether charon at the other end holds it, as it does what it has been shown, until it loads its own anew."""
    style = style_of(end.there)
    return style.mark(leaf) in hosts[end.there.name].run(style.held, purpose="look which certificate was shown").stdout


def _show(end: End, leaf: x509.Certificate, hosts: Mapping[str, Target]) -> None:
    """Have an end show its certificate in a new IKE SA; raises StepError with why it was not shown."""
    other = next(each for each in end.network.link_ends(end.link) if each.here == end.there)
    asking = "" if end.initiates else style_of(end.there).reauthenticate(other.connection)
    if not end.initiates and not asking and end.there.dynamic:
        note = f"{end.connection} stands by the earlier certificate until its ends prove themselves anew, within a day"
        hosts[end.here.name].tell(note)
        return
    maker = other if asking else end
    script = asking or style_of(end.here).up(end.connection)
    before = listen(maker, hosts)
    said = hosts[maker.here.name].run(f"{{\n{script}\n}} 2>&1 || true", purpose=f"prove {maker.connection} anew").stdout
    there = style_of(end.there)
    wait = _WAIT.format(held=there.held, mark=quote(there.mark(leaf)))
    if "unseen" in hosts[end.there.name].run(wait, purpose="wait for the certificate").stdout:
        about = {"shown_to": end.there.name, "serial": serial_of(leaf), "fqdn": end.here.fqdn}
        raise explained(maker, hosts, before, catalogue.NOT_SHOWN, said=said.splitlines(), **about)


_WAIT: Final = """\
for _ in $(seq 50); do
    ! {{ {held}; }} | grep -qF {mark} || exit 0
    sleep 0.2
done
echo unseen
"""


def seen(ends: tuple[End, End], vault: Vault) -> Proof:
    """What tells by which certificate each end has proved itself to the other: charon keeps what it has been shown.

    What was loaded anew since makes it forget; that is told, and no failure.
    """

    def run(hosts: Mapping[str, Target]) -> Sequence[str]:
        evidence = []
        for end in ends:
            if chain := verified_chain(end.network, end.here, vault):
                has = "has seen" if _is_seen(end, chain.leaf, hosts) else "has not been shown since it loaded its own"
                what = f"{end.here.fqdn}, serial number {serial_of(chain.leaf)}"
                evidence.append(f"{end.there.name} {has}: {what}, until {chain.leaf.not_valid_after_utc:%Y-%m-%d}")
        return evidence

    return run
