"""What is told of a packet's fate is what the kernel does with it, whatever the rules."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from netns import MULTI, Namespace, needs_root
from rule_sets import ARTICLE

from runbook.resources.fate import Fate, Packet, fate_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PORTS = (22, 80, 2222)
FENCE = 9
"""A port that every rule set lets in: what began before two connections to it have ended has had its fate."""
HOST = {4: "192.0.2.10", 6: "2001:db8::10"}
SOURCES = {4: ("192.0.2.99", "198.51.100.7"), 6: ("2001:db8::99", "2001:db8:1::7")}
MACS = {"uplink": "02:00:00:00:00:0a", "downlink": "02:00:00:00:00:63"}

SERVE = f"""\
import selectors, socket
ready = selectors.DefaultSelector()
for port in {[*PORTS, FENCE]}:
    ready.register(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True), 1)
print("ready", flush=True)
while True:
    for key, _ in ready.select():
        key.fileobj.accept()[0].close()
"""
KNOCK = """\
import json, os, select, socket, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # so that packets stay in order
for line in sys.stdin:
    knocks = []
    for source, destination, port in json.loads(line):
        knock = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
        knock.bind((source, 0))
        knock.setblocking(False)
        knock.connect_ex((destination, port))
        knocks.append(knock)
    fenced = select.select([knocks[-1]], [], [], 60)[0]
    with socket.create_connection((destination, port), 60) as fence:
        fence.recv(1)
    entered = []
    for knock in knocks:  # who is let in is hung up on, which is seen as the end of what is to be read
        try:
            entered.append(knock.recv(1) == b"")
        except OSError:
            entered.append(False)
    print(json.dumps(entered if fenced else []), flush=True)
    for knock in knocks:
        knock.close()
"""


@dataclass
class Street:
    """A host with servers, and a neighbour who knocks at them."""

    host: Namespace
    knocker: subprocess.Popen[str]

    def entered(self, packets: list[Packet]) -> list[bool]:
        """Which of these get a connection."""
        assert self.knocker.stdin
        assert self.knocker.stdout
        family = packets[0].source.version
        knocks = [(str(each.source), str(each.destination), each.port) for each in packets]
        self.knocker.stdin.write(json.dumps([*knocks, (SOURCES[family][0], HOST[family], FENCE)]) + "\n")
        self.knocker.stdin.flush()
        *found, fenced = json.loads(self.knocker.stdout.readline())
        assert fenced
        return found


@pytest.fixture(scope="module", params=sorted(MULTI))
def street(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    with ExitStack() as stack:
        host = stack.enter_context(Namespace(tmp_path_factory.mktemp("host"), request.param))
        neighbour = f"{host.name}-n"
        ours, theirs = f"-n {host.name}", f"-n {neighbour}"
        lines = [
            f"netns add {neighbour}",
            f"{ours} link add uplink address {MACS['uplink']} type veth peer name downlink netns {neighbour}",
            f"{theirs} link set downlink address {MACS['downlink']}",
            f"{ours} link set uplink up",
            f"{theirs} link set downlink up",
        ]
        for family, length in ((4, 24), (6, 64)):
            nodad = " nodad" if family == 6 else ""
            lines.append(f"{ours} addr add {HOST[family]}/{length} dev uplink{nodad}")
            # known beforehand, since rules may keep hosts from finding each other
            lines.append(f"{theirs} neigh add {HOST[family]} lladdr {MACS['uplink']} dev downlink nud permanent")
            for source in SOURCES[family]:
                lines.append(f"{theirs} addr add {source}/{length} dev downlink{nodad}")
                lines.append(f"{ours} neigh add {source} lladdr {MACS['downlink']} dev uplink nud permanent")
            lines.append(f"{ours} route add {SOURCES[family][1]} dev uplink")
        for line in lines:
            subprocess.run(["ip", *line.split()], check=True)
        stack.callback(subprocess.run, ["ip", "netns", "del", neighbour], check=True)
        inside = ["ip", "netns", "exec"]
        server = subprocess.Popen([*inside, host.name, "python3", "-c", SERVE], stdout=subprocess.PIPE)
        stack.enter_context(server)
        stack.callback(server.kill)
        assert server.stdout
        server.stdout.readline()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        knocker = subprocess.Popen([*inside, neighbour, "python3", "-uc", KNOCK], text=True, **pipes)  # type: ignore[call-overload]
        stack.enter_context(knocker)
        stack.callback(knocker.kill)
        yield Street(host, knocker)


NETWORKS = {
    4: ("0.0.0.0/0", "192.0.2.99", "192.0.2.0/24", "198.51.100.0/255.255.255.0", "203.0.113.0/24"),
    6: ("::/0", "2001:db8::99", "2001:db8::/64", "2001:db8:1::7/128", "2001:db8:2::/48"),
}
TCP = """
-p tcp
-p udp
! -p udp
-p 6
-p tcp --syn
-p tcp ! --syn
-p tcp --dport 22
-p tcp ! --dport 22
-p tcp --dport 20:80
-p udp --dport 22
-p tcp --sport 22
-p tcp --sport 1:65535
-p tcp -m multiport --dports 22,443
-p tcp -m multiport ! --dports 80,2000:3000
-p tcp --tcp-flags ALL SYN
-p tcp --tcp-flags SYN,ACK,FIN SYN
-p tcp --tcp-flags ALL NONE
"""
MODULES = r"""


-m conntrack --ctstate NEW
-m conntrack ! --ctstate NEW
-m conntrack --ctstate RELATED,ESTABLISHED
-m conntrack --ctstate INVALID
-m conntrack ! --ctstate INVALID
-m state --state NEW
-m comment --comment "-j DROP \" it's"
-m mark --mark 0x1
-m mark ! --mark 0x1
-m limit --limit 1/hour
-m addrtype --dst-type LOCAL
-m length --length 0:39
"""
NOT = st.sampled_from(["", "", "", "! "])
NOTHING = st.just("")


@st.composite
def matches(draw: st.DrawFn, family: int) -> str:
    """What a rule asks for."""
    whole, *parts = NETWORKS[family]
    source = st.one_of(st.just(f"-s {whole}"), st.builds("{}-s {}".format, NOT, st.sampled_from(parts)))
    destination = st.builds("{}-d {}".format, NOT, st.sampled_from([HOST[family], parts[-1]]))
    interface = st.builds("{}-i {}".format, NOT, st.sampled_from(["uplink", "lo", "up+", "eth0"]))
    words = [
        draw(st.one_of(NOTHING, source)),
        draw(st.one_of(NOTHING, NOTHING, destination)),
        draw(st.one_of(NOTHING, NOTHING, interface)),
        draw(st.sampled_from(TCP.split("\n"))),
        draw(st.sampled_from(MODULES.split("\n"))),
    ]
    return " ".join(word for word in words if word)


ENDS = ["ACCEPT", "ACCEPT", "DROP", "DROP", "RETURN", "LOG"]
CHAINS = {
    "raw": {"PREROUTING": ENDS},
    "mangle": {"PREROUTING": [*ENDS, "MARK --set-mark 1"], "INPUT": ENDS},
    "nat": {"PREROUTING": ["ACCEPT", "RETURN", "REDIRECT"]},
    "filter": {"INPUT": [*ENDS, "a", "-g a", "b", "-g b"], "a": [*ENDS, "b", "-g b"], "b": ENDS},
}
"""Each table's chains, with the targets that their rules may have."""


FEW, MANY = st.sampled_from(["ACCEPT"] * 7 + ["DROP"]), st.sampled_from(["ACCEPT", "DROP"])
POLICIES = {"raw": FEW, "mangle": FEW, "filter": MANY}


@st.composite
def rules(draw: st.DrawFn, family: int, chain: str, targets: list[str], most: int) -> str:
    found = draw(st.lists(st.tuples(matches(family), st.sampled_from(targets)), max_size=most))
    return "".join(f"-A {chain} {what} -j {target}\n".replace("-j -g", "-g") for what, target in found)


@st.composite
def rule_sets(draw: st.DrawFn, family: int) -> str:
    """Rules in chains of the kernel's and of an admin's; the first of each lets the fence in."""
    text = ""
    for table, chains in CHAINS.items():
        text += f"*{table}\n"
        for name in chains:
            policy = "-" if len(name) == 1 else "ACCEPT" if table == "nat" else draw(POLICIES[table])
            text += f":{name} {policy} [0:0]\n"
        for name, targets in chains.items():
            text += f"-A {name} -p tcp --dport {FENCE} -j ACCEPT\n"
            if table == "filter" or draw(st.integers(0, 2)) == 0:
                text += draw(rules(family, name, targets, 5 if table == "filter" else 2))
        if table == "filter" and draw(st.booleans()):
            text += f"-A INPUT -p tcp -j REJECT{draw(st.sampled_from(['', ' --reject-with tcp-reset']))}\n"
        text += "COMMIT\n"
    return text


@needs_root
@settings(max_examples=settings().max_examples // 3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), family=st.sampled_from([4, 6]))
def test_what_is_told_is_what_the_kernel_does(street: Street, data: st.DataObject, family: int) -> None:
    text = data.draw(rule_sets(family))
    street.host.load(family, text)
    saved = street.host.sh(f"ip{'6' * (family == 6)}tables-save")
    packets = [
        Packet(ip_address(source), ip_address(HOST[family]), port, "uplink")
        for source in SOURCES[family]
        for port in PORTS
    ]
    for packet, entered in zip(packets, street.entered(packets), strict=True):
        for rules in (text, saved):
            for seen in (packet, Packet(packet.source, packet.destination, packet.port)):
                outcome = fate_of(seen, rules)
                assert outcome.fate in {Fate.UNKNOWN, Fate.ACCEPTED if entered else Fate.DROPPED}, (seen, outcome)


CLIENT = Packet(ip_address("192.0.2.99"), ip_address("192.0.2.10"), 22)
ANSWERS_ONLY = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n"
BANS = """\
*filter
:INPUT ACCEPT [0:0]
:f2b-sshd - [0:0]
-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd
-A f2b-sshd -s 198.51.100.7/32 -j REJECT --reject-with icmp-port-unreachable
-A f2b-sshd -j RETURN
COMMIT
"""
NAMED = ARTICLE.replace("--dport 22", "--dport ssh")
LISTED = BANS.replace("-s 198.51.100.7/32 -j REJECT", "-m set --match-set banned src -j REJECT")
FORWARDED = (
    "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 22 -j DNAT --to-destination 10.0.0.2\nCOMMIT\n"
)


@pytest.mark.parametrize(
    ("rules", "fate", "by"),
    [
        (ARTICLE, Fate.ACCEPTED, "-A in-new -p tcp -m tcp --dport 22 -j ACCEPT"),
        (ARTICLE.replace("--dport 22", "--dport 2222"), Fate.DROPPED, "-P INPUT DROP"),
        (ARTICLE.replace("-A in-new -p tcp", "-A in-new -s 203.0.113.0/24 -p tcp"), Fate.DROPPED, "-P INPUT DROP"),
        (ARTICLE.replace("-A INPUT -i lo -j ACCEPT", "-A INPUT -j DROP"), Fate.DROPPED, "-A INPUT -j DROP"),
        (ARTICLE.replace("-A INPUT -i lo", "-A INPUT -i eth0"), Fate.ACCEPTED, None),
        (ARTICLE.replace("-A in-new -p tcp", "-A in-new -i eth0 -p tcp"), Fate.UNKNOWN, ""),
        (ARTICLE.replace("--dport 22", "--dport 22 -m limit --limit 3/min"), Fate.UNKNOWN, ""),
        (ANSWERS_ONLY, Fate.DROPPED, "-P INPUT DROP"),
        (ANSWERS_ONLY.replace("RELATED,ESTABLISHED", "NEW"), Fate.DROPPED, "-P INPUT DROP"),
        (BANS, Fate.ACCEPTED, "-P INPUT ACCEPT"),
        (BANS.replace("198.51.100.7", "192.0.2.99"), Fate.DROPPED, None),
        (LISTED, Fate.UNKNOWN, ""),
        (NAMED, Fate.UNKNOWN, ""),
        (ARTICLE.replace("-A in-new -p", "-I in-new -p"), Fate.UNKNOWN, ""),
        (ARTICLE + FORWARDED, Fate.UNKNOWN, ""),
        ("# Table `filter' is incompatible, use 'nft' tool.\n", Fate.UNKNOWN, ""),
        ("", Fate.ACCEPTED, ""),
    ],
)
def test_what_an_admin_has_is_told(rules: str, fate: Fate, by: str | None) -> None:
    outcome = fate_of(CLIENT, rules)
    assert outcome.fate is fate
    assert by in {None, outcome.by}
