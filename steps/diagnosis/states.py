"""Causes that show in no line of a log: what both ends' associations, counters, clocks and daemons tell together.

The templates are filled as those of the table's rows are: `{here}` is the end that is to be mended, or shows it.
"""

from __future__ import annotations

from typing import Final

from steps.diagnosis.row import Cause, put_back

_SAS: Final = "on {here}: {here_sas}; on {there}: {there_sas}"
_LOGS: Final = "on {here}: {here_log}; on {there}: {there_log}"

STANDS: Final = Cause("ok", "the tunnel stands at both ends", "nothing is wrong", _SAS, "nothing is to be done")
NARROWED: Final = Cause(
    "ts-narrowed",
    "the tunnel stands, but not as planned: {problems}",
    "the two ends' connections have different networks: one was changed by hand, or is an older one",
    _SAS,
    put_back("connection") + "; on {here}: {here_down}",
)
NOT_AS_PLANNED: Final = Cause(
    "not-as-planned",
    "the tunnel stands, but not as planned: {problems}",
    "it came up before a connection was changed, or one end's was changed by hand",
    _SAS,
    put_back("connection") + "; on {here}: {here_down}",
)
ONE_SIDED: Final = Cause(
    "one-sided",
    "{here} holds the tunnel for standing, {there} does not",
    "one of them restarted alone, and the other has not noticed yet",
    _SAS,
    "on {here}: {here_down}",
)
DAEMON_DOWN: Final = Cause(
    "daemon-down",
    "charon does not run on {here} (systemd says: {active})",
    "somebody stopped it, or it fails as it starts",
    "on {here}: systemctl status {here_unit}; {here_log}",
    "on {here}: systemctl start {here_unit}",
)
PORT_HELD: Final = Cause(
    "port-in-use",
    "on {here}, {holder} holds UDP 500, so that charon hears nothing there",
    "another IKE daemon runs beside it: strongSwan's other one, libreswan, racoon",
    "on {here}: ss -ulpn 'sport = :500 or sport = :4500'",
    "on {here}: systemctl disable --now the unit that it names, then systemctl restart {here_unit}",
)
CLOCK_WRONG: Final = Cause(
    "clock-wrong",
    "{rejecting} rejects a certificate that is valid ({validity}): the clock of {here} is {off}",
    "nothing sets the clock of {here} (no systemd-timesyncd, chrony or ntp), or it cannot reach its time server",
    "on {here}: timedatectl; systemctl status systemd-timesyncd chrony",
    "on {here}: timedatectl set-ntp true, or set it by hand",
)
NOT_HEARD: Final = Cause(
    "peer-init-unreachable",
    "{there} has sent IKE_SA_INIT and {here} has got none",
    "UDP 500 is blocked between them: a firewall at {here}, the provider's, a router's",
    "on {here}: tcpdump -ni any udp port 500; iptables -nvL; ip6tables -nvL",
    "on {here}, and at its provider or router: let UDP 500 and 4500 in, by destination port",
)
NOT_HEARD_WRAPPED: Final = Cause(
    "retransmit-send-timeout",
    "{there} has sent IKE_AUTH and {here} has got none",
    "UDP 500 passes and UDP 4500 does not: a firewall at {here}, the provider's, a router's",
    "on {here}: tcpdump -ni any udp port 4500; iptables -nvL; ip6tables -nvL",
    "on {here}, and at its provider or router: let UDP 500 and 4500 in, by destination port",
)
ESP_BLOCKED: Final = Cause(
    "esp-blocked",
    "{there} sends packets through the tunnel, as {carrier}, and none of them reaches {here}",
    "a firewall between them lets the negotiation pass and {carrier} not: that of {here}, the provider's, a router's",
    "on {here}: tcpdump -ni any 'esp or udp port 4500'; {here_sas}; iptables -nvL; ip6tables -nvL",
    "on {here}: let {carrier} in, or " + put_back("ipsec-firewall") + "; where the line drops ESP, write "
    "`encapsulation: always` in sites.yaml",
)
LARGE_LOST: Final = Cause(
    "large-packets-lost",
    "small packets pass through the tunnel, and large ones are lost on the way from {there} to {here} or back",
    "a line between takes only smaller packets than it should (its MTU: PPPoE, another tunnel) or drops their "
    "fragments, and does not say so",
    "on {there}: ping -c 3 -M do -s 1372 {here_fqdn}, with less after -s until it answers; {there_sas}",
    "on {there}: lower the MTU of the outer interface to 28 more than that (ip link set dev INTERFACE mtu 1400), "
    "and let ICMP through",
)
NOTHING_ENTERS: Final = Cause(
    "nothing-enters-tunnel",
    "nothing enters the tunnel on {here}",
    "there is no route in table 220, or the packets have a source address outside the tunnel's networks",
    "on {here}: ip -6 route show table 220; ip -6 rule; ip -6 address",
    put_back("addresses") + "; on {here}: systemctl restart {here_unit}",
)
NO_RETURN: Final = Cause(
    "no-return-traffic",
    "packets reach {here} through the tunnel, and no answer comes back into it",
    "a firewall on {here} drops what came through the tunnel, it does not forward, or its way back leads elsewhere",
    "on {here}: ip6tables -nvL; sysctl net.ipv6.conf.all.forwarding; ip -6 route show table 220",
    put_back("ipsec-firewall") + "; on {here}: mend what else these show",
)
LOST_SOMEWHERE: Final = Cause(
    "traffic-lost",
    "the tunnel stands, but packets get lost in it; how far they came was not counted",
    "a firewall at one end, or on the way",
    _SAS,
    "ping, and see where the packets are not counted any more",
)
UNKNOWN: Final = Cause(
    "unknown",
    "the tunnel is down, and its cause is not one that is known here; {shown}",
    "what the lines above say",
    _LOGS,
    "read both ends' logs of the same attempt side by side, and mend what they name",
)
