"""What a host set up by hand has of the article: seen, brought in order, nothing lost, given back to the byte."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

import by_hand
import firewalled
import pytest
from firewalled import network, verify
from made_pki import issue
from netns import Namespace, in_order, needs_root
from scratch import step, unmake

from runbook.resources.modes import Withheld
from runbook.resources.retired import RETIRED, RetiredLines, SetAside
from runbook.step import Verdict
from steps import inherited, pki
from steps.inherited import OldAuthorities
from steps.ipsec import conf_by_hand
from steps.ipsec_firewall import IpsecFirewall
from steps.nginx import CONF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scratch import Scratch

    from runbook.step import Finding
    from runbook.target import Target

pytestmark = needs_root

RULES = f"""\
# my rules
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
:in-new - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m conntrack --ctstate NEW -j in-new
-A in-new -p udp -m udp --dport 53 -j ACCEPT
-A in-new -p tcp -m tcp --dport 22 -j ACCEPT
-A OUTPUT -p udp -m udp --sport 5000 --dport 53 -j ACCEPT
{by_hand.IPTABLES}COMMIT"""
"""Without a line end."""


@pytest.fixture
def vps4(tmp_path: Path) -> Iterator[Namespace]:
    with firewalled.vps4(tmp_path) as host:
        host.sh("rm -rf /etc/swanctl /etc/ipsec*; mkdir /etc/ipsec.d")
        for program in ("iptables", "ip6tables"):
            (host.etc / f"network/{program}.save").write_text(RULES)
            host.sh(f"{program}-restore </etc/network/{program}.save")
        yield host


@pytest.fixture
def target(vps4: Namespace, tmp_path: Path) -> Target:
    return firewalled.target_of(vps4, tmp_path)


def named(findings: list[Finding]) -> set[str]:
    return {each.key for each in findings if each.verdict is Verdict.DRIFT and "sysctl" not in each.key}


PLACES = ("force (iptables)", "/etc/network/iptables.save", "force (ip6tables)", "/etc/network/ip6tables.save")
OUTDATED = {f"outdated rules for IPsec in {where}" for where in PLACES}


def wrong_family(findings: list[Finding]) -> list[bool]:
    """For each place of the rules, whether policy rules are said to be of the wrong family."""
    notes = {each.key.partition(" in ")[2]: each.note for each in findings if each.key in OUTDATED}
    assert all("source port" in note for note in notes.values())
    return ["policy rules of the wrong family" in notes[where] for where in PLACES]


def test_the_articles_rules_are_replaced_and_given_back(vps4: Namespace, target: Target, tmp_path: Path) -> None:
    section = IpsecFirewall(network(tmp_path))
    files = "cat /etc/network/iptables.save; echo; cat /etc/network/ip6tables.save"
    before = vps4.rules(), vps4.sh(files)
    found = verify(section, target)
    assert named(found) == OUTDATED
    assert wrong_family(found) == [True, True, False, False]
    assert (vps4.rules(), vps4.sh(files)) == before, "looking changes nothing"

    section.apply(target, [each for each in found if each.change], {}, "mended")
    assert in_order(verify(section, target))
    rules = vps4.rules()
    assert "sport 500 " not in rules
    assert "sport 4500 " not in rules
    assert rules.count("--mode tunnel") == 2, "in ip6tables, where they match, they stay"
    assert rules.count('--dport 4500 -m comment --comment "ipsec-runbook:ipsec" -j ACCEPT') == 4
    assert rules.count("--sport 5000 --dport 53") == 2
    lines = vps4.sh(files).replace(RETIRED, "").splitlines()
    assert [line for line in lines if "ipsec-runbook:" not in line] == before[1].splitlines(), "no line is lost"
    vps4.sh("iptables-restore </etc/network/iptables.save; ip6tables-restore </etc/network/ip6tables.save")
    assert vps4.rules() == rules, "a reboot brings back what is in force"

    unmake(target, "mended")
    assert (vps4.rules(), vps4.sh(files)) == before


def test_rules_of_ours_that_are_not_wanted_any_more_are_not_the_articles(
    vps4: Namespace, target: Target, tmp_path: Path
) -> None:
    """Policy rules of iptables, of a sites.yaml that had IPv4 subnets."""
    plain = network(tmp_path)
    subnets = {"vps4": "10.0.4.1/24", "home": "10.0.5.1/24"}
    sites = {name: replace(plain.sites[name], more_subnets=(IPv4Interface(own),)) for name, own in subnets.items()}
    for number, each in enumerate((replace(plain, sites=sites), plain)):
        section = IpsecFirewall(each)
        found = verify(section, target)
        section.apply(target, [finding for finding in found if finding.change], {}, str(number))
        assert in_order(verify(section, target))
    assert "take 2 out of those in force (iptables)" in "".join(each.change.summary for each in found if each.change)
    stored = vps4.sh("cat /etc/network/iptables.save").splitlines()
    assert [line for line in stored if RETIRED in line and "ipsec-runbook:" in line] == []


@pytest.mark.parametrize(
    "tunnel",
    [
        "printf 'conn %%default\\nconn office\\n' >/etc/ipsec.conf",
        "mkdir -p /etc/swanctl/conf.d; echo connections >/etc/swanctl/conf.d/office.conf",
        "ip xfrm policy add src 10.0.0.0/8 dst 10.9.0.0/16 dir out",
    ],
)
def test_policy_rules_stay_where_a_tunnel_that_is_not_ours_may_need_them(
    vps4: Namespace, target: Target, tmp_path: Path, tunnel: str
) -> None:
    vps4.sh(tunnel)
    assert wrong_family(verify(IpsecFirewall(network(tmp_path)), target)) == [False] * 4


def test_connections_of_ours_are_no_other_tunnels(vps4: Namespace, target: Target, tmp_path: Path) -> None:
    conf = by_hand.CONF.replace("'", "")
    vps4.sh(f"cat >/etc/ipsec.conf <<'END'\n{conf}END\nmkdir -p /etc/swanctl/conf.d; : >/etc/swanctl/conf.d/x.conf")
    vps4.sh("ip xfrm policy add src fd00::/8 dst fd00:9::/32 dir out")
    assert wrong_family(verify(IpsecFirewall(network(tmp_path)), target)) == [True, True, False, False]


INTERFACES = f"""\
source /etc/network/interfaces.d/*
auto eth0
iface eth0 inet dhcp
	{by_hand.INTERFACE}	up ip addr add fdd7:5938:e2e6:3::8e7/128 dev eth0
	up ip route add 10.0.0.0/8 via 192.0.2.1
	# up ip addr add fdd7:5938:e2e6:3::8e71/128 dev eth0

# ipsec-runbook: begin
	up ip addr add fdd7:5938:e2e6:3::8e71/128 dev eth0
# ipsec-runbook: end
"""


def test_an_address_added_by_hand_becomes_a_remark(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    path = host.root / "interfaces"
    path.write_text(INTERFACES)
    path.chmod(0o640)
    part = inherited.addresses(["fdd7:5938:e2e6:3::8e71", "fdd7:5938:e2e6:8e71::1"])
    assert isinstance(part, RetiredLines)
    ours = step("ours", {host.name: [RetiredLines(str(path), part.what, part.reasons, part.which)]})
    assert len(host.apply(ours, "1")) == 1
    line = f"\t{by_hand.INTERFACE}"
    assert path.read_text() == INTERFACES.replace(line, f"{RETIRED}{line}", 1)
    assert path.stat().st_mode & 0o777 == 0o640
    assert in_order(host.look(ours))

    path.write_text(path.read_text().replace("inet dhcp", "inet manual"))
    host.rollback(ours)
    assert path.read_text() == INTERFACES.replace("inet dhcp", "inet manual")


@pytest.mark.parametrize(
    "text",
    [
        INTERFACES,
        INTERFACES.removesuffix("\n"),
        "up ip -6 address add fd00::1 dev eth0",
        "\tpost-up ip a add fd00::1/64 dev eth0\n",
    ],
)
def test_a_file_with_remarks_comes_back_to_the_byte(scratch: Callable[[], Scratch], text: str) -> None:
    host = scratch()
    path = host.root / "interfaces"
    path.write_text(text)
    part = inherited.addresses(["fdd7:5938:e2e6:3::8e71", "fd00::1"])
    assert isinstance(part, RetiredLines)
    ours = step("ours", {host.name: [RetiredLines(str(path), part.what, part.reasons, part.which)]})
    assert len(host.apply(ours, "1")) == 1
    host.rollback(ours)
    assert path.read_text() == text


TWICE = by_hand.CONF.replace("rightsubnet = fdd7:5938:e2e6:1::/64,fdd7:5938:e2e6:3::1/128",
                             "rightsubnet = fdd7:5938:e2e6:1::/64,fdd7:5938:e2e6:1::/64")  # fmt: skip
OFFICE = "\nconn office\n\tright = 198.51.100.7\n\trightsubnet = 10.0.0.0/8,10.0.0.0/8\n\tauto = add\n"


def test_a_connection_of_ours_becomes_remarks_and_others_stay(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    path = host.root / "ipsec.conf"
    path.write_text(TWICE + OFFICE)
    _, part = conf_by_hand.connections(["ula-net-home"], {})
    assert isinstance(part, RetiredLines)
    ours = step("ours", {host.name: [RetiredLines(str(path), part.what, part.reasons, part.which)]})
    (finding,) = host.apply(ours, "1")
    assert "a subnet is listed twice" in finding.note
    head, _, section = TWICE.partition("conn ula-net-home\n")
    retired = "".join(f"{RETIRED}{line}\n" for line in ["conn ula-net-home", *section.splitlines()])
    assert path.read_text() == head + retired + OFFICE
    assert in_order(host.look(ours))
    path.write_text(path.read_text().replace("198.51.100.7", "198.51.100.8"))
    host.rollback(ours)
    assert path.read_text() == TWICE + OFFICE.replace("198.51.100.7", "198.51.100.8")
    path.write_text(by_hand.CONF)
    assert "twice" not in host.look(ours)[0].note


INCLUDING = """\
include ipsec.d/*.admin
conn %default
	keyexchange = ikev2
include /etc/ipsec.d/none.conf
# ipsec-runbook: begin
conn ula-net-vps9
# ipsec-runbook: end"""
INCLUDED = """\
conn office
	right = 198.51.100.7
	also="ula-net-home"
conn "ula-net-home" # ours
	rightsubnet = 10.0.0.0/8
	also = base
  include nested
"""
NESTED = "conn\tbase\n\tauto = ignore\n\tinclude nested\n"


def test_what_is_included_is_looked_at_too(vps4: Namespace, target: Target) -> None:
    (vps4.etc / "ipsec.conf").write_text(INCLUDING)
    for name, text in {"a.admin": INCLUDED, "nested": NESTED}.items():
        (vps4.etc / "ipsec.d" / name).write_text(text)
    target.learn(conf_by_hand.FACTS)
    assert target.facts["conf_sections"].split() == [
        "/etc/ipsec.d/a.admin:office",
        "/etc/ipsec.d/a.admin:ula-net-home",
        "/etc/ipsec.d/nested:base",
    ]
    parts = conf_by_hand.connections(["ula-net-home"], target.facts)
    assert [vps4.run(f"{conf_by_hand.stands(name)}").code for name in ("ula-net-home", "ula-net-vps9")] == [0, 1]
    ours = step("ours", {target.name: parts})
    borrowed, conf, included = ours.verify(target, {})
    assert borrowed.verdict is Verdict.UNKNOWN
    assert "office would lose what `also = ula-net-home` says" in borrowed.note
    assert (conf.verdict, included.verdict) == (Verdict.IN_ORDER, Verdict.DRIFT)

    (vps4.etc / "ipsec.d" / "a.admin").write_text(INCLUDED.replace('also="ula-net-home"', "also=base"))
    target.readings.clear()
    found = ours.verify(target, {})
    assert [each.verdict for each in found] == [Verdict.IN_ORDER, Verdict.IN_ORDER, Verdict.DRIFT]
    ours.apply(target, found, {}, "1")
    assert in_order(ours.verify(target, {}))
    now = (vps4.etc / "ipsec.d" / "a.admin").read_text()
    assert now.replace(RETIRED, "") == INCLUDED.replace('also="ula-net-home"', "also=base")
    kept = [line for line in now.splitlines() if RETIRED not in line]
    assert kept == ["conn office", "\tright = 198.51.100.7", "\talso=base", "  include nested"]
    unmake(target, "1")
    assert RETIRED not in (vps4.etc / "ipsec.d" / "a.admin").read_text()


def test_the_articles_web_server_goes_where_it_is_not_read(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    enabled, available = host.root / "sites-enabled", host.root / "sites-available"
    enabled.mkdir()
    (enabled / "a file").write_text(by_hand.NGINX)
    (enabled / "a link").symlink_to("../sites-available/other")
    (enabled / "taken").write_text("a")
    parts = [SetAside(str(enabled / name), str(available / name), "why") for name in ("a file", "a link")]
    ours = step("ours", {host.name: parts})
    before = host.tree()
    assert len(host.apply(ours, "1")) == 2
    assert sorted(host.tree()) == ["sites-available", "sites-available/a file", "sites-enabled", "sites-enabled/taken"]
    assert (available / "a file").read_text() == by_hand.NGINX
    assert in_order(host.look(ours))
    host.rollback(ours)
    assert host.tree() == before
    available.mkdir()
    (available / "a file").write_text("another")
    assert [each.verdict for each in host.look(ours)] == [Verdict.UNKNOWN, Verdict.DRIFT]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (by_hand.NGINX, True),
        (by_hand.NGINX.replace("return 307", "root /srv/acme; #"), False),
        (by_hand.NGINX.replace("}\n}", "}\n\tlocation /blog { proxy_pass http://127.0.0.1:8000; }\n}"), False),
        (by_hand.NGINX.replace("return 444", "return 404"), False),
        (by_hand.NGINX.replace("default_server;", ";"), False),
        (by_hand.NGINX.replace("\t", "#\t"), False),
        (by_hand.NGINX.replace("#\tlisten 443", "\tlisten 443"), False),
        (by_hand.NGINX.replace("#\tlisten 185.133.75.14:443 ssl http2", "\tlisten 185.133.75.14:8443 ssl"), False),
    ],
)
def test_only_a_server_that_answers_challenges_and_nothing_else_is_replaced(
    vps4: Namespace, target: Target, text: str, *, seen: bool
) -> None:
    vps4.sh("rm -rf /etc/nginx; mkdir -p /etc/nginx/sites-enabled /etc/nginx/conf.d")
    (vps4.etc / "nginx/sites-enabled/default_server.conf").write_text(text)
    target.learn(inherited.NGINX)
    parts = inherited.web_server(target.facts, CONF)
    assert [(each.path, each.to) for each in parts] == [
        ("/etc/nginx/sites-enabled/default_server.conf", "/etc/nginx/sites-available/default_server.conf")
    ] * seen


def test_keys_are_withheld_from_others(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    keys = host.root / "vps4 of mine"
    keys.mkdir()
    keys.chmod(0o2775)
    for name, mode in {"a.key1": 0o400, "b.key": 0o644, "c.key": 0o640, "cert.pem": 0o644}.items():
        (keys / name).write_text("")
        (keys / name).chmod(mode)
    parts = [
        Withheld("it", f"'{keys}' -maxdepth 0 -type d", "022", "why"),
        Withheld("the keys in it", f"'{keys}' -maxdepth 1 -type f -name '*.key*'", "027", "why"),
    ]
    ours = step("ours", {host.name: parts})
    before = host.tree()
    assert len(host.apply(ours, "1")) == 2
    modes = {name: each[-3] for name, each in host.tree().items() if each[0] == "file"}
    assert modes == {
        f"{keys.name}/{n}": m for n, m in {"a.key1": 0o400, "b.key": 0o640, "c.key": 0o640, "cert.pem": 0o644}.items()
    }
    assert keys.stat().st_mode & 0o7777 == 0o2755
    assert in_order(host.look(ours))
    host.rollback(ours)
    assert host.tree() == before


def test_roots_that_have_expired_or_are_gone_are_removed_and_given_back(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    directory = host.root / "cacerts"
    directory.mkdir()
    now = datetime.now(UTC)
    old = issue("DST Root CA X3", None, before=now - timedelta(days=9), after=now - timedelta(days=1))
    new = issue("ISRG Root X1", None, before=now - timedelta(days=9), after=now + timedelta(days=9))
    (host.root / "x3.pem").write_bytes(pki.to_pem(old.cert))
    (directory / "new.pem").write_bytes(pki.to_pem(new.cert))
    (directory / "old.pem").write_bytes(pki.to_pem(old.cert))
    (directory / "link.pem").symlink_to(host.root / "x3.pem")
    (directory / "gone.pem").symlink_to("/nowhere/DST_Root_CA_X3.pem")
    (directory / "README").write_text("no certificate")
    ours = step("ours", {host.name: [OldAuthorities(str(directory))]})
    before = host.tree()
    (finding,) = host.look(ours)
    assert finding.change
    assert [f"{each}.pem ({why})" in finding.change.summary for each, why in
            (("old", "expired"), ("link", "expired"), ("gone", "gone"))] == [True] * 3  # fmt: skip
    assert host.apply(ours, "1")
    assert sorted(each.name for each in directory.iterdir()) == ["README", "new.pem"]
    assert (host.root / "x3.pem").exists()
    assert in_order(host.look(ours))
    host.rollback(ours)
    assert host.tree() == before
