"""After a reboot of either host, or of both at once, the tunnel is back by itself."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from laws import Laws
from product import Product

from lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

HOME, VPS4 = "fdd7:5938:e2e6:3::1", "fdd7:5938:e2e6:3::8e71"
MINUTE = 60.0
"""Seconds that the tunnel may take once both hosts are up."""


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"after-reboot-{os.getpid()}")
    lab.down()
    lab.up(print)
    yield Product(lab)
    lab.down()


@pytest.fixture(scope="module")
def laws(product: Product) -> Laws:
    found = Laws.of(product)
    found.applied()
    return found


@pytest.mark.usefixtures("laws")
@pytest.mark.parametrize("hosts", [("home",), ("vps4",), ("home", "vps4")], ids="-".join)
def test_the_tunnel_is_back_by_itself(product: Product, hosts: tuple[str, ...]) -> None:
    lab = product.lab
    with ThreadPoolExecutor() as pool:
        list(pool.map(lab.reboot, hosts))
    up = time.monotonic()
    for host, there in (("home", VPS4), ("vps4", HOME)):
        # traffic asks for the tunnel, as a user's would: nobody starts anything
        while lab.root(host, f"ping -6 -n -c 1 -W 1 {there}", check=False).returncode:
            assert time.monotonic() - up < MINUTE, lab.root(
                host, "journalctl -b -u strongswan -o cat | tail -n 40"
            ).stdout
    audit = product.audit()
    assert audit.code == 0, audit.not_in_order


def test_the_laws_hold_after_reboots_as_before(laws: Laws) -> None:
    laws.kept()
    laws.undone()
