"""An authority of one's own: what it makes is taken by OpenSSL and by our verifier, and is no more."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from cryptography import x509
from made_pki import issue

from steps import pki
from steps.certificates import certificate_request, chains, private_ca

if TYPE_CHECKING:
    from pathlib import Path

HOME: Final = "home.example.test"
CA_KEY: Final = pki.new_key()
KEY: Final = pki.new_key()
PRINT: Final = pki.public_fingerprint(pki.load_key(KEY))
CSR: Final = certificate_request.new_csr(KEY, HOME)


def new_ca(domain: str = "example.test") -> x509.Certificate:
    return pki.split_chain(private_ca.new_ca(CA_KEY, domain))[0]


def signed(fqdn: str = HOME, ca: x509.Certificate | None = None) -> x509.Certificate:
    return pki.split_chain(private_ca.sign(CSR, fqdn, ca or new_ca(), CA_KEY))[0]


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_a_certificate_is_proved_by_us_and_by_openssl(tmp_path: Path) -> None:
    ca, leaf = tmp_path / "ca.pem", tmp_path / "leaf.pem"
    ca.write_bytes(private_ca.new_ca(CA_KEY, "example.test"))
    leaf.write_bytes(private_ca.sign(CSR, HOME, pki.split_chain(ca.read_bytes())[0], CA_KEY))
    (root,) = pki.split_chain(ca.read_bytes())
    chain = chains.verify_chain(pki.split_chain(leaf.read_bytes()), [root], HOME, PRINT, datetime.now(UTC))
    assert chain.anchor == root
    assert chain.intermediates == ()
    strict = openssl("verify", "-x509_strict", "-verify_hostname", HOME, "-CAfile", ca, leaf)
    assert strict.returncode == 0, strict.stderr
    text = openssl("x509", "-in", ca, "-noout", "-text").stdout
    assert "CA:TRUE, pathlen:0" in text
    assert "Certificate Sign, CRL Sign" in text
    assert "Permitted:\n                  DNS:example.test" in text
    assert "secp384r1" in text


def test_neither_takes_a_name_outside_the_sites_domain(tmp_path: Path) -> None:
    ca, leaf = tmp_path / "ca.pem", tmp_path / "leaf.pem"
    ca.write_bytes(private_ca.new_ca(CA_KEY, "example.test"))
    (root,) = pki.split_chain(ca.read_bytes())
    outside = signed("home.example.org", root)
    leaf.write_bytes(pki.to_pem(outside))
    with pytest.raises(pki.CertificateError, match="breaks the rules"):
        chains.verify_chain([outside], [root], "home.example.org", PRINT, datetime.now(UTC))
    assert "permitted subtree violation" in openssl("verify", "-CAfile", ca, leaf).stderr


def test_it_vouches_for_the_name_it_is_told_whatever_the_request_asks_for() -> None:
    leaf = signed("vps4.example.test")
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName("vps4.example.test")]
    assert {each.oid._name for each in leaf.extensions} == {
        "subjectAltName",
        "basicConstraints",
        "keyUsage",
        "subjectKeyIdentifier",
        "authorityKeyIdentifier",
    }


def test_serial_numbers_are_random_and_lifetimes_end_with_the_authority() -> None:
    ca = new_ca()
    serials = {signed(ca=ca).serial_number for _ in range(5)}
    assert len(serials) == 5
    assert all(serial.bit_length() > 100 for serial in serials)
    leaf = signed(ca=ca)
    assert timedelta(days=360) < leaf.not_valid_after_utc - datetime.now(UTC) < timedelta(days=366)
    now = datetime.now(UTC)
    old = issue("Old", None, key=pki.load_key(CA_KEY), before=now - timedelta(days=9), after=now + timedelta(days=9))
    assert signed(ca=old.cert).not_valid_after_utc == old.cert.not_valid_after_utc


@pytest.mark.parametrize(
    ("names", "domain"),
    [
        (["home.example.test", "vps4.example.test"], "example.test"),
        (["home.example.test", "example.test"], "example.test"),
        (["a.b.example.test", "c.b.example.test"], "b.example.test"),
        (["home.example.test", "home.example.org"], ""),
        (["home.test", "vps4.test"], ""),
    ],
)
def test_an_authority_is_confined_to_the_domain_that_the_sites_share(names: list[str], domain: str) -> None:
    assert private_ca.common_domain(names) == domain
    assert private_ca.ca_problem(new_ca(domain), CA_KEY, names) == ""


def test_one_that_cannot_go_on_is_told_by_why() -> None:
    names = [HOME, "vps4.example.org"]
    assert private_ca.ca_problem(new_ca(), CA_KEY, names) == "it may not vouch for vps4.example.org"
    assert private_ca.ca_problem(new_ca(), KEY, [HOME]) == "it is for another key"
    now = datetime.now(UTC)
    key = pki.load_key(CA_KEY)
    late = issue("Late", None, key=key, before=now - timedelta(days=70), after=now + timedelta(days=30)).cert
    assert private_ca.ca_problem(late, CA_KEY, []).startswith("it ends on ")
    gone = issue("Gone", None, key=key, before=now - timedelta(days=70), after=now - timedelta(days=1)).cert
    assert private_ca.ca_problem(gone, CA_KEY, []).startswith("it expired on ")


def test_made_anew_for_the_same_key_it_takes_the_place_of_the_old_one() -> None:
    leaf = signed(ca=new_ca())
    wider = new_ca("")
    assert chains.verify_chain([leaf], [wider], HOME, PRINT, datetime.now(UTC)).anchor == wider


@pytest.mark.parametrize("request_pem", [b"", CSR[:200]])
def test_a_damaged_request_is_refused(request_pem: bytes) -> None:
    with pytest.raises(pki.CertificateError, match="the certificate request is damaged"):
        private_ca.sign(request_pem, HOME, new_ca(), CA_KEY)
