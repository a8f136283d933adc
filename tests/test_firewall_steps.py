"""The two firewall sections, on hosts that are network namespaces with the article's files or with others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import firewalled
import pytest
from firewalled import apply, network, verify
from netns import MULTI, Namespace, in_order, needs_root, shellcheck
from scratch import unmake
from told import told_as

from runbook import catalogue
from runbook.step import Verdict
from steps.ipsec_firewall import SYSCTL_FILE, IpsecFirewall
from steps.web_firewall import WebFirewall

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runbook.target import Target


FIREWALL = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:in-new - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -m conntrack --ctstate NEW -j in-new
### SSH ###
-A in-new -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
"""
HOOK = "#!/bin/sh\niptables-restore < /etc/network/iptables.save\nip6tables-restore < /etc/network/ip6tables.save\n"


@pytest.fixture
def vps4(tmp_path: Path, variant: str) -> Iterator[Namespace]:
    with firewalled.vps4(tmp_path, variant) as host:
        yield host


@pytest.fixture
def target(vps4: Namespace, tmp_path: Path) -> Target:
    return firewalled.target_of(vps4, tmp_path)


@pytest.fixture
def variant() -> str:
    return "nft"


def furnish(host: Namespace, text: str = FIREWALL, hook: str = HOOK) -> None:
    """Give a host the article's firewall: the files, the hook that loads them, and the rules in force."""
    for name in ("iptables.save", "ip6tables.save"):
        (host.etc / "network" / name).write_text(text)
    path = host.etc / "network/if-pre-up.d/firewall"
    path.write_text(hook)
    path.chmod(0o755)
    host.sh("for each in iptables ip6tables; do $each-restore </etc/network/$each.save; done")


def snapshot(host: Namespace) -> str:
    files = "for each in $(find /etc/network /etc/sysctl.d -type f | sort); do echo $each; cat $each; done"
    return host.rules() + host.sh(f"{files}; grep . /proc/sys/net/ipv6/conf/*/forwarding")


@needs_root
@pytest.mark.parametrize("variant", sorted(MULTI))
def test_the_articles_firewall_is_opened_and_closed_again(vps4: Namespace, target: Target, tmp_path: Path) -> None:
    furnish(vps4)
    web, ipsec = WebFirewall(network(tmp_path)), IpsecFirewall(network(tmp_path))
    before = snapshot(vps4)
    assert [each.verdict for each in verify(web, target)] == [*[Verdict.ABSENT] * 4, Verdict.IN_ORDER]
    verify(ipsec, target)
    assert snapshot(vps4) == before, "looking changes nothing"

    assert in_order(apply(web, target))
    with_web = snapshot(vps4)
    assert in_order(apply(ipsec, target))
    assert in_order(verify(web, target))

    rules = vps4.rules().splitlines()
    mark = '-m comment --comment "ipsec-runbook:'
    assert f'-A in-new -d 192.0.2.10/32 -p tcp -m tcp --dport 80 {mark}web" -j ACCEPT' in rules
    assert f'-A in-new -d 2001:db8::10/128 -p tcp -m tcp --dport 80 {mark}web" -j ACCEPT' in rules
    for outer in ("-p udp -m udp --dport 500", "-p udp -m udp --dport 4500", "-p esp"):
        assert rules.count(f'-A in-new {outer} {mark}ipsec" -j ACCEPT') == 2
    policy = f'-m policy --dir in --pol ipsec --proto esp {mark}ipsec" -j ACCEPT'
    home, here = ("fdd7:5938:e2e6:1::/64", "fdd7:5938:e2e6:3::1/128"), "fdd7:5938:e2e6:8e71::/64"
    for there in home:
        assert f"-A INPUT -s {there} -d fdd7:5938:e2e6:3::8e71/128 {policy}" in rules
        assert f"-A INPUT -s {there} -d {here} {policy}" in rules
        assert f"-A FORWARD -s {there} -d {here} {policy}" in rules
        assert f"-A FORWARD -s {here} -d {there} {policy.replace('dir in', 'dir out')}" in rules
    assert not [line for line in rules if line.startswith("-A OUTPUT")], "everything may leave already"
    assert vps4.sh("cat /proc/sys/net/ipv6/conf/eth0/forwarding") == "1\n"

    in_force = vps4.rules()
    vps4.sh(HOOK)
    assert vps4.rules() == in_force, "a reboot brings back what is in force now"

    unmake(target, ipsec.name)
    assert snapshot(vps4) == with_web
    unmake(target, web.name)
    assert snapshot(vps4) == before


@needs_root
def test_the_sections_can_be_undone_in_any_order(vps4: Namespace, target: Target, tmp_path: Path) -> None:
    furnish(vps4)
    before = snapshot(vps4)
    web, ipsec = WebFirewall(network(tmp_path)), IpsecFirewall(network(tmp_path))
    apply(web, target)
    apply(ipsec, target)
    unmake(target, web.name)
    assert in_order(verify(ipsec, target))
    unmake(target, ipsec.name)
    assert snapshot(vps4) == before


@needs_root
def test_what_is_missing_is_named_and_only_that_is_mended(vps4: Namespace, target: Target, tmp_path: Path) -> None:
    furnish(vps4)
    ipsec = IpsecFirewall(network(tmp_path))
    apply(ipsec, target)
    done = snapshot(vps4)
    vps4.sh("ip6tables -D in-new -p esp -m comment --comment ipsec-runbook:ipsec -j ACCEPT")
    wrong = [each for each in verify(ipsec, target) if each.verdict is not Verdict.IN_ORDER]
    assert [each.key for each in wrong] == ["ip6tables rules in force for ipsec"]
    target.make("mended", ipsec.name, wrong, {})
    assert snapshot(vps4) == done


@needs_root
def test_where_not_everything_may_leave_the_tunnel_may(vps4: Namespace, target: Target, tmp_path: Path) -> None:
    furnish(vps4, FIREWALL.replace("OUTPUT ACCEPT", "OUTPUT DROP"))
    assert in_order(apply(IpsecFirewall(network(tmp_path)), target))
    rules = vps4.rules()
    assert rules.count("-A OUTPUT -p udp -m udp --dport 4500 ") == 2
    assert rules.count("-A OUTPUT -s fdd7:5938:e2e6:8e71::/64 -d fdd7:5938:e2e6:1::/64 -m policy --dir out ") == 1


@needs_root
def test_a_dynamic_site_is_opened_by_its_interface(vps4: Namespace, target: Target, tmp_path: Path) -> None:
    furnish(vps4)
    target.name = "home"
    assert in_order(apply(WebFirewall(network(tmp_path)), target))
    assert vps4.rules().count("-A in-new -i eth0 -p tcp -m tcp --dport 80 ") == 2


@needs_root
def test_advertisements_are_kept_before_forwarding(vps4: Namespace, target: Target, tmp_path: Path) -> None:
    furnish(vps4)
    vps4.sh("ip -6 route add default via fe80::1 dev eth0 proto ra")
    before = snapshot(vps4) + vps4.sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra")
    ipsec = IpsecFirewall(network(tmp_path))
    keys = [each.key for each in verify(ipsec, target)]
    assert keys[:2] == ["sysctl net/ipv6/conf/eth0/accept_ra", "sysctl net.ipv6.conf.all.forwarding"]
    assert in_order(apply(ipsec, target))
    vps4.sh("ip -6 route del default")
    assert in_order(verify(ipsec, target)), "the first seconds after a reboot, before an advertisement has come"
    assert [each.key for each in verify(ipsec, target)] == keys
    applied = vps4.sh(f"sysctl -n -p {SYSCTL_FILE}")
    assert applied.split() == ["2", "1"]
    unmake(target, ipsec.name)
    assert snapshot(vps4) + vps4.sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra") == before


@needs_root
def test_a_daemon_that_hears_advertisements_is_left_alone(vps4: Namespace, target: Target, tmp_path: Path) -> None:
    vps4.sh("echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_ra; ip -6 route add default via fe80::1 dev eth0 proto ra")
    keys = [each.key for each in verify(IpsecFirewall(network(tmp_path)), target)]
    assert not [key for key in keys if "accept_ra" in key]


@needs_root
def test_the_files_of_netfilter_persistent_are_worked_where_it_is_at_work(
    vps4: Namespace, target: Target, tmp_path: Path
) -> None:
    furnish(vps4)
    vps4.sh(
        "mkdir -p /etc/iptables; cd /etc/network; mv iptables.save ../iptables/rules.v4;"
        f"mv ip6tables.save ../iptables/rules.v6; echo netfilter-persistent >{vps4.tools}/enabled"
    )
    files = "cat /etc/iptables/rules.v4 /etc/iptables/rules.v6"
    before = vps4.rules(), vps4.sh(files)
    web = WebFirewall(network(tmp_path))
    found = verify(web, target)
    assert [each.verdict for each in found] == [*[Verdict.ABSENT] * 4, Verdict.IN_ORDER]
    assert [each.key for each in found if "rules.v" in each.key] == [
        "rules in /etc/iptables/rules.v4 for web",
        "rules in /etc/iptables/rules.v6 for web",
    ]
    assert in_order(apply(web, target))
    assert vps4.sh(files).count("-A in-new -d ") == 2
    unmake(target, web.name)
    assert (vps4.rules(), vps4.sh(files)) == before


@needs_root
@pytest.mark.parametrize("variant", sorted(MULTI))
def test_a_host_without_a_firewall_has_nothing_to_open(vps4: Namespace, target: Target, tmp_path: Path) -> None:
    before = snapshot(vps4)
    found = verify(WebFirewall(network(tmp_path)), target)
    assert in_order(found)
    assert all("nothing to open" in each.note for each in found)
    assert snapshot(vps4) == before


@needs_root
def test_bans_alone_close_nothing(vps4: Namespace, target: Target, tmp_path: Path) -> None:
    vps4.sh("iptables -N f2b; iptables -A INPUT -p tcp -j f2b; iptables -A f2b -s 203.0.113.1 -j REJECT")
    found = verify(WebFirewall(network(tmp_path)), target)
    assert in_order(found)
    assert "nothing to open" in found[0].note


@needs_root
@pytest.mark.parametrize(
    ("prepare", "verdict", "words"),
    [
        ("echo 'ENABLED=yes' >/etc/ufw/ufw.conf", Verdict.UNKNOWN, "ufw manages this host's firewall"),
        ("echo firewalld >$tools/active", Verdict.UNKNOWN, "firewalld manages this host's firewall"),
        ("echo nftables >$tools/active; echo 'ENABLED=yes' >/etc/ufw/ufw.conf", Verdict.UNKNOWN,
         "nftables and ufw are both at work"),
        ("echo firewalld >$tools/enabled; echo netfilter-persistent >$tools/active", Verdict.UNKNOWN,
         "firewalld and netfilter-persistent are both at work"),
        ("echo netfilter-persistent >$tools/enabled", Verdict.UNKNOWN, "there is no /etc/iptables/rules.v4"),
        ("rm /etc/network/ip6tables.save", Verdict.UNKNOWN, "there is no /etc/network/ip6tables.save"),
        (
            "mv /etc/network/iptables.save /etc/network/iptables.bak",
            Verdict.UNKNOWN,
            "Name /etc/network/iptables.bak so, which is there",
        ),
        ("echo '-A in-new -j' >>/etc/network/iptables.save", Verdict.UNKNOWN, "does not take /etc/network/ip"),
        ("printf '*nat\\nCOMMIT\\n' >/etc/network/iptables.save", Verdict.UNKNOWN, "no chains of the table filter"),
        ("rm /etc/network/if-pre-up.d/*", Verdict.ABSENT, "nothing seen on this host loads /etc/network/iptables.save"),
        ("chmod -x /etc/network/if-pre-up.d/*", Verdict.ABSENT, "nothing seen on this host loads"),
        ("mv /etc/network/if-pre-up.d/firewall /etc/network/if-pre-up.d/f.sh", Verdict.ABSENT, "nothing seen"),
        ("sed -i 's/^ip/# ip/' /etc/network/if-pre-up.d/*", Verdict.ABSENT, "nothing seen on this host loads"),
        ("iptables -P INPUT ACCEPT", Verdict.ABSENT, "nothing in INPUT drops what this lets through"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_named(  # noqa: PLR0913, PLR0917 - what is varied
    vps4: Namespace, target: Target, tmp_path: Path, prepare: str, verdict: Verdict, words: str
) -> None:
    furnish(vps4)
    vps4.sh(f"mkdir -p /etc/ufw; tools={vps4.tools}; {prepare}")
    found = verify(WebFirewall(network(tmp_path)), target)
    assert [each for each in found if each.verdict is verdict and words in each.note], found


@needs_root
@pytest.mark.parametrize(
    "loader",
    [
        "echo '  pre-up iptables-restore < /etc/network/iptables.save' >/etc/network/interfaces",
        "echo 'for t in ip ip6; do ${t}tables-restore </etc/network/${t}tables.save; done' >/etc/network/if-up.d/f",
    ],
)
def test_other_ways_to_load_the_file_are_seen(vps4: Namespace, target: Target, tmp_path: Path, loader: str) -> None:
    furnish(vps4, hook="#!/bin/sh\n")
    vps4.sh(f"mkdir /etc/network/if-up.d; {loader}; chmod +x /etc/network/if-up.d/* || true")
    (stored,) = [each for each in verify(WebFirewall(network(tmp_path)), target) if "iptables.save" in each.key][:1]
    assert not stored.note


@needs_root
def test_every_script_of_the_sections_passes_shellcheck(vps4: Namespace, target: Target, tmp_path: Path) -> None:
    furnish(vps4)
    for step in (WebFirewall(network(tmp_path)), IpsecFirewall(network(tmp_path))):
        shellcheck(step.facts)
        for each in verify(step, target):
            change = each.change
            shellcheck(each.probe, *((change.save, change.apply, change.undo) if change else ()))


ANSWERS_ONLY = FIREWALL.replace("-A in-new -p tcp -m tcp --dport 22 -j ACCEPT\n", "")
"""As after a knock on ports: whoever is in stays in, and nobody else gets in."""


@needs_root
@pytest.mark.parametrize("ssh", ["192.0.2.99 50000 192.0.2.10 22", "2001:db8::99 50000 2001:db8::10 22"])
def test_rules_that_let_no_new_log_in_in_are_not_changed(
    vps4: Namespace, target: Target, tmp_path: Path, ssh: str
) -> None:
    vps4.ssh = ssh
    furnish(vps4)
    web = WebFirewall(network(tmp_path))
    in_force = FIREWALL if ":" in ssh else ANSWERS_ONLY
    vps4.sh(f"iptables-restore <<'END'\n{in_force}END")
    vps4.sh(f"ip6tables-restore <<'END'\n{FIREWALL if in_force is ANSWERS_ONLY else ANSWERS_ONLY}END")
    *others, way = verify(web, target)
    assert [each.verdict for each in others] == [Verdict.ABSENT] * 4
    assert way.verdict is Verdict.UNKNOWN
    assert way.error
    parts = told_as(way.error, catalogue.WAY_IN_CLOSED)
    assert f"from {ssh.split(maxsplit=1)[0]} to port 22 (-P INPUT DROP)" in parts["error"]

    furnish(vps4)
    assert in_order(apply(web, target))
    vps4.sh("for each in iptables ip6tables; do $each -D in-new -p tcp --dport 22 -j ACCEPT; done")
    assert in_order(verify(web, target)), "what needs no change needs no proof"


@needs_root
def test_a_file_that_will_shut_the_door_at_the_next_boot_is_told(
    vps4: Namespace, target: Target, tmp_path: Path
) -> None:
    furnish(vps4)
    web = WebFirewall(network(tmp_path))
    assert not verify(web, target)[-1].note
    for closed in (
        "-A in-new -p tcp -m tcp --dport 2222 -j ACCEPT",
        "-A in-new -s 198.51.100.7 -p tcp --dport 22 -j ACCEPT",
    ):
        text = FIREWALL.replace("-A in-new -p tcp -m tcp --dport 22 -j ACCEPT", closed)
        (vps4.etc / "network/iptables.save").write_text(text)
        way = apply(web, target)[-1]
        assert way.verdict is Verdict.IN_ORDER
        assert way.note == (
            "/etc/network/iptables.save, once it is loaded, turns away your next log-in from 192.0.2.99 to port 22 "
            "(-P INPUT DROP): let it in there before anything reboots this host"
        )
        unmake(target, web.name)


@needs_root
def test_by_which_interface_the_admin_came_is_known_where_there_is_no_doubt(
    vps4: Namespace, target: Target, tmp_path: Path
) -> None:
    web = WebFirewall(network(tmp_path))
    bound = FIREWALL.replace("-A in-new -p tcp", "-A in-new -i eth1 -p tcp")
    furnish(vps4, bound)
    assert verify(web, target)[-1].verdict is Verdict.UNKNOWN
    vps4.sh(
        "ip link add eth1 type veth peer name other1; ip link set other1 up; ip link set eth1 up;"
        "ip addr add 192.0.2.10/24 dev eth1"
    )
    assert verify(web, target)[-1].verdict is Verdict.IN_ORDER, "two have the address: it may have been the other"


def test_the_first_sentences_say_why() -> None:
    for step in (WebFirewall, IpsecFirewall):
        assert step.purpose().count(". ") == 1
        assert "What can go wrong" in step.explain()
