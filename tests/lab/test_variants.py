"""One site serving all challenges, a fault on the way, the wire as a control, a stranger with a good certificate."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from broken_tunnels import BREAKS, explain
from product import Product, Run
from told import told_as

from lab import Lab
from steps import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

HOME, VPS4 = "fdd7:5938:e2e6:1::1", "fdd7:5938:e2e6:8e71::1"


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"variants-{os.getpid()}")
    lab.down()
    lab.up(print)
    sites = lab.directory / "sites.yaml"
    text = sites.read_text()
    text = text.replace("  agree_to_terms: true\n", "  agree_to_terms: true\n  challenge_site: vps4\n")
    sites.write_text(text.replace("address: 203.0.113.20", "address: [203.0.113.20, 2001:db8:113::20]"))
    yield Product(lab)
    lab.down()


@pytest.fixture(scope="module")
def failed(product: Product) -> Run:
    """A run in which vps4 cannot install anything."""
    product.lab.root("vps4", "echo 'deb [trusted=yes] file:/srv/gone ./' >/etc/apt/sources.list.d/gone.list")
    return product.apply()


@pytest.fixture(scope="module")
def mended(product: Product, failed: Run) -> Run:  # noqa: ARG001 - after it
    product.lab.root("vps4", "rm /etc/apt/sources.list.d/gone.list")
    return product.run("resume", "--yes", "--json")


def changed(run: Run) -> set[tuple[str, str]]:
    return {
        (step["name"], part["target"])
        for step in run.document["steps"]
        for part in step["parts"]
        if part["change"] is not None
    }


def evidence(run: Run) -> list[str]:
    return [line for step in run.document["steps"] for check in step["checks"] for line in check["evidence"]]


def test_a_fault_on_a_host_is_told_with_what_and_where(failed: Run) -> None:
    assert failed.code == 1
    told = [each for each in failed.document["failures"] if each["target"] == "vps4"]
    assert told[0]["step"] == "nginx"
    assert "vps4: packages nginx" in told[0]["error"]
    assert "/srv/gone" in told[0]["error"]


def test_a_fault_keeps_only_what_depends_on_it_from_going_on(failed: Run) -> None:
    assert ("strongswan", "home") in changed(failed)
    blocked = {step["name"]: step["blocked"] for step in failed.document["steps"] if step["blocked"]}
    assert blocked["certificate"] == {"controller": "nginx"}
    assert blocked["credentials"] == {"home": "certificate", "vps4": "certificate"}


def test_once_mended_the_run_finishes_without_doing_anything_again(failed: Run, mended: Run) -> None:
    assert mended.code == 0, mended.err
    assert "vps4: nginx failed" in mended.err
    unfinished = {(each["step"], each["target"]) for each in failed.document["failures"]}
    assert not changed(failed) & changed(mended) - unfinished
    assert ("nginx", "home") not in changed(mended)


def test_the_site_that_does_not_serve_challenges_redirects_to_the_one_that_does(mended: Run) -> None:
    told = evidence(mended)
    redirect = "http://vps4.example.test/.well-known/acme-challenge/nonexistant"
    assert any(line.startswith("2001:db8:113::10: ") and f"307 {redirect}" in line for line in told)
    assert any(line.startswith("203.0.113.20: ") and line.endswith("404") for line in told)
    # the site's own addresses are asked on the host too: a specific listen is there
    assert any(line.startswith("2001:db8:113::20: / closed") for line in told)


@pytest.mark.usefixtures("mended")
def test_the_wire_tells_a_tunnel_from_none(product: Product) -> None:
    ping = f"ping -6 -n -q -c 3 -i 0.2 -W 1 -I {HOME} {VPS4} | grep -c ' 0% packet loss' || true"
    with product.lab.capture() as up:
        assert product.lab.root("home", ping).stdout.strip() == "1"
    assert (up.esp_packets > 0, up.plaintext_packets) == (True, 0)

    product.lab.root("home", "systemctl stop strongswan")
    with product.lab.capture() as guarded:
        assert product.lab.root("home", ping).stdout.strip() == "0"
    assert (guarded.esp_packets, guarded.plaintext_packets) == (0, 0), "the unreachable route keeps it from the wire"

    product.lab.root("home", f"ip -6 route add {VPS4} via 2001:db8:113::20 dev eth0")
    with product.lab.capture() as planted:
        assert product.lab.root("home", ping).stdout.strip() == "0"
    product.lab.root("home", f"ip -6 route del {VPS4} via 2001:db8:113::20 dev eth0; systemctl start strongswan")
    assert planted.plaintext_packets > 0

    assert product.audit().code == 3
    assert product.apply().code == 0


ORDER = """
import sys
from pathlib import Path
from steps import pki
from steps.certificates import certificate_request
from steps.certificates.acme_order import new_account_key, order, register
from steps.certificates.challenge_fetch import fetch_challenge
import subprocess

directory, config = Path(sys.argv[1]), sys.argv[2]

class OnVps4:
    def _run(self, script):
        subprocess.run(["ssh", "-F", config, "vps4", "sudo sh -s"], input=script, text=True, check=True)
    def put(self, token, body):
        self._run(f"printf %s '{body}' >/var/lib/acme-challenge/.well-known/acme-challenge/{token}")
    def remove(self, token):
        self._run(f"rm -f /var/lib/acme-challenge/.well-known/acme-challenge/{token}")
    def check(self, fqdn, token, body):
        fetch_challenge(fqdn, f"/.well-known/acme-challenge/{token}", body)

key = pki.new_key()
account = register("https://acme.example.test:14000/dir", new_account_key(), "", directory / "acme-ca.pem")
chain = order(account, certificate_request.new_csr(key, "third.example.test"), OnVps4())[0]
print(key.decode() + "".join(pki.to_pem(each).decode() for each in chain))
"""

INTRUDER = """
set -e
umask 077
mkdir -p /root/intruder
cat >/etc/swanctl/private/intruder.key <<'EOF'
{key}EOF
cat >/etc/swanctl/x509/intruder.pem <<'EOF'
{leaf}EOF
sed -e 's/ula-net-vps4/intruder/' -e 's/^      certs = .*/      certs = intruder.pem/' \\
    -e 's/id = fqdn:home.example.test/id = fqdn:{name}/' /etc/swanctl/conf.d/ula-net-vps4.conf \\
    >/etc/swanctl/conf.d/intruder.conf
sed -i 's/ula-net-vps4 {{/intruder {{/; s/start_action = .*/start_action = none/; s/keyingtries = 0/keyingtries = 1/' \\
    /etc/swanctl/conf.d/intruder.conf
swanctl --terminate --ike ula-net-vps4 >/dev/null 2>&1 || true
swanctl --load-all --noprompt >/dev/null 2>&1
swanctl --initiate --child intruder --timeout 20 2>&1 || echo REFUSED
rm -f /etc/swanctl/conf.d/intruder.conf /etc/swanctl/x509/intruder.pem /etc/swanctl/private/intruder.key
swanctl --load-all --clear --noprompt >/dev/null 2>&1
"""


@pytest.mark.usefixtures("mended")
def test_a_third_name_with_a_good_certificate_of_the_same_authority_is_refused(product: Product) -> None:
    lab = product.lab
    lab.root(
        "vps4",
        "ip address add 203.0.113.30/24 dev eth0; ip -6 address add 2001:db8:113::30/64 dev eth0 nodad; "
        "iptables -I INPUT -p tcp --dport 80 -j ACCEPT; ip6tables -I INPUT -p tcp --dport 80 -j ACCEPT",
    )
    issued = lab.admin([sys.executable, "-c", ORDER, str(lab.directory), str(lab.directory / "ssh_config")])
    lab.root(
        "vps4",
        "iptables -D INPUT -p tcp --dport 80 -j ACCEPT; ip6tables -D INPUT -p tcp --dport 80 -j ACCEPT; "
        "ip address del 203.0.113.30/24 dev eth0; ip -6 address del 2001:db8:113::30/64 dev eth0",
    )
    assert issued.returncode == 0, issued.stderr
    end = "-----END PRIVATE KEY-----\n"
    key, _, chain = issued.stdout.partition(end)
    leaf = chain.split("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n"
    before = lab.root("vps4", "date +%s").stdout.strip()
    said = lab.root("home", INTRUDER.format(key=key + end, leaf=leaf, name="third.example.test")).stdout
    journal = lab.root("vps4", f"journalctl -q -u strongswan -o cat --since @{before}").stdout
    assert "REFUSED" in said
    assert "third.example.test" in journal
    assert "established between" not in journal
    # and the one who is expected still gets in
    assert product.apply().code == 0


@pytest.mark.usefixtures("mended")
def test_a_lost_certificate_is_taken_over_from_its_host_and_not_ordered_again(product: Product) -> None:
    kept = product.lab.directory / ".runbook" / "certificates" / "home.pem"
    leaf = kept.read_bytes().split(b"-----END CERTIFICATE-----")[0]
    kept.unlink()
    done = product.apply()
    assert done.code == 0, done.err
    assert changed(done) == {("certificate", "controller")}
    assert kept.read_bytes().split(b"-----END CERTIFICATE-----")[0] == leaf


@pytest.mark.usefixtures("mended")
def test_a_lost_key_whose_host_is_good_is_said_and_nothing_is_replaced(product: Product) -> None:
    key = product.lab.directory / ".runbook" / "keys" / "vps4.key"
    there = "sha256sum </etc/swanctl/private/vps4.example.test.key"
    before = product.lab.root("vps4", there).stdout
    lost = key.rename(key.with_name("lost"))
    try:
        assert ("key", "vps4", "original of /etc/swanctl/private/vps4.example.test.key") in product.audit().not_in_order
        refused = product.apply()
        assert refused.code == 1
        told = told_as(refused.document["failures"][0], catalogue.KEY_LOST)
        assert f"and its original {key} is lost here" in told["error"]
        assert not key.exists()
        assert product.lab.root("vps4", there).stdout == before
    finally:
        lost.rename(key)
    assert product.audit().code == 0


@pytest.mark.usefixtures("mended")
def test_a_port_blocked_on_the_way_is_named_by_what_both_ends_say(product: Product) -> None:
    rule = "PREROUTING -p udp --dport 500 -j DROP"
    product.lab.root("home", "swanctl --terminate --ike ula-net-vps4")
    product.lab.root("vps4", f"iptables -t raw -I {rule}; ip6tables -t raw -I {rule}")
    try:
        failed = product.apply()
    finally:
        product.lab.root("vps4", f"iptables -t raw -D {rule}; ip6tables -t raw -D {rule}")
    assert failed.code == 1
    told = next(each for each in failed.document["failures"] if each["step"] == "ping")
    told_as(told, catalogue.TUNNEL_DOWN)
    assert "no answer" in told["error"]
    assert "500" in told["error"] + told["hint"]
    assert "home: " in told["error"], "it quotes the initiator's retransmits"
    assert product.apply().code == 0


@pytest.mark.usefixtures("mended")
def test_traffic_lost_in_a_tunnel_that_stands_is_told_from_a_tunnel_that_is_down(product: Product) -> None:
    rule = "PREROUTING -i ipsec0 -j DROP"
    product.lab.root("vps4", f"ip6tables -t raw -I {rule}")
    try:
        failed = product.apply()
    finally:
        product.lab.root("vps4", f"ip6tables -t raw -D {rule}")
    assert failed.code == 1
    told = next(each for each in failed.document["failures"] if each["step"] == "ping")
    told_as(told, catalogue.PING_LOST)
    assert "ping from" in told["error"]
    assert "stage traffic" in told["error"]
    assert product.apply().code == 0


@pytest.mark.usefixtures("mended")
def test_a_line_that_loses_large_packets_is_found_though_small_ones_pass(product: Product) -> None:
    rule = "PREROUTING -p udp --dport 4500 -m length --length 1300: -j DROP"
    product.lab.root("vps4", f"iptables -t raw -I {rule}")
    try:
        failed = product.run("audit", "--probe", "--json")
    finally:
        product.lab.root("vps4", f"iptables -t raw -D {rule}")
    told = told_as(next(each for each in failed.document["failures"] if each["step"] == "ping"), catalogue.PING_LOST)
    assert "packets of 1280 bytes are lost, small ones are not" in told["error"]
    assert "MTU" in told["likely"]


QUICK = ("another name", "other ciphers for ESP", "a pre-shared key", "no key")
"""The others take ten seconds each, or are known from recorded runs."""


@pytest.mark.usefixtures("mended")
@pytest.mark.parametrize(
    "case", [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in BREAKS]
)
def test_each_way_to_break_a_tunnel_is_told_by_its_cause_and_what_to_type(product: Product, case: str) -> None:
    broken = BREAKS[case]
    product.lab.root(broken.at, broken.broken)
    try:
        told = told_as(explain(product.lab, 9 if broken.silent else 30), catalogue.TUNNEL_DOWN)
    finally:
        product.lab.root(broken.at, broken.mended)
    assert broken.what in told["error"]
    assert broken.look in told["look"]
    assert told["hint"].endswith("; then: runbook resume")
