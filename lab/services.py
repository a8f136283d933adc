"""What the lab's internet offers besides the hosts: names (dnsmasq) and a certificate authority (Pebble).

Pebble is Let's Encrypt's own test CA. It makes itself new roots each time it starts, so its root is asked of it then.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from lab import net, processes
from lab.commands import run
from lab.errors import LabError
from lab.layout import ACME_MANAGEMENT_PORT, ACME_NAME, ACME_PORT, CA, DNS_NAMES, DOMAIN, NAMESPACES, Layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAMES, AUTHORITY = "dnsmasq", "pebble"

PEBBLE_ENVIRONMENT = {
    "PEBBLE_CHAIN_LENGTH": "3",
    "PEBBLE_ALTERNATE_ROOTS": "1",
    "PEBBLE_VA_NOSLEEP": "1",
    "PEBBLE_AUTHZREUSE": "0",  # so that each order is a challenge
}

CERTIFICATE_REQUESTS = f"""\
[req]
prompt = no
distinguished_name = name
[name]
commonName = ipsec-runbook lab
[ca]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:{ACME_NAME}, IP:{CA.ipv4}, IP:{CA.ipv6}
"""


def ca_bundle(layout: Layout) -> Path:
    """The certificate that the ACME server's own HTTPS is checked against."""
    return layout.directory / "acme-ca.pem"


def trust_anchor(layout: Layout) -> Path:
    """The root of what the CA issues."""
    return layout.directory / "trust-anchor.pem"


def names_file(layout: Layout) -> Path:
    """The names the lab's DNS knows, in the form of /etc/hosts; read again at SIGHUP."""
    return layout.directory / "services" / "names"


def make_certificates(layout: Layout) -> None:
    """Make the CA for the ACME server's HTTPS and its certificate; the CA's key is thrown away."""
    directory = layout.directory / "services"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    requests = directory / "requests.cnf"
    requests.write_text(CERTIFICATE_REQUESTS)
    new: list[str | Path] = ["openssl", "req", "-x509", "-config", requests, "-nodes", "-days", "30"]
    new += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    ca_key, key = directory / "ca.key", directory / "server.key"
    run([*new, "-extensions", "ca", "-keyout", ca_key, "-out", ca_bundle(layout)])
    signed: list[str | Path] = [
        "-CA",
        ca_bundle(layout),
        "-CAkey",
        ca_key,
        "-subj",
        f"/CN={ACME_NAME}",
        "-extensions",
        "server",
    ]
    run([*new, *signed, "-keyout", key, "-out", directory / "server.pem"])
    ca_key.unlink()


def start(layout: Layout) -> None:
    """Start what does not run, and fetch the root of a CA just started."""
    running = processes.all_recorded(layout.process_directory)
    if NAMES not in running:
        _start_names(layout)
    if AUTHORITY not in running:
        _start_authority(layout, PEBBLE_ENVIRONMENT)
        trust_anchor(layout).write_text(_fetch_root(layout))


def restart_authority(layout: Layout, *, chain_length: int) -> None:
    """Have another CA in the old one's place, with so many CA certificates between its root and what it issues."""
    running = processes.recorded(layout.process_directory, AUTHORITY)
    processes.end([running] if running else [])
    _start_authority(layout, {**PEBBLE_ENVIRONMENT, "PEBBLE_CHAIN_LENGTH": str(chain_length)})
    trust_anchor(layout).write_text(_fetch_root(layout))


def _launch(layout: Layout, name: str, argv: list[str], env: dict[str, str] | None = None) -> None:
    """Start a service in the CA's namespace.

    By `nsenter`, not `ip netns exec`: that would give it a mount namespace of its own, to hold on to other labs' disks.
    """
    namespace = NAMESPACES / layout.namespace(CA.name)
    started = processes.launch(
        ["nsenter", f"--net={namespace}", "--wd=/", "--", *argv],
        layout.directory / "services" / f"{name}.log",
        env={**os.environ, **(env or {})},
    )
    processes.record(layout.process_directory, name, started)


def rename(layout: Layout, name: str, *addresses: str) -> None:
    """Give a name other addresses, for whoever asks from now on."""
    _write_names(layout, {**DNS_NAMES, name: addresses})
    os.kill(processes.all_recorded(layout.process_directory)[NAMES], signal.SIGHUP)


def _write_names(layout: Layout, names: Mapping[str, tuple[str, ...]]) -> None:
    lines = [f"{address} {name}\n" for name, addresses in names.items() for address in addresses]
    names_file(layout).write_text("".join(lines))


def _start_names(layout: Layout) -> None:
    _write_names(layout, DNS_NAMES)
    _launch(
        layout,
        NAMES,
        [
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--user=root",
            "--group=root",
            "--no-resolv",
            "--no-hosts",
            f"--addn-hosts={names_file(layout)}",
            f"--local=/{DOMAIN}/",
            "--bind-interfaces",
            f"--listen-address={CA.ipv4},{CA.ipv6}",
        ],
    )


def _start_authority(layout: Layout, environment: dict[str, str]) -> None:
    directory = layout.directory / "services"
    settings = {
        "listenAddress": f":{ACME_PORT}",
        "managementListenAddress": f":{ACME_MANAGEMENT_PORT}",
        "certificate": str(directory / "server.pem"),
        "privateKey": str(directory / "server.key"),
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    config = directory / "pebble.json"
    config.write_text(json.dumps({"pebble": settings}, indent=2))
    argv = ["pebble", "-config", str(config), "-dnsserver", f"{CA.ipv4}:53"]
    _launch(layout, AUTHORITY, argv, environment)


def _fetch_root(layout: Layout, patience: float = 20.0) -> str:
    """Ask the CA, once it answers, for the root its certificates lead to."""
    context = ssl.create_default_context(cafile=str(ca_bundle(layout)))
    address = f"https://{CA.ipv4}:{ACME_MANAGEMENT_PORT}/roots/0"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))

    def ask() -> str:
        deadline = time.monotonic() + patience
        while True:
            try:
                with direct.open(address, timeout=5) as answer:
                    return str(answer.read().decode())
            except (urllib.error.URLError, OSError) as failure:
                if time.monotonic() > deadline:
                    log = layout.directory / "services" / f"{AUTHORITY}.log"
                    raise LabError(f"The lab's CA does not answer ({failure}); its words are in {log}.") from failure
                time.sleep(0.05)

    return net.inside(layout.namespace(CA.name), ask)
