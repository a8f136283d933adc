"""Orders at a real Pebble: chains, alternates, refused nonces, challenges that are not there, and who is asked when."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final

import pytest
from pebble import (
    LOOPBACK,
    WELL_KNOWN,
    ChallengeServer,
    Pebble,
    challenge_server,
    new_authority,
    one_pebble,  # noqa: F401 - the fixture `pebble`
    running_pebble,
    serving,
)
from told import told_as

from runbook.errors import RunbookError
from steps import catalogue, pki
from steps.certificates import certificate_request, chains
from steps.certificates.acme_order import NONCE_ROUNDS, AcmeError, new_account_key, order, register
from steps.certificates.challenge_fetch import fetch_challenge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOME: Final = "home.example.test"
KEY: Final = pki.new_key()
CSR: Final = certificate_request.new_csr(KEY, HOME)
PRINT: Final = pki.public_fingerprint(pki.load_key(KEY))
ACCOUNT_KEY: Final = new_account_key()
ANSWERED: Final = "POST /chalZ/"  # Pebble's log, when it is told to look at a challenge


class Webroot:
    """A site that publishes challenges by the test's web server and looks at them from here, as a step would."""

    def __init__(self, server: ChallengeServer) -> None:
        self.server = server
        self.told: list[str] = []

    def put(self, token: str, body: str) -> None:
        self.told.append("put")
        self.server.files[token] = body

    def remove(self, token: str) -> None:
        self.told.append("remove")
        self.server.files.pop(token, None)

    def check(self, fqdn: str, token: str, body: str) -> None:
        self.told.append("check")
        fetch_challenge(
            fqdn, WELL_KNOWN + token, body, lambda _, port: [(LOOPBACK, self.server.port if port == 80 else port)]
        )


class Losing(Webroot):
    """A site where what is published is not served."""

    def put(self, token: str, body: str) -> None:
        """Lose it."""


class Blind(Losing):
    """One that does not even look."""

    def check(self, fqdn: str, token: str, body: str) -> None:
        """See nothing."""


class Full(Webroot):
    """One that cannot publish."""

    def put(self, token: str, body: str) -> None:  # noqa: ARG002 - it never gets that far
        raise RunbookError("disk full")


@pytest.fixture
def webroot(pebble: Pebble) -> Iterator[Webroot]:
    with challenge_server(port=pebble.http_port) as server:
        yield Webroot(server)


def now() -> datetime:
    return datetime.now(UTC)


def test_an_order_gives_every_chain_offered_and_each_verifies_to_its_own_root(pebble: Pebble, webroot: Webroot) -> None:
    account = register(pebble.directory, ACCOUNT_KEY, "admin@example.test", pebble.ca_bundle)
    offered = order(account, CSR, webroot)
    roots = pebble.roots()
    assert len(offered) == len(roots) == 2
    assert offered[0][0] == offered[1][0]
    for chain, root in zip(offered, roots, strict=True):
        proved = chains.verify_chain(chain, [root], HOME, PRINT, now())
        assert len(proved.intermediates) == 3
        assert proved == chains.Chain(chain[0], tuple(chain[1:]), root)


def test_a_challenge_is_put_looked_at_and_taken_away_again(pebble: Pebble, webroot: Webroot) -> None:
    account = register(pebble.directory, new_account_key(), "", pebble.ca_bundle)
    order(account, certificate_request.new_csr(KEY, "once.example.test"), webroot)
    assert webroot.told == ["put", "check", "remove"]
    assert webroot.server.files == {}
    assert len(set(webroot.server.asked)) == 1
    assert len(webroot.server.asked) >= 2  # by us, then by the CA


def test_the_ca_is_not_asked_where_our_own_look_fails(pebble: Pebble, webroot: Webroot) -> None:
    account = register(pebble.directory, new_account_key(), "", pebble.ca_bundle)
    webroot = Losing(webroot.server)
    log = pebble.log.read_text()
    with pytest.raises(AcmeError, match=r"the CA would refuse: lost.example.test at 127.0.0.1 answers 404"):
        order(account, certificate_request.new_csr(KEY, "lost.example.test"), webroot)
    assert webroot.told == ["check", "remove"]
    assert len(webroot.server.asked) == 1  # by us alone
    since = pebble.log.read_text().removeprefix(log)
    assert ANSWERED not in since
    assert "POST /order-plz" in since  # the control: this log would tell


def test_what_the_ca_finds_is_quoted(pebble: Pebble, webroot: Webroot) -> None:
    account = register(pebble.directory, new_account_key(), "", pebble.ca_bundle)
    webroot = Blind(webroot.server)
    before = pebble.log.read_text().count(ANSWERED)
    with pytest.raises(AcmeError, match=r"the CA refused \(unauthorized\): .*404") as caught:
        order(account, certificate_request.new_csr(KEY, "lost.example.test"), webroot)
    assert "no other web server answers" in caught.value.hint
    assert pebble.log.read_text().count(ANSWERED) > before


def test_a_failure_to_publish_is_the_site_s_own_and_cleaned_up_too(pebble: Pebble, webroot: Webroot) -> None:
    account = register(pebble.directory, new_account_key(), "", pebble.ca_bundle)
    webroot = Full(webroot.server)
    with pytest.raises(RunbookError, match=r"^disk full$"):
        order(account, certificate_request.new_csr(KEY, "full.example.test"), webroot)
    assert webroot.told == ["remove"]


def test_the_same_key_is_the_same_account_and_a_valid_authorization_needs_no_challenge(tmp_path: Path) -> None:
    with running_pebble(tmp_path, PEBBLE_AUTHZREUSE="100") as pebble, challenge_server(port=pebble.http_port) as server:
        first = register(pebble.directory, ACCOUNT_KEY, "admin@example.test", pebble.ca_bundle)
        order(first, CSR, Webroot(server))
        again = register(pebble.directory, ACCOUNT_KEY, "admin@example.test", pebble.ca_bundle)
        assert again.uri == first.uri
        assert register(pebble.directory, new_account_key(), "", pebble.ca_bundle).uri != first.uri
        second = Webroot(server)
        renewed = order(again, CSR, second)
        assert second.told == []
        assert chains.verify_chain(renewed[0], pebble.roots()[:1], HOME, PRINT, now()).leaf == renewed[0][0]


def test_a_request_that_the_ca_dislikes_is_answered_with_what_to_do(pebble: Pebble, webroot: Webroot) -> None:
    account = register(pebble.directory, new_account_key(), "", pebble.ca_bundle)
    with pytest.raises(AcmeError, match=r"the CA refused \(\w+\): .+"):
        order(account, certificate_request.new_csr(KEY, "a_b.example.test"), webroot)
    assert webroot.told == []


def test_a_ca_that_takes_its_time_is_not_waited_for_for_ever(pebble: Pebble, webroot: Webroot) -> None:
    account = register(pebble.directory, new_account_key(), "", pebble.ca_bundle)
    request = certificate_request.new_csr(KEY, "slow.example.test")
    with pytest.raises(AcmeError, match="did not finish in time") as caught:
        order(account, request, webroot, patience=timedelta(0))
    assert "what has been verified is taken up" in told_as(caught, catalogue.CA_SLOW)["hint"]


def test_a_name_that_the_ca_proves_by_dns_alone_is_said_to_be_one(pebble: Pebble, webroot: Webroot) -> None:
    account = register(pebble.directory, new_account_key(), "", pebble.ca_bundle)
    with pytest.raises(AcmeError, match=r"offers no http-01 challenge for .*example\.test") as caught:
        order(account, certificate_request.new_csr(KEY, "*.example.test"), webroot)
    told_as(caught, catalogue.NO_HTTP_CHALLENGE)


# ---- before there is an account


def test_a_directory_signed_by_another_ca_is_not_trusted(pebble: Pebble, tmp_path: Path) -> None:
    for bundle in (None, new_authority(tmp_path)):
        with pytest.raises(AcmeError, match=r"is not trusted by this machine: .+") as caught:
            register(pebble.directory, ACCOUNT_KEY, "", bundle)
        assert "ca_bundle in sites.yaml" in told_as(caught, catalogue.CA_UNTRUSTED)["hint"]


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"hello", "no readable certificate")])
def test_a_ca_bundle_that_is_none_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(AcmeError, match=reason) as caught:
        register("https://127.0.0.1:1/dir", ACCOUNT_KEY, "", bundle)
    assert str(bundle) in told_as(caught, catalogue.CA_BUNDLE)["error"]


def test_a_directory_that_is_not_there_cannot_be_reached(pebble: Pebble) -> None:
    with pytest.raises(AcmeError, match=r"https://127.0.0.1:1/dir cannot be reached: Connection refused") as caught:
        register("https://127.0.0.1:1/dir", ACCOUNT_KEY, "", pebble.ca_bundle)
    told_as(caught, catalogue.CA_UNREACHABLE)


def test_a_directory_that_says_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.certificates.acme_order.ANSWER_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(AcmeError) as caught:
        register(f"https://127.0.0.1:{mute.getsockname()[1]}/dir", ACCOUNT_KEY, "")
    told_as(caught, catalogue.CA_SILENT)


def test_plain_http_behind_an_https_address_is_not_taken_for_a_matter_of_trust(webroot: Webroot) -> None:
    with pytest.raises(AcmeError, match=r"cannot be reached: .*SSL"):
        register(f"https://127.0.0.1:{webroot.server.port}/dir", ACCOUNT_KEY, "")


def test_a_page_that_is_no_directory_is_said_to_be_none(pebble: Pebble) -> None:
    page = f"{pebble.management}/cert-status-by-serial/1"
    with pytest.raises(AcmeError, match="does not answer as an ACME server") as caught:
        register(page, ACCOUNT_KEY, "", pebble.ca_bundle)
    told_as(caught, catalogue.CA_NOT_ACME)


@pytest.mark.parametrize("key", [b"", KEY, ACCOUNT_KEY[:100]], ids=["empty", "another kind", "cut off"])
def test_a_damaged_account_key_is_refused_and_not_quoted(key: bytes) -> None:
    with pytest.raises(AcmeError, match="the ACME account's key is damaged or of another kind") as caught:
        register("https://127.0.0.1:1/dir", key, "")
    assert "MI" not in told_as(caught, catalogue.ACCOUNT_KEY)["error"]


def test_the_account_shows_its_key_nowhere(pebble: Pebble) -> None:
    account = register(pebble.directory, ACCOUNT_KEY, "", pebble.ca_bundle)
    told = f"{account} {account!r} {vars(account)}"
    assert not any(line in told for line in ACCOUNT_KEY.decode().splitlines()[1:-1])


# ---- a CA that only says no


class Refusing:
    """A server that speaks ACME as far as the first refusal, over plain HTTP."""

    def __init__(self) -> None:
        self.problems: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.posts = 0
        self.url = ""

    def reply(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        if path == "/dir":
            return 200, {name: f"{self.url}/{name}" for name in ("newAccount", "newNonce", "newOrder")}
        if method == "HEAD":
            return 200, {}
        self.posts += 1
        if self.problems:
            return 429, self.problems.pop(0)
        return 201, {"status": "valid"}


@pytest.fixture
def refusing() -> Iterator[Refusing]:
    state = Refusing()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, content = state.reply(self.command, self.path)
            body = json.dumps(content).encode()
            self.send_response(status)
            own = {"Replay-Nonce": "bm9uY2U", "Location": f"{state.url}/account/1", "Content-Type": "application/json"}
            for name, value in {**own, **state.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_GET = do_HEAD = do_POST = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler, LOOPBACK) as port:
        state.url = f"http://{LOOPBACK}:{port}"
        yield state


def problem(kind: str, detail: str = "", **more: object) -> dict[str, Any]:
    return {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail, **more}


@pytest.mark.parametrize("kind", sorted(catalogue.CA_HINTS))
def test_every_refusal_is_quoted_with_what_to_do(refusing: Refusing, kind: str) -> None:
    refusing.problems = [problem(kind, "the very words of the CA")]
    with pytest.raises(AcmeError) as caught:
        register(f"{refusing.url}/dir", ACCOUNT_KEY, "")
    assert str(caught.value) == f"the CA refused ({kind}): the very words of the CA"
    assert catalogue.CA_HINTS[kind] in told_as(caught, catalogue.CA_REFUSED)["hint"]
    assert refusing.posts == 1  # a refusal is not argued with


def test_a_rate_limit_says_how_long_to_wait(refusing: Refusing) -> None:
    refusing.problems = [problem("rateLimited", "too many certificates")]
    refusing.headers = {"Retry-After": "3600"}
    with pytest.raises(AcmeError, match="too many certificates") as caught:
        register(f"{refusing.url}/dir", ACCOUNT_KEY, "")
    assert "retry after 3600 seconds" in caught.value.hint


def test_problems_within_a_problem_are_quoted_too(refusing: Refusing) -> None:
    refusing.problems = [problem("malformed", "several names", subproblems=[problem("caa", "CAA forbids it")])]
    with pytest.raises(AcmeError, match=r"\(malformed\): several names; CAA forbids it"):
        register(f"{refusing.url}/dir", ACCOUNT_KEY, "")


def test_a_nonce_refused_again_and_again_is_tried_with_another(refusing: Refusing) -> None:
    refusing.problems = [problem("badNonce")] * (2 * NONCE_ROUNDS - 1)  # the library itself tries twice a round
    assert register(f"{refusing.url}/dir", ACCOUNT_KEY, "").uri == f"{refusing.url}/account/1"


def test_nonces_refused_for_ever_come_to_an_end(refusing: Refusing) -> None:
    refusing.problems = [problem("badNonce", "no good")] * 1000
    with pytest.raises(AcmeError, match=r"the CA refused \(badNonce\): no good"):
        register(f"{refusing.url}/dir", ACCOUNT_KEY, "")
    assert refusing.posts == 2 * NONCE_ROUNDS


def test_a_directory_without_its_fields_is_none(refusing: Refusing) -> None:
    with pytest.raises(AcmeError, match="does not answer as an ACME server"):
        register(f"{refusing.url}/dir/../newNonce?", ACCOUNT_KEY, "")
