"""From one description of the network to another and back again; rolled back, the hosts are as at first."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from laws import SITES, Laws, changed
from product import Product

from lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.lab, pytest.mark.slow]

OTHERWISE = {
    "another style": [("ipsec:\n", "ipsec:\n  config: stroke\n")],
    "more subnets, other ciphers and options": [
        ("    subnet: 1\n", "    subnet: [1, 192.168.7.1/24]\n"),
        ("    subnet: 8e71\n", "    subnet: [8e71, 8e72, 10.0.4.0/24]\n"),
        ("ipsec:\n", "ipsec:\n  start: start\n  esp_proposals: [aes128gcm16-ecp256]\n  ikelifetime: 60m\n"),
    ],
    "other names, known by an authority of one's own, and another style": [
        (r"certificates:\n(?:  .*\n)+", "certificate_authority: private\n"),
        (r"(fqdn: home)", r"\1-anew"),
        (r"(fqdn: vps4)", r"\1-anew"),
        ("ipsec:\n", "ipsec:\n  config: stroke\n"),
    ],
    "an authority of one's own": [(r"certificates:\n(?:  .*\n)+", "certificate_authority: private\n")],
}


CREDENTIALS = "find /etc/swanctl /etc/ssl -name '*.example.test*'"


@pytest.fixture(scope="module")
def laws() -> Iterator[Laws]:
    lab = Lab(f"there-and-back-{os.getpid()}")
    lab.down()
    lab.up(print)
    yield Laws.of(Product(lab))
    lab.down()


@pytest.mark.parametrize("name", OTHERWISE)
def test_there_and_back_and_all_taken_back(laws: Laws, name: str) -> None:
    sites = laws.product.lab.directory / "sites.yaml"
    one = other = sites.read_text()
    for old, new in OTHERWISE[name]:
        assert len(re.findall(old, other)) == 1
        other = re.sub(old, new, other)
    for text in (one, other, one):
        sites.write_text(text)
        changed(laws.product)
        for host in SITES:
            there = laws.product.lab.root(host, CREDENTIALS).stdout
            assert ".example.test" in there
            assert ("-anew" in there) == ("-anew" in text)
    laws.undone()
