"""An authority's renewal information (RFC 9773): asked for, gone by, and named in the order that replaces."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from made_pki import issue
from pebble import (
    LOOPBACK,
    WELL_KNOWN,
    ChallengeServer,
    Pebble,
    challenge_server,
    one_pebble,  # noqa: F401 - the fixture `pebble`
    serving,
)

from steps import pki
from steps.certificates import certificate_request
from steps.certificates.acme_order import AcmeError, ask_renewal, new_account_key, order, register
from steps.certificates.challenge_fetch import fetch_challenge

if TYPE_CHECKING:
    from collections.abc import Iterator

HOME: Final = "home.example.test"
CSR: Final = certificate_request.new_csr(pki.new_key(), HOME)
ACCOUNT_KEY: Final = new_account_key()


class Informing:
    """A directory with renewal information; all else is another CA's, or refused with the problems that are set."""

    def __init__(self) -> None:
        self.url = ""
        self.elsewhere: dict[str, Any] = {}
        self.directory: Any = None
        """What is answered in the directory's place."""
        self.information: Any = {}
        self.retry_after = "21600"
        self.problems: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.payloads: list[dict[str, Any]] = []

    def reply(self, path: str, body: bytes) -> tuple[int, Any]:
        self.asked.append(path)
        if path == "/dir" and self.directory is not None:
            return 200, self.directory
        if path == "/dir":
            ours = {name: f"{self.url}/{name}" for name in ("newAccount", "newNonce", "newOrder")}
            return 200, {**ours, **self.elsewhere, "renewalInfo": f"{self.url}/renewal"}
        if path.startswith("/renewal/"):
            return 200, self.information
        if body:
            payload = json.loads(body)["payload"]
            self.payloads.append(json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))
        if self.problems and path == "/newOrder":
            problem = self.problems.pop(0)
            return (429 if problem["type"].endswith("rateLimited") else 409), problem
        return 201, {"status": "valid"}


@pytest.fixture
def informing() -> Iterator[Informing]:
    state = Informing()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            status, content = state.reply(self.path, self.rfile.read(int(self.headers.get("Content-Length", "0"))))
            body = json.dumps(content).encode()
            self.send_response(status)
            head = {"Replay-Nonce": "bm9uY2U", "Location": f"{state.url}/account/1", "Retry-After": state.retry_after}
            for name, value in {**head, "Content-Type": "application/json", "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_GET = do_HEAD = do_POST = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler, LOOPBACK) as port:
        state.url = f"http://{LOOPBACK}:{port}"
        yield state


def window(start: datetime, end: datetime) -> dict[str, Any]:
    return {"suggestedWindow": {"start": start.isoformat(), "end": end.isoformat()}}


@pytest.fixture(scope="module")
def leaf() -> x509.Certificate:
    root = issue("Root", None)
    return issue(HOME, root, ca=False, names=[HOME], after=datetime.now(UTC) + timedelta(days=30)).cert


def name_of(cert: x509.Certificate) -> str:
    """As RFC 9773, 4.1 has it: the issuer's key and the serial number, as they stand in the certificate's DER."""
    issuer = cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    serial = cert.serial_number.to_bytes(32, "big").lstrip(b"\0")
    der = serial if serial[0] < 0x80 else b"\0" + serial
    pieces = (urlsafe_b64encode(each).decode().rstrip("=") for each in (issuer, der))
    return ".".join(pieces)


def test_the_authority_is_asked_by_the_certificate_s_name_and_its_window_is_gone_by(
    informing: Informing, leaf: x509.Certificate
) -> None:
    start, end = datetime.now(UTC) + timedelta(days=1), datetime.now(UTC) + timedelta(days=2)
    informing.information = window(start, end)
    told = ask_renewal(f"{informing.url}/dir", leaf)
    assert told
    assert start <= told.due <= end
    assert timedelta(hours=5) < told.ask_again - datetime.now(UTC) < timedelta(hours=7)
    assert informing.asked[-1] == f"/renewal/{name_of(leaf)}"


def test_it_is_asked_again_within_a_day_whatever_it_says(informing: Informing, leaf: x509.Certificate) -> None:
    informing.information = window(datetime.now(UTC), datetime.now(UTC))
    informing.retry_after = "9999999"
    told = ask_renewal(f"{informing.url}/dir", leaf)
    assert told
    assert told.ask_again - datetime.now(UTC) <= timedelta(days=1)


def test_an_authority_without_it_says_nothing(pebble: Pebble, leaf: x509.Certificate) -> None:
    assert ask_renewal(pebble.directory, leaf, pebble.ca_bundle) is None


@pytest.mark.parametrize("information", [{}, [], {"suggestedWindow": {}}, {"suggestedWindow": {"start": "soon"}}])
def test_what_cannot_be_read_is_said_to_be_so(
    informing: Informing, leaf: x509.Certificate, information: object
) -> None:
    informing.information = information
    with pytest.raises(AcmeError):
        ask_renewal(f"{informing.url}/dir", leaf)


@pytest.mark.parametrize("directory", [[], "hello", 1, {"meta": 1}])
def test_what_is_no_directory_is_said_to_be_none(informing: Informing, leaf: x509.Certificate, directory: Any) -> None:  # noqa: ANN401 - JSON
    informing.directory = directory
    with pytest.raises(AcmeError, match="does not answer as an ACME server"):
        ask_renewal(f"{informing.url}/dir", leaf)
    with pytest.raises(AcmeError, match="does not answer as an ACME server"):
        register(f"{informing.url}/dir", ACCOUNT_KEY, "")


def test_one_that_is_not_there_is_said_to_be_so(leaf: x509.Certificate) -> None:
    with pytest.raises(AcmeError, match="cannot be reached: Connection refused"):
        ask_renewal("https://127.0.0.1:1/dir", leaf)


class Serving:
    """Challenges, by a web server of the test's."""

    def __init__(self, server: ChallengeServer) -> None:
        self.server = server

    def put(self, token: str, body: str) -> None:
        self.server.files[token] = body

    def remove(self, token: str) -> None:
        self.server.files.pop(token, None)

    def check(self, fqdn: str, token: str, body: str) -> None:
        fetch_challenge(
            fqdn, WELL_KNOWN + token, body, lambda _, port: [(LOOPBACK, self.server.port if port == 80 else port)]
        )


def test_an_order_says_which_certificate_it_replaces_and_goes_on_where_that_is_refused(
    informing: Informing, leaf: x509.Certificate
) -> None:
    account = register(f"{informing.url}/dir", ACCOUNT_KEY, "")
    kinds = ("alreadyReplaced", "rateLimited")
    informing.problems = [{"type": f"urn:ietf:params:acme:error:{kind}", "detail": kind} for kind in kinds]
    with challenge_server() as server, pytest.raises(AcmeError, match="rateLimited"):
        order(account, CSR, Serving(server), leaf)
    first, second = [each for each in informing.payloads if "identifiers" in each]
    assert first["replaces"] == name_of(leaf)
    assert "replaces" not in second
    assert first["identifiers"] == second["identifiers"]


def test_a_limit_is_not_argued_with(informing: Informing, leaf: x509.Certificate) -> None:
    account = register(f"{informing.url}/dir", ACCOUNT_KEY, "")
    informing.problems = [{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "enough"}] * 2
    with challenge_server() as server, pytest.raises(AcmeError, match="enough"):
        order(account, CSR, Serving(server), leaf)
    assert len(informing.problems) == 1


def test_a_renewal_at_a_real_authority_that_has_renewal_information_is_issued(
    pebble: Pebble, informing: Informing
) -> None:
    informing.elsewhere = json.loads(pebble.get(pebble.directory))
    with challenge_server(port=pebble.http_port) as server:
        account = register(f"{informing.url}/dir", new_account_key(), "", pebble.ca_bundle)
        first = order(account, CSR, Serving(server))[0][0]
        second = order(account, CSR, Serving(server), first)[0][0]
    assert first.serial_number != second.serial_number
    assert pki.public_fingerprint(first) == pki.public_fingerprint(second)
