"""Certificate signing requests: made, described, and judged. Pure functions over bytes."""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from steps.pki import SIGNING_ONLY, CertificateError, load_key, public_fingerprint
from steps.x509_reading import common_name, extension, listed, names, uses

LONGEST_COMMON_NAME: Final = 64  # characters; ub-common-name of RFC 5280, appendix A.1


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


def csr_fingerprint(pem: bytes) -> str:
    """Tell which key a request was made with (`pki.public_fingerprint`).

    Raises:
        CertificateError: It cannot be read.
    """
    return public_fingerprint(_load_csr(pem))


def csr_problems(pem: bytes, fingerprint: str, fqdn: str) -> list[str]:
    """Say what is wrong with a request for `fqdn` by a key, one sentence each; an empty list means it is good.

    Args:
        pem: The request.
        fingerprint: Of the key, from `pki.public_fingerprint`.
        fqdn: The name.
    """
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
        "the request is for another key than the site's": public_fingerprint(csr) != fingerprint,
        f"the request asks for {listed(names(csr))}, not for {fqdn} alone": names(csr) != [fqdn],
        f"the request's common name is {subject}, not {fqdn}": subject not in ("", fqdn),
        "the request asks for a CA's certificate": basic is not None and basic.ca,
        "the request does not ask for the use digital signature": usage is None or not usage.digital_signature,
        "the request asks for an extended key usage, which Let's Encrypt may refuse": extended is not None,
    }
    return [sentence for sentence, wrong in found.items() if wrong]


def _load_csr(pem: bytes) -> x509.CertificateSigningRequest:
    try:
        csr = x509.load_pem_x509_csr(pem)
        _ = csr.extensions, public_fingerprint(csr)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise CertificateError(f"the certificate request is damaged: {error}") from error
    return csr
