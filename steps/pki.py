"""Private keys and certificates as such: made, read, told apart.

Pure functions over bytes and objects: nothing here touches a host, writes a file or runs a program. Private keys come
in and go out as bytes; no message and no `repr` made here holds any of them.
"""

from __future__ import annotations

import hashlib
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from runbook.errors import RunbookError

if TYPE_CHECKING:
    from datetime import datetime

    PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    HasPublicKey = PrivateKey | x509.Certificate | x509.CertificateSigningRequest

SHORTEST_RSA: Final = 2048
"""Bits; what Let's Encrypt takes at least."""
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


class CertificateError(RunbookError):
    """A key, a certificate request or a certificate that cannot be used, and why."""


def new_key() -> bytes:
    """Make a secp384r1 private key: PKCS#8 PEM, not encrypted. Whoever writes it makes the file 0600 from birth."""
    return ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(data: bytes) -> PrivateKey:
    """Read a private key: PEM or DER; PKCS#8, SEC1 (`EC PRIVATE KEY`, also behind its parameters) or PKCS#1.

    Raises:
        CertificateError: It is damaged, locked by a passphrase, or of another kind. The message quotes none of it.
    """
    load = serialization.load_pem_private_key if b"-----BEGIN" in data else serialization.load_der_private_key
    # `from None` throughout: no parser's own words about a private key may travel with ours.
    try:
        key = load(data, password=None)
    except TypeError:
        raise CertificateError("the private key is locked by a passphrase; give it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError("the private key is damaged, or is no private key in PEM or DER at all") from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= SHORTEST_RSA:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES):
        return key
    raise CertificateError(
        f"the private key is of a kind that is not used here: it may be on the curve P-256, P-384 or P-521, or RSA of "
        f"{SHORTEST_RSA} bits or more"
    )


def as_pkcs8(data: bytes) -> bytes:
    """Give a private key in the form that strongSwan reads of every kind: PKCS#8 PEM, and nothing else in the file.

    Of a PEM file it reads the first block alone, and `openssl ecparam -genkey` writes the curve's parameters there.

    Raises:
        CertificateError: From `load_key`.
    """
    return load_key(data).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def public_fingerprint(holder: HasPublicKey) -> str:
    """Tell which key something belongs to: SHA-256 of its SubjectPublicKeyInfo, in hexadecimal.

    A private key, the request made with it and the certificate issued for it have the same one.
    """
    spki = holder.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


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
