"""The firewalls that are worked, and those that are not touched, on real hosts: packets, reboots, others' rules.

The tunnel of the last step is the proof that ports 500 and 4500 are open.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from laws import Laws
from product import Product

from lab import Lab
from lab.layout import HOSTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from product import Run

pytestmark = pytest.mark.lab

NFT = """\
#!/usr/sbin/nft -f
# my rules
flush ruleset

define ssh = 22

table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		iif lo accept
		ct state vmap { invalid : drop, established : accept, related : accept }
		meta l4proto { icmp, ipv6-icmp } accept
		iifname "ipsec0" accept  # decrypted by charon itself
		tcp dport $ssh accept
		# the rest
		limit rate 1/minute log prefix "refused: "
		meta l4proto tcp reject with tcp reset
	}

	chain forward {
		type filter hook forward priority filter; policy drop;
		iifname "ipsec0" accept
		oifname "ipsec0" accept
	}
}
"""
BANS = """\
table inet f2b-table {
	set addr-set-sshd { type ipv4_addr; elements = { 198.51.100.7 }; }
	chain f2b-chain {
		type filter hook input priority -1;
		tcp dport 22 ip saddr @addr-set-sshd reject
	}
}
"""
NO_MORE_OF_THE_LABS = """\
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -q update >/dev/null
rm /etc/network/if-pre-up.d/firewall
"""
NFTABLES = f"""\
{NO_MORE_OF_THE_LABS}apt-get -q -y install nftables >/dev/null
rm /etc/network/*.save
for each in iptables ip6tables; do $each -P INPUT ACCEPT; $each -P FORWARD ACCEPT; $each -F; $each -X; done
cat >/etc/nftables.conf <<'END'
{NFT}END
systemctl enable -q --now nftables
nft -f - <<'END'
{BANS}END
"""
PERSISTENT = f"""\
{NO_MORE_OF_THE_LABS}cd /etc/network
mkdir /etc/iptables
mv iptables.save /etc/iptables/rules.v4
mv ip6tables.save /etc/iptables/rules.v6
apt-get -q -y -o Dpkg::Options::=--force-confold install iptables-persistent >/dev/null
for each in iptables ip6tables; do
    $each -N f2b-sshd
    $each -A f2b-sshd -j RETURN
    $each -I INPUT -p tcp -m multiport --dports 22 -j f2b-sshd
done
"""
KINDS = {"nftables": NFTABLES, "netfilter-persistent": PERSISTENT}
STORED = {
    "nftables": "cat /etc/nftables.conf",
    "netfilter-persistent": "cat /etc/iptables/rules.v4; cat /etc/iptables/rules.v6",
}
IN_FORCE = "{ nft -s list ruleset || { iptables-save; ip6tables-save; }; } 2>/dev/null"
FIREWALLS = ("web-firewall", "ipsec-firewall")
FIREWALLED = {"home": "nftables", "vps4": "netfilter-persistent"}


@pytest.fixture(scope="module", params=["", pytest.param("exchanged", marks=pytest.mark.slow)])
def kinds(request: pytest.FixtureRequest) -> dict[str, str]:
    """What manages each site's firewall."""
    home, vps4 = FIREWALLED.values()
    return {"home": vps4, "vps4": home} if request.param else FIREWALLED


@pytest.fixture(scope="module")
def product(kinds: dict[str, str]) -> Iterator[Product]:
    lab = Lab(f"firewalls-{os.getpid()}")
    lab.down()
    lab.up(print)
    for site, kind in kinds.items():
        lab.root(site, KINDS[kind])
    yield Product(lab)
    lab.down()


def in_force(lab: Lab, site: str) -> str:
    """The host's rules without what counts and dates them."""
    return re.sub(r"^#.*\n| ?\[\d+:\d+\]", "", lab.root(site, IN_FORCE).stdout, flags=re.MULTILINE)


def without_bans(rules: str) -> str:
    """Those that a reboot brings back: what only the kernel has is gone."""
    return re.sub(r"table inet f2b-table \{\n(.*\n)*?\}\n|.*f2b-sshd.*\n", "", rules).strip()


def stored(lab: Lab, kinds: dict[str, str]) -> dict[str, str]:
    return {site: lab.root(site, STORED[kind]).stdout for site, kind in kinds.items()}


def answers(lab: Lab, site: str, port: int) -> dict[str, bool]:
    """Whether a connection to a port comes about, by family."""
    found = {}
    for address in (HOSTS[site].ipv4, HOSTS[site].ipv6):
        tried = lab.admin(["bash", "-c", f"timeout 2 bash -c '</dev/tcp/{address}/{port}'"])
        found[address] = tried.returncode == 0
    return found


LISTEN = """\
[ -e /run/other.pid ] || /usr/sbin/sshd -p 8080 -o PidFile=/run/other.pid
for n in $(seq 50); do bash -c '</dev/tcp/127.0.0.1/8080' 2>/dev/null && exit; sleep 0.1; done; exit 1
"""


def no_other_port_is_open(lab: Lab, site: str) -> bool:
    """Whether what listens on another port can be reached from the host itself alone."""
    lab.root(site, LISTEN)
    return not any(answers(lab, site, 8080).values())


def firewall_parts(run: Run, step: str = "") -> set[tuple[str, str, str]]:
    return {each for each in run.not_in_order if each[0] in ((step,) if step else FIREWALLS)}


@pytest.fixture(scope="module")
def before(product: Product, kinds: dict[str, str]) -> dict[str, dict[str, str]]:
    rules = {site: in_force(product.lab, site) for site in kinds}
    return {"in force": rules, "stored": stored(product.lab, kinds)}


@pytest.fixture(scope="module")
def laws(product: Product, before: object) -> Laws:  # noqa: ARG001 - first
    return Laws.of(product)


@pytest.fixture(scope="module")
def applied(laws: Laws) -> Run:
    return laws.applied()


@pytest.mark.usefixtures("applied")
def test_only_what_was_asked_for_is_open(product: Product, kinds: dict[str, str]) -> None:
    for site in kinds:
        web = answers(product.lab, site, 80)
        assert web[HOSTS[site].ipv4]
        assert no_other_port_is_open(product.lab, site)
    assert answers(product.lab, "home", 80)[HOSTS["home"].ipv6]


def test_other_peoples_rules_stay(product: Product, kinds: dict[str, str], applied: Run, before: object) -> None:
    named = {part for _, _, part in firewall_parts(applied)}
    assert {"nft rules in force for web", "rules in /etc/nftables.conf for ipsec"} <= named
    assert {"rules in /etc/iptables/rules.v6 for web", "ip6tables rules in force for ipsec"} <= named
    for site in kinds:
        now, then = in_force(product.lab, site).splitlines(), before["in force"][site].splitlines()
        assert [line for line in now if "ipsec-runbook:" not in line] == then
        text = stored(product.lab, kinds)[site].splitlines()
        assert [line for line in text if "ipsec-runbook:" not in line] == before["stored"][site].splitlines()


@pytest.mark.usefixtures("applied")
def test_an_audit_changes_nothing_and_a_second_apply_neither(laws: Laws) -> None:
    laws.kept()


@pytest.mark.usefixtures("applied")
def test_after_a_reboot_the_rules_are_there_again(product: Product, kinds: dict[str, str]) -> None:
    rules = {site: without_bans(in_force(product.lab, site)) for site in kinds}
    for site in kinds:
        product.lab.reboot(site)
    assert {site: without_bans(in_force(product.lab, site)) for site in kinds} == rules
    assert firewall_parts(product.audit()) == set()
    for site in kinds:
        assert answers(product.lab, site, 80)[HOSTS[site].ipv4]
        assert no_other_port_is_open(product.lab, site)


@pytest.mark.usefixtures("applied")
def test_rollback_gives_back_what_was_there(
    product: Product, kinds: dict[str, str], laws: Laws, before: object
) -> None:
    laws.undone(but="f2b-sshd")  # which a reboot does not bring back
    assert stored(product.lab, kinds) == before["stored"]
    for site in kinds:
        assert without_bans(in_force(product.lab, site)) == without_bans(before["in force"][site])
    assert not any(answers(product.lab, "home", 80).values())


UFW = """\
export DEBIAN_FRONTEND=noninteractive
apt-get -q -y install --no-install-recommends ufw >/dev/null
ufw allow 22/tcp >/dev/null
ufw --force enable >/dev/null
"""
FIREWALLD = "ln -sf /bin/true /usr/sbin/firewalld; systemd-run -q --unit=firewalld sleep infinity"
STRANGERS = {
    "nftables and ufw are both at work": UFW,
    "ufw manages this host's firewall": "systemctl disable -q --now nftables",
    "firewalld and ufw are both at work": FIREWALLD,
    "firewalld manages this host's firewall": "ufw disable",
}
"""What is said, and what makes it so of a host where the one before was said."""


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize(
    "words", [pytest.param(words, marks=[pytest.mark.slow] * bool(n)) for n, words in enumerate(STRANGERS)]
)
def test_what_is_not_worked_is_named_and_untouched(product: Product, kinds: dict[str, str], words: str) -> None:
    lab, site = product.lab, next(each for each, kind in kinds.items() if kind == "nftables")
    files = "cat /etc/nftables.conf /etc/ufw/*.rules"
    lab.root(site, STRANGERS[words])
    before = in_force(lab, site), lab.root(site, files).stdout
    run = product.apply()
    assert run.code == 1
    said = {each["step"]: each["error"] for each in run.document["failures"] if each["target"] == site}
    assert words in said["web-firewall"]
    assert words in said["ipsec-firewall"]
    assert (in_force(lab, site), lab.root(site, files).stdout) == before
