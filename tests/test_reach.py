"""Does port 80 lead to this host: served, closed by its firewall, taken by another program, or never arriving."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Self

import pytest
from netns import Namespace, needs_root

from lab import net
from runbook.host import Answer
from steps.interview.reach import Arrival, Outcome, look
from steps.interview.survey import Survey
from steps.interview.survey_words import arrivals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from runbook.host import OnLine

pytestmark = needs_root

FOUR, SIX = ip_address("192.0.2.1"), ip_address("2001:db8::1")
STRANGER = ip_address("192.0.2.9")


class Looking:
    """The host at the far end of a cable, and this machine's end of it in a namespace of its own."""

    def __init__(self, directory: Path) -> None:
        self.host, self.here = Namespace(directory), Namespace(directory / "here")
        self.name = "host"
        self.shell: Sequence[str] = ("sh", "-s")
        script = (
            f"ip link add near type veth peer name far netns {self.host.name}; ip link set near up\n"
            "ip addr add 192.0.2.2/24 dev near; ip addr add 192.0.2.9/24 dev near\n"
            "ip addr add 2001:db8::2/64 dev near nodad\n"
        )
        subprocess.run(["ip", "netns", "exec", self.here.name, "sh", "-c", script], check=True)
        self.host.sh("ip link set far up; ip addr add 192.0.2.1/24 dev far; ip addr add 2001:db8::1/64 dev far nodad")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.host.__exit__()
        self.here.__exit__()

    def run(self, script: str, *, on_line: OnLine, **_: object) -> Answer:
        """As SSH would: the lines of standard error as they come."""
        argv = ["ip", "netns", "exec", self.host.name, *self.shell]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as shell:
            shell.stdin.write(script)
            shell.stdin.close()
            for line in shell.stderr:
                on_line(line.rstrip("\n"))
            return Answer(shell.stdout.read(), "", shell.wait(), 0)

    def look(self, *addresses: object) -> Mapping[object, Arrival]:
        return net.inside(self.here.name, lambda: look(self, addresses or (FOUR, SIX)))


@pytest.fixture
def looking(tmp_path: Path) -> Iterator[Looking]:
    (tmp_path / "here").mkdir()
    with Looking(tmp_path) as both:
        yield both


@contextmanager
def web_server(namespace: str) -> Iterator[None]:
    """Somebody who listens on port 80 already, and closes at once."""
    listener = net.inside(
        namespace, lambda: socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
    )
    pid = os.fork()
    if not pid:
        while True:
            listener.accept()[0].close()
    try:
        yield
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        listener.close()


def said(found: Mapping[object, Arrival], **known: object) -> list[tuple[str, str, bool]]:
    return [(each.what, each.text, each.wrong) for each in arrivals(Survey(**known), found)]


def test_an_open_port_that_nobody_uses_leads_here_and_is_free_again_afterwards(looking: Looking) -> None:
    looking.host.sh("sysctl -qw net.ipv6.bindv6only=1")
    found = looking.look()
    assert found == {FOUR: Arrival(Outcome.SERVED, seen=True), SIX: Arrival(Outcome.SERVED, seen=True)}
    assert said(found) == [("192.0.2.1, 2001:db8::1", "leads to this host", False)]
    assert looking.host.sh("ss -Hltn") == ""


@pytest.mark.parametrize(("verdict", "outcome"), [("DROP", Outcome.SILENT), ("REJECT", Outcome.REFUSED)])
def test_a_closed_firewall_is_told_from_a_packet_that_never_came(
    looking: Looking, verdict: str, outcome: Outcome
) -> None:
    for program in ("iptables", "ip6tables"):
        looking.host.sh(f"{program} -A INPUT -p tcp --dport 80 -j {verdict}")
    began = time.monotonic()
    found = looking.look()
    assert found == {FOUR: Arrival(outcome, seen=True), SIX: Arrival(outcome, seen=True)}
    assert time.monotonic() - began < 30
    [(_, text, wrong)] = said(found)
    assert "whose firewall is closed; the step web-firewall opens it" in text
    assert not wrong
    [(_, text, wrong)] = said(found, facts={"firewall_managers": "ufw"})
    assert text.endswith("firewall is closed: open it")
    assert wrong
    looking.host.sh("iptables -F; ip6tables -F")


def test_a_host_that_may_not_look_at_packets_says_so(looking: Looking) -> None:
    looking.shell = ("setpriv", "--bounding-set=-net_raw", *looking.shell)
    looking.host.sh("iptables -A INPUT -p tcp --dport 80 -j DROP")
    found = looking.look()
    assert found == {FOUR: Arrival(Outcome.SILENT, seen=None), SIX: Arrival(Outcome.SERVED, seen=True)}
    assert ("192.0.2.1", "silent; a firewall is closed, on this host or before it", True) in said(found)


def test_what_never_arrives_is_said(looking: Looking) -> None:
    looking.host.sh("ip link set far down")
    looking.here.sh("ip neigh replace 192.0.2.1 lladdr 02:00:00:00:00:01 dev near")
    found = looking.look(FOUR)
    assert found == {FOUR: Arrival(Outcome.SILENT, seen=False)}
    [(_, text, wrong)] = said(found)
    assert "nothing arrives at this host" in text
    assert wrong


def test_another_host_that_answers_is_not_taken_for_this_one(looking: Looking) -> None:
    with web_server(looking.here.name):
        found = looking.look(STRANGER)
    assert found == {STRANGER: Arrival(Outcome.ANSWERED, seen=False)}
    [(_, text, wrong)] = said(found)
    assert "something else than this host answers" in text
    assert wrong


def test_a_host_that_refuses_and_is_not_this_one(looking: Looking) -> None:
    found = looking.look(STRANGER)
    assert found == {STRANGER: Arrival(Outcome.REFUSED, seen=False)}
    assert said(found)[0][2]


def test_a_web_server_on_this_host_is_left_alone_and_known_to_be_this_one(looking: Looking) -> None:
    with web_server(looking.host.name):
        found = looking.look()
    assert found == {FOUR: Arrival(Outcome.ANSWERED, seen=True), SIX: Arrival(Outcome.ANSWERED, seen=True)}
    assert said(found, web=["nginx"]) == [("192.0.2.1, 2001:db8::1", "leads to this host, where nginx answers", False)]


def test_a_family_that_this_machine_has_no_route_to_says_nothing_against_the_host(looking: Looking) -> None:
    looking.here.sh("ip -6 addr flush dev near")
    found = looking.look()
    assert found == {FOUR: Arrival(Outcome.SERVED, seen=True), SIX: Arrival(Outcome.NO_ROUTE, seen=False)}
    assert not any(wrong for _, _, wrong in said(found))
