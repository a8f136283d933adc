"""Keys, certificate requests, certificates and the chains they hang in.

Pure functions over bytes and objects: nothing here touches a host, writes a file or runs a program. Private keys come
in and go out as PEM bytes; no message and no `repr` made here holds any of them.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import NameOID

from runbook.errors import RunbookError
from steps.x509_reading import (
    common_name,
    date_problem,
    extension,
    is_ca,
    is_self_signed,
    is_signed_by,
    listed,
    names,
    shown,
    uses,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    HasPublicKey = ec.EllipticCurvePrivateKey | x509.Certificate | x509.CertificateSigningRequest

# SHA-256 as published on letsencrypt.org/certificates: an anchor altered here would hand over every tunnel.
PINS: Final = {
    "ISRG_Root_X1.pem": "96bcec06264976f37460779acf28c5a7cfe8a3c0aae11a8ffcee05c0bddf08c6",
    "ISRG_Root_X2.pem": "69729b8e15a86efc177a57afb7171dfc64add28c2fca8cf1507e34453ccb1470",
}
SIGNING_ONLY: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
LONGEST_COMMON_NAME: Final = 64  # characters; ub-common-name of RFC 5280, appendix A.1


class CertificateError(RunbookError):
    """A key, a certificate request or a certificate that cannot be used, and why."""


@dataclass(frozen=True)
class Chain:
    """A certificate with all that proves it: verified, in order, nothing missing, nothing left over."""

    leaf: x509.Certificate
    intermediates: tuple[x509.Certificate, ...]
    """The issuer of the leaf first; the root is not among them. May be empty."""
    anchor: x509.Certificate
    """The self-signed root that the chain ends in: one of the anchors given, never one the CA sent."""


def new_key() -> bytes:
    """Make a secp384r1 private key: PKCS#8 PEM, not encrypted. Whoever writes it makes the file 0600 from birth."""
    return ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Read a key made by `new_key`.

    Raises:
        CertificateError: It is damaged, locked by a passphrase, or of another kind. The message quotes none of it.
    """
    # `from None` throughout: no parser's own words about a private key may travel with ours.
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise CertificateError("the private key is locked by a passphrase; give it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError("the private key is damaged, or is no private key in PEM at all") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise CertificateError("the private key is not of the kind secp384r1, the only one used here")
    return key


def public_fingerprint(holder: HasPublicKey) -> str:
    """Tell which key something belongs to: SHA-256 of its SubjectPublicKeyInfo, in hexadecimal.

    A private key, the request made with it and the certificate issued for it have the same one.
    """
    spki = holder.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def new_csr(key_pem: bytes, fqdn: str) -> bytes:
    """Ask for a certificate for `fqdn` and nothing else, signed with the key, in PEM (RFC 2986).

    No extendedKeyUsage: Let's Encrypt issues none for clients any more, and strongSwan looks at digitalSignature only.
    """
    key = load_key(key_pem)
    fits = len(fqdn) <= LONGEST_COMMON_NAME
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, fqdn)] if fits else [])
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        # Critical where it is the only name there is: RFC 5280, 4.2.1.6.
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(fqdn)]), critical=not fits)
        .add_extension(SIGNING_ONLY, critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA384())
        .public_bytes(serialization.Encoding.PEM)
    )


def csr_der(pem: bytes) -> bytes:
    """Give the same request in DER, for a CA that wants it so."""
    return _load_csr(pem).public_bytes(serialization.Encoding.DER)


def describe_csr(pem: bytes) -> list[str]:
    """Say in plain words what a request asks for, so that a person can check that it looks correct.

    Raises:
        CertificateError: It cannot be read.
    """
    csr = _load_csr(pem)
    key = csr.public_key()
    kind = f"elliptic curve {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__
    return [
        f"asks for a certificate for: {listed(names(csr))}",
        f"common name: {common_name(csr.subject) or 'none'}",
        f"key: {kind}",
        f"may be used for: {listed(uses(csr))}",
        f"signed by its own key: {'yes' if csr.is_signature_valid else 'NO, the signature is wrong'}",
        f"SHA-256 of the public key: {public_fingerprint(csr)}",
    ]


def csr_problems(pem: bytes, key_pem: bytes, fqdn: str) -> list[str]:
    """Say what is wrong with a request for `fqdn` by this key, one sentence each; an empty list means it is good."""
    key = load_key(key_pem)
    try:
        csr = _load_csr(pem)
    except CertificateError as error:
        return [str(error)]
    basic = extension(csr, x509.BasicConstraints)
    usage = extension(csr, x509.KeyUsage)
    extended = extension(csr, x509.ExtendedKeyUsage)
    subject = common_name(csr.subject)
    found = {
        "the request's signature is wrong": not csr.is_signature_valid,
        "the request is for another key than the site's": public_fingerprint(csr) != public_fingerprint(key),
        f"the request asks for {listed(names(csr))}, not for {fqdn} alone": names(csr) != [fqdn],
        f"the request's common name is {subject}, not {fqdn}": subject not in ("", fqdn),
        "the request asks for a CA's certificate": basic is not None and basic.ca,
        "the request does not ask for the use digital signature": usage is None or not usage.digital_signature,
        "the request asks for an extended key usage, which Let's Encrypt may refuse": extended is not None,
    }
    return [sentence for sentence, wrong in found.items() if wrong]


def split_chain(pem_bundle: bytes) -> list[x509.Certificate]:
    """Take a PEM file apart, since strongSwan reads only the first certificate of each file.

    Raises:
        CertificateError: There is no certificate in it, or one is damaged or of a kind unknown here.
    """
    try:
        found = x509.load_pem_x509_certificates(pem_bundle)
        for cert in found:
            # Both are parsed only when asked for: ask here, so that no later use can fail.
            _ = cert.extensions, public_fingerprint(cert)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise CertificateError(f"no readable certificate in PEM: {error}") from error
    return found


def to_pem(cert: x509.Certificate) -> bytes:
    """Write one certificate as one PEM file."""
    return cert.public_bytes(serialization.Encoding.PEM)


def days_left(cert: x509.Certificate, at: datetime) -> int:
    """Count the whole days from `at` (with a time zone) to the end of validity; negative once it has expired."""
    return math.floor((cert.not_valid_after_utc - at) / timedelta(days=1))


def renewal_due(cert: x509.Certificate, at: datetime) -> bool:
    """Say whether two thirds of the lifetime have passed: when Let's Encrypt asks for renewal, whatever the length."""
    lifetime = cert.not_valid_after_utc - cert.not_valid_before_utc
    return at >= cert.not_valid_before_utc + lifetime * 2 / 3


def builtin_anchors() -> list[x509.Certificate]:
    """Give the two roots of Let's Encrypt that come with this package, after comparing them with `PINS`.

    Raises:
        CertificateError: A file is not the one that was published.
    """
    folder = resources.files("steps") / "anchors"
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


def select_chain(
    candidates: Sequence[Sequence[x509.Certificate]],
    anchors: Sequence[x509.Certificate],
    fqdn: str,
    fingerprint: str,
    at: datetime,
) -> Chain:
    """Take the first of the chains that a CA offers which `verify_chain` accepts.

    Raises:
        CertificateError: None of them will do; says why for each.
    """
    reasons = []
    for certs in candidates:
        try:
            return verify_chain(certs, anchors, fqdn, fingerprint, at)
        except CertificateError as error:
            reasons.append(str(error))
    raise CertificateError("; ".join(dict.fromkeys(reasons)) or f"the CA offered no certificate for {fqdn}")


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


def _load_csr(pem: bytes) -> x509.CertificateSigningRequest:
    try:
        csr = x509.load_pem_x509_csr(pem)
        _ = csr.extensions, public_fingerprint(csr)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise CertificateError(f"the certificate request is damaged: {error}") from error
    return csr
