"""Look at a challenge as the CA will, from here, before the CA is asked.

A failed validation costs one of five an hour; our own look costs nothing, and can say what is wrong in more words. The
rules are those of Let's Encrypt's validator (boulder, va/http.go), but stricter in one point: there the first address
of a family is tried and IPv4 only helps out where IPv6 cannot be dialled, here every address of the name has to serve.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urljoin, urlsplit

from steps import catalogue
from steps.certificates import web_client
from steps.certificates.acme_order import AcmeError
from steps.certificates.web_client import PORTS, Address, Answer, NoRouteError, addresses_of

Resolver = Callable[[str, int], Sequence[Address]]
"""Gives all addresses of a name; raises OSError where it has none."""

LONGEST_BODY: Final = 128  # bytes
MOST_REDIRECTS: Final = 10
REDIRECTS: Final = frozenset({301, 302, 307, 308})


class _Fault(Exception):  # noqa: N818 - what is wrong, in words, on its way to one AcmeError
    """What the CA would refuse."""


def fetch_challenge(fqdn: str, path: str, expected: str, resolve: Resolver = addresses_of) -> list[str]:
    """Fetch the challenge over plain HTTP from every address that the name has.

    Args:
        fqdn: The name to be proved.
        path: Where the challenge is served.
        expected: What has to be served (the key authorization of RFC 8555, 8.1).
        resolve: How to find addresses.

    Returns:
        One sentence for each address that cannot be tried from this machine, for want of IPv6 mostly.

    Raises:
        AcmeError: Which address does not serve it and how; or none could be tried.
    """
    url = f"http://{fqdn}{path}"
    try:
        addresses = resolve(fqdn, PORTS["http"])
    except OSError as error:
        raise AcmeError(catalogue.DNS_UNRESOLVED, fqdn=fqdn, why=error.strerror) from error
    untried: list[str] = []
    faults: list[str] = []
    for address in addresses:
        try:
            body = _follow(url, address, resolve)
        except NoRouteError:
            untried.append(f"{address[0]}, an address of {fqdn}, cannot be tried from this machine: no route there")
        except _Fault as fault:
            faults.append(f"{fqdn} at {address[0]} {fault}")
        else:
            if body.rstrip(b"\n\r\t ") != expected.encode():
                faults.append(f"{fqdn} at {address[0]} serves something else than the challenge")
    if faults:
        raise AcmeError(catalogue.CHALLENGE_UNSERVED, faults="; ".join(faults), fqdn=fqdn, url=url)
    if len(untried) == len(addresses):
        raise AcmeError(catalogue.CHALLENGE_UNTRIED, faults="; ".join(untried), fqdn=fqdn)
    return untried


def _follow(url: str, address: Address, resolve: Resolver) -> bytes:
    """Get what is there at the end of all redirects."""
    candidates: Sequence[Address] = [address]
    came = ""
    for _ in range(MOST_REDIRECTS + 1):
        try:
            answer = _get_from_first(url, candidates)
        except _Fault as fault:
            raise _Fault(f"{came}{fault}") from fault
        if answer.status == http.client.OK:
            if len(answer.body) > LONGEST_BODY:
                raise _Fault(f"{came}serves more than {LONGEST_BODY} bytes")
            return answer.body
        if answer.status not in REDIRECTS:
            raise _Fault(f"{came}answers {answer.status}")
        came = f"redirects to {answer.location}, which "
        url, candidates = _after_redirect(url, answer.location, resolve)
    raise _Fault(f"redirects more than {MOST_REDIRECTS} times, the last time to {url}")


def _after_redirect(url: str, location: str, resolve: Resolver) -> tuple[str, Sequence[Address]]:
    """Find where a redirect leads, if the CA would go there."""
    came = f"redirects to {location}, which "
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        port = parts.port or PORTS.get(parts.scheme, 0)
        if parts.scheme not in PORTS or not parts.hostname or port not in PORTS.values():
            raise _Fault(f"{came}the CA does not follow: only http and https, on ports 80 and 443")
        return target, resolve(parts.hostname, port)
    except OSError as error:
        raise _Fault(f"{came}has no address: {error.strerror}") from error
    except ValueError as error:  # no URL, or (UnicodeError) no host name
        raise _Fault(f"{came}is no address") from error


def _get_from_first(url: str, candidates: Sequence[Address]) -> Answer:
    """Ask the first address that this machine has a route to; of one that is there but refuses, no other is tried."""
    for address in candidates:
        try:
            return web_client.get(url, address, LONGEST_BODY + 1)
        except NoRouteError:
            continue
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _Fault(_explained(error, address)) from error
    raise NoRouteError


def _explained(error: Exception, address: Address) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"refuses connections on port {address[1]}"
    if isinstance(error, TimeoutError):
        return f"is silent on port {address[1]} for {web_client.TIMEOUT:g} seconds, as behind a firewall"
    if isinstance(error, http.client.RemoteDisconnected):
        return "closes the connection without an answer"
    return f"gives no answer that can be read: {error}"
