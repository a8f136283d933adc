"""Renewal: chains of any length replaced whole, new certificates in use without an interruption, failures told.

One end is configured by swanctl, the other by ipsec.conf; `test_the_other_way_round` has it the other way.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest
from certificates import OTHER, SITES, held, kept, pinged, serial
from cryptography import x509
from laws import Laws
from product import Product
from scratch import Scratch, Witness, carry_out

from lab import Lab
from runbook.host import Answer, Host
from runbook.step import CONTROLLER
from steps.renewing.renewal_timer import RenewalTimer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from product import Run

    from runbook.host import Job

pytestmark = pytest.mark.lab

STYLES: Final = {"home": "swanctl", "vps4": "stroke"}
KEYS: Final = {
    "home": "openssl ecparam -name secp384r1 -genkey",  # as in the article: with parameters before it, in SEC1
    "vps4": "openssl ecparam -name secp384r1 -genkey | openssl ec -outform DER 2>/dev/null",  # as the article turns it
}
INSTALLED: Final = {
    "swanctl": "/etc/swanctl/private/{0}.example.test.key",
    "stroke": "/etc/ssl/{0}.example.test/{0}.example.test.key",
}
AUTHORITIES: Final = {"swanctl": "/etc/swanctl/x509ca", "stroke": "/etc/ipsec.d/cacerts"}
LISTED: Final = {  # without what has only come through a tunnel
    "swanctl": "swanctl --flush-certs >/dev/null; swanctl --list-certs",
    "stroke": "ipsec purgecerts >/dev/null; ipsec listcacerts",
}


def configured(lab: Lab, styles: dict[str, str]) -> None:
    sites = lab.directory / "sites.yaml"
    text = sites.read_text()
    for site, style in styles.items():
        assert text.count(f"    fqdn: {site}.example.test\n") == 1
        text = text.replace(f"    fqdn: {site}.example.test\n", f"    fqdn: {site}.example.test\n    config: {style}\n")
    sites.write_text(text)


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    """A lab where each site's key is its admin's own, of another form than ours."""
    lab = Lab(f"renewal-{os.getpid()}")
    lab.up(print)
    configured(lab, STYLES)
    keys = lab.directory / ".runbook" / "keys"
    for site, make in KEYS.items():
        script = f"umask 077; mkdir -p {keys}; {make} >{keys}/{site}.key"
        subprocess.run(["sh", "-c", script], check=True)
    yield Product(lab)
    lab.down()


@pytest.fixture(scope="module")
def laws(product: Product) -> Laws:
    return Laws.of(product)


@pytest.fixture(scope="module")
def applied(laws: Laws) -> Run:
    return laws.applied()


def key_of(product: Product, site: str) -> bytes:
    return (product.lab.directory / ".runbook" / "keys" / f"{site}.key").read_bytes()


def authorities(product: Product, host: str) -> list[x509.Certificate]:
    """The CA certificates in a host's files, of which each has one."""
    directory = AUTHORITIES[STYLES[host]]
    names = product.lab.root(host, f"ls {directory}").stdout.split()
    files = [product.lab.root(host, f"cat {directory}/{name}").stdout.encode() for name in names]
    found = [x509.load_pem_x509_certificates(pem) for pem in files]
    assert [len(each) for each in found] == [1] * len(names)
    return [each[0] for each in found]


def loaded_authorities(product: Product, host: str) -> set[str]:
    """The serial numbers of the CA certificates that a host's charon has loaded; it forgets what it was shown."""
    listed = product.lab.root(host, LISTED[STYLES[host]]).stdout
    entries = re.split(r"\n(?=  subject:)", listed)
    found = (re.search(r"serial: +([0-9a-f:]+)", each) for each in entries if re.search(r"flags: .*CA", each))
    return {each[1] for each in found if each}


def ike_sas(product: Product, host: str) -> list[str]:
    listed = product.lab.root(host, "swanctl --list-sas 2>/dev/null || ipsec statusall").stdout
    return re.findall(r"ESTABLISHED", listed)


@contextmanager
def closed_to_the_authority(product: Product, host: str) -> Iterator[None]:
    rule = "INPUT -p tcp --dport 80 -j REJECT"
    product.lab.root(host, f"iptables -I {rule}; ip6tables -I {rule}")
    try:
        yield
    finally:
        product.lab.root(host, f"iptables -D {rule}; ip6tables -D {rule}")


def test_an_admin_s_own_key_serves_in_whatever_form_it_is_and_is_left_as_it_is(product: Product, applied: Run) -> None:
    assert applied.code == 0, applied.err
    assert key_of(product, "home").startswith(b"-----BEGIN EC PARAMETERS-----")
    assert key_of(product, "vps4")[0] == 0x30  # DER
    for site in SITES:
        public = "openssl pkey -pubout"
        there = product.lab.root(site, f"{public} <{INSTALLED[STYLES[site]].format(site)}").stdout
        here = subprocess.run(public.split(), input=key_of(product, site), capture_output=True, check=True).stdout
        assert there == here.decode()


def renewed_by(product: Product, chain_length: int) -> None:
    """Have another authority, with so many CA certificates between its root and the sites', renew all at once."""
    before = {site: kept(product, site) for site in SITES}
    product.lab.new_authority(chain_length=chain_length)
    audited = product.audit()
    assert audited.code == 3
    told = [part["note"] for step in audited.document["steps"] for part in step["parts"]]
    assert len([note for note in told if note.endswith(" is kept")]) == len(SITES)
    with pinged(product):
        done = product.run("renew", "--yes", "--force")
    assert done.code == 0, done.out + done.err
    for site in SITES:
        leaf = kept(product, site)
        assert leaf.serial_number != before[site].serial_number
        assert leaf.public_key() == before[site].public_key()
        assert serial(leaf) in held(product, site)
        assert serial(leaf) in held(product, OTHER[site]), "the other end has been shown it"
        assert len(ike_sas(product, site)) == 1
    for site in SITES:
        files = authorities(product, site)
        assert len(files) == chain_length + 1
        assert loaded_authorities(product, site) == {serial(each) for each in files}
    assert product.audit().code == 0


@pytest.mark.usefixtures("applied")
def test_by_a_shorter_chain_all_is_replaced_and_in_use_and_the_tunnel_is_not_interrupted(product: Product) -> None:
    assert [len(authorities(product, site)) for site in SITES] == [4, 4]
    renewed_by(product, chain_length=1)


@pytest.mark.usefixtures("applied")
def test_a_renewal_that_fails_is_told_and_keeps_the_certificate_and_the_other_site_s_goes_through(
    product: Product,
) -> None:
    before = {site: kept(product, site).serial_number for site in SITES}
    with closed_to_the_authority(product, "vps4"), pinged(product):
        failed = product.run("renew", "--yes", "--force")
    assert failed.code == 1
    told = r"certificate of vps4\.example\.test: \d+ days left, renewal due since \S+ \(asked for\), "
    assert re.search(rf"{told}renewal has failed since \d{{4}}-.*: .*vps4\.example\.test", failed.out)
    assert kept(product, "home").serial_number != before["home"]
    assert serial(kept(product, "home")) in held(product, "vps4")
    assert kept(product, "vps4").serial_number == before["vps4"]
    assert serial(kept(product, "vps4")) in held(product, "vps4")
    assert "renewal has failed since" in product.run("status").out
    audited = product.audit()
    assert audited.code == 3
    assert ("certificate", "controller", "certificate vps4.example.test") in audited.not_in_order


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_what_an_audit_finds_due_apply_renews(product: Product) -> None:
    """That of the test before: only the end that does not begin the tunnel has a new one."""
    before = kept(product, "vps4").serial_number
    audited = product.audit()
    with pinged(product):
        done = product.apply()
    assert done.code == 0, done.err
    changed = {
        (step["name"], part["target"], part["part"])
        for step in done.document["steps"]
        for part in step["parts"]
        if part["change"]
    }
    assert {step for step, _, _ in changed} == {"certificate", "credentials", "connection", "ping"}, changed
    assert changed <= audited.not_in_order
    assert kept(product, "vps4").serial_number != before
    assert serial(kept(product, "vps4")) in held(product, "home")
    assert (product.audit().code, product.apply().changes) == (0, {})


class Machine(Host):
    """A host of the lab in the controller's place: it has a systemd."""

    def __init__(self, lab: Lab, host: str) -> None:
        super().__init__(CONTROLLER)
        self.root = lambda script: lab.root(host, script, check=False)

    def login(self) -> None:
        pass

    def relogin(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _run(self, job: Job) -> Answer:
        done = self.root(job.script)
        return Answer(done.stdout, done.stderr, done.returncode, 0.0)


@pytest.mark.parametrize("host", SITES)
def test_systemd_renews_twice_a_day_as_it_is_told_and_then_no_more(
    product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    machine = Machine(product.lab, host)
    stub = "#!/bin/sh\nprintf '%s\\n' \"$@\" >>/tmp/ran; exit $(cat /tmp/code)\n"
    machine.root(
        f"printf %s {shlex.quote(stub)} >/usr/local/bin/stub; chmod 755 /usr/local/bin/stub; echo 0 >/tmp/code"
    )
    monkeypatch.setattr("sys.executable", "/usr/local/bin/stub")
    file = tmp_path / 'my "100 %s" $nets' / "sites.yaml"

    def brought(*, wanted: bool) -> tuple[Witness, list[str]]:
        witness = Witness()
        here = Scratch(tmp_path, CONTROLLER, machine)
        executor = carry_out([RenewalTimer(file, wanted=wanted)], [here], tmp_path / "journal", witness)
        return witness, list(map(str, executor.failures.values()))

    assert brought(wanted=True)[1] == []
    assert machine.root("cat /tmp/ran").stdout.splitlines() == ["-m", "runbook", "renew", "--yes", "--file", str(file)]
    units = "ipsec-runbook-renew-*.timer"
    known = machine.root(f"systemctl show -p UnitFileState,ActiveState,Persistent,RandomizedDelayUSec '{units}'").stdout
    assert {*known.split()} == {
        "UnitFileState=enabled",
        "ActiveState=active",
        "Persistent=yes",
        "RandomizedDelayUSec=12h",
    }
    assert re.search(r"^\S+ \d{4}-\d\d-\d\d ", machine.root(f"systemctl list-timers --no-legend '{units}'").stdout)
    verified = machine.root("systemd-analyze verify /etc/systemd/system/ipsec-runbook-renew-*")
    assert (verified.returncode, verified.stderr) == (0, "")

    machine.root("echo 1 >/tmp/code")
    again, failures = brought(wanted=True)
    assert again.asked == [], "nothing is to be changed"
    assert len(failures) == 1
    assert "its first run has failed" in failures[0]

    assert brought(wanted=False)[1] == []
    assert (
        machine.root("ls /etc/systemd/system | grep renew; systemctl list-timers --no-legend | grep renew").stdout == ""
    )
    assert brought(wanted=False)[0].asked == []


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_where_nothing_is_due_nothing_is_done(product: Product) -> None:
    done = product.run("renew", "--yes")
    assert (done.code, "0 changes made" in done.out) == (0, True), done.out + done.err
    for site in SITES:
        assert re.search(rf"certificate of {site}\.example\.test: \d+ days left, renewal due on \d{{4}}-", done.out)


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_by_a_longer_chain_all_is_replaced_and_in_use_and_the_tunnel_is_not_interrupted(product: Product) -> None:
    renewed_by(product, chain_length=3)


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize("site", SITES)
def test_one_site_s_is_renewed_when_its_authority_says_so_and_the_tunnel_is_not_interrupted(
    product: Product, site: str
) -> None:
    before = {each: kept(product, each).serial_number for each in SITES}
    for each in SITES:  # as a run has noted it that has asked the authority
        said = {"serial": f"{before[each]:x}", "due": "2026-01-01T00:00:00+00:00", "because": "by its authority's word"}
        (product.lab.directory / ".runbook" / "renewals" / f"{each}.json").write_text(json.dumps(said))
    with pinged(product):
        done = product.run("renew", "--yes", "--site", site)
    assert done.code == 0, done.out + done.err
    assert {each for each in SITES if kept(product, each).serial_number != before[each]} == {site}
    assert serial(kept(product, site)) in held(product, OTHER[site])
    (product.lab.directory / ".runbook" / "renewals" / f"{OTHER[site]}.json").unlink()
    assert product.audit().code == 0


@pytest.mark.usefixtures("applied")
def test_after_renewals_all_is_in_order_stays_so_and_is_taken_back_to_what_was_there(laws: Laws) -> None:
    assert laws.product.apply().code == 0  # of the site whose renewal failed
    laws.kept()
    laws.undone(but="/usr/local/bin/stub|unit:ipsec-runbook-renew-")


@pytest.mark.slow
def test_the_other_way_round() -> None:
    """The end that begins the tunnel is configured by ipsec.conf, and on Debian 12; only the other one's is renewed."""
    lab = Lab(f"renewal-other-{os.getpid()}", {"home": "bookworm", "vps4": "trixie"})
    lab.up(print)
    try:
        configured(lab, {"home": "stroke"})
        product = Product(lab)
        assert product.apply().code == 0
        for sites in (["home"], ["vps4"], SITES):
            before = {each: kept(product, each).serial_number for each in SITES}
            with pinged(product):
                only = ["--site", *sites] if len(sites) == 1 else []
                done = product.run("renew", "--yes", "--force", *only)
            assert done.code == 0, done.out + done.err
            assert {each for each in SITES if kept(product, each).serial_number != before[each]} == set(sites)
            assert len(ike_sas(product, "home")) == 1
            if "home" in sites:
                assert serial(kept(product, "home")) in held(product, "vps4")
            assert product.audit().code == 0
    finally:
        lab.down()
