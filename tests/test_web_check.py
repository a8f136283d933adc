"""What a site's web server must answer from outside, and what is said where it does not."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from firewalled import network
from told import told_as

from runbook.errors import StepError
from steps import catalogue
from steps.certificates import web_client
from steps.nginx import NOBODY_HAS
from steps.web_firewall import WebFirewall, ask_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CLOSED = b""
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def redirect(fqdn: str, path: str = NOBODY_HAS) -> bytes:
    return f"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{fqdn}{path}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name vps4.example.org is in the DNS, with loopback's addresses."""
    resolve = socket.getaddrinfo

    def look_up(host: str, *more: int, **named: int) -> list[Any]:
        addresses = ("127.0.0.1", "::1") if host == "vps4.example.org" else (host,)
        return [each for address in addresses for each in resolve(address, *more, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def serve(known: None) -> Iterator[Callable[..., int]]:  # noqa: ARG001 - what it serves has a name
    """Start a web server on loopback, in both families: what it answers by path, and to anything else; its port."""
    servers: list[socket.socket] = []

    def answer(server: socket.socket, answers: dict[str, bytes], otherwise: bytes) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(4096).decode()
                assert "\r\nHost: vps4.example.org" in request
                connection.sendall(answers.get(request.split()[1], otherwise))

    def start(challenge: bytes, root: bytes = CLOSED) -> int:
        first = socket.create_server(("127.0.0.1", 0))
        port = int(first.getsockname()[1])
        servers.extend([first, socket.create_server(("::1", port), family=socket.AF_INET6)])
        for server in servers[-2:]:
            threading.Thread(target=answer, args=(server, {NOBODY_HAS: challenge}, root), daemon=True).start()
        return port

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_an_empty_reply_and_a_404_are_the_right_answers(serve: Callable[..., int]) -> None:
    evidence = ask_site("vps4.example.org", port=serve(NOT_FOUND))
    assert {line.split(": ")[0] for line in evidence} == {"127.0.0.1", "::1"}
    assert all(line.endswith(f"/ closed without an answer, {NOBODY_HAS} 404") for line in evidence)


def test_a_redirect_is_right_where_it_leads_to_the_site_that_serves(serve: Callable[..., int]) -> None:
    assert ask_site("vps4.example.org", "vps4.example.org", serve(redirect("vps4.example.org")))
    with pytest.raises(StepError, match=r"with 307 http://sip\.\S+, not with 307 http://vps4\."):
        ask_site("vps4.example.org", "vps4.example.org", serve(redirect("sip.example.org")))
    with pytest.raises(StepError, match=r"with 307 \S+, not with 404"):
        ask_site("vps4.example.org", "", serve(redirect("vps4.example.org")))
    with pytest.raises(StepError, match="with 404, not with 307"):
        ask_site("vps4.example.org", "vps4.example.org", serve(NOT_FOUND))


def test_an_answer_where_none_belongs_is_named(serve: Callable[..., int]) -> None:
    welcome = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nwelcome"
    with pytest.raises(StepError, match="answers / with 200, and should close the connection") as raised:
        ask_site("vps4.example.org", port=serve(NOT_FOUND, root=welcome))
    assert "nginx -T" in told_as(raised, catalogue.WEB_OTHER_ANSWER)["look"]
    with pytest.raises(StepError, match="with nothing, not with 404"):
        ask_site("vps4.example.org", port=serve(CLOSED))
    with pytest.raises(StepError, match="does not speak HTTP") as raised:
        ask_site("vps4.example.org", port=serve(NOT_FOUND, root=b"SSH-2.0-OpenSSH_9.2\r\n"))
    assert "ss -ltnp" in told_as(raised, catalogue.WEB_NOT_HTTP)["look"]


@pytest.mark.usefixtures("known")
def test_a_refused_connection_is_told_from_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(web_client, "TIMEOUT", 0.05)
        with pytest.raises(StepError, match=r"vps4.example.org \(::1\) does not answer: nothing came") as raised:
            ask_site("vps4.example.org", port=port)
        assert "firewall" in told_as(raised, catalogue.WEB_SILENT)["likely"]
    with pytest.raises(StepError, match=f"port {port} .* does not answer: the connection is refused") as raised:
        ask_site("vps4.example.org", port=port)
    assert "ss -ltnp" in told_as(raised, catalogue.WEB_REFUSED)["look"]


def test_a_name_that_does_not_resolve_is_said() -> None:
    with pytest.raises(StepError, match=r"the name nonexistant\.invalid has no address") as raised:
        ask_site("nonexistant.invalid")
    assert told_as(raised, catalogue.DNS_UNRESOLVED)["look"] == "getent ahosts nonexistant.invalid"


def test_an_address_that_nothing_can_be_sent_to_is_told_with_the_systems_own_words() -> None:
    """A link-local address in the DNS, which means nothing without its link."""
    with pytest.raises(StepError, match=r"\(fe80::1\) does not answer: Invalid argument") as raised:
        ask_site("fe80::1")
    told_as(raised, catalogue.WEB_NO_WAY)


def test_each_site_is_checked_for_what_it_should_answer(
    serve: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = WebFirewall(network(tmp_path, ", challenge_site: home")).checks()
    assert [each.on for each in checks] == [("home",), ("vps4",)]
    port = serve(redirect("home.example.org"))
    hosts: Any = {name: SimpleNamespace(facts={}) for name in ("home", "vps4")}
    monkeypatch.setattr(ask_site, "__defaults__", ("", port))
    assert all("307 http://home.example.org" in line for line in checks[1].run(hosts))
