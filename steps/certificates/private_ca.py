"""A certificate authority of one's own: its certificate, and those that it signs. Pure functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from steps.pki import SIGNING_ONLY, CertificateError, load_key, public_fingerprint
from steps.x509_reading import date_problem, extension, is_self_signed

if TYPE_CHECKING:
    from collections.abc import Iterable

CA_LIFETIME: Final = timedelta(days=3653)
SITE_LIFETIME: Final = timedelta(days=365)
SLOW_CLOCKS: Final = timedelta(hours=1)
"""By how much a host's clock may be behind ours before it refuses a certificate made just now."""
FEWEST_LABELS: Final = 2
"""Of a domain that a CA can be confined to: one label is a top level."""

_CA_USES: Final = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def common_domain(names: Iterable[str]) -> str:
    """The domain that all names lie in; empty where there is none but the root or a top level."""
    shared: list[str] = []
    for labels in zip(*(reversed(name.split(".")) for name in names), strict=False):
        if len(set(labels)) > 1:
            break
        shared.insert(0, labels[0])
    return ".".join(shared) if len(shared) >= FEWEST_LABELS else ""


def new_ca(key: bytes, domain: str) -> bytes:
    """Make a CA's certificate (PEM) for its key, self-signed, for names in `domain` alone unless that is empty.

    One domain at most: strongSwan before 6.0 wants a name to lie in every one that is permitted. The CA may have none
    below it. It is called after its key, so that a certificate made anew for the same key takes the place of the old.
    """
    signer = load_key(key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"ipsec-runbook CA {public_fingerprint(signer)[:8]}")])
    now = datetime.now(UTC)
    subject = x509.SubjectKeyIdentifier.from_public_key(signer.public_key())
    builder = (
        x509.CertificateBuilder(name, name, signer.public_key(), x509.random_serial_number())
        .not_valid_before(now - SLOW_CLOCKS)
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_CA_USES, critical=True)
        .add_extension(subject, critical=False)
    )
    if domain:
        permitted = x509.NameConstraints([x509.DNSName(domain)], None)
        builder = builder.add_extension(permitted, critical=True)
    return builder.sign(signer, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)


def due_at(ca: x509.Certificate) -> datetime:
    """When a CA's certificate is to be made anew: long before what it has signed may outlive it."""
    return ca.not_valid_before_utc + (ca.not_valid_after_utc - ca.not_valid_before_utc) * 2 / 3


def ca_problem(ca: x509.Certificate, key: bytes, names: Iterable[str]) -> str:
    """Say why a CA's certificate cannot go on as it is, for this key and these sites' names; empty when it can."""
    now = datetime.now(UTC)
    constraints = extension(ca, x509.NameConstraints)
    permitted = [str(each.value) for each in (constraints and constraints.permitted_subtrees) or ()]
    if public_fingerprint(ca) != public_fingerprint(load_key(key)) or not is_self_signed(ca):
        return "it is for another key"
    if problem := date_problem(ca, now):
        return f"it {problem}"
    if now >= due_at(ca):
        return f"it ends on {ca.not_valid_after_utc:%Y-%m-%d}"
    outside = [name for name in names if not all(f".{name}".endswith(f".{domain}") for domain in permitted)]
    return f"it may not vouch for {outside[0]}" if outside else ""


def sign(csr_pem: bytes, fqdn: str, ca: x509.Certificate, key: bytes) -> bytes:
    """Answer a request with a certificate for `fqdn` and nothing else (PEM), whatever the request asks for.

    Raises:
        CertificateError: The request is damaged, or its signature is wrong.
    """
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
    except ValueError as error:
        raise CertificateError(f"the certificate request is damaged: {error}") from error
    if not csr.is_signature_valid:
        raise CertificateError("the certificate request's signature is wrong")
    signer = load_key(key)
    now = datetime.now(UTC)
    issuer = extension(ca, x509.SubjectKeyIdentifier)
    if issuer is None:
        raise CertificateError("the CA's certificate has no subjectKeyIdentifier")
    return (
        x509.CertificateBuilder(ca.subject, csr.subject, csr.public_key(), x509.random_serial_number())
        .not_valid_before(now - SLOW_CLOCKS)
        .not_valid_after(min(now + SITE_LIFETIME, ca.not_valid_after_utc))
        # critical where it is the only name there is: RFC 5280, 4.2.1.6
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(fqdn)]), critical=not list(csr.subject))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(SIGNING_ONLY, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(csr.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(signer, hashes.SHA384())
        .public_bytes(serialization.Encoding.PEM)
    )
