"""Rules of ours in force among an admin's own, with real iptables and ip6tables in network namespaces."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from netns import MULTI, Namespace, in_order, look, make, needs_root, serving, shellcheck
from rule_sets import ARTICLE, EXAMPLES, OWN, bases, chains, families, ipsec, numbers, web
from scratch import unmake

from runbook.errors import StepError
from runbook.resources.iptables import PROGRAMS, SURVEY, Chain, LiveRules, Rule, parse_survey
from runbook.script import Reading
from runbook.step import Verdict
from runbook.target import Target
from steps.firewalls.openings import SOUGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runbook.resources.iptables import Family

pytestmark = needs_root


@pytest.fixture(scope="module", params=sorted(MULTI))
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    with Namespace(tmp_path_factory.mktemp("host"), request.param) as namespace:
        yield namespace


@EXAMPLES
@given(base=bases(), family=families, chain=chains)
def test_rules_go_where_they_work_and_come_out_without_a_trace(
    host: Namespace, target: Target, base: str, family: Family, chain: str
) -> None:
    host.load(family, base)
    before = host.rules()
    parts = [LiveRules(family, "web", web(family, chain)), LiveRules(family, "ipsec", ipsec(family, chain))]

    found = look(target, parts)
    assert [each.verdict for each in found] == [Verdict.ABSENT, Verdict.ABSENT]
    assert host.rules() == before, "looking changes nothing"

    image = f"image-{next(numbers)}"
    assert in_order(make(target, parts, image))
    after = host.rules()
    assert [line for line in after.splitlines() if '"ipsec-runbook:' not in line] == before.splitlines()
    for each in found:
        assert each.change
        host.sh(each.change.apply)
    assert in_order(look(target, parts)), "made once more, they still stand where they work"
    assert [line for line in host.rules().splitlines() if '"ipsec-runbook:' not in line] == before.splitlines()

    unmake(target, image)
    assert host.rules() == before


@EXAMPLES
@given(base=bases(), family=families)
def test_what_an_admin_changed_meanwhile_stays(host: Namespace, target: Target, base: str, family: Family) -> None:
    program = PROGRAMS[family]
    edits = (
        f"{program} -I INPUT -s {OWN[family]} -j DROP; {program} -A f2b-sshd -s {OWN[family]} -j REJECT;"
        f"{program} -N mine; {program} -A in-new -j mine; {program} -P OUTPUT ACCEPT;"
        f"{program} -A INPUT -p tcp -m tcp --dport 80 -m comment --comment web -j ACCEPT"
    )
    host.load(family, base)
    host.sh(edits)
    expected = host.rules()

    host.load(family, base)
    image = f"image-{next(numbers)}"
    make(target, [LiveRules(family, "ipsec", ipsec(family, "in-new"))], image)
    host.sh(edits)
    unmake(target, image)
    assert host.rules() == expected


def test_made_twice_they_are_as_if_made_once(host: Namespace, target: Target) -> None:
    host.load(6, ARTICLE)
    part = LiveRules(6, "ipsec", ipsec(6, "in-new"))
    change = look(target, [part])[0].change
    assert change
    host.sh(change.apply)
    once = host.rules()
    host.sh(change.apply)
    assert host.rules() == once


def test_older_rules_of_ours_are_replaced_and_come_back_in_their_place(host: Namespace, target: Target) -> None:
    host.load(4, ARTICLE)
    old = 'iptables -I {} -d 203.0.113.9 -p tcp --dport 80 -m comment --comment "ipsec-runbook:web" -j ACCEPT\n'
    host.sh(old.format("INPUT 2") + old.format("in-new 1") + old.format("INPUT 5"))
    before = host.rules()
    part = LiveRules(4, "web", web(4, "in-new"))
    (found,) = look(target, [part])
    assert found.verdict is Verdict.DRIFT
    assert found.change
    assert found.change.summary == "replace 3 by 1 rule for web in those in force (iptables)"
    assert found.change.diff.count("203.0.113.9") == 3
    assert in_order(make(target, [part], "replaced"))
    assert "203.0.113.9" not in host.rules()
    unmake(target, "replaced")
    assert host.rules() == before


def test_what_was_ours_finds_a_place_where_its_own_has_gone(host: Namespace, target: Target) -> None:
    host.load(4, ARTICLE.replace("### SSH", "-A INPUT -j DROP\n### SSH"))
    host.sh("iptables -I INPUT 5 -p esp -m comment --comment ipsec-runbook:web -j ACCEPT")
    make(target, [LiveRules(4, "web", web(4, "in-new"))], "moved")
    host.sh("iptables -D INPUT 1; iptables -D INPUT 1; iptables -D INPUT 1")
    unmake(target, "moved")
    chain = [line for line in host.rules().splitlines() if line.startswith("-A INPUT")]
    assert [line.split()[-1] for line in chain] == ["in-new", "ACCEPT", "DROP"]


def test_a_rule_behind_a_drop_is_out_of_reach_and_is_moved(host: Namespace, target: Target) -> None:
    host.load(4, ARTICLE)
    part = LiveRules(4, "web", web(4, "in-new"))
    make(target, [part], "first")
    host.sh("iptables -I in-new -j DROP")
    (found,) = look(target, [part])
    assert found.verdict is Verdict.DRIFT
    assert found.change
    assert "- # out of reach: -A in-new" in found.change.diff
    assert in_order(make(target, [part], "second"))


@pytest.mark.parametrize("drop", ["-p tcp --dport 80 -j DROP", "-p tcp -m multiport --dports 25,80 -j REJECT"])
def test_a_rule_behind_a_drop_of_its_port_is_out_of_reach_and_is_moved(
    host: Namespace, target: Target, drop: str
) -> None:
    host.load(4, ARTICLE)
    part = LiveRules(4, "web", web(4, "in-new"))
    make(target, [part], "first")
    host.sh("iptables -I in-new -p tcp --dport 8080 -j DROP; iptables -I in-new -p udp --dport 80 -j DROP")
    assert in_order(look(target, [part]))
    host.sh(f"iptables -I in-new {drop}")
    (found,) = look(target, [part])
    assert found.change
    assert "- # out of reach: -A in-new" in found.change.diff
    assert in_order(make(target, [part], "second"))


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("-p udp --dport 500 -j DROP", "INPUT/1/-"),
        ("-p udp -m multiport --dports 53,4500 -j REJECT", "INPUT/1/-"),
        ("-p esp -j DROP", "INPUT/1/-"),
        ("-p udp --dport 5000 -j DROP", "INPUT/0/n"),
        ("-s 192.0.2.1 -p udp --dport 500 -j DROP", "INPUT/0/n"),
    ],
)
def test_a_chain_that_what_is_sought_does_not_get_to_is_none_to_open(before: str, expected: str) -> None:
    rules = f"-A INPUT {before}\n-A INPUT -m conntrack --ctstate NEW -j n"
    text = f"*filter\n:INPUT ACCEPT [0:0]\n:n - [0:0]\n{rules}\n-A n -p tcp --dport 22 -j ACCEPT\nCOMMIT\n"
    asked = ["sh", "-c", f"{SOUGHT} {SURVEY}"]
    assert subprocess.run(asked, input=text, capture_output=True, text=True, check=True).stdout == f"{expected}\n"


def test_rules_no_longer_wanted_are_taken_out(host: Namespace, target: Target) -> None:
    host.load(6, ARTICLE)
    bare = host.rules()
    make(target, [LiveRules(6, "ipsec", ipsec(6))], "wanted")
    with_rules = host.rules()
    assert in_order(make(target, [LiveRules(6, "ipsec", ())], "unwanted"))
    assert host.rules() == bare
    unmake(target, "unwanted")
    assert host.rules() == with_rules


def test_the_timer_puts_both_families_back_by_itself(host: Namespace, images: str) -> None:
    class LockedOutError(Exception):
        pass

    class NoLogin(Target):
        def _prove_login(self, image: str) -> None:
            raise LockedOutError(image)

    host.load(4, ARTICLE)
    host.sh(f"ip6tables-restore <<'END'\n{ARTICLE}END\n")
    before = host.rules()
    parts = [LiveRules(family, "ipsec", ipsec(family, "in-new")) for family in (4, 6)]
    target = NoLogin(host, images)
    with pytest.raises(LockedOutError):
        make(target, parts, "locked-out")
    assert host.rules() != before
    armed = (host.tools / "armed").read_text().strip()
    assert armed == f"{images}/locked-out/revert"
    host.sh(f"/bin/sh {armed}")
    assert host.rules() == before
    unmake(target, "locked-out")
    assert host.rules() == before, "what the timer has undone stays undone"


def test_a_transaction_that_cannot_be_made_changes_nothing(host: Namespace, target: Target) -> None:
    host.load(4, ARTICLE)
    before = host.rules()
    rules = (*web(4), Rule("filter", "no-such-chain", ("-p", "esp", "-j", "ACCEPT")))
    with pytest.raises(StepError, match="iptables rules in force for web"):
        make(target, [LiveRules(4, "web", rules)], f"image-{next(numbers)}")
    assert host.rules() == before


def test_rules_in_other_spellings_are_the_same_rules() -> None:
    part = LiveRules(6, "ipsec", (Rule("filter", "INPUT", ("-s", "fd00::1/128", "-p", "esp", "-j", "ACCEPT")),))
    text = "*filter\n-A INPUT -p 50 -s fd00:0:0::1 -m comment --comment ipsec-runbook:ipsec -j ACCEPT\n"
    assert part.judge(Reading(text)).verdict is Verdict.IN_ORDER
    assert part.judge(Reading(text.replace("::1", "::2"))).verdict is Verdict.DRIFT
    assert part.judge(Reading(text.replace("-p 50", "! -p 50"))).verdict is Verdict.DRIFT
    assert part.judge(Reading("iptables: not found", 1)).verdict is Verdict.UNKNOWN


def test_a_word_that_is_no_word_of_a_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="no word of a rule"):
        Rule("filter", "INPUT", ("-i", "eth0; reboot", "-j", "ACCEPT")).line("m")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ARTICLE, "INPUT/1/in-new FORWARD/1/- OUTPUT/0/-"),
        ("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j REJECT\nCOMMIT\n", "INPUT/1/-"),
        ("*filter\n:INPUT ACCEPT [0:0]\n--append INPUT -s 0.0.0.0/0  --jump DROP\nCOMMIT\n", "INPUT/1/-"),
        ("*filter\n:INPUT ACCEPT [0:0]\n[1:60] -A INPUT -s 192.0.2.1 -j DROP\nCOMMIT\n", "INPUT/0/-"),
        ("*filter\n:INPUT ACCEPT [0:0]\n:b - [0:0]\n-A INPUT -j b\n-A b -j RETURN\nCOMMIT\n", "INPUT/0/-"),
        (
            "*filter\n:INPUT ACCEPT [0:0]\n:n - [0:0]\n-A INPUT -m state --state NEW -j n\n-A n -j DROP\nCOMMIT\n",
            "INPUT/1/n",
        ),
        ("*nat\n:INPUT ACCEPT [0:0]\nCOMMIT\n", ""),
        ("", ""),
    ],
)
def test_a_chain_is_told_as_what_it_does_with_new_packets(text: str, expected: str) -> None:
    line = subprocess.run(["sh", "-c", SURVEY], input=text, capture_output=True, text=True, check=True).stdout
    assert line == f"{expected}\n"


def test_the_line_about_the_chains_is_read_back() -> None:
    assert parse_survey("INPUT/1/in-new OUTPUT/0/-") == {
        "INPUT": Chain(closed=True, new="in-new"),
        "OUTPUT": Chain(closed=False, new=""),
    }
    assert parse_survey("") == {}


CLOSED = [
    ARTICLE,
    ARTICLE.replace("COMMIT", "-A in-new -m limit --limit 1/s -j LOG\n-A in-new -j DROP\nCOMMIT"),
    ARTICLE.replace("COMMIT", "-A in-new -j RETURN\nCOMMIT"),
    "*filter\n:INPUT DROP [0:0]\nCOMMIT\n",
    "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i uplink -j DROP\nCOMMIT\n",
    "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --syn -j REJECT\n-A INPUT -p udp -j REJECT\nCOMMIT\n",
    """\
*filter
:INPUT ACCEPT [0:0]
:logdrop - [0:0]
-A INPUT -m conntrack --ctstate NEW -j logdrop
-A logdrop -j LOG
-A logdrop -j DROP
COMMIT
""",
    """\
*filter
:INPUT ACCEPT [0:0]
:a - [0:0]
:b - [0:0]
-A INPUT -j a
-A a -g b
-A b -s 0.0.0.0/0 -j DROP
COMMIT
""",
]


@pytest.fixture(scope="module")
def port(host: Namespace) -> Iterator[Callable[[], str]]:
    with serving(host) as ask:
        yield ask


@pytest.mark.parametrize("base", CLOSED)
def test_a_closed_port_opens_and_closes_again(
    host: Namespace, target: Target, port: Callable[[], str], base: str
) -> None:
    host.load(4, base)
    assert port() == "closed"
    image = f"image-{next(numbers)}"
    make(target, [LiveRules(4, "web", web(4, "in-new" if "in-new" in base else "INPUT"))], image)
    assert port() == "open"
    unmake(target, image)
    assert port() == "closed"


def test_every_script_passes_shellcheck() -> None:
    part = LiveRules(6, "ipsec", ipsec(6))
    change = part.judge(Reading("")).change
    assert change
    shellcheck(part.probe(), change.save, change.apply, change.undo, SURVEY)
