"""The two firewall sections on a host whose firewall is plain nftables: a network namespace with an admin's script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import firewalled
import pytest
from firewalled import apply, network, verify
from netns import Namespace, in_order, needs_root, shellcheck
from scratch import unmake

from runbook.step import Verdict
from steps.ipsec_firewall import IpsecFirewall
from steps.web_firewall import WebFirewall

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runbook.target import Target

pytestmark = needs_root

NFT = """\
#!/usr/sbin/nft -f
flush ruleset

table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		iif lo accept
		ct state vmap { invalid : drop, established : accept, related : accept }
		ct state new jump in-new
	}
	chain in-new {
		tcp dport 22 accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
	chain output {
		type filter hook output priority filter;
	}
}
"""


@pytest.fixture
def vps4(tmp_path: Path) -> Iterator[Namespace]:
    with firewalled.vps4(tmp_path) as host:
        yield host


@pytest.fixture
def target(vps4: Namespace, tmp_path: Path) -> Target:
    return firewalled.target_of(vps4, tmp_path)


def furnish(host: Namespace, text: str = NFT) -> None:
    """Give a host a firewall of nftables, loaded by its service."""
    (host.etc / "nftables.conf").write_text(text)
    host.sh(f"nft -f /etc/nftables.conf; echo nftables | tee {host.tools}/active >{host.tools}/enabled")


def test_a_firewall_of_nftables_is_opened_and_closed_again(vps4: Namespace, target: Target, tmp_path: Path) -> None:
    furnish(vps4)
    web, ipsec = WebFirewall(network(tmp_path)), IpsecFirewall(network(tmp_path))
    before = vps4.nft()
    assert [each.verdict for each in verify(web, target)] == [Verdict.ABSENT] * 2
    assert in_order(apply(web, target))
    assert in_order(apply(ipsec, target))
    assert in_order(verify(web, target))

    in_force = vps4.nft()
    rules = [line.strip().partition(" comment ")[0] for line in in_force.splitlines() if "ipsec-runbook" in line]
    home, here = (
        ("fdd7:5938:e2e6:1::/64", "fdd7:5938:e2e6:3::1"),
        ("fdd7:5938:e2e6:8e71::/64", "fdd7:5938:e2e6:3::8e71"),
    )
    assert sorted(rules) == sorted(
        [
            "ip daddr 192.0.2.10 tcp dport 80 accept",
            "ip6 daddr 2001:db8::10 tcp dport 80 accept",
            "udp dport 500 accept",
            "udp dport 4500 accept",
            "meta l4proto esp accept",
            *(f"ip6 saddr {a} ip6 daddr {b} meta ipsec exists accept" for a in home for b in here),
            *(f"ip6 saddr {a} ip6 daddr {here[0]} meta ipsec exists accept" for a in home),
            *(f"ip6 saddr {here[0]} ip6 daddr {a} rt ipsec exists accept" for a in home),
        ]
    )
    assert vps4.sh("nft list chain inet filter in-new").count("ipsec-runbook") == 5
    vps4.sh("nft -f /etc/nftables.conf")
    assert vps4.nft() == in_force, "a reboot brings back what is in force now"

    unmake(target, ipsec.name)
    unmake(target, web.name)
    assert vps4.nft() == before
    assert vps4.sh("cat /etc/nftables.conf") == NFT


def test_a_family_of_its_own_is_asked_for_where_only_that_is_opened(
    vps4: Namespace, target: Target, tmp_path: Path
) -> None:
    furnish(vps4, NFT.replace("table inet", "table ip6"))
    target.name = "home"
    assert in_order(apply(WebFirewall(network(tmp_path)), target))
    assert vps4.nft().count('iifname "eth0" tcp dport 80 accept comment "ipsec-runbook:web"') == 1
    vps4.sh("nft add table inet filter; nft flush ruleset")
    furnish(vps4, NFT)
    vps4.sh("ip -4 address flush dev eth0")
    target.name = "vps4"
    assert in_order(apply(WebFirewall(network(tmp_path)), target))
    assert vps4.nft().count('meta nfproto ipv4 iifname "eth0" tcp dport 80 accept comment "ipsec-runbook:web"') == 1


def test_a_table_of_one_family_gets_the_rules_of_that_family_alone(
    vps4: Namespace, target: Target, tmp_path: Path
) -> None:
    furnish(vps4, NFT.replace("table inet", "table ip6"))
    assert in_order(apply(WebFirewall(network(tmp_path)), target))
    ours = [line.strip() for line in vps4.nft().splitlines() if "ipsec-runbook" in line]
    assert ours == ['ip6 daddr 2001:db8::10 tcp dport 80 accept comment "ipsec-runbook:web"']


@pytest.mark.parametrize(
    ("prepare", "verdict", "words"),
    [
        ("echo 'tcp dport' >>/etc/nftables.conf", Verdict.UNKNOWN, "nft does not take /etc/nftables.conf as it is"),
        ("rm /etc/nftables.conf", Verdict.UNKNOWN, "there is no /etc/nftables.conf"),
        (": >$tools/enabled", Verdict.ABSENT, "nothing loads /etc/nftables.conf at boot: systemctl enable nftables"),
        ("echo netfilter-persistent >>$tools/enabled", Verdict.UNKNOWN, "netfilter-persistent and nftables are both"),
        (": >$tools/enabled; : >$tools/active", Verdict.UNKNOWN, "nothing is seen that loads them at boot: save them"),
        ("ip6tables -P INPUT DROP; ip6tables-save >/etc/network/ip6tables.save", Verdict.UNKNOWN,
         "nftables and /etc/network/ip6tables.save are both at work"),
        ("ip6tables -P INPUT ACCEPT; ip6tables-save >/etc/network/ip6tables.save", Verdict.ABSENT, ""),
        ("iptables -P INPUT DROP", Verdict.UNKNOWN, "has no such chain, so it is left alone; let through by what made"),
        ("sed -i 's/policy drop;$/policy accept;/' /etc/nftables.conf; nft -f /etc/nftables.conf", Verdict.IN_ORDER,
         "nothing to open: no chain of /etc/nftables.conf drops"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_of_nftables_is_named(  # noqa: PLR0913, PLR0917 - what is varied
    vps4: Namespace, target: Target, tmp_path: Path, prepare: str, verdict: Verdict, words: str
) -> None:
    furnish(vps4)
    vps4.sh(f"tools={vps4.tools}; {prepare}")
    found = verify(WebFirewall(network(tmp_path)), target)
    assert [each for each in found if each.verdict is verdict and words in each.note], found


def test_where_nothing_is_dropped_any_more_no_rule_of_ours_is_kept(
    vps4: Namespace, target: Target, tmp_path: Path
) -> None:
    furnish(vps4)
    step = WebFirewall(network(tmp_path))
    assert in_order(apply(step, target))
    vps4.sh("sed -i 's/policy drop;$/policy accept;/' /etc/nftables.conf; nft -f /etc/nftables.conf")
    assert not in_order(verify(step, target))
    assert in_order(apply(step, target))
    assert "ipsec-runbook" not in vps4.nft() + vps4.sh("cat /etc/nftables.conf")


def test_every_script_of_the_sections_passes_shellcheck(vps4: Namespace, target: Target, tmp_path: Path) -> None:
    furnish(vps4)
    for step in (WebFirewall(network(tmp_path)), IpsecFirewall(network(tmp_path))):
        shellcheck(step.facts)
        for each in verify(step, target):
            shellcheck(each.probe)
            if each.change:
                shellcheck(each.change.save, each.change.apply, each.change.undo)
