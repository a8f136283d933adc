"""What is changed in sites.yaml, or by others on a host, after an apply: all of it follows, and nothing old stays."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from laws import Laws, changed
from product import Product

from lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from product import Run

pytestmark = pytest.mark.lab

HOSTS = ("home", "vps4")
IPV4_TOO = {
    "    subnet: 1\n": "    subnet: [1, 192.168.7.1/24]\n",
    "    subnet: 8e71\n": "    subnet: [8e71, 10.0.4.1/24]\n",
}
ELSEWHERE = {
    "ula_prefix: fdd7:5938:e2e6::/48\n": "ula_prefix: fd11:2233:4455::/48\n",
    "link_subnet: 3\n": "link_subnet: 4\n",
    "    subnet: 8e71\n": "    subnet: 8e72\n",
    "    interface: eth0\n    lan_interface: eth1\n    lan_host: lan\n": "    interface: eth1\n",
    "certificates:\n": "certificate_authority: private\ncertificates:\n",
}
"""Another plan, on another interface, and nobody who would ask a web server."""
CERTIFICATES = ("  directory:", "  ca_bundle:", "  trust_anchors:", "  contact:", "  agree_to_terms:", "certificates:")
ALL = """\
ip -o address; ip -6 route show table all; ip route show table all
iptables-save; ip6tables-save; cat /etc/network/*.save /etc/network/interfaces.d/* /etc/sysctl.d/60-ipsec-runbook.conf
swanctl --list-conns; swanctl --list-sas; swanctl --list-pols; cat /etc/swanctl/conf.d/*
"""
OLD = ("fdd7:5938:e2e6", "10.0.4.", "ipsec-runbook:web", "outdated")
CONF = "/etc/swanctl/conf.d/ula-net-vps4.conf"
NAMED = "    fqdn: {}.example.test\n"
CREDENTIALS = """\
find /etc/swanctl /etc/ssl /var/lib/ipsec-runbook -path '*/images' -prune -o -name '*{}*' -exec \
    stat -c '%n %a %U:%G' {{}} +
"""
"""What of keys and certificates is called so."""
PUT_BACK = """\
image=$(ls -d /var/lib/ipsec-runbook/images/*-connection | tail -n 1)
number=-1
grep -o '{{"key": "[^"]*"' "$image/manifest" | while read -r key; do
    number=$((number + 1))
    case $key in *{}*) image=$image index=$number sh -c '. "$image/lib.sh"; . "$image/undo.$index"' ;; esac
done
"""
"""What the last application has taken away of what is called so, put back by hand from its before-images."""


@pytest.fixture(scope="module")
def laws() -> Iterator[Laws]:
    lab = Lab(f"changed-values-{os.getpid()}")
    lab.down()
    lab.up(print)
    yield Laws.of(Product(lab))
    lab.down()


@pytest.fixture(scope="module")
def product(laws: Laws) -> Product:
    applied(laws.product)
    return laws.product


def applied(product: Product) -> Run:
    """Apply; the law is that the audit then finds nothing to do."""
    done = product.apply()
    assert done.code == 0, done.err
    audit = product.audit()
    assert audit.code == 0, audit.not_in_order
    return done


def describe(product: Product, text: str, changes: dict[str, str]) -> None:
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new, 1)
    if "certificate_authority: private" in text:
        text = "".join(each for each in text.splitlines(keepends=True) if not each.startswith(CERTIFICATES))
    (product.lab.directory / "sites.yaml").write_text(text)


def test_a_journal_that_does_not_reach_back_to_the_loading_is_no_reason_to_load_again(product: Product) -> None:
    product.lab.root("home", "journalctl -q --rotate; journalctl -q --vacuum-time=1s; logger later")
    assert not product.lab.root("home", "journalctl -q -g 'vici connection' || true").stdout
    audit = product.audit()
    assert audit.code == 0, audit.not_in_order
    product.lab.root("home", f"touch {CONF}; logger later still")
    applied(product)


@pytest.mark.parametrize("close_action", ["", "trap"], ids=["ours", "trap"])
def test_a_tunnel_of_before_that_is_closed_does_not_bring_its_trap_back_unseen(
    product: Product, close_action: str
) -> None:
    lab, more = product.lab, f"s/close_action = .*/close_action = {close_action}/" if close_action else ""
    lab.root(
        "home",
        f"cp -p {CONF} /root/planned.conf; sed -i -e 's/remote_ts = /&fdd7:5938:e2e6:77::\\/64,/' -e '{more}' {CONF}; "
        "swanctl --terminate --ike ula-net-vps4; swanctl --load-all --noprompt; "
        "swanctl --initiate --child ula-net-vps4 --timeout 20; "
        f"mv /root/planned.conf {CONF}; swanctl --load-all --noprompt",
    )
    lab.root("vps4", "swanctl --terminate --ike ula-net-home")
    found = {part for step, _, part in product.audit().not_in_order if step == "connection"}
    assert found == ({"loaded connection ula-net-vps4"} if close_action else set())
    applied(product)
    assert "e2e6:77:" not in lab.root("home", "swanctl --list-pols; ip -6 route show table 220").stdout


def test_all_follows_another_plan_and_nothing_of_the_old_is_left(product: Product) -> None:
    lab, text = product.lab, (product.lab.directory / "sites.yaml").read_text()
    describe(product, text, IPV4_TOO)
    applied(product)
    assert forwards_ipv4(product) == {"home", "vps4"}
    lab.root("home", "echo net.ipv4.ip_forward=1 >/etc/sysctl.d/90-mine.conf")
    describe(product, text, ELSEWHERE)
    applied(product)
    assert forwards_ipv4(product) == {"home"}, "only where the admin's own file says so"
    for host in HOSTS:
        left = [line for line in lab.root(host, ALL).stdout.splitlines() if any(each in line for each in OLD)]
        assert not left, (host, left)
    assert " 192.168.7.1/24 " in lab.root("home", "ip -o address show dev eth1").stdout, "the admin's own stays"

    lab.root("home", "swanctl --terminate --ike ula-net-vps4")
    assert passes(product)
    audit = product.audit()
    assert audit.code == 0, audit.not_in_order

    lab.root("home", "rm /etc/sysctl.d/90-mine.conf")
    assert applied(product).changes == {"ipsec-firewall": 1}
    assert forwards_ipv4(product) == set()
    lab.root("home", "sysctl -qw net.ipv4.conf.all.forwarding=1")
    assert applied(product).changes == {}, "what somebody has set since is theirs"
    lab.root("home", "sysctl -qw net.ipv4.conf.all.forwarding=0")


def forwards_ipv4(product: Product) -> set[str]:
    return {each for each in HOSTS if "1" in product.lab.root(each, "sysctl -n net.ipv4.conf.all.forwarding").stdout}


def passes(product: Product) -> bool:
    """Whether a packet reaches the other end, be it by a tunnel that it brings up."""
    deadline = time.monotonic() + 30
    while product.lab.root("home", "ping -6 -n -q -c 1 -W 1 fd11:2233:4455:4::8e72", check=False).returncode:
        if time.monotonic() > deadline:
            return False
    return True


def renamed(product: Product, changes: dict[str, str]) -> None:
    """Apply other names: what the audit predicts is what is done, once, and the tunnel stands by the new ones."""
    describe(product, (product.lab.directory / "sites.yaml").read_text(), changes)
    changed(product)
    assert passes(product)


def credentials(product: Product, host: str, name: str) -> list[str]:
    return product.lab.root(host, CREDENTIALS.format(f"{name}.example.test")).stdout.splitlines()


def kept_of(product: Product, host: str, name: str) -> set[str]:
    """The same with their content, each told by its digest."""
    paths = [line.split()[0] for line in credentials(product, host, name)]
    return {
        *credentials(product, host, name),
        *product.lab.root(host, f"sha256sum {' '.join(paths)}").stdout.splitlines(),
    }


def test_no_key_of_an_earlier_name_stays_and_each_comes_back_as_it_was(laws: Laws, product: Product) -> None:
    """Known by an authority of their own, which asks no name server."""
    lab, mine = product.lab, "/etc/swanctl/private/mine.key"
    lab.root("home", f"cp -p /etc/swanctl/private/home.example.test.key {mine}")
    assert len(credentials(product, "home", "home")) == 2
    renamed(product, {NAMED.format("home"): NAMED.format("office")})
    assert credentials(product, "home", "home") == []
    assert len(credentials(product, "home", "office")) == 2

    before = kept_of(product, "vps4", "vps4")
    assert {line.split()[1] for line in before if line.startswith("/")} == {"400", "644"}
    renamed(product, {NAMED.format("office"): NAMED.format("home"), NAMED.format("vps4"): NAMED.format("hub")})
    assert (credentials(product, "home", "office"), credentials(product, "vps4", "vps4")) == ([], [])
    assert len(credentials(product, "home", "home")) == len(credentials(product, "vps4", "hub")) == 2
    assert not [line for host in HOSTS for line in lab.root(host, ALL).stdout.splitlines() if "office" in line]

    lab.root("vps4", PUT_BACK.format("vps4.example.test"))
    assert kept_of(product, "vps4", "vps4") == before
    lab.root("vps4", f"rm {' '.join(line.split()[0] for line in before if line.startswith('/'))}")
    lab.root("home", f"rm {mine}")
    laws.undone()
