"""Our own look at a challenge: it follows the CA's rules, at every address, and says which address fails how."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pebble import LOOPBACK, WELL_KNOWN, ChallengeServer, challenge_server, free_ports, new_authority
from told import told_as

from steps import catalogue
from steps.certificates import web_client
from steps.certificates.acme_order import AcmeError
from steps.certificates.challenge_fetch import fetch_challenge
from steps.certificates.web_client import Address, addresses_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOME: Final = "home.example.test"
TOKEN: Final = "F2wlbJFRnxFTQg8TjB6B3c2O3bzXV8bJ3bFX0Np2mvA"  # noqa: S105 - a token of ACME, public
BODY: Final = TOKEN + "." + "x" * 43
PATH: Final = WELL_KNOWN + TOKEN
SIX: Final = "::1"
# The kernel answers ENETUNREACH for TCP to a broadcast or multicast address, whatever the routes are.
NOWHERE: Final = [("ff02::1", 80), ("255.255.255.255", 80)]


@pytest.fixture
def four() -> Iterator[ChallengeServer]:
    with challenge_server() as server:
        server.files[TOKEN] = BODY
        yield server


@pytest.fixture
def six() -> Iterator[ChallengeServer]:
    with challenge_server(SIX) as server:
        server.files[TOKEN] = BODY
        yield server


def at(*addresses: Address, **others: list[Address]) -> Callable[[str, int], list[Address]]:
    """Resolve HOME to those, `name_port` to others; all else has no address."""
    known = {(HOME, 80): list(addresses)}
    for name, found in others.items():
        host, _, port = name.rpartition("_")
        known[f"{host}.example.test", int(port)] = found

    def resolve(name: str, port: int) -> list[Address]:
        if (name, port) not in known:
            raise OSError(0, "Name or service not known")
        return known[name, port]

    return resolve


def fetch(*addresses: Address, **others: list[Address]) -> list[str]:
    return fetch_challenge(HOME, PATH, BODY, at(*addresses, **others))


def refusal(*addresses: Address, **others: list[Address]) -> str:
    with pytest.raises(AcmeError) as caught:
        fetch(*addresses, **others)
    told_as(caught, catalogue.CHALLENGE_UNTRIED if list(addresses) == NOWHERE else catalogue.CHALLENGE_UNSERVED)
    return str(caught.value)


def test_every_address_is_asked_by_the_site_s_name(four: ChallengeServer, six: ChallengeServer) -> None:
    assert fetch((SIX, six.port), (LOOPBACK, four.port)) == []
    assert four.asked == six.asked == [PATH]
    assert four.hosts == six.hosts == [HOME]


def test_white_space_at_the_end_is_borne_as_the_ca_does(four: ChallengeServer) -> None:
    four.files[TOKEN] = f"{BODY}\r\n"
    assert fetch((LOOPBACK, four.port)) == []


def test_ipv6_that_refuses_is_told_though_ipv4_serves(four: ChallengeServer) -> None:
    (closed,) = free_ports(1)
    told = refusal((SIX, closed), (LOOPBACK, four.port))
    assert f"{HOME} at ::1 refuses connections on port {closed}" in told
    assert LOOPBACK not in told


def test_both_addresses_are_told_where_both_fail(four: ChallengeServer, six: ChallengeServer) -> None:
    four.files[TOKEN] = "welcome to nginx"
    six.files.clear()
    told = refusal((SIX, six.port), (LOOPBACK, four.port))
    assert "at ::1 answers 404" in told
    assert "at 127.0.0.1 serves something else than the challenge" in told
    assert f"http://{HOME}{PATH}" in told


def test_the_longest_body_that_the_ca_takes_is_taken(four: ChallengeServer) -> None:
    four.files[TOKEN] = BODY + " " * (128 - len(BODY))
    assert fetch((LOOPBACK, four.port)) == []
    four.files[TOKEN] += " "
    assert "serves more than 128 bytes" in refusal((LOOPBACK, four.port))


def test_an_address_that_this_machine_has_no_way_to_is_no_fault_of_the_site(four: ChallengeServer) -> None:
    (remark,) = fetch(NOWHERE[0], (LOOPBACK, four.port))
    assert remark.startswith(f"ff02::1, an address of {HOME}, cannot be tried from this machine")


def test_where_no_address_can_be_tried_nothing_is_proved() -> None:
    assert "cannot be tried from this machine" in refusal(*NOWHERE)


def test_a_name_without_an_address_is_said_to_have_none() -> None:
    with pytest.raises(AcmeError, match=r"vps4\.example\.test has no address: Name or service not known") as caught:
        fetch_challenge("vps4.example.test", PATH, BODY, at())
    told_as(caught, catalogue.DNS_UNRESOLVED)


@contextlib.contextmanager
def listening(*, hang_up: bool) -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                peer = server.accept()[0]
                with peer:
                    peer.recv(65536)
                    if not hang_up:
                        peer.recv(1)  # until the other end gives up

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_server_that_hangs_up_is_told_from_one_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_client, "TIMEOUT", 0.2)
    with listening(hang_up=True) as port:
        assert "closes the connection without an answer" in refusal((LOOPBACK, port))
    with listening(hang_up=False) as port:
        assert f"is silent on port {port} for 0.2 seconds" in refusal((LOOPBACK, port))


# ---- redirects

locations = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="{}"))
"""Without braces, by which it is seen that a sentence of ours has a blank left."""


def redirect(server: ChallengeServer, to: str, status: int = 307, path: str = PATH) -> None:
    server.answers[path] = (status, {"Location": to}, b"")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_one_site_that_serves_all_challenges_is_found(
    four: ChallengeServer, six: ChallengeServer, status: int
) -> None:
    redirect(six, f"http://vps4.example.test{PATH}", status)
    assert fetch((SIX, six.port), vps4_80=[(LOOPBACK, four.port)]) == []
    assert four.hosts == ["vps4.example.test"]


@pytest.mark.parametrize("status", [300, 303, 304])
def test_other_redirects_are_none_to_the_ca(four: ChallengeServer, six: ChallengeServer, status: int) -> None:
    redirect(six, f"http://vps4.example.test{PATH}", status)
    assert f"at ::1 answers {status}" in refusal((SIX, six.port), vps4_80=[(LOOPBACK, four.port)])


def test_a_redirect_to_https_needs_no_valid_certificate(six: ChallengeServer, tmp_path: Path) -> None:
    new_authority(tmp_path)
    with challenge_server(tls=tmp_path) as secure:
        secure.files[TOKEN] = BODY
        redirect(six, f"https://vps4.example.test{PATH}")
        assert fetch((SIX, six.port), vps4_443=[(LOOPBACK, secure.port)]) == []
        assert secure.hosts == ["vps4.example.test"]


def test_behind_a_redirect_only_the_first_address_counts(four: ChallengeServer, six: ChallengeServer) -> None:
    (closed,) = free_ports(1)
    redirect(six, f"http://vps4.example.test{PATH}")
    told = refusal((SIX, six.port), vps4_80=[(SIX, closed), (LOOPBACK, four.port)])
    assert f"redirects to http://vps4.example.test{PATH}, which refuses connections on port {closed}" in told
    assert fetch((SIX, six.port), vps4_80=[NOWHERE[0], (LOOPBACK, four.port)]) == []


def test_ten_redirects_are_followed_and_no_more(four: ChallengeServer) -> None:
    for number in range(10):
        redirect(four, f"/{number}", path=PATH if number == 0 else f"/{number - 1}")
    four.answers["/9"] = (200, {}, BODY.encode())
    assert fetch((LOOPBACK, four.port)) == []
    redirect(four, "/10", path="/9")
    four.answers["/10"] = (200, {}, BODY.encode())
    assert "redirects more than 10 times" in refusal((LOOPBACK, four.port))


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("http://vps4.example.test:8080/", "only http and https, on ports 80 and 443"),
        ("ftp://vps4.example.test/", "only http and https, on ports 80 and 443"),
        ("http://vps4.example.test:http/", "is no address"),
        ("http://vps4.example.test/", "has no address: Name or service not known"),
        ("", "redirects more than 10 times"),
    ],
)
def test_a_redirect_that_the_ca_would_not_follow_is_said_with_its_target(
    four: ChallengeServer, to: str, reason: str
) -> None:
    redirect(four, to)
    told = refusal((LOOPBACK, four.port), home_80=[(LOOPBACK, four.port)])
    assert reason in told
    assert to in told


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(to=st.builds(str.__add__, st.sampled_from(["", "http://", "https://[", "//"]), locations))
def test_no_redirect_whatever_leads_to_anything_but_a_sentence(four: ChallengeServer, to: str) -> None:
    redirect(four, to)
    assert refusal((LOOPBACK, four.port)).startswith("the CA would refuse: ")


def test_a_redirect_to_what_is_no_name_is_refused(four: ChallengeServer) -> None:
    redirect(four, "http://a..b/")
    known = at((LOOPBACK, four.port))
    with pytest.raises(AcmeError, match=r"redirects to http://a\.\.b/, which is no address"):
        fetch_challenge(HOME, PATH, BODY, lambda name, port: (known if name == HOME else addresses_of)(name, port))


def test_the_machine_s_own_resolver_is_asked() -> None:
    assert (LOOPBACK, 80) in addresses_of("localhost", 80)


def test_ipv6_comes_first_and_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    found = [
        (socket.AF_INET, *kind, ("192.0.2.1", 80)),
        (socket.AF_INET6, *kind, ("2001:db8::1", 80, 0, 0)),
        (socket.AF_INET, *kind, ("192.0.2.1", 80)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert addresses_of(HOME, 80) == [("2001:db8::1", 80), ("192.0.2.1", 80)]
