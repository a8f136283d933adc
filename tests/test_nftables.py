"""Rules of ours among an admin's own, with real nft in a network namespace: in force, and in the script of the boot."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netns import Namespace, in_order, look, make, needs_root, serving, shellcheck
from rule_sets import EXAMPLES, numbers
from scratch import unmake

from runbook.errors import StepError
from runbook.resources.nftables import SURVEY, LiveNftRules, NftRule, StoredNftRules, parse_survey
from runbook.script import Reading, quote
from runbook.step import Verdict
from runbook.target import Target
from steps.firewalls.openings import SOUGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = needs_root

DROPPING = """\
#!/usr/sbin/nft -f
flush ruleset
define web = { 80, 443 }  # not used yet
table inet filter {
	set blocked {
		type ipv4_addr
		elements = { 198.51.100.1,
			198.51.100.2 }
	}
	chain input {
		type filter hook input priority 0; policy drop;
		iif lo accept
		ct state vmap { invalid : drop, established : accept, related : accept }
		ip saddr @blocked drop
		# the rest of what is new
		ct state new jump in_new
		log prefix "no } to: "
		reject
	}
	chain in_new {
		tcp dport 22 accept
	}
	chain forward { type filter hook forward priority 0; }
}
"""
PLAIN = "table ip filter {\n\tchain in {\n\t\ttype filter hook input priority 0; policy drop;\n\t}\n}\n"


def web(chain: str = "in_new") -> tuple[NftRule, ...]:
    return (NftRule("inet", "filter", chain, "ip daddr 192.0.2.10 tcp dport 80 accept"),)


def ipsec(chain: str = "in_new") -> tuple[NftRule, ...]:
    texts = ("udp dport 500 accept", "udp dport 4500 accept", "meta l4proto esp accept")
    inner = "ip6 saddr fdd7:5938:e2e6:1::/64 ip6 daddr fdd7:5938:e2e6:3::8e71 meta ipsec exists accept"
    return (
        *(NftRule("inet", "filter", chain, text) for text in texts),
        NftRule("inet", "filter", "input", inner),
        NftRule("inet", "filter", "forward", 'iifname "eth0" rt ipsec exists accept'),
    )


OURS = re.compile(r'### ipsec-runbook:(web|ipsec) ###|comment "ipsec-runbook:(web|ipsec)"')
RULES = st.lists(
    st.sampled_from(
        [
            "iif lo accept",
            "ct state established,related accept",
            "ct state { established, related } counter accept",
            "ct state invalid drop",
            "ct state vmap { invalid : drop, established : accept, new : jump in_new }",
            "ct state new jump in_new",
            'ip saddr 198.51.100.7 counter drop comment "banned, not ipsec-runbook:web"',
            'tcp dport { 22, 2222 } accept comment "ipsec-runbook:webcam"',
            "icmpv6 type { nd-neighbor-solicit, nd-router-advert } accept",
            'limit rate 5/second log prefix "seen; { " ',
            "jump logdrop",
            "counter",
            "log",
            "drop",
            "reject with icmpx type admin-prohibited",
            "meta l4proto { tcp, udp } reject",
            "meta l4proto tcp reject with tcp reset",
            'iifname "eth0" drop',
            "return",
        ]
    ),
    max_size=7,
)


@st.composite
def scripts(draw: st.DrawFn) -> str:
    """An admin's script: chains of rules that end or do not, in this and that layout."""
    margin = draw(st.sampled_from(["\t", "  ", ""]))
    remark = draw(st.sampled_from(["", f"{margin}# a remark, {{ with ; all\n", "\n"]))

    def chain(name: str, head: str = "") -> str:
        rules = [rule for rule in draw(RULES) if name != "in_new" or "in_new" not in rule]
        joint = draw(st.sampled_from(["\n", " ;\n", "\n\n"]))
        lines = [f"{margin}{margin}{rule}" for rule in ([head] if head else []) + rules]
        return f"{margin}chain {name} {{\n{remark}{joint.join(lines)}\n{margin}}}\n"

    hook = "type filter hook {} priority 0; policy {}"
    policies = st.sampled_from(["accept", "drop"])
    return (
        f"flush ruleset\ntable inet filter {{\n{margin}chain logdrop {{\n{margin}log; drop\n{margin}}}\n"
        + chain("in_new")
        + chain("input", hook.format("input", draw(policies)))
        + chain("forward", hook.format("forward", draw(policies)))
        + "}\n"
    )


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    with Namespace(tmp_path_factory.mktemp("host")) as namespace:
        yield namespace


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "an admin's rules"
    path.write_text(DROPPING)
    path.chmod(0o750)
    return path


def load(host: Namespace, script: str) -> None:
    host.sh(f"printf 'flush ruleset\\n%s' {quote(script)} | nft -f -")


def without_ours(text: str) -> list[str]:
    return [line for line in text.splitlines() if not OURS.search(line)]


@settings(EXAMPLES, max_examples=10)
@given(script=scripts(), chain=st.sampled_from(["in_new", "input"]))
def test_rules_go_where_they_work_and_come_out_without_a_trace(
    host: Namespace, target: Target, script: str, chain: str
) -> None:
    load(host, script)
    before = host.nft()
    parts = [LiveNftRules("web", web(chain)), LiveNftRules("ipsec", ipsec(chain))]
    found = look(target, parts)
    assert [each.verdict for each in found] == [Verdict.ABSENT, Verdict.ABSENT]
    assert host.nft() == before, "looking changes nothing"

    image = f"image-{next(numbers)}"
    assert in_order(make(target, parts, image))
    assert without_ours(host.nft()) == before.splitlines()
    for each in found:
        assert each.change
        host.sh(each.change.apply)
    assert in_order(look(target, parts)), "made once more, they still stand where they work"
    assert without_ours(host.nft()) == before.splitlines()

    unmake(target, image)
    assert host.nft() == before


@settings(EXAMPLES, max_examples=10)
@given(script=scripts(), chain=st.sampled_from(["in_new", "input"]), ended=st.booleans())
def test_a_script_comes_back_to_the_byte_and_loads_as_what_is_in_force(  # noqa: PLR0913 - what is drawn
    host: Namespace, target: Target, tmp_path: Path, script: str, chain: str, *, ended: bool
) -> None:
    path = tmp_path / "rules"
    text = script if ended else script.removesuffix("\n")
    path.write_text(text)
    parts = [StoredNftRules("web", web(chain), path=str(path)), StoredNftRules("ipsec", ipsec(chain), path=str(path))]
    image = f"image-{next(numbers)}"
    assert in_order(make(target, parts, image))
    once = path.read_text()
    assert without_ours(once) == text.splitlines()
    for each in parts:
        change = each.judge(Reading("")).change
        assert change
        target.run(f"image={tmp_path} index=9\n{change.apply}", purpose="once more")
    assert path.read_text() == once

    load(host, once)
    from_file = host.nft()
    load(host, script)
    make(target, [LiveNftRules("web", web(chain)), LiveNftRules("ipsec", ipsec(chain))], f"image-{next(numbers)}")
    assert host.nft() == from_file, "a reboot brings back what is in force"

    unmake(target, image)
    assert path.read_text() == text


def test_rules_in_a_script_stand_before_what_refuses_the_rest_and_its_remark(target: Target, stored: Path) -> None:
    part = StoredNftRules("ipsec", ipsec("in_new")[:4], path=str(stored))
    assert in_order(make(target, [part], f"image-{next(numbers)}"))
    lines = [line.strip() for line in stored.read_text().splitlines()]
    assert stored.stat().st_mode & 0o7777 == 0o750
    head = lines.index("### ipsec-runbook:ipsec ###")
    assert lines[head + 1].startswith("ip6 saddr fdd7:5938:e2e6:1::/64 ")
    assert lines[head + 2] == 'log prefix "no } to: "'
    assert lines[lines.index("tcp dport 22 accept") + 2] == 'udp dport 500 accept comment "ipsec-runbook:ipsec"'


def test_what_an_admin_changed_meanwhile_stays(host: Namespace, target: Target, stored: Path) -> None:
    old = 'insert rule inet filter input udp dport 53 accept comment "ipsec-runbook:web"'
    load(host, f"{DROPPING}\n{old}")
    stored.write_text(DROPPING.replace("iif lo", 'udp dport 53 accept comment "ipsec-runbook:web"\n\t\tiif lo'))
    before = stored.read_text()
    image = f"image-{next(numbers)}"
    make(target, [LiveNftRules("web", web()), StoredNftRules("web", web(), path=str(stored))], image)
    assert "dport 53" not in host.nft() + stored.read_text()
    host.sh("nft add rule inet filter in_new tcp dport 25 accept; nft insert rule inet filter input tcp dport 23 drop")
    stored.write_text(stored.read_text().replace("dport 22", "dport 2222"))
    unmake(target, image)
    assert [host.nft().count(each) for each in ("dport 25 accept", "dport 23 drop", "dport 53", "dport 80")] == [
        1,
        1,
        1,
        0,
    ]
    assert sorted(without_ours(stored.read_text())) == sorted(without_ours(before.replace("dport 22", "dport 2222")))
    assert stored.read_text().count("dport 53") == 1


def test_older_rules_of_ours_come_back_in_their_place(host: Namespace, target: Target) -> None:
    old = 'insert rule inet filter {} udp dport 53 accept comment "ipsec-runbook:web"\n'
    load(host, DROPPING + old.format("in_new") + old.format("input position 0").replace(" position 0", ""))
    before = host.nft()
    (found,) = look(target, [LiveNftRules("web", web())])
    assert found.verdict is Verdict.DRIFT
    make(target, [LiveNftRules("web", web())], "replaced")
    unmake(target, "replaced")
    assert host.nft() == before


def test_a_rule_behind_a_drop_is_out_of_reach_and_is_moved(host: Namespace, target: Target) -> None:
    load(host, DROPPING)
    part = LiveNftRules("web", web())
    make(target, [part], "first")
    host.sh("nft insert rule inet filter in_new meta l4proto tcp drop")
    (found,) = look(target, [part])
    assert found.change
    assert "- # out of reach: inet:filter:in_new" in found.change.diff
    assert in_order(make(target, [part], "second"))


HOOK = "type filter hook input priority 0; policy accept;"


@pytest.mark.parametrize("drop", ["tcp dport 80 drop", "tcp dport { 25, 80 } reject", "meta l4proto { udp, tcp } drop"])
def test_a_rule_behind_a_drop_of_its_port_is_out_of_reach_and_is_moved(
    host: Namespace, target: Target, drop: str
) -> None:
    load(host, DROPPING)
    part = LiveNftRules("web", web())
    make(target, [part], "first")
    host.sh("nft insert rule inet filter in_new tcp dport { 8080, 180 } drop")
    assert in_order(look(target, [part]))
    host.sh(f"nft 'insert rule inet filter in_new {drop}'")
    (found,) = look(target, [part])
    assert found.change
    assert "- # out of reach: inet:filter:in_new" in found.change.diff
    assert in_order(make(target, [part], "second"))


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("udp dport 500 drop", "1 -;"),
        ("udp dport { 53, 4500 } drop", "1 -;"),
        ("udp dport 5000 drop", "0 n;"),
        ("ip saddr 192.0.2.1 udp dport 500 drop", "0 n;"),
    ],
)
def test_a_chain_that_what_is_sought_does_not_get_to_is_none_to_open(first: str, expected: str) -> None:
    chains = f"chain n {{\ntcp dport 22 accept\n}}\nchain i {{\n{HOOK}\n{first}\nct state new jump n\n}}\n"
    asked, text = ["sh", "-c", f"{SOUGHT} {SURVEY}"], f"table inet t {{\n{chains}}}\n"
    said = subprocess.run(asked, input=text, capture_output=True, text=True, check=True).stdout
    assert said == f"inet t i input {expected}\n"


def test_the_timer_puts_them_back_by_itself(host: Namespace, images: str) -> None:
    class LockedOutError(Exception):
        pass

    class NoLogin(Target):
        def _prove_login(self, image: str) -> None:
            raise LockedOutError(image)

    load(host, DROPPING)
    before = host.nft()
    target = NoLogin(host, images)
    with pytest.raises(LockedOutError):
        make(target, [LiveNftRules("web", web())], "locked-out")
    assert host.nft() != before
    host.sh(f"/bin/sh {(host.tools / 'armed').read_text()}")
    assert host.nft() == before


@pytest.mark.parametrize(
    ("chain", "text", "words"),
    [
        ("no_such", DROPPING, "no chain inet filter no_such in the file"),
        ("forward", DROPPING, "give its } a line of its own"),
        ("input", DROPPING.replace("accept\n\t\tct", "accept; ct").replace("reject\n\t}", "reject; }"), ""),
        ("input", "table inet filter { chain input { type filter hook input priority 0; drop; } }\n", "more than one"),
    ],
)
def test_a_script_that_cannot_take_a_rule_is_told_when_it_is_looked_at(
    target: Target, stored: Path, chain: str, text: str, words: str
) -> None:
    stored.write_text(text)
    (found,) = look(target, [StoredNftRules("web", web(chain), path=str(stored))])
    if words:
        assert (found.verdict, found.change) == (Verdict.UNKNOWN, None)
        assert words in found.note
    else:
        assert in_order(make(target, [StoredNftRules("web", web(chain), path=str(stored))], f"image-{next(numbers)}"))


def test_a_script_that_nft_would_not_take_is_not_written(target: Target, stored: Path) -> None:
    text = DROPPING.replace("tcp dport 22", "tcp dprot 22")
    stored.write_text(text)
    with pytest.raises(StepError, match="dprot"):
        make(target, [StoredNftRules("web", web(), path=str(stored))], f"image-{next(numbers)}")
    assert stored.read_text() == text
    assert [each.name for each in stored.parent.iterdir()] == [stored.name]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (DROPPING, "inet filter input input 1 in_new;inet filter forward forward 0 -;"),
        (PLAIN, "ip filter in input 1 -;"),
        (PLAIN.replace("policy drop", "policy accept"), "ip filter in input 0 -;"),
        (PLAIN.replace("policy drop;", "\n\t\tip protocol icmp accept\n\t\tdrop"), "ip filter in input 1 -;"),
        (PLAIN.replace("policy drop;", "\n\t\tct state invalid drop"), "ip filter in input 0 -;"),
        (PLAIN.replace("filter hook", "nat hook"), ""),
        (PLAIN.replace("table ip", "table netdev").replace("input", "ingress"), ""),
        ("table t { chain c { type filter hook output priority 0; policy drop; } }", "ip t c output 1 -;"),
        ("# table ip t { chain c { type filter hook output priority 0; } }", ""),
        ("", ""),
    ],
)
def test_a_chain_is_told_as_what_it_does_with_new_packets(script: str, expected: str) -> None:
    line = subprocess.run(["sh", "-c", SURVEY], input=script, capture_output=True, text=True, check=True).stdout
    assert line == f"{expected}\n"


def test_the_line_about_the_chains_is_read_back() -> None:
    (chain, other) = parse_survey("inet filter input input 1 in_new;ip t c output 0 -;")
    assert (chain.family, chain.table, chain.name, chain.hook, chain.closed, chain.new) == (
        "inet", "filter", "input", "input", True, "in_new",
    )  # fmt: skip
    assert (other.closed, other.new) == (False, "")


def test_an_address_may_be_written_with_its_length() -> None:
    part = StoredNftRules("web", web(), path="/etc/nftables.conf")
    text = 'inet:filter:in_new ip daddr 192.0.2.10/32 tcp dport 80 accept comment "ipsec-runbook:web"\n'
    assert part.judge(Reading(text)).verdict is Verdict.IN_ORDER
    assert part.judge(Reading(text.replace("/32", "/31"))).verdict is Verdict.DRIFT


def test_a_word_that_is_no_word_of_a_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="no word of a rule"):
        NftRule("inet", "filter", "input", "accept; flush ruleset")


CLOSED = [
    DROPPING,
    PLAIN.replace("table ip", "table inet").replace("chain in ", "chain input "),
    re.sub(r"\t\tlog.*\n|policy drop;", "", DROPPING),
    DROPPING.replace("jump in_new", "jump in_new").replace("reject", "iifname uplink meta l4proto { tcp, udp } reject"),
    DROPPING.replace("tcp dport 22 accept", "tcp dport 22 accept\n\t\treturn"),
    DROPPING.replace("tcp dport 22 accept", "tcp dport 22 accept\n\t\tlog\n\t\ttcp flags syn / fin,syn,rst,ack drop"),
]


@pytest.fixture(scope="module")
def port(host: Namespace) -> Iterator[Callable[[], str]]:
    with serving(host) as ask:
        yield ask


@pytest.mark.parametrize("script", CLOSED)
def test_a_closed_port_opens_and_closes_again(
    host: Namespace, target: Target, port: Callable[[], str], script: str
) -> None:
    load(host, script)
    assert port() == "closed"
    (chain,) = [each for each in parse_survey(host.sh(f"nft list ruleset | {SURVEY}")) if each.hook == "input"]
    image = f"image-{next(numbers)}"
    assert in_order(make(target, [LiveNftRules("web", web(chain.new or "input"))], image))
    assert port() == "open"
    unmake(target, image)
    assert port() == "closed"


def test_every_script_passes_shellcheck() -> None:
    for part in (LiveNftRules("ipsec", ipsec()), StoredNftRules("ipsec", ipsec(), path="/etc/nftables.conf")):
        change = part.judge(Reading("")).change
        assert change
        shellcheck(part.probe(), change.save, change.apply, change.undo, SURVEY)
