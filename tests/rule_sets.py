"""Rules of an admin's, drawn and as in the article, and rules of ours to put among them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from runbook.resources.iptables import Rule

if TYPE_CHECKING:
    from runbook.resources.iptables import Family

numbers = itertools.count()
"""So that every before-image has a name of its own."""
EXAMPLES = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
families = st.sampled_from([4, 6])
chains = st.sampled_from(["INPUT", "in-new"])

OWN: dict[Family, str] = {4: "192.0.2.10/32", 6: "2001:db8::10/128"}
PEER: dict[Family, str] = {4: "198.51.100.0/24", 6: "fdd7:5938:e2e6:1::/64"}


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
