"""One order of a certificate at an ACME CA (RFC 8555), by the challenge http-01, each challenge tried by us first.

The protocol is done by the library `acme`. Here is what it leaves open: nonces refused more than once, our own look at
the challenge before the CA's (a failed one counts against a limit of five an hour and name), an end to every wait, and
each failure in a sentence with what the CA said and what to do. Nothing here knows where a challenge is published.
"""

from __future__ import annotations

import contextlib
import ssl
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

import requests
from acme import challenges as acme_challenges
from acme import client as acme_client
from acme import errors, messages
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import Error as JsonError
from josepy.json_util import field as jose_field
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from runbook.errors import RunbookError
from steps import catalogue
from steps.certificates.renewals import Suggestion
from steps.pki import split_chain, to_pem
from steps.x509_reading import extension

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANSWER_TIMEOUT: Final = 30
"""Seconds that the CA may stay silent within one request."""
NONCE_ROUNDS: Final = 5
PATIENCE: Final = timedelta(minutes=3)
LONGEST_WAIT: Final = timedelta(days=1)
"""How long a CA may have us not ask for its renewal information again."""


class AcmeError(RunbookError):
    """No certificate was had from the CA, and why; or its challenge would have failed, so it was not asked."""


class Challenges(Protocol):
    """Where the CA's challenges are answered: files below `webroot.CHALLENGES` of the name's web server."""

    def put(self, token: str, body: str) -> None:
        """Serve `body` at `webroot.CHALLENGES` + `token` from now on."""

    def remove(self, token: str) -> None:
        """Serve it no longer. Also called when `put` has failed, so it must bear that nothing is there."""

    def check(self, fqdn: str, token: str, body: str) -> None:
        """Fetch it as the CA would, and raise a RunbookError where the CA would refuse (`fetch_challenge`)."""


@dataclass(frozen=True)
class Account:
    """An account at one CA, ready to order; for one thread, since nonces and connections are kept in it.

    The key is inside `network`, which shows it nowhere.
    """

    directory_url: str
    uri: str
    """The account's name at the CA: what a CAA record's `accounturi` (RFC 8657) wants."""
    client: acme_client.ClientV2
    network: _Network


def new_account_key() -> bytes:
    """Make the key of a new account: P-256, which every CA takes (PKCS#8 PEM). The caller keeps it, 0600 from birth."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def register(directory_url: str, account_key_pem: bytes, contact: str, ca_bundle: Path | None = None) -> Account:
    """Make the account for this key, agreeing to the CA's terms, or take it up again where the key has one.

    Args:
        directory_url: Of the CA (RFC 8555, 7.1.1).
        account_key_pem: From `new_account_key`.
        contact: A mail address; empty for none.
        ca_bundle: The CAs that the directory's own HTTPS is trusted by; None for the system's.

    Raises:
        AcmeError: Why not, and what to do.
    """
    if ca_bundle is not None:
        _check_bundle(ca_bundle)
    network = _Network(_account_key(account_key_pem), ca_bundle)
    wanted = messages.NewRegistration.from_data(email=contact or None, terms_of_service_agreed=True)
    with _in_plain_words(directory_url, network):
        try:
            with _reading_a_directory(directory_url):
                client = acme_client.ClientV2(acme_client.ClientV2.get_directory(directory_url, network), network)
                account = client.new_account(wanted)
        except errors.ConflictError as known:  # that is how the library says 200 instead of 201
            account = messages.RegistrationResource(uri=known.location, body=wanted)
            network.account = account
    return Account(directory_url, account.uri, client, network)


def ask_renewal(directory_url: str, leaf: x509.Certificate, ca_bundle: Path | None = None) -> Suggestion | None:
    """Ask the CA when it would have a certificate renewed (RFC 9773); None where it has no such information.

    The moment is a random one within the window that the CA suggests, so ask once for a window.

    Raises:
        AcmeError: It cannot be asked, and why.
    """
    network = _Network(None, ca_bundle)
    with _in_plain_words(directory_url, network):
        with _reading_a_directory(directory_url):
            client = acme_client.ClientV2(acme_client.ClientV2.get_directory(directory_url, network), network)
        if not _has(client, "renewalInfo") or not _certificate_id(leaf):
            return None
        try:
            due, ask_again = client.renewal_time(to_pem(leaf))
        except (AttributeError, TypeError, ValueError) as error:  # JSON, but no window in it
            why = "its renewal information cannot be read"
            raise AcmeError(catalogue.CA_NOT_ACME, url=directory_url, why=why) from error
    again = min(ask_again.astimezone(UTC), datetime.now(UTC) + LONGEST_WAIT)
    return Suggestion(due.astimezone(UTC), again) if due else None


def order(
    account: Account,
    csr_pem: bytes,
    challenges: Challenges,
    replaced: x509.Certificate | None = None,
    patience: timedelta = PATIENCE,
) -> list[list[x509.Certificate]]:
    """Order the certificate that the request asks for.

    Authorizations still valid from an earlier order are used, without a challenge. Every challenge published is removed
    again, whatever happens. Which of what is offered leads to a trust anchor is `chains.verify_chain`'s to say.

    Args:
        account: From `register`.
        csr_pem: The certificate request.
        challenges: Where to publish, and how to look.
        replaced: The certificate that this one takes the place of: to a CA with renewal information such an order is
            none that counts against its limits (RFC 9773, 5).
        patience: How long the CA may take to verify and to issue, after all challenges are published.

    Returns:
        Every chain offered for the one certificate, leaf first: the CA's default, then the alternates in its order.

    Raises:
        AcmeError: The CA would not, and why.
        RunbookError: From `challenges`; the CA has not been asked to look then.
    """
    client = account.client
    with _in_plain_words(account.directory_url, account.network):
        wanted = _new_order(account, csr_pem, replaced)
        with contextlib.ExitStack() as published:
            for authorization in wanted.authorizations:
                if authorization.body.status != messages.STATUS_VALID:
                    _answer(account, authorization, challenges, published)
            wanted = client.poll_authorizations(wanted, _from_now(patience))
        done = client.finalize_order(wanted, _from_now(patience), fetch_alternative_chains=True)
    return [split_chain(pem.encode()) for pem in (done.fullchain_pem, *done.alternative_fullchains_pem)]


def _new_order(account: Account, csr_pem: bytes, replaced: x509.Certificate | None) -> messages.OrderResource:
    """Begin an order; where the CA will not have it be a replacement, as any other."""
    network, client = account.network, account.client
    network.replaces = _certificate_id(replaced) if replaced and _has(client, "renewalInfo") else ""
    try:
        return client.new_order(csr_pem)
    except (messages.Error, errors.ConflictError) as error:  # 409, as for `alreadyReplaced`, is the library's own error
        limited = isinstance(error, messages.Error) and _kind(error) == "rateLimited"
        if limited or not network.replaces:
            raise
        network.replaces = ""
        return client.new_order(csr_pem)


def _has(client: acme_client.ClientV2, resource: str) -> bool:
    try:
        return bool(client.directory[resource])
    except KeyError:
        return False


def _certificate_id(cert: x509.Certificate) -> str:
    """By which a certificate is known to a CA (RFC 9773, 4.1); empty where it does not say who issued it."""
    issuer = extension(cert, x509.AuthorityKeyIdentifier)
    serial = cert.serial_number.to_bytes(cert.serial_number.bit_length() // 8 + 1, "big")  # DER's integers are signed
    if issuer is None or issuer.key_identifier is None:
        return ""
    return ".".join(urlsafe_b64encode(each).decode().rstrip("=") for each in (issuer.key_identifier, serial))


def _answer(
    account: Account,
    authorization: messages.AuthorizationResource,
    challenges: Challenges,
    published: contextlib.ExitStack,
) -> None:
    """Publish the answer to the http-01 challenge, see it served, and only then tell the CA to look."""
    fqdn = authorization.body.identifier.value
    offered = [each for each in authorization.body.challenges if isinstance(each.chall, acme_challenges.HTTP01)]
    if not offered:
        raise AcmeError(catalogue.NO_HTTP_CHALLENGE, fqdn=fqdn, url=account.directory_url)
    challenge = offered[0]
    response, body = challenge.chall.response_and_validation(account.network.key)
    token = challenge.chall.encode("token")
    published.callback(challenges.remove, token)  # before the act, so that half an act is undone too
    challenges.put(token, body)
    challenges.check(fqdn, token, body)
    account.client.answer_challenge(challenge, response)


def _from_now(patience: timedelta) -> datetime:
    return datetime.now() + patience  # noqa: DTZ005 - the library compares with its own naive now()


class _Network(acme_client.ClientNetwork):
    """The library's HTTP, with patience for refused nonces and an ear for Retry-After."""

    def __init__(self, key: JWKEC | None, ca_bundle: Path | None) -> None:
        super().__init__(key, alg=ES256, user_agent="ipsec-runbook", timeout=ANSWER_TIMEOUT)
        if ca_bundle is not None:
            # The library passes it on to requests as `verify`, which takes a path too.
            self.verify_ssl = str(ca_bundle)  # type: ignore[assignment] # declared bool there
        self.retry_after = ""
        self.replaces = ""
        """The certificate whose place the next order takes (RFC 9773, 5)."""
        self.session.hooks["response"].append(self._listen)

    def _listen(self, response: requests.Response, **_: object) -> None:
        self.retry_after = response.headers.get("Retry-After", "")

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - the library's own signature
        """Send again where the nonce was refused: the library does so once, which is not enough for one in twenty.

        A request with a refused nonce has had no effect (RFC 8555, 6.5), so repeating is safe.
        """
        args = tuple(self._replacing(each) for each in args)
        for _ in range(NONCE_ROUNDS - 1):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if _kind(error) != "badNonce":
                    raise
        return super().post(*args, **kwargs)

    def _replacing(self, content: object) -> object:
        if not self.replaces or not isinstance(content, messages.NewOrder):
            return content
        return _Replacement(identifiers=content.identifiers, profile=content.profile, replaces=self.replaces)


class _Replacement(messages.NewOrder):
    """The field that the library does not have yet (5.9)."""

    replaces: str = jose_field("replaces", omitempty=True)


def _account_key(pem: bytes) -> JWKEC:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise AcmeError(catalogue.ACCOUNT_KEY)
    return JWKEC(key=key)


def _check_bundle(ca_bundle: Path) -> None:
    try:
        split_chain(ca_bundle.read_bytes())
    except OSError as error:
        raise AcmeError(catalogue.CA_BUNDLE, path=ca_bundle, why=f"cannot be read: {error.strerror}") from error
    except RunbookError as error:
        raise AcmeError(catalogue.CA_BUNDLE, path=ca_bundle, why=f"holds {error}") from error


@contextlib.contextmanager
def _reading_a_directory(url: str) -> Iterator[None]:
    """Turn what the library stumbles over in JSON that is no directory, or lacks its fields, into an AcmeError."""
    try:
        yield
    except (KeyError, AttributeError, TypeError) as error:
        raise AcmeError(catalogue.CA_NOT_ACME, url=url, why="it has no directory there") from error


@contextlib.contextmanager
def _in_plain_words(directory_url: str, network: _Network) -> Iterator[None]:
    """Turn what the library raises into one AcmeError. Others' errors go through as they are."""
    try:
        yield
    except requests.RequestException as error:
        raise _unreachable(directory_url, error) from error
    except messages.Error as error:
        raise _refused(error, network.retry_after) from error
    except errors.IssuanceError as error:
        raise _refused(error.error, network.retry_after) from error
    except errors.ValidationError as error:
        found = [each.error for failed in error.failed_authzrs for each in failed.body.challenges if each.error]
        raise _refused(found[0], network.retry_after) from error
    except errors.TimeoutError as error:
        raise AcmeError(catalogue.CA_SLOW, url=directory_url) from error
    except errors.ARIError as error:
        why = f"its renewal information cannot be had: {_first_line(_innermost(error))}"
        raise AcmeError(catalogue.CA_NOT_ACME, url=directory_url, why=why) from error
    except (errors.Error, JsonError) as error:
        raise AcmeError(catalogue.CA_NOT_ACME, url=directory_url, why=_first_line(error)) from error


def _unreachable(directory_url: str, error: requests.RequestException) -> AcmeError:
    cause = _innermost(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return AcmeError(catalogue.CA_UNTRUSTED, url=directory_url, why=cause.verify_message)
    if isinstance(error, requests.exceptions.Timeout):
        return AcmeError(catalogue.CA_SILENT, url=directory_url, seconds=ANSWER_TIMEOUT)
    why = cause.strerror if isinstance(cause, OSError) and cause.strerror else _first_line(cause)
    return AcmeError(catalogue.CA_UNREACHABLE, url=directory_url, why=why)


def _refused(problem: messages.Error, retry_after: str) -> AcmeError:
    kind = _kind(problem)
    # What is the matter with one name among several comes as a problem within the problem (RFC 8555, 6.7.1).
    details = [each.detail or each.title or "" for each in (problem, *(problem.subproblems or ()))]
    said = "; ".join(detail for detail in details if detail) or "it gave no reason"
    hint = catalogue.CA_HINTS.get(kind, "do what it says")
    if kind == "rateLimited" and retry_after:
        wait = f"{retry_after} seconds" if retry_after.isdigit() else retry_after
        hint = f"{hint} (the CA says: retry after {wait})"
    meaning = catalogue.CA_MEANINGS.get(kind, "its own words above are all that is known")
    return AcmeError(catalogue.CA_REFUSED, kind=kind, said=said, meaning=meaning, todo=hint)


def _kind(problem: messages.Error) -> str:
    """Give the problem's type without its prefix. The library's own `code` is None for those it does not list."""
    return str(problem.typ).rsplit(":", maxsplit=1)[-1]


def _innermost(error: BaseException) -> BaseException:
    """Find what the operating system or TLS said, below the layers of requests and urllib3."""
    cause = error.__cause__ or error.__context__
    return error if cause is None else _innermost(cause)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
