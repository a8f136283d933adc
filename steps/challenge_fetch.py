"""Look at a challenge as the CA will, from here, before the CA is asked.

A failed validation costs one of five an hour; our own look costs nothing, and can say what is wrong in more words. The
rules are those of Let's Encrypt's validator (boulder, va/http.go), but stricter in one point: there the first address
of a family is tried and IPv4 only helps out where IPv6 cannot be dialled, here every address of the name has to serve.
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from steps.acme_order import PATH, AcmeError

Address = tuple[str, int]
"""An IP address and a port."""
Resolver = Callable[[str, int], Sequence[Address]]
"""Gives all addresses of a name; raises OSError where it has none."""

TIMEOUT: Final = 10
"""Seconds without a byte after which an address counts as silent."""
LONGEST_BODY: Final = 128  # bytes
MOST_REDIRECTS: Final = 10
REDIRECTS: Final = frozenset({301, 302, 307, 308})
PORTS: Final = {"http": 80, "https": 443}
# This machine has no way to that family of addresses at all, which says nothing about the site.
NO_ROUTE: Final = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class _NoRouteError(Exception):
    """This machine cannot try that address."""


class _Fault(Exception):  # noqa: N818 - what is wrong, in words, on its way to one AcmeError
    """What the CA would refuse."""


def system_addresses(name: str, port: int) -> list[Address]:
    """Ask this machine's resolver for all addresses of a name, IPv6 first.

    Raises:
        OSError: There are none.
    """
    found = {info[4][:2] for info in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)}
    return sorted(((str(host), int(number)) for host, number in found), key=lambda each: (":" not in each[0], each))


def fetch_challenge(fqdn: str, token: str, expected: str, resolve: Resolver = system_addresses) -> list[str]:
    """Fetch the challenge over plain HTTP from every address that the name has.

    Args:
        fqdn: The name to be proved.
        token: The challenge's.
        expected: What has to be served (the key authorization of RFC 8555, 8.1).
        resolve: How to find addresses.

    Returns:
        One sentence for each address that cannot be tried from this machine, for want of IPv6 mostly.

    Raises:
        AcmeError: Which address does not serve it and how; or none could be tried.
    """
    url = f"http://{fqdn}{PATH}{token}"
    try:
        addresses = resolve(fqdn, PORTS["http"])
    except OSError as error:
        message = f"the name {fqdn} has no address: {error.strerror}"
        raise AcmeError(message, hint="let its A or AAAA record lead to the site") from error
    untried: list[str] = []
    faults: list[str] = []
    for address in addresses:
        try:
            body = _follow(url, address, resolve)
        except _NoRouteError:
            untried.append(f"{address[0]}, an address of {fqdn}, cannot be tried from this machine: no route there")
        except _Fault as fault:
            faults.append(f"{fqdn} at {address[0]} {fault}")
        else:
            if body.rstrip(b"\n\r\t ") != expected.encode():
                faults.append(f"{fqdn} at {address[0]} serves something else than the challenge")
    if faults:
        message = f"the CA would refuse: {'; '.join(faults)} ({url})"
        raise AcmeError(message, hint="every address of the name has to serve it, on port 80, to everybody")
    if len(untried) == len(addresses):
        raise AcmeError("; ".join(untried), hint="run this where the site can be reached")
    return untried


def _follow(url: str, address: Address, resolve: Resolver) -> bytes:
    """Get what is there at the end of all redirects."""
    candidates: Sequence[Address] = [address]
    came = ""
    for _ in range(MOST_REDIRECTS + 1):
        parts = urlsplit(url)
        try:
            status, location, body = _get_from_first(parts, candidates)
        except _Fault as fault:
            raise _Fault(f"{came}{fault}") from fault
        if status == http.client.OK:
            if len(body) > LONGEST_BODY:
                raise _Fault(f"{came}serves more than {LONGEST_BODY} bytes")
            return body
        if status not in REDIRECTS:
            raise _Fault(f"{came}answers {status}")
        came = f"redirects to {location}, which "
        url, candidates = _after_redirect(url, location, resolve)
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


def _get_from_first(parts: SplitResult, candidates: Sequence[Address]) -> tuple[int, str, bytes]:
    """Ask the first address that this machine has a route to; of one that is there but refuses, no other is tried."""
    for address in candidates:
        try:
            return _get(parts, address)
        except _NoRouteError:
            continue
    raise _NoRouteError


def _get(parts: SplitResult, address: Address) -> tuple[int, str, bytes]:
    """Send one GET to that address, naming the host of the URL: status, Location, and the body's beginning."""
    host = parts.hostname or ""
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": parts.netloc.rpartition("@")[2], "User-Agent": "ipsec-runbook", "Connection": "close"}
    try:
        connection.sock = socket.create_connection(address, timeout=TIMEOUT)
        if parts.scheme == "https":
            connection.sock = _unverified().wrap_socket(connection.sock, server_hostname=host)
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location", ""), answer.read(LONGEST_BODY + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _explained(error, address) from error
    finally:
        connection.close()


def _explained(error: Exception, address: Address) -> Exception:
    if isinstance(error, OSError) and error.errno in NO_ROUTE:
        return _NoRouteError()
    if isinstance(error, ConnectionRefusedError):
        return _Fault(f"refuses connections on port {address[1]}")
    if isinstance(error, TimeoutError):
        return _Fault(f"is silent on port {address[1]} for {TIMEOUT} seconds, as behind a firewall")
    if isinstance(error, http.client.RemoteDisconnected):
        return _Fault("closes the connection without an answer")
    return _Fault(f"gives no answer that can be read: {error}")


def _unverified() -> ssl.SSLContext:
    """Trust any certificate, as the CA does here: the site is only about to get one. At least TLS 1.2, by default."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
