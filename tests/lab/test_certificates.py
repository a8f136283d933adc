"""A certificate authority of one's own, and keys that never leave their hosts: no ACME, no web server, a tunnel."""

from __future__ import annotations

import base64
import re
import sys
from typing import TYPE_CHECKING, Final

import laws
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from product import Product, Run, picture
from strangers import Watch
from told import told_as

from lab import Lab, snapshot
from steps import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

SITES: Final = ("home", "vps4")
ORIGINAL: Final = "/var/lib/ipsec-runbook/keys/{site}.example.test.key"
RECORDING: Final = """\
import os, sys
import paramiko
record = open(os.environ["RECORD"], "ab", buffering=0)
def recorded(name, of_result):
    plain = getattr(paramiko.Channel, name)
    def method(self, what, *more):
        result = plain(self, what, *more)
        record.write(b"\\n" + (result if of_result else bytes(what)))
        return result
    setattr(paramiko.Channel, name, method)
for name in ("send", "sendall", "send_stderr"):
    recorded(name, False)
for name in ("recv", "recv_stderr"):
    recorded(name, True)
sys.argv[0] = "runbook"
from runbook.cli import main
main()
"""
"""The product with all that goes through an SSH channel, either way, written down."""


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab("certificates")
    lab.down()
    lab.up(print)
    sites = lab.directory / "sites.yaml"
    text = re.sub(r"certificates:\n(?:  .*\n)+", "certificate_authority: private\nkeys: host\n", sites.read_text())
    sites.write_text(text)
    yield Product(lab)
    lab.down()


@pytest.fixture(scope="module")
def fresh(product: Product) -> dict[str, dict[str, str]]:
    """The hosts before; vps4's admin has a key of his own, RSA in DER."""
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    path = ORIGINAL.format(site="vps4")
    product.lab.root(
        "vps4",
        f"umask 077; mkdir -p {path.rpartition('/')[0]}; base64 -d >{path} <<'EOF'\n"
        f"{base64.encodebytes(key).decode()}EOF",
    )
    return {site: picture(product.lab, site) for site in SITES}


@pytest.fixture(scope="module")
def audited(product: Product, fresh: dict[str, dict[str, str]]) -> Run:
    found = product.audit()
    assert laws.left(fresh, laws.pictures(product.lab)) == []
    return found


class Applied:
    """A whole apply, with what passed through its SSH channels, and what programs on this machine were started with."""

    def __init__(self, product: Product) -> None:
        record = product.lab.directory / "record"
        with Watch() as watch:
            recording = ("env", f"RECORD={record}", sys.executable, "-c", RECORDING)
            self.run = product.run("apply", "--yes", "--json", by=recording)
        self.sent = record.read_bytes()
        self.started = b"\0".join(watch.seen)
        record.unlink()


@pytest.fixture(scope="module")
def applied(product: Product, audited: Run) -> Applied:  # noqa: ARG001 - after it
    return Applied(product)


def key_of(product: Product, site: str) -> bytes:
    return base64.b64decode(product.lab.root(site, f"base64 {ORIGINAL.format(site=site)}").stdout)


def traces(product: Product) -> dict[str, list[bytes]]:
    """What each site's key looks like wherever it may turn up: in every form, raw, in hexadecimal, in base64."""
    pem, der = serialization.Encoding.PEM, serialization.Encoding.DER
    found = {}
    for site in SITES:
        data = key_of(product, site)
        load = serialization.load_pem_private_key if b"-----" in data else serialization.load_der_private_key
        key = load(data, None)
        numbers = key.private_numbers()
        secret = numbers.d if isinstance(key, rsa.RSAPrivateKey) else numbers.private_value
        raw = secret.to_bytes((secret.bit_length() + 7) // 8, "big")
        forms = (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL)
        texts = [key.private_bytes(pem, form, serialization.NoEncryption()) for form in forms]
        ders = [key.private_bytes(der, form, serialization.NoEncryption()) for form in forms]
        lines = [line for text in texts for line in text.splitlines() if not line.startswith(b"--")]
        lines += [line for form in (*ders, *texts) for line in base64.encodebytes(form).splitlines()]
        # a form's first lines say what it is, its last ones may be the public key: what is between is the secret
        spki = key.public_key().public_bytes(der, serialization.PublicFormat.SubjectPublicKeyInfo)
        public = base64.b64encode(spki)
        secrets = [line for line in lines if len(line) > 40 and line not in public]
        found[site] = [raw, raw[:24], raw.hex().encode(), *secrets]
    return found


def leaks(product: Product, data: bytes) -> list[str]:
    return [site for site, marks in traces(product).items() if any(mark in data for mark in marks)]


def test_the_tunnel_is_up_by_certificates_of_an_authority_of_our_own(applied: Applied) -> None:
    assert applied.run.code == 0, applied.run.err
    ping = next(step for step in applied.run.document["steps"] if step["name"] == "ping")
    received = [line for check in ping["checks"] for line in check["evidence"] if "packets transmitted" in line]
    assert len(received) == 12
    assert all("4 received, 0% packet loss" in line for line in received)


def test_what_was_audited_is_what_was_applied(audited: Run, applied: Applied) -> None:
    assert audited.code == 3
    changed = {
        (step["name"], part["target"], part["part"])
        for step in applied.run.document["steps"]
        for part in step["parts"]
        if part["change"]
    }
    assert changed == audited.not_in_order


@pytest.mark.usefixtures("applied")
def test_no_web_server_is_installed_and_no_port_opened_for_one(product: Product, audited: Run) -> None:
    for site in SITES:
        assert product.lab.root(site, "dpkg-query -W nginx 2>&1; ss -Hltn 'sport = :80'").stdout.count("\n") == 1
        assert "dport 80" not in product.lab.root(site, "iptables-save; ip6tables-save").stdout
    told = {
        part["note"]
        for step in audited.document["steps"]
        if step["name"] in {"nginx", "web-firewall"}
        for part in step["parts"]
    }
    assert told - {""} == {"not needed: whoever signs the certificates asks no web server"}


@pytest.mark.usefixtures("applied")
def test_all_is_in_order_then_and_a_second_apply_changes_nothing(product: Product) -> None:
    laws.kept(product)


def test_no_part_of_a_key_has_left_its_host(product: Product, applied: Applied) -> None:
    for site in SITES:
        assert f"CN={site}.example.test".encode() in applied.sent
    assert b"-----BEGIN CERTIFICATE REQUEST-----" in applied.sent  # such as would be found
    assert leaks(product, key_of(product, "home") + key_of(product, "vps4")) == ["home", "vps4"]
    assert leaks(product, applied.sent) == []
    assert b"base64\0-d" in applied.started
    assert leaks(product, applied.started) == []
    for site in SITES:
        assert leaks(product, product.lab.root(site, "journalctl -o export").stdout.encode()) == []
    kept = [path for path in (product.lab.directory / ".runbook").rglob("*") if path.is_file()]
    assert {path.name for path in kept if path.suffix == ".key"} == {"ca.key"}
    assert [path for path in kept if leaks(product, path.read_bytes())] == []


@pytest.mark.usefixtures("applied")
def test_keys_on_the_hosts_are_for_root_alone_and_the_admin_s_own_is_as_it_was(product: Product) -> None:
    for site in SITES:
        original, copy = ORIGINAL.format(site=site), f"/etc/swanctl/private/{site}.example.test.key"
        state = product.lab.root(
            site, f"stat -c '%a %U' {original} {copy}; openssl pkey -in {original} | cmp - {copy} && echo same"
        ).stdout
        assert state.split() == ["600", "root", "400", "root", "same"]
    assert key_of(product, "vps4")[0] == 0x30, "still DER"
    ca = product.lab.directory / ".runbook" / "authority" / "ca.key"
    assert (ca.stat().st_mode & 0o7777, ca.parent.stat().st_mode & 0o7777) == (0o600, 0o700)


@pytest.mark.usefixtures("applied")
def test_a_lost_authority_is_named_and_no_other_is_made_in_silence(product: Product) -> None:
    key = product.lab.directory / ".runbook" / "authority" / "ca.key"
    lost = key.rename(key.with_name("lost"))
    try:
        assert ("certificate", "controller", f"private key {key}") in product.audit().not_in_order
        refused = product.apply()
        assert refused.code == 1
        told = told_as(refused.document["failures"][0], catalogue.AUTHORITY_LOST)
        assert "your authority's key is lost" in told["error"]
        assert not key.exists()
    finally:
        lost.rename(key)
    assert product.audit().code == 0


@pytest.mark.usefixtures("applied")
def test_a_lost_original_is_taken_from_what_strongswan_has(product: Product) -> None:
    before = key_of(product, "home")
    product.lab.root("home", f"rm {ORIGINAL.format(site='home')}")
    assert product.apply().changes == {"key": 1}
    assert key_of(product, "home") == before


@pytest.mark.usefixtures("applied")
def test_another_key_on_a_host_means_another_request_and_certificate_and_the_tunnel_is_mended(product: Product) -> None:
    product.lab.root("home", f"mv {ORIGINAL.format(site='home')} /tmp/; rm /etc/swanctl/private/home.example.test.key")
    mended = product.apply()
    assert mended.code == 0, mended.err
    assert set(mended.changes) >= {"key", "csr", "certificate", "credentials", "connection"}
    assert product.audit().code == 0


@pytest.mark.usefixtures("applied")
def test_under_another_name_no_key_of_the_earlier_one_stays_but_the_admin_s_own(product: Product) -> None:
    sites, theirs, marks = product.lab.directory / "sites.yaml", key_of(product, "vps4"), traces(product)
    text = sites.read_text()
    sites.write_text(re.sub(r"fqdn: (\w+)\.example", r"fqdn: \1-anew.example", text))
    renamed = laws.changed(product)
    copies = "/etc/swanctl/private /etc/swanctl/x509 /var/lib/ipsec-runbook/keys"
    there = {site: product.lab.root(site, f"find {copies} -name '*{site}.example*'").stdout.split() for site in SITES}
    assert there == {"home": [], "vps4": [ORIGINAL.format(site="vps4")]}
    assert key_of(product, "vps4") == theirs
    ping = next(step for step in renamed.document["steps"] if step["name"] == "ping")
    assert all("4 received, 0% packet loss" in line for check in ping["checks"] for line in check["evidence"][-6:])
    logs = [path.read_bytes() for path in (product.lab.directory / ".runbook").rglob("*") if path.is_file()]
    assert not [mark for each in marks.values() for mark in each if any(mark in data for data in logs)]
    sites.write_text(text)
    laws.changed(product)


@pytest.mark.usefixtures("applied")
def test_rollback_of_all_gives_back_the_hosts_before_and_destroys_no_key(
    product: Product, fresh: dict[str, dict[str, str]]
) -> None:
    keys = {site: key_of(product, site) for site in SITES}
    done = product.run("rollback", "--all", "--yes")
    assert done.code == 0, done.out + done.err
    now = {site: picture(product.lab, site) for site in SITES}
    assert {site: snapshot.diff(fresh[site], now[site]) for site in SITES} == {"home": [], "vps4": []}
    assert key_of(product, "vps4") == keys["vps4"]
    aside = product.lab.root("home", f"cat {ORIGINAL.format(site='home')}.set-aside-*").stdout
    assert keys["home"].decode() in aside
