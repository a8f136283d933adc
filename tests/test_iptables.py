"""Rules of ours among an admin's own, with real iptables and ip6tables in network namespaces."""

from __future__ import annotations

import itertools
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from netns import MULTI, Namespace, in_order, look, make, needs_root, shellcheck

from runbook.errors import StepError
from runbook.resources.iptables import PROGRAMS, SURVEY, Chain, LiveRules, Rule, StoredRules, parse_survey
from runbook.script import Reading
from runbook.step import Verdict
from runbook.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runbook.resources.iptables import Family

pytestmark = needs_root

OWN: dict[Family, str] = {4: "192.0.2.10/32", 6: "2001:db8::10/128"}
PEER: dict[Family, str] = {4: "198.51.100.0/24", 6: "fdd7:5938:e2e6:1::/64"}
numbers = itertools.count()


def web(family: Family, chain: str = "INPUT") -> tuple[Rule, ...]:
    return (Rule("filter", chain, ("-d", OWN[family], "-p", "tcp", "-m", "tcp", "--dport", "80", "-j", "ACCEPT")),)


def ipsec(family: Family, chain: str = "INPUT") -> tuple[Rule, ...]:
    policy = ("-m", "policy", "--dir", "in", "--pol", "ipsec", "--proto", "esp", "-j", "ACCEPT")
    out = ("-m", "policy", "--dir", "out", "--pol", "ipsec", "--proto", "esp", "-j", "ACCEPT")
    return (
        Rule("filter", chain, ("-p", "udp", "-m", "udp", "--dport", "500", "-j", "ACCEPT")),
        Rule("filter", chain, ("-i", "eth0", "-p", "udp", "-m", "udp", "--dport", "4500", "-j", "ACCEPT")),
        Rule("filter", chain, ("-p", "esp", "-j", "ACCEPT")),
        Rule("filter", "INPUT", ("-s", PEER[family], "-d", OWN[family], *policy)),
        Rule("filter", "FORWARD", ("-s", PEER[family], *policy)),
        Rule("filter", "FORWARD", ("-d", PEER[family], *out)),
    )


ARTICLE = """\
# kept by hand
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
### Web ###
# Permit HTTP(S) connections to primary IP
#-A in-new -p tcp -m multiport --dports 80,443 -j ACCEPT
COMMIT
"""

HEADS = st.sampled_from(
    [
        "-A INPUT -i lo -j ACCEPT",
        "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A INPUT -m conntrack --ctstate INVALID -j DROP",
        "-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd",
        "-A INPUT -p tcp -j f2b-sshd",
        '-A INPUT -p tcp -m tcp --dport 8080 -m comment --comment "-j DROP ipsec-runbook:webcam" -j ACCEPT',
        "-A INPUT -p tcp -m tcp --dport 25 -m comment --comment ipsec-runbook -j ACCEPT",
        '-A INPUT -m limit --limit 5/min -j LOG --log-prefix "seen: "',
        "-A INPUT -m conntrack --ctstate NEW -j in-new",
        "-A FORWARD -j DOCKER-USER",
        "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
        "-A in-new -p tcp -m tcp --dport 22 -j ACCEPT",
        "-A in-new -m limit --limit 5/min -j LOG",
    ]
)
TAILS = st.sampled_from(
    [
        "-A INPUT -j DROP",
        "-A INPUT -p tcp -j REJECT --reject-with tcp-reset",
        "-A INPUT -p udp -j REJECT",
        "-A INPUT -m limit --limit 5/min -j LOG\n-A INPUT -j DROP",
        "-A INPUT -j logdrop",
        "-A INPUT -i eth0 -j DROP",
        "-A INPUT -m conntrack --ctstate NEW -j DROP",
        "-A in-new -j DROP",
        "-A in-new -j RETURN",
        "-A in-new -j logdrop",
        "-A FORWARD -j REJECT",
    ]
)


@st.composite
def bases(draw: st.DrawFn) -> str:
    """An admin's rules: as in the article or not, with what fail2ban and Docker add, and an end or none."""
    policies = st.sampled_from(["ACCEPT", "DROP"])
    chains = [f":{name} {draw(policies)} [0:0]\n" for name in ("INPUT", "FORWARD", "OUTPUT")]
    own = [":in-new - [0:0]\n", ":f2b-sshd - [0:0]\n", ":DOCKER-USER - [0:0]\n", ":logdrop - [0:0]\n"]
    rules = [*draw(st.lists(HEADS, max_size=8, unique=True)), *draw(st.lists(TAILS, max_size=3, unique=True))]
    fixed = ["-A f2b-sshd -j RETURN", "-A DOCKER-USER -j RETURN", "-A logdrop -j LOG", "-A logdrop -j DROP"]
    return "*filter\n" + "".join(chains + own) + "".join(f"{rule}\n" for rule in rules + fixed) + "COMMIT\n"


@pytest.fixture(scope="module", params=sorted(MULTI))
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    with Namespace(tmp_path_factory.mktemp("host"), request.param) as namespace:
        yield namespace


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("images"))


@pytest.fixture
def target(host: Namespace, images: str) -> Target:
    return Target(host, images)


EXAMPLES = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
families = st.sampled_from([4, 6])
chains = st.sampled_from(["INPUT", "in-new"])


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

    target.unmake(image, frozenset())
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
    target.unmake(image, frozenset())
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
    assert found.change.diff.count("203.0.113.9") == 3
    assert in_order(make(target, [part], "replaced"))
    assert "203.0.113.9" not in host.rules()
    target.unmake("replaced", frozenset())
    assert host.rules() == before


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


def test_rules_no_longer_wanted_are_taken_out(host: Namespace, target: Target) -> None:
    host.load(6, ARTICLE)
    bare = host.rules()
    make(target, [LiveRules(6, "ipsec", ipsec(6))], "wanted")
    with_rules = host.rules()
    assert in_order(make(target, [LiveRules(6, "ipsec", ())], "unwanted"))
    assert host.rules() == bare
    target.unmake("unwanted", frozenset())
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
    target.unmake("locked-out", frozenset())
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


SERVE = """\
import socket, sys
server = socket.create_server(("", 80))
print("ready", flush=True)
while True: server.accept()[0].close()
"""
CONNECT = """\
import socket
try: socket.create_connection(("192.0.2.10", 80), timeout=1); print("open")
except OSError: print("closed")
"""
CLOSED = [
    ARTICLE,
    ARTICLE.replace("COMMIT", "-A in-new -m limit --limit 1/s -j LOG\n-A in-new -j DROP\nCOMMIT"),
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
def served(host: Namespace) -> Iterator[None]:
    """The host has its address on a line to a neighbour, and a server on port 80."""
    neighbour = f"{host.name}-n"
    lines = (
        f"netns add {neighbour}\n-n {host.name} link add uplink type veth peer name downlink netns {neighbour}\n"
        f"-n {host.name} addr add 192.0.2.10/24 dev uplink\n-n {host.name} link set uplink up\n"
        f"-n {neighbour} addr add 192.0.2.99/24 dev downlink\n-n {neighbour} link set downlink up\n"
    )
    for line in lines.splitlines():
        subprocess.run(["ip", *line.split()], check=True)
    argv = ["ip", "netns", "exec", host.name, "python3", "-c", SERVE]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        yield
        server.terminate()
    subprocess.run(["ip", "netns", "del", neighbour], check=True)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("base", CLOSED)
def test_a_closed_port_opens_and_closes_again(host: Namespace, target: Target, base: str) -> None:
    def port() -> str:
        argv = ["ip", "netns", "exec", f"{host.name}-n", "python3", "-c", CONNECT]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    host.load(4, base)
    assert port() == "closed"
    image = f"image-{next(numbers)}"
    make(target, [LiveRules(4, "web", web(4, "in-new" if "in-new" in base else "INPUT"))], image)
    assert port() == "open"
    target.unmake(image, frozenset())
    assert port() == "closed"


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "an admin's rules"
    path.write_text(ARTICLE)
    path.chmod(0o640)
    return path


def test_the_file_gets_a_marked_block_behind_the_last_rule_of_its_chain(target: Target, stored: Path) -> None:
    assert in_order(make(target, [StoredRules(4, "web", web(4, "in-new"), path=str(stored))], f"i-{next(numbers)}"))
    ours = (
        "### ipsec-runbook:web ###\n"
        '-A in-new -d 192.0.2.10/32 -p tcp -m tcp --dport 80 -m comment --comment "ipsec-runbook:web" -j ACCEPT\n'
    )
    assert stored.read_text() == ARTICLE.replace("### Web ###\n", f"{ours}### Web ###\n")
    assert stored.stat().st_mode & 0o7777 == 0o640


def test_the_block_stands_before_the_rule_that_ends_the_chain_and_its_remark(target: Target, stored: Path) -> None:
    stored.write_text(ARTICLE.replace("COMMIT", "# the rest\n[3:180] -A  in-new -j DROP\nCOMMIT"))
    make(target, [StoredRules(4, "web", web(4, "in-new"), path=str(stored))], f"i-{next(numbers)}")
    lines = stored.read_text().splitlines()
    assert lines.index("### ipsec-runbook:web ###") < lines.index("# the rest")


messes = st.lists(
    st.sampled_from(["", "# remark", "#-A INPUT -j DROP", "#  caf\xe9", "### ipsec-runbook:other ###"]),
    max_size=4,
)


@EXAMPLES
@given(base=bases(), family=families, chain=chains, mess=messes, ended=st.booleans(), data=st.data())
def test_a_file_comes_back_to_the_byte(  # noqa: PLR0913, PLR0917 - what is drawn
    target: Target,
    tmp_path: Path,
    base: str,
    family: Family,
    chain: str,
    mess: list[str],
    *,
    ended: bool,
    data: st.DataObject,
) -> None:
    lines = base.splitlines()
    for line in mess:
        lines.insert(data.draw(st.integers(0, len(lines))), line)
    text = ("\n".join([*lines, "# end"]) + "\n" * ended).encode("latin-1")
    path = tmp_path / "rules"
    path.write_bytes(text)
    parts = [
        StoredRules(family, "web", web(family, chain), path=str(path)),
        StoredRules(family, "ipsec", ipsec(family, chain), path=str(path)),
    ]
    found = look(target, parts)
    assert path.read_bytes() == text
    image = f"image-{next(numbers)}"
    assert in_order(make(target, parts, image))
    once = path.read_bytes()
    for each in found[::-1]:
        assert each.change
        target.run(f"image={tmp_path} index=9\n{each.change.apply}", purpose="once more")
    assert in_order(look(target, parts))
    ours = re.compile(rb'### ipsec-runbook:(web|ipsec) ###|.*--comment "ipsec-runbook:(web|ipsec)" ')
    assert [line for line in path.read_bytes().split(b"\n") if not ours.match(line)] == text.split(b"\n")
    path.write_bytes(once)
    target.unmake(image, frozenset())
    assert path.read_bytes() == text


def test_what_an_admin_wrote_meanwhile_stays_in_the_file(target: Target, stored: Path) -> None:
    old = '-A INPUT -p esp -m comment --comment "ipsec-runbook:web" -j ACCEPT\n'
    stored.write_text(ARTICLE.replace("### SSH", f"{old}### SSH"))
    image = f"image-{next(numbers)}"
    make(target, [StoredRules(4, "web", web(4, "in-new"), path=str(stored))], image)
    stored.write_text(stored.read_text().replace("# Permit", "# I permit").replace("--dport 22", "--dport 2222"))
    target.unmake(image, frozenset())
    text = stored.read_text()
    assert old in text
    assert text.replace(old, "").replace("### ipsec-runbook:web ###\n", "") == ARTICLE.replace(
        "# Permit", "# I permit"
    ).replace("--dport 22", "--dport 2222")


def test_a_file_that_iptables_would_not_take_is_not_written(target: Target, stored: Path) -> None:
    text = ARTICLE.replace("COMMIT", "-A in-new -p tcp --dprot 23 -j ACCEPT\nCOMMIT")
    stored.write_text(text)
    with pytest.raises(StepError, match="dprot"):
        make(target, [StoredRules(4, "web", web(4, "in-new"), path=str(stored))], f"image-{next(numbers)}")
    assert stored.read_text() == text
    assert [each.name for each in stored.parent.iterdir()] == [stored.name]


def test_a_file_without_the_table_is_not_written(target: Target, stored: Path) -> None:
    stored.write_text("*nat\nCOMMIT\n")
    with pytest.raises(StepError, match="no table filter"):
        make(target, [StoredRules(4, "web", web(4), path=str(stored))], f"image-{next(numbers)}")
    assert stored.read_text() == "*nat\nCOMMIT\n"


def test_a_link_stays_a_link_and_a_missing_file_is_said(target: Target, stored: Path) -> None:
    link = stored.with_name("link")
    link.symlink_to(stored.name)
    part = StoredRules(4, "web", web(4, "in-new"), path=str(link))
    assert in_order(make(target, [part], f"image-{next(numbers)}"))
    assert link.is_symlink()
    assert "ipsec-runbook:web" in stored.read_text()
    stored.unlink()
    (found,) = look(target, [part])
    assert found.verdict is Verdict.UNKNOWN
    assert found.note == f"{link} is missing"


def test_every_script_passes_shellcheck() -> None:
    parts = [LiveRules(6, "ipsec", ipsec(6)), StoredRules(4, "web", web(4), path="/etc/network/iptables.save")]
    for part in parts:
        change = part.judge(Reading("")).change
        assert change
        shellcheck(part.probe(), change.save, change.apply, change.undo)
    shellcheck(SURVEY)
