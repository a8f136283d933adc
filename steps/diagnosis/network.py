"""Rows of the diagnosis table: what lies between the two ends, and what keeps one of them waiting."""

from __future__ import annotations

from steps.diagnosis.row import Cause, Row, Stage, put_back

_UP = r"IKE_SA \S+ established between"
_HEARD_INIT = r"parsed IKE_SA_INIT request|is initiating an IKE_SA"
_HEARD_AUTH = r"parsed IKE_AUTH request"
_ARRIVES_THERE = "on {there}: tcpdump -ni any 'udp port 500 or udp port 4500'; iptables -nvL; ip6tables -nvL"
_ARRIVES_HERE = "on {here}: tcpdump -ni any 'udp port 500 or udp port 4500'; iptables -nvL; ip6tables -nvL"
_OPEN_THERE = "on {there}, and at its provider or router: let UDP 500 and 4500 in, by destination port"
_OPEN_HERE = "on {here}, and at its provider or router: let UDP 500 and 4500 in, by destination port"

NETWORK: tuple[Row, ...] = (
    Row(
        16, Stage.IKE_SA,
        (r"unable to fetch from (?P<what>\S+), no capable fetcher found",
         r"libcurl request failed \[\d+\]: (?P<what>.+)", r"fetching (?:crl|ocsp status) from '?(?P<what>[^' ]+)",
         r"crl fetching failed", r"certificate status is not available"),
        Cause(
            "revocation-fetch-failed",
            "{here} is still looking for a revocation list ({what}) before it goes on, and cannot get it",
            "TCP 80 outwards is closed there, names do not resolve, or the plugin curl is missing "
            "(libstrongswan-extra-plugins)",
            "on {here}: curl -sSI http://x1.c.lencr.org/; {here_log}",
            "on {here}: let TCP 80 out, and see that names resolve",
        ),
        at_last=True,
    ),
    Row(
        41, Stage.IKE_SA,
        (r"could not decrypt payloads", r"integrity check failed", r"message parsing failed"),
        Cause(
            "parse-error-body",
            "{here} cannot decrypt what {there} sends",
            "one of them restarted, and the other still holds the old IKE SA",
            "on {here}: {here_sas}; on {there}: {there_sas}",
            "on {here}: {here_down}; on {there}: {there_down}",
        ),
        blame="both",
    ),
    Row(
        26, Stage.NO_ANSWER,
        (r"retransmit \d+ of request with message ID 0",
         r"(?:establishing IKE_SA failed, )?peer not responding(?:, trying again.*)?$"),
        Cause(
            "peer-init-unreachable",
            "{here} gets no answer, and {there} has heard nothing",
            "UDP 500 is blocked between them (a firewall there, the provider's, a router's), or the address of {there} "
            "is wrong",
            _ARRIVES_THERE,
            _OPEN_THERE + "; see that sites.yaml has its outer address",
        ),
        blame="there", also=(r"initiating IKE_SA \S+ to (?P<to>\S+)", r"giving up after \d+ retransmits"),
        without=r"parsed IKE_SA_INIT response", silent=_HEARD_INIT,
    ),
    Row(
        48, Stage.NO_ANSWER, (r"retransmit \d+ of request with message ID 0",),
        Cause(
            "peer-init-unreachable",
            "{there} hears {here} and answers, but its answers do not arrive",
            "UDP 500 is closed on the way back: a firewall at {here}, or what {there} lets out",
            _ARRIVES_HERE,
            _OPEN_HERE + "; on {there}: let them out",
        ),
        also=(r"giving up after \d+ retransmits",), reply=_HEARD_INIT, without=r"parsed IKE_SA_INIT response",
    ),
    Row(
        27, Stage.NO_ANSWER, (r"retransmit \d+ of request with message ID 1$",),
        Cause(
            "retransmit-send-timeout",
            "{there} answered the first message of {here} and never got the second",
            "UDP 500 passes but UDP 4500 does not; or large packets are lost on the way",
            _ARRIVES_THERE,
            _OPEN_THERE,
        ),
        blame="there", also=(r"giving up after \d+ retransmits",), silent=_HEARD_AUTH,
        without=_UP,
    ),
    Row(
        49, Stage.NO_ANSWER, (r"retransmit \d+ of request with message ID 1$",),
        Cause(
            "retransmit-send-timeout",
            "{there} got the second message of {here}, but its answer over UDP 4500 does not arrive",
            "UDP 4500 is closed on the way back, or large packets are lost there",
            _ARRIVES_HERE,
            _OPEN_HERE,
        ),
        also=(r"giving up after \d+ retransmits",), reply=_HEARD_AUTH, without=_UP,
    ),
    Row(
        51, Stage.NO_ANSWER, (r"retransmit \d+ of request with message ID [1-9]\d*$",),
        Cause(
            "retransmit-send-timeout",
            "{there} has fallen silent: it answered {here} before and does so no longer",
            "it went down, its address changed, or the line between failed",
            "on {there}: systemctl status {there_unit}; ip address; {there_log}",
            _OPEN_THERE + ", or bring it back",
        ),
        blame="there", also=(r"giving up after \d+ retransmits",),
    ),
    Row(
        43, Stage.NO_ANSWER, (r"deleting half open IKE_SA with (?P<host>\S+) after timeout",),
        Cause(
            "half-open-timeout",
            "{here} answered {host} but never got its second message",
            "UDP 4500 is blocked on the way, or large packets are lost",
            _ARRIVES_HERE,
            _OPEN_HERE,
        ),
        at="responder",
    ),
    Row(
        33, Stage.NO_ANSWER, (r"ignoring acquire .*connection attempt pending",),
        Cause(
            "attempt-pending",
            "{here} is still busy with an earlier attempt",
            "that one had no answer, and gives up only after 165 seconds",
            "on {here}: {here_sas}; {here_log}",
            "on {here}: {here_down}",
        ),
    ),
    Row(
        40, Stage.TRAFFIC, (r"updown: (?P<why>.+)",),
        Cause(
            "updown-failed",
            "the tunnel stands, but the script that opens the firewall for it failed on {here}: {why}",
            "a program that it calls is missing (iptables), or the connection is one written by hand",
            "on {here}: {here_log}; {here_conns}",
            "on {here}: install what it misses; or " + put_back("connection"),
        ),
        while_up=True,
    ),
)  # fmt: skip
"""What keeps one waiting first."""
