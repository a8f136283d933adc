"""One request to one address of a name: what a stranger on the internet gets there, told to the byte that matters.

No redirect is followed, no proxy used, no certificate verified: the certificate authority does none of it either.
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

Address = tuple[str, int]
"""An IP address and a port."""

TIMEOUT: Final = 10.0
"""Seconds without a byte after which an address counts as silent."""
PORTS: Final = {"http": 80, "https": 443}

# This machine has no way to that family of addresses at all, which says nothing about the site.
NO_ROUTE: Final = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class NoRouteError(Exception):
    """This machine cannot try that address."""


@dataclass(frozen=True)
class Answer:
    """What a web server says: the status, where it sends us, and the body's beginning."""

    status: int
    location: str
    body: bytes


def addresses_of(name: str, port: int) -> list[Address]:
    """Ask this machine's resolver for all addresses of a name, IPv6 first.

    Raises:
        OSError: There are none.
    """
    found = {info[4][:2] for info in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)}
    return sorted(((str(host), int(number)) for host, number in found), key=lambda each: (":" not in each[0], each))


def get(url: str, address: Address, longest: int = 0) -> Answer:
    """Send one GET to that address, naming the host of the URL; of the body at most `longest` bytes are read.

    Raises:
        NoRouteError: This machine has no way to the address.
        OSError: The connection is refused, silent or cut (http.client.RemoteDisconnected: closed without a word).
        http.client.HTTPException: What came is no HTTP.
        ValueError: The URL cannot be asked for.
    """
    parts = urlsplit(url)
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
        return Answer(answer.status, answer.getheader("Location", ""), answer.read(longest))
    except OSError as error:
        if error.errno in NO_ROUTE:
            raise NoRouteError from error
        raise
    finally:
        connection.close()


def _unverified() -> ssl.SSLContext:
    """Trust any certificate: the site is only about to get one. At least TLS 1.2, by default."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
