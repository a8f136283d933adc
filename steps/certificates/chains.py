"""Certificates with the chains they hang in: proved to a trust anchor as the other end of a tunnel will prove them.

Pure functions over objects, but for the reading of anchors' files.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import verification

from steps.pki import CertificateError, public_fingerprint, split_chain, to_pem
from steps.x509_reading import (
    date_problem,
    extension,
    is_ca,
    is_self_signed,
    is_signed_by,
    listed,
    names,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# SHA-256 as published on letsencrypt.org/certificates: an anchor altered here would hand over every tunnel.
PINS: Final = {
    "ISRG_Root_X1.pem": "96bcec06264976f37460779acf28c5a7cfe8a3c0aae11a8ffcee05c0bddf08c6",
    "ISRG_Root_X2.pem": "69729b8e15a86efc177a57afb7171dfc64add28c2fca8cf1507e34453ccb1470",
}


@dataclass(frozen=True)
class Chain:
    """A certificate with all that proves it: verified, in order, nothing missing, nothing left over."""

    leaf: x509.Certificate
    intermediates: tuple[x509.Certificate, ...]
    """The issuer of the leaf first; the root is not among them. May be empty."""
    anchor: x509.Certificate
    """The self-signed root that the chain ends in: one of the anchors given, never one the CA sent."""


def builtin_anchors() -> list[x509.Certificate]:
    """Give the two roots of Let's Encrypt that come with this package, after comparing them with `PINS`.

    Raises:
        CertificateError: A file is not the one that was published.
    """
    folder = resources.files("steps.certificates") / "anchors"
    anchors = []
    for name, pin in PINS.items():
        (cert,) = split_chain((folder / name).read_bytes())
        if cert.fingerprint(hashes.SHA256()).hex() != pin:
            raise CertificateError(f"the packaged trust anchor {name} is not the published one; reinstall the runbook")
        anchors.append(cert)
    return anchors


def load_anchors(paths: Iterable[Path]) -> list[x509.Certificate]:
    """Read the user's own trust anchors: PEM files of one or more self-signed CA certificates.

    Raises:
        CertificateError: A file cannot be read, or holds something that no chain can end in.
    """
    anchors = []
    for path in paths:
        try:
            found = split_chain(path.read_bytes())
        except OSError as error:
            raise CertificateError(f"the trust anchor {path} cannot be read: {error.strerror}") from error
        except CertificateError as error:
            raise CertificateError(f"the trust anchor {path} holds {error}") from error
        for cert in found:
            if not is_self_signed(cert):
                what = f"is no root, for {shown(cert.issuer)} issued it; give that root instead"
                raise CertificateError(f"the trust anchor {path}: {shown(cert.subject)} {what}")
            if not is_ca(cert):
                raise CertificateError(f"the trust anchor {path}: {shown(cert.subject)} is not a CA's certificate")
        anchors += found
    return anchors


def verify_chain(
    certs: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    fqdn: str,
    fingerprint: str,
    at: datetime,
) -> Chain:
    """Find the certificate for `fqdn` among `certs` and prove it to one of the `anchors`, as things stand at `at`.

    The certificates may come in any order, with or without the root, with others that have nothing to do with it; the
    shortest way up is taken. We walk it ourselves to say in one sentence what is missing; then the verifier of
    `cryptography` (name constraints, critical extensions, weak algorithms) has to accept what we found.

    Args:
        certs: The leaf and what came with it.
        anchors: Self-signed roots.
        fqdn: What the subjectAltName has to hold, exactly; neither the common name nor a wildcard counts, since
            strongSwan compares the peer's identity with the names as written.
        fingerprint: Of the key that it has to be for, from `public_fingerprint`.
        at: With a time zone.

    Raises:
        CertificateError: With one sentence for the cause.
    """
    # A renewed certificate has the same key as the one before it: the newest that is good wins.
    leaves = sorted(
        (cert for cert in set(certs) if public_fingerprint(cert) == fingerprint),
        key=lambda cert: (cert.not_valid_before_utc, cert.serial_number),
        reverse=True,
    )
    if not leaves:
        held = listed(sorted({public_fingerprint(cert) for cert in certs if not is_ca(cert)}))
        message = f"the certificate for {fqdn} is for another key: it holds {held}, the site's is {fingerprint}"
        raise CertificateError(message)
    errors = []
    for leaf in leaves:
        try:
            check_leaf(leaf, fqdn, at)
            chain = _find_path(leaf, certs, anchors, at)
            _second_opinion(chain, fqdn, at)
        except CertificateError as error:
            errors.append(error)
        else:
            return chain
    raise errors[0]


def check_leaf(leaf: x509.Certificate, fqdn: str, at: datetime) -> None:
    """Raise CertificateError unless a certificate, whoever issued it, is one for this name at this time."""
    held = names(leaf)
    if fqdn.lower() not in (name.lower() for name in held):
        what = f"is for {listed(held)}" if held else "has no subjectAltName (its common name does not count)"
        raise CertificateError(f"the certificate {what}, so it was not issued for {fqdn}")
    if is_ca(leaf):
        raise CertificateError(f"the certificate for {fqdn} is a CA's, which no host may use as its own")
    if problem := date_problem(leaf, at):
        raise CertificateError(f"the certificate for {fqdn} {problem}")


def _find_path(
    leaf: x509.Certificate, certs: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], at: datetime
) -> Chain:
    """Walk up from the leaf, breadth first: the shortest way, each certificate once, so cross-signing cannot loop."""
    pool = [*anchors, *sorted(set(certs) - set(anchors), key=to_pem)]  # anchors first: there the way may end
    seen = {leaf}
    failure = ""  # of the longest way tried
    ways: deque[tuple[x509.Certificate, ...]] = deque([(leaf,)])
    while ways:
        way = ways.popleft()
        issuers = [cert for cert in pool if cert.subject == way[-1].issuer and cert not in way]
        if not issuers:
            failure = _dead_end(way[-1], anchors)
        for issuer in issuers:
            if problem := _issuer_problem(issuer, way, at):
                failure = problem
            elif issuer in anchors:
                return Chain(leaf, way[1:], issuer)
            elif issuer not in seen:
                seen.add(issuer)
                ways.append((*way, issuer))
    raise CertificateError(f"the certificate for {listed(names(leaf))} cannot be trusted: {failure}")


def _issuer_problem(issuer: x509.Certificate, way: Sequence[x509.Certificate], at: datetime) -> str:
    """Say why `issuer`, which has the right name, may not have issued the last of `way`; empty when it may."""
    name, child = shown(issuer.subject), way[-1]
    usage = extension(issuer, x509.KeyUsage)
    basic = extension(issuer, x509.BasicConstraints)
    if not is_signed_by(child, issuer):
        return f"the signature on {shown(child.subject)} is not that of {name}, its issuer by name"
    if basic is None or not basic.ca or (usage is not None and not usage.key_cert_sign):
        return f"its issuer {name} is not a CA"
    below = sum(cert.subject != cert.issuer for cert in way[1:])
    if basic.path_length is not None and below > basic.path_length:
        return f"the CA {name} allows {basic.path_length} CAs below itself, and there are {below}"
    if problem := date_problem(issuer, at):
        return f"the CA certificate {name} {problem}"
    return ""


def _dead_end(last: x509.Certificate, anchors: Sequence[x509.Certificate]) -> str:
    trusted = f"the trust anchors ({listed([shown(anchor.subject) for anchor in anchors])})"
    if is_self_signed(last):
        return f"its chain ends in {shown(last.subject)}, which is none of {trusted}"
    missing = f"whose issuer {shown(last.issuer)} is missing: neither sent along nor among {trusted}"
    return f"its chain ends in {shown(last.subject)}, {missing}"


def _second_opinion(chain: Chain, fqdn: str, at: datetime) -> None:
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store([chain.anchor]))
        .time(at.astimezone(UTC))
        .max_chain_depth(len(chain.intermediates))
        .build_server_verifier(x509.DNSName(fqdn))
    )
    try:
        verifier.verify(chain.leaf, list(chain.intermediates))
    except verification.VerificationError as error:
        raise CertificateError(f"the certificate for {fqdn} breaks the rules of RFC 5280: {error}") from error
