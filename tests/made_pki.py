"""Certificates made for tests: a chain in which any one thing can be otherwise than it should be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from steps import pki

HOME: Final = "home.example.test"
AT: Final = datetime(2026, 11, 1, 12, tzinfo=UTC)
DAY: Final = timedelta(days=1)
KEY: Final = pki.new_key()
PRINT: Final = pki.public_fingerprint(pki.load_key(KEY))


@dataclass
class Entity:
    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey


CA_USES: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def issue(name: str, by: Entity | None, **how: Any) -> Entity:  # noqa: ANN401 - values of many kinds
    """Issue a CA's certificate; `how` changes one thing about it."""
    key = how.get("key") or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    signer = by or Entity(None, key)  # type: ignore[arg-type] # a root has no issuer's certificate
    issuer = by.cert.subject if by else subject
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(how.get("before", AT - 30 * DAY))
        .not_valid_after(how.get("after", AT + 60 * DAY))
        .add_extension(x509.BasicConstraints(how.get("ca", True), how.get("path_length")), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    )
    if names := how.get("names"):
        alternative = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        builder = builder.add_extension(alternative, critical=not name)
    usage = how.get("usage", CA_USES if by is None or how.get("ca", True) else pki.SIGNING_ONLY)
    for extension in (usage, *how.get("extensions", ())):
        builder = builder.add_extension(extension, critical=True)
    return Entity(builder.sign(how.get("forger", signer.key), hashes.SHA256()), key)


class World:
    """EE <- I1 <- I2 <- root, with one certificate issued otherwise than it should be."""

    def __init__(self, **otherwise: dict[str, Any]) -> None:
        def made(name: str, by: Entity | None, **how: Any) -> Entity:  # noqa: ANN401 - values of many kinds
            return issue(name, by, **{**how, **otherwise.get(name, {})})

        root = made("Root", None)
        self.root = root.cert
        two = made("Two", root)
        one = made("One", two)
        self.two, self.one = two.cert, one.cert
        leaf = {"ca": False, "names": [HOME], "key": pki.load_key(KEY), **otherwise.get("leaf", {})}
        self.leaf = issue(leaf.pop("subject", HOME), one, **leaf).cert

    def all(self) -> list[x509.Certificate]:
        return [self.leaf, self.one, self.two]


class Cross:
    """Let's Encrypt's default chain of 2026: EE <- YE1 <- Root YE <- X2 <- X1, where X2 is a root of its own too."""

    def __init__(self) -> None:
        x1 = issue("X1", None)
        x2 = issue("X2", None)
        x2_by_x1 = issue("X2", x1, key=x2.key)
        root_ye = issue("Root YE", x2)
        ye1 = issue("YE1", root_ye)
        self.x1, self.x2, self.x2_by_x1 = x1.cert, x2.cert, x2_by_x1.cert
        self.leaf = issue(HOME, ye1, ca=False, names=[HOME], key=pki.load_key(KEY)).cert
        self.below = (ye1.cert, root_ye.cert)
        self.sent = [self.leaf, *self.below, self.x2_by_x1]
