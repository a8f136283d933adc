"""What an X.509 certificate or request says, read for judging it and for telling people about it.

The parsers of `cryptography` raise on what is absent; here absent is an ordinary answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

Holder = x509.Certificate | x509.CertificateSigningRequest
Extension = TypeVar("Extension", bound=x509.ExtensionType)


def extension(holder: Holder, kind: type[Extension]) -> Extension | None:
    """Give the extension of that kind, or None where there is none."""
    try:
        return holder.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def names(holder: Holder) -> list[str]:
    """Give all names in the subjectAltName, of any kind, in order."""
    found = extension(holder, x509.SubjectAlternativeName)
    return [] if found is None else [str(name.value) for name in found]


def common_name(name: x509.Name) -> str:
    """Give the common name, empty where there is none."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def shown(name: x509.Name) -> str:
    """Name an issuer or a subject to a person."""
    return f"'{common_name(name) or name.rfc4514_string()}'"


def serial_of(cert: x509.Certificate) -> str:
    """Write a serial number as strongSwan and openssl do: pairs of hexadecimal digits."""
    number = cert.serial_number
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8)).hex(":")


def listed(words: Iterable[str]) -> str:
    """Join for a sentence."""
    return ", ".join(words) or "nothing"


def uses(csr: x509.CertificateSigningRequest) -> Iterator[str]:
    """Say what the key in a request may be used for, in words; extended uses by their number."""
    usage = extension(csr, x509.KeyUsage)
    basic = extension(csr, x509.BasicConstraints)
    if usage is not None and usage.digital_signature:
        yield "digital signatures"
    if basic is not None and basic.ca:
        yield "being a CA"
    for use in extension(csr, x509.ExtendedKeyUsage) or ():
        yield use.dotted_string


def is_ca(cert: x509.Certificate) -> bool:
    """Say whether the certificate calls itself a CA's."""
    basic = extension(cert, x509.BasicConstraints)
    return basic is not None and basic.ca


def is_self_signed(cert: x509.Certificate) -> bool:
    """Say whether the certificate is signed by its own key, as a root is."""
    return is_signed_by(cert, cert)


def is_signed_by(cert: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Say whether `issuer` signed `cert`, by name and by signature."""
    try:
        cert.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):  # the latter two: another name, an algorithm it cannot check
        return False
    return True


def date_problem(cert: x509.Certificate, at: datetime) -> str:
    """Say why the certificate is not valid at that time; empty when it is."""
    if at < cert.not_valid_before_utc:
        return f"is not valid before {cert.not_valid_before_utc:%Y-%m-%d %H:%M} UTC (now: {at:%Y-%m-%d %H:%M})"
    if at > cert.not_valid_after_utc:
        return f"expired on {cert.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    return ""
