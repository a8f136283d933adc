"""Keys, requests, bundles and anchors: what is made is right, what is wrong is said in one telling sentence."""

from __future__ import annotations

import hashlib
import subprocess
import traceback
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from made_pki import AT, HOME, KEY, PRINT, Cross, World, issue

from steps import pki
from steps.certificates import certificate_request, chains
from steps.certificates.renewals import Renewal, due_at

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

OTHER_KEY: Final = pki.new_key()
PEM: Final = serialization.Encoding.PEM
DER: Final = serialization.Encoding.DER
PKCS8: Final = serialization.PrivateFormat.PKCS8
PLAIN: Final = serialization.NoEncryption()
GOOD: Final = World()
STRANGER: Final = World()

label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
fqdns = st.lists(label, min_size=2, max_size=8).map(".".join)
quick = settings(deadline=None, max_examples=60)


def openssl(*arguments: str, given: bytes) -> bytes:
    return subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True).stdout


# ---- keys


def test_a_new_key_is_what_openssl_too_calls_a_p384_key_in_pkcs8() -> None:
    assert KEY.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert b"secp384r1" in openssl("pkey", "-noout", "-text", given=KEY)
    assert KEY != OTHER_KEY


def _unfit_keys() -> dict[str, bytes]:
    def pem(key: PrivateKeyTypes) -> bytes:
        return bytes(key.private_bytes(PEM, PKCS8, PLAIN))

    locked = pki.load_key(KEY).private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"secret"))
    return {
        "secp256k1": pem(ec.generate_private_key(ec.SECP256K1())),
        "short RSA": pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - short is the point
        "Ed25519": pem(ed25519.Ed25519PrivateKey.generate()),
        "locked": locked,
        "locked DER": pki.load_key(KEY).private_bytes(DER, PKCS8, serialization.BestAvailableEncryption(b"secret")),
        "cut": KEY[:200],
        "cut DER": openssl("pkey", "-outform", "DER", given=KEY)[:100],
        "public": pki.load_key(KEY).public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "empty": b"",
    }


FORMS: Final = {
    "the article's: SEC1 behind its parameters": (["ecparam", "-name", "secp384r1", "-genkey"], []),
    "the article's in DER": (["ecparam", "-name", "secp384r1", "-genkey"], ["ec", "-outform", "DER"]),
    "PKCS#8 in DER": (
        ["ecparam", "-name", "prime256v1", "-genkey"],
        ["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"],
    ),
    "SEC1 alone": (["ecparam", "-name", "secp521r1", "-genkey", "-noout"], []),
    "RSA in PKCS#1": (["genrsa", "-traditional", "2048"], []),
    "RSA in DER": (["genrsa", "2048"], ["rsa", "-traditional", "-outform", "DER"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_key_that_is_there_is_understood_in_every_form_that_openssl_writes(form: str) -> None:
    made, turned = FORMS[form]
    key = openssl(*made, given=b"")
    key = openssl(*turned, given=key) if turned else key
    spki = openssl("pkey", "-pubout", "-outform", "DER", given=key)
    assert openssl("pkey", given=key) == pki.as_pkcs8(key)  # in one block, as strongSwan reads it
    request = certificate_request.new_csr(key, HOME)
    fingerprint = pki.public_fingerprint(pki.load_key(key))
    assert fingerprint == hashlib.sha256(spki).hexdigest()
    assert certificate_request.csr_problems(request, fingerprint, HOME) == []
    assert (
        b"verify OK"
        in subprocess.run(
            ["openssl", "req", "-verify", "-noout"], input=request, capture_output=True, check=True
        ).stderr
    )


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("secp256k1", "a kind that is not used here"),
        ("short RSA", "RSA of 2048 bits or more"),
        ("Ed25519", "a kind that is not used here"),
        ("locked", "locked by a passphrase"),
        ("locked DER", "locked by a passphrase"),
        ("cut", "damaged"),
        ("cut DER", "damaged"),
        ("public", "no private key"),
        ("empty", "no private key"),
    ],
)
def test_another_kind_of_key_is_refused_in_a_sentence(case: str, reason: str) -> None:
    with pytest.raises(pki.CertificateError, match=reason):
        pki.load_key(_unfit_keys()[case])


@quick
@given(place=st.integers(30, len(KEY) - 30), byte=st.integers(0, 255))
def test_a_damaged_key_is_never_quoted(place: int, byte: int) -> None:
    damaged = KEY[:place] + bytes([byte]) + KEY[place + 1 :]
    told = ""
    try:
        pki.load_key(damaged)
    except pki.CertificateError:
        told = traceback.format_exc().replace("KEY", "")  # what a crash report would show of it
    secret = "".join(KEY.decode().splitlines()[1:-1])
    assert not any(secret[at : at + 8] in told for at in range(len(secret) - 8))
    assert "ASN.1" not in told


def test_key_request_and_certificate_have_the_fingerprint_that_openssl_computes() -> None:
    spki = openssl("pkey", "-pubout", "-outform", "DER", given=KEY)
    request = x509.load_pem_x509_csr(certificate_request.new_csr(KEY, HOME))
    assert hashlib.sha256(spki).hexdigest() == PRINT
    assert PRINT == pki.public_fingerprint(request) == pki.public_fingerprint(World().leaf)
    assert pki.public_fingerprint(pki.load_key(OTHER_KEY)) != PRINT


# ---- requests


@quick
@given(fqdn=fqdns)
def test_a_request_asks_for_its_name_and_nothing_else(fqdn: str) -> None:
    pem = certificate_request.new_csr(KEY, fqdn)
    request = x509.load_pem_x509_csr(pem)
    assert certificate_request.csr_problems(pem, PRINT, fqdn) == []
    assert {extension.oid._name for extension in request.extensions} == {
        "subjectAltName",
        "keyUsage",
        "basicConstraints",
    }
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName(fqdn)]
    common_names = [str(each.value) for each in request.subject]
    assert common_names == ([fqdn] if len(fqdn) <= 64 else [])
    assert isinstance(request.signature_hash_algorithm, hashes.SHA384)
    assert certificate_request.csr_der(pem) == request.public_bytes(serialization.Encoding.DER)


def test_openssl_reads_the_request_the_same_way() -> None:
    text = " ".join(
        openssl("req", "-verify", "-noout", "-text", given=certificate_request.new_csr(KEY, HOME)).decode().split()
    )
    assert f"X509v3 Subject Alternative Name: DNS:{HOME} X509v3 Key Usage: critical Digital Signature X509v3" in text
    assert "X509v3 Basic Constraints: critical CA:FALSE" in text
    assert "Extended Key Usage" not in text
    assert "ecdsa-with-SHA384" in text


def test_a_request_is_described_in_words() -> None:
    told = "\n".join(certificate_request.describe_csr(certificate_request.new_csr(KEY, HOME)))
    assert f"for: {HOME}\n" in told
    assert "secp384r1" in told
    assert "may be used for: digital signatures\n" in told
    assert "signed by its own key: yes" in told
    assert PRINT in told


def test_a_request_with_a_wrong_signature_is_described_as_such() -> None:
    assert any(
        "the signature is wrong" in line
        for line in certificate_request.describe_csr(_forged(certificate_request.new_csr(KEY, HOME)))
    )


def _forged(pem: bytes) -> bytes:
    """Swap the name for another of its length, after signing."""
    der = certificate_request.csr_der(pem).replace(b"home", b"hole")
    return x509.load_der_x509_csr(der).public_bytes(PEM)


def _request(*names: str, common: str = "", uses: bool = True, ca: bool = False, client: bool = False) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)  # noqa: FBT003
    if uses:
        builder = builder.add_extension(pki.SIGNING_ONLY, critical=True)
    if client:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return builder.sign(pki.load_key(KEY), hashes.SHA384()).public_bytes(PEM)


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (_request("vps4.example.test"), "asks for vps4.example.test, not for home.example.test alone"),
        (_request(HOME, "vps4.example.test"), "asks for home.example.test, vps4.example.test, not"),
        (_request(common=HOME), "asks for nothing, not for home.example.test alone"),
        (_request(HOME, common="vps4.example.test"), "common name is vps4.example.test"),
        (_request(HOME, uses=False), "digital signature"),
        (_request(HOME, ca=True), "a CA's certificate"),
        (_request(HOME, client=True), "extended key usage"),
        (certificate_request.new_csr(OTHER_KEY, HOME), "another key"),
        (certificate_request.new_csr(KEY, HOME)[:300], "damaged"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_and_nothing_more(pem: bytes, reason: str) -> None:
    (problem,) = certificate_request.csr_problems(pem, PRINT, HOME)
    assert reason in problem


def test_a_forged_request_is_found_out() -> None:
    assert certificate_request.csr_problems(
        _forged(certificate_request.new_csr(KEY, HOME)), PRINT, "hole.example.test"
    ) == ["the request's signature is wrong"]


# ---- bundles, dates, anchors


@quick
@given(order=st.permutations([GOOD.leaf, GOOD.one, GOOD.two, GOOD.root]), between=st.sampled_from([b"", b"# text\n"]))
def test_a_bundle_is_split_into_what_it_was_joined_from(order: list[x509.Certificate], between: bytes) -> None:
    assert pki.split_chain(between.join(pki.to_pem(cert) for cert in order)) == order


@pytest.mark.parametrize("bundle", [b"", b"hello", pki.to_pem(GOOD.one)[:200], KEY])
def test_what_is_no_certificate_is_said_to_be_none(bundle: bytes) -> None:
    with pytest.raises(pki.CertificateError, match="no readable certificate"):
        pki.split_chain(bundle)


@quick
@given(lifetime=st.integers(3, 2_000_000), passed=st.integers(0, 2_000_000))
def test_renewal_is_due_from_two_thirds_of_the_lifetime_on(lifetime: int, passed: int) -> None:
    start = AT - timedelta(seconds=passed)
    cert = issue("x", None, before=start, after=start + timedelta(seconds=lifetime)).cert
    assert (due_at(cert, Renewal("")) <= AT) == (3 * passed >= 2 * lifetime)


def test_days_left_are_whole_and_go_below_zero() -> None:
    end = GOOD.leaf.not_valid_after_utc
    counted = [pki.days_left(GOOD.leaf, end + timedelta(hours=hours)) for hours in (-25, -24, -1, 0, 1)]
    assert counted == [1, 1, 0, 0, -1]


def test_the_packaged_anchors_are_the_published_roots() -> None:
    assert [cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value for cert in chains.builtin_anchors()] == [
        "ISRG Root X1",
        "ISRG Root X2",
    ]
    assert all(pki.days_left(cert, AT) > 365 for cert in chains.builtin_anchors())


def test_an_anchor_that_is_not_the_pinned_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(chains.PINS, "ISRG_Root_X1.pem", chains.PINS["ISRG_Root_X2.pem"])
    with pytest.raises(pki.CertificateError, match=r"ISRG_Root_X1\.pem is not the published one"):
        chains.builtin_anchors()


def test_own_anchors_are_read_from_one_or_more_files(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(pki.to_pem(GOOD.root))
    (tmp_path / "b.pem").write_bytes(pki.to_pem(STRANGER.root) + pki.to_pem(Cross().x1))
    assert chains.load_anchors([tmp_path / "a.pem", tmp_path / "b.pem"])[:2] == [GOOD.root, STRANGER.root]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file"),
        (b"nothing", "no readable certificate"),
        (pki.to_pem(GOOD.one), "'One' is no root, for 'Two' issued it"),
        (pki.to_pem(issue("Self", None, ca=False).cert), "'Self' is not a CA's certificate"),
    ],
)
def test_what_no_chain_can_end_in_is_refused_as_an_anchor(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "anchor.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(pki.CertificateError, match=sentence) as caught:
        chains.load_anchors([path])
    assert str(path) in str(caught.value)
