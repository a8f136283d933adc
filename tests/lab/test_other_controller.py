"""Another controller goes on or goes back by what the hosts themselves keep, and one without the keys says so."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from faults import product as faulty
from product import Product, picture

from lab import Lab, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.lab

SITES = ("home", "vps4")
KILLED_AT = ("ipsec-firewall", "home", "intent", "after")
"""In the middle: packages, keys and certificates are on the hosts, and no tunnel."""
OF_THE_NETWORK = ("sites.yaml", "ssh_config", "acme-ca.pem", "trust-anchor.pem")
BACKED_UP = ("keys", "csr", "certificates", "acme")


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"elsewhere-{os.getpid()}")
    lab.up(print)
    yield Product(lab)
    lab.down()


@pytest.fixture(scope="module")
def fresh(product: Product) -> dict[str, dict[str, str]]:
    return {site: picture(product.lab, site) for site in SITES}


@pytest.fixture(scope="module")
def killed(product: Product, fresh: object) -> None:  # noqa: ARG001 - the picture is taken first
    run = product.run("apply", "--yes", by=faulty({"kill": KILLED_AT}))
    assert run.code == -signal.SIGKILL, run.out + run.err


@pytest.fixture
def elsewhere(product: Product, tmp_path: Path) -> Path:
    """The same network described at another place, where nothing was ever run."""
    for name in OF_THE_NETWORK:
        shutil.copy(product.lab.directory / name, tmp_path)
    return tmp_path / "sites.yaml"


@pytest.mark.usefixtures("killed")
def test_with_the_keys_from_a_backup_it_goes_on_to_the_end(product: Product, elsewhere: Path) -> None:
    for name in BACKED_UP:
        shutil.copytree(product.lab.directory / ".runbook" / name, elsewhere.parent / ".runbook" / name)
    done = product.run("resume", "--yes", file=str(elsewhere))
    assert done.code == 0, done.out + done.err
    assert "done: " in done.out
    for site in SITES:
        ours, theirs = (
            at / ".runbook/certificates" / f"{site}.pem" for at in (product.lab.directory, elsewhere.parent)
        )
        assert ours.read_bytes() == theirs.read_bytes(), "nothing was ordered again"
    assert product.run("audit", file=str(elsewhere)).code == 0


@pytest.mark.usefixtures("killed")
def test_without_the_keys_it_says_that_they_are_lost_and_touches_nothing(product: Product, elsewhere: Path) -> None:
    before = {site: picture(product.lab, site) for site in SITES}
    audit = product.run("audit", file=str(elsewhere))
    assert audit.code == 3
    assert [audit.out.count(f"{site} has a key in") for site in SITES] == [1, 1]
    assert audit.out.count("is lost here") == 2
    run = product.run("apply", "--yes", file=str(elsewhere))
    assert run.code == 1, run.out + run.err
    assert "is lost here" in run.out
    assert "put it back (from a backup, or as root from home)" in run.out
    assert not list((elsewhere.parent / ".runbook").glob("certificates/*"))
    now = {site: picture(product.lab, site) for site in SITES}
    assert {site: snapshot.diff(before[site], now[site]) for site in SITES} == {"home": [], "vps4": []}


@pytest.mark.usefixtures("killed")
def test_it_takes_back_what_another_did_by_the_hosts_own_manifests(
    product: Product, elsewhere: Path, fresh: dict[str, dict[str, str]]
) -> None:
    status = product.run("status", file=str(elsewhere))
    for site in SITES:
        assert f"{site}: " in status.out
    assert "before-images kept for rollback" in status.out
    forget = product.run("forget", "--yes", file=str(elsewhere))
    assert (forget.code, "applied more than 365 days ago is there to forget" in forget.out) == (0, True), forget.err
    done = product.run("rollback", "--all", "--yes", file=str(elsewhere))
    assert done.code == 0, done.out + done.err
    now = {site: picture(product.lab, site) for site in SITES}
    assert {site: snapshot.diff(fresh[site], now[site]) for site in SITES} == {"home": [], "vps4": []}
    for site in SITES:
        assert product.lab.root(site, "test -e /var/lib/ipsec-runbook", check=False).returncode == 1
    assert (product.lab.directory / ".runbook/keys/home.key").exists(), "what the first controller has is its own"
