"""Going over on a network that is in use: to another authority, or to keys that are made elsewhere, and back."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from certificates import OTHER, PING, SITES, held, kept, pinged, serial
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from product import RUNBOOK, Product
from told import told_as

from lab import Lab
from steps import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.lab, pytest.mark.slow]

PRIVATE: Final = "certificate_authority: private\n"
KEYS_ON_HOSTS: Final = "keys: host\n"
CONFIGURED: Final = "find /etc/swanctl /etc/ipsec* /etc/ssl/*.example.test -type f -exec sha256sum {} +"


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    """One end is configured by swanctl.conf, the other by ipsec.conf; each key has always been on its host."""
    lab = Lab(f"going-over-{os.getpid()}")
    lab.up(print)
    sites = lab.directory / "sites.yaml"
    text = sites.read_text()
    sites.write_text(text.replace("    fqdn: vps4.example.test\n", "    fqdn: vps4.example.test\n    config: stroke\n"))
    (lab.directory / "acme.yaml").write_text(sites.read_text())
    made = Product(lab)
    stated(made, PRIVATE, KEYS_ON_HOSTS)
    done = made.apply()
    assert done.code == 0, done.err
    yield made
    lab.down()


def stated(product: Product, *sections: str) -> None:
    """Have sites.yaml say this of certificates and keys; by ACME, and on the controller, where it says nothing."""
    text = (product.lab.directory / "acme.yaml").read_text()
    if PRIVATE in sections:
        text = re.sub(r"certificates:\n(?:  .*\n)+", "", text)
    (product.lab.directory / "sites.yaml").write_text(text + "".join(sections))


def aged(ca: x509.Certificate, key: bytes) -> bytes:
    """The same authority with seven of its ten years over."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(ca.issuer, ca.subject, ca.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=7 * 365))
        .not_valid_after(now + timedelta(days=3 * 365))
    )
    for each in ca.extensions:
        builder = builder.add_extension(each.value, each.critical)
    signer = serialization.load_pem_private_key(key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    return builder.sign(signer, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)


def test_an_authority_that_ages_is_made_anew_by_the_timer_s_renewal_and_the_tunnel_is_not_interrupted(
    product: Product,
) -> None:
    directory, leaves = product.lab.directory / ".runbook" / "authority", {site: kept(product, site) for site in SITES}
    path, key = directory / "ca.pem", (directory / "ca.key").read_bytes()
    path.write_bytes(aged(x509.load_pem_x509_certificate(path.read_bytes()), key))
    old = x509.load_pem_x509_certificate(path.read_bytes())
    audited = product.audit()
    assert ("certificate", "controller", f"certificate authority {path}") in audited.not_in_order
    said = product.run("status").out
    assert re.search(r"your own authority: \d+ days left, made anew from \d{4}-\d\d-\d\d on", said), said
    with pinged(product):
        done = product.run("renew", "--yes", "--json")
    assert done.code == 0, done.err
    assert done.changed <= audited.not_in_order
    new = x509.load_pem_x509_certificate(path.read_bytes())
    assert new.not_valid_after_utc > old.not_valid_after_utc + timedelta(days=6 * 365)
    for site in SITES:
        assert kept(product, site) == leaves[site]
        listed = product.lab.root(site, "swanctl --list-certs 2>/dev/null || ipsec listcacerts").stdout
        assert serial(new) in listed
        assert serial(old) not in listed
    assert product.audit().code == 0
    assert product.apply().changes == {}


@pytest.mark.parametrize(
    "sections",
    [(PRIVATE,), (), (PRIVATE, KEYS_ON_HOSTS), (KEYS_ON_HOSTS,)],
    ids=["keys on the controller", "by ACME", "by one's own authority, keys on the hosts", "by ACME again"],
)
def test_what_the_audit_shows_apply_does_and_the_tunnel_is_not_interrupted(
    product: Product, sections: tuple[str, ...]
) -> None:
    before = {site: kept(product, site) for site in SITES}
    stated(product, *sections)
    audited = product.audit()
    assert audited.code == 3
    with pinged(product):
        done = product.apply()
    assert done.code == 0, done.err
    assert {"certificate", "credentials", "connection", "ping"} <= {step for step, _, _ in done.changed}
    assert done.changed <= audited.not_in_order
    for site in SITES:
        assert kept(product, site).serial_number != before[site].serial_number
        assert serial(kept(product, site)) in held(product, site)
        assert serial(kept(product, site)) in held(product, OTHER[site]), "the other end has been shown it"
    assert product.audit().code == 0
    assert product.apply().changes == {}


def test_where_one_end_cannot_be_given_its_certificate_the_other_does_not_go_over_alone(product: Product) -> None:
    """The tunnel stands, and can come up anew, by what both had before; once that is mended, it goes over."""
    stated(product, PRIVATE, KEYS_ON_HOSTS)
    leaf = "/etc/swanctl/x509/home.example.test.pem"
    before = {site: held(product, site) for site in SITES}
    product.lab.root("home", f"mv {leaf} /root/leaf.pem; mkdir {leaf}")
    failed = product.apply()
    assert failed.code == 1
    assert {(each["target"], each["step"]) for each in failed.document["failures"]} == {("home", "credentials")}
    assert not {each for each in failed.changed if each[2].startswith("loaded connection")}
    product.lab.root("vps4", "ipsec down ula-net-home")
    product.lab.root("home", f"for _ in $(seq 60); do ! {PING} -c 1 -W 1 || break; done")  # the first brings it up
    assert " 0% packet loss" in product.lab.root("home", f"{PING} -c 20").stdout
    for site in SITES:
        assert serial(kept(product, site)) not in held(product, OTHER[site])
        assert set(before[site]) >= set(held(product, site))
    product.lab.root("home", f"rmdir {leaf}; mv /root/leaf.pem {leaf}")
    with pinged(product):
        assert product.apply().code == 0
    for site in SITES:
        assert serial(kept(product, site)) in held(product, OTHER[site])
    assert product.audit().code == 0


def test_another_authority_is_made_in_the_place_of_one_that_was_moved_away(product: Product) -> None:
    directory = product.lab.directory / ".runbook" / "authority"
    before, old = directory.rename(directory.with_name("authority-before")), {s: kept(product, s) for s in SITES}
    refused = product.run("renew", "--yes", "--json")
    assert {each["id"] for each in refused.document["failures"]} == {catalogue.AUTHORITY_CHANGED.id}
    assert not directory.exists(), "a timer makes none"
    with pinged(product):
        done = product.apply()
    assert done.code == 0, done.err
    for site in SITES:
        assert kept(product, site).serial_number != old[site].serial_number
        assert serial(kept(product, site)) in held(product, OTHER[site])
        assert x509.load_pem_x509_certificate((before / "ca.pem").read_bytes()) not in roots(product, site)
    assert product.audit().code == 0


def roots(product: Product, site: str) -> list[x509.Certificate]:
    """The CA certificates of ours in a host's files, in whatever style."""
    files = "/etc/swanctl/x509ca/ipsec-runbook-*.pem /etc/ipsec.d/cacerts/ipsec-runbook-*.pem"
    pem = product.lab.root(site, f"cat {files} 2>/dev/null", check=False).stdout
    return x509.load_pem_x509_certificates(pem.encode())


def test_cut_off_half_way_and_rebooted_it_is_resumed(product: Product) -> None:
    """A connection that names the old root must find it, or strongSwan does not start any more."""
    text = (product.lab.directory / "sites.yaml").read_text()
    stated(product, *([] if PRIVATE in text else [PRIVATE]), KEYS_ON_HOSTS)
    argv = [*RUNBOOK, "apply", "--yes", "--file", product.sites]
    with product.lab.admin_popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        assert run.stdout
        assert any("(apparmor)" in line for line in run.stdout), "the step after the credentials"
        run.kill()
    for site in SITES:
        product.lab.reboot(site)
    done = product.run("resume", "--yes")
    assert done.code == 0, done.out + done.err
    for site in SITES:
        assert serial(kept(product, site)) in held(product, OTHER[site])
    assert product.audit().code == 0
    assert product.apply().changes == {}


def test_a_renewal_does_not_go_over(product: Product) -> None:
    """It is what a timer does: by half of what has changed in sites.yaml the tunnel would be lost."""
    text = (product.lab.directory / "sites.yaml").read_text()
    stated(product, *([] if PRIVATE in text else [PRIVATE]), KEYS_ON_HOSTS)
    before = {site: kept(product, site) for site in SITES}
    configured = {site: product.lab.root(site, CONFIGURED, check=False).stdout for site in SITES}
    done = product.run("renew", "--yes", "--json")
    assert done.code == 1
    told = [told_as(each, catalogue.AUTHORITY_CHANGED) for each in done.document["failures"]]
    assert {each["error"].split()[3] for each in told} == {f"{site}.example.test" for site in SITES}
    assert {site: kept(product, site) for site in SITES} == before
    assert {site: product.lab.root(site, CONFIGURED, check=False).stdout for site in SITES} == configured
