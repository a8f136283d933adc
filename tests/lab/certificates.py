"""The certificates that the sites have and that charon holds, and a tunnel that must not notice their going."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from cryptography import x509

if TYPE_CHECKING:
    from collections.abc import Iterator

    from product import Product

SITES: Final = ("home", "vps4")
OTHER: Final = {"home": "vps4", "vps4": "home"}
MOMENT: Final = 5
"""Packets, of fifty a second."""
PING: Final = "ping -6 -n -i 0.02 -I fdd7:5938:e2e6:1::1 fdd7:5938:e2e6:8e71::1"


def kept(product: Product, site: str) -> x509.Certificate:
    """The certificate that the controller has for a site."""
    bundle = (product.lab.directory / ".runbook" / "certificates" / f"{site}.pem").read_bytes()
    return x509.load_pem_x509_certificates(bundle)[0]


def serial(certificate: x509.Certificate) -> str:
    number = certificate.serial_number
    return number.to_bytes((number.bit_length() + 7) // 8, "big").hex(":")


def held(product: Product, host: str) -> list[str]:
    """The serial numbers of all certificates that a host's charon has loaded, or been shown."""
    listed = product.lab.root(host, "swanctl --list-certs 2>/dev/null || ipsec listcerts").stdout
    return re.findall(r"serial: +([0-9a-f:]+)", listed)


@contextmanager
def pinged(product: Product) -> Iterator[None]:
    """Ping through the tunnel meanwhile, fifty times a second; the new IKE SA must stand before any old one goes.

    The other end may speak by the new one a moment before this end listens to it: a packet on its way then is lost.
    """
    cursor = product.lab.root("home", "journalctl -n 0 --show-cursor | sed -n 's/^-- cursor: //p'").stdout.strip()
    product.lab.root("home", f"nohup {PING} >/tmp/ping 2>&1 & echo $! >/tmp/ping.pid")
    try:
        yield
    finally:
        said = product.lab.root("home", "sleep 1; kill -INT $(cat /tmp/ping.pid); sleep 0.5; cat /tmp/ping").stdout
    answered = sorted({int(each) for each in re.findall(r"bytes from .*icmp_seq=(\d+)", said)})
    assert len(answered) > 50, said
    missing = set(range(1, answered[-1] + 1)) - set(answered)
    assert len(missing) <= MOMENT, f"lost: {sorted(missing)} of {answered[-1]}"
    journal = product.lab.root("home", f"journalctl -o cat --after-cursor='{cursor}'").stdout
    told = re.findall(r"IKE_SA ula-net-vps4\[(\d+)\] established|deleting IKE_SA ula-net-vps4\[(\d+)\]", journal)
    for at, (_, old) in enumerate(told):
        assert not old or any(int(new) > int(old) for new, _ in told[:at] if new), told
