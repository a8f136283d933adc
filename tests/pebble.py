"""Let's Encrypt's own test CA, Debian's package `pebble`, run on loopback for tests, with a web server for challenges.

Names are answered by `pebble-challtestsrv` (127.0.0.1 for every A, nothing for AAAA), so that any name is "ours".
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from made_pki import CA_USES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOOPBACK: Final = "127.0.0.1"
WELL_KNOWN: Final = "/.well-known/acme-challenge/"


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def new_authority(folder: Path) -> Path:
    """Write a CA (ca.pem) and a certificate of its for 127.0.0.1 (tls.pem, tls.key): the directory's own HTTPS."""
    ca_key, tls_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test directory's own CA")])
    now = datetime.now(UTC)

    def certificate(subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder(ca_name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )

    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))])
    root = certificate(ca_name, ca_key, ca=True).add_extension(CA_USES, critical=True).sign(ca_key, hashes.SHA256())
    leaf = certificate(x509.Name([]), tls_key, ca=False).add_extension(address, critical=True)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    (folder / "tls.pem").write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    (folder / "tls.key").write_bytes(
        tls_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "ca.pem"


@dataclass
class Pebble:
    """A running Pebble: where it is, whom its HTTPS is signed by, and what it was asked."""

    directory: str
    management: str
    ca_bundle: Path
    http_port: int
    log: Path

    def get(self, url: str) -> bytes:
        """What a page of its own management interface holds."""
        context = ssl.create_default_context(cafile=str(self.ca_bundle))
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:  # noqa: S310 - our own https URL
            return bytes(answer.read())

    def roots(self) -> list[x509.Certificate]:
        """The roots of the chains that it offers: the default's first, then the alternate's."""
        return [x509.load_pem_x509_certificate(self.get(f"{self.management}/roots/{n}")) for n in range(2)]


@dataclass
class ChallengeServer:
    """A web server as a site would have it: serves what was put, 404 for all else. Also a `Challenges`."""

    port: int = 0
    files: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Paths in the order they were asked for."""
    hosts: list[str] = field(default_factory=list)
    """The Host that each of them was asked of."""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    """Prepared answers by path: status, headers, body."""

    def reply(self, path: str, host: str) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(path)
        self.hosts.append(host)
        if path in self.answers:
            return self.answers[path]
        body = self.files.get(path.removeprefix(WELL_KNOWN))
        return (404, {}, b"nothing here") if body is None else (200, {}, body.encode())


@contextlib.contextmanager
def challenge_server(address: str = LOOPBACK, port: int = 0, tls: Path | None = None) -> Iterator[ChallengeServer]:
    """Serve challenges at that address until the block ends; by HTTPS if given a folder of `new_authority`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = state.reply(self.path, self.headers["Host"])
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean; `asked` has it."""

    state = ChallengeServer()
    with serving(Handler, address, port, tls) as state.port:
        yield state


@contextlib.contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler], address: str, port: int = 0, tls: Path | None = None
) -> Iterator[int]:
    """Serve HTTP in a thread until the block ends; gives the port."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        daemon_threads = True

    with Server((address, port), handler) as server:
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls / "tls.pem", tls / "tls.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def running_pebble(folder: Path, **environment: str) -> Iterator[Pebble]:
    """Run Pebble with three CA certificates to a chain, a second root, and its usual share of refused nonces."""
    acme, management, http, tls, dns, control = free_ports(6)
    pebble = Pebble(
        directory=f"https://{LOOPBACK}:{acme}/dir",
        management=f"https://{LOOPBACK}:{management}",
        ca_bundle=new_authority(folder),
        http_port=http,
        log=folder / "pebble.log",
    )
    config = {
        "listenAddress": f"{LOOPBACK}:{acme}",
        "managementListenAddress": f"{LOOPBACK}:{management}",
        "certificate": str(folder / "tls.pem"),
        "privateKey": str(folder / "tls.key"),
        "httpPort": http,
        "tlsPort": tls,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    settings = {"PEBBLE_CHAIN_LENGTH": "3", "PEBBLE_ALTERNATE_ROOTS": "1", "PEBBLE_VA_NOSLEEP": "1", **environment}
    names = ["pebble-challtestsrv", "-defaultIPv4", LOOPBACK, "-defaultIPv6", "", "-dns01", f"{LOOPBACK}:{dns}"]
    names += ["-http01", "", "-https01", "", "-tlsalpn01", "", "-management", f"{LOOPBACK}:{control}"]
    authority = ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"{LOOPBACK}:{dns}"]
    with (
        (folder / "dns.log").open("wb") as dns_log,
        pebble.log.open("wb") as log,
        stopped_after(subprocess.Popen(names, stdout=dns_log, stderr=dns_log)),
        stopped_after(subprocess.Popen(authority, stdout=log, stderr=log, env={**os.environ, **settings})) as process,
    ):
        wait_until_it_answers(pebble, process)
        yield pebble


@contextlib.contextmanager
def stopped_after(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=10)


def wait_until_it_answers(pebble: Pebble, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + 30
    while True:
        try:
            pebble.get(pebble.directory)
            pebble.roots()
        except OSError:
            if process.poll() is not None or time.monotonic() > give_up:
                pytest.fail(f"pebble does not answer: {pebble.log.read_text()}")
            time.sleep(0.05)  # between polls of a condition
        else:
            return


@pytest.fixture(name="pebble", scope="session")
def one_pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """One Pebble for all tests of a run; a test module that wants it imports this."""
    with running_pebble(tmp_path_factory.mktemp("pebble")) as running:
        yield running
