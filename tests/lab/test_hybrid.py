"""ML-KEM beside the elliptic curve, by the strongSwan of the Debian after 13, the first that has it.

That Debian itself does not boot where the control groups are of the first version, so its strongSwan goes to hosts of
this one.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from laws import Laws
from product import Product, Run

from lab import Lab, image
from lab.commands import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.lab, pytest.mark.slow]

NEWER = "forky"
PACKAGES = (
    "libc6 libc-bin libc-gconv-modules-extra charon-systemd strongswan-swanctl strongswan-libcharon libstrongswan "
    "libstrongswan-standard-plugins libstrongswan-extra-plugins libcharon-extra-plugins"
)
INSTALL = """\
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -q -y install --no-install-recommends /srv/newer/*.deb >/dev/null 2>&1
systemctl restart strongswan
"""
"""The daemon was begun before all of its plugins were there."""
SUITE = "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384"


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages, by an apt that knows of nothing else."""
    directory = tmp_path_factory.mktemp("newer")
    (directory / "lists/partial").mkdir(parents=True)
    (directory / "status").touch()
    (directory / "sources.list").write_text(image.sources(NEWER).splitlines()[0] + "\n")
    # a mirror that stands still is good enough
    (directory / "conf").write_text(
        f'Dir::State::Lists "{directory}/lists"; Dir::State::status "{directory}/status"; '
        f'Dir::Cache "{directory}"; Dir::Etc::sourcelist "{directory}/sources.list"; Dir::Etc::sourceparts "-"; '
        'Acquire::Check-Valid-Until "false"; APT::Sandbox::User "root";'
    )
    script = f"cd {directory} && apt-get -qq update && apt-get -qq download {PACKAGES}"
    got = run(["sh", "-c", script], env={"APT_CONFIG": f"{directory}/conf"}, check=False)
    if got.returncode:
        pytest.skip(f"no packages of {NEWER} here: {got.stderr}")
    return directory


@pytest.fixture(scope="module")
def product(newer: Path) -> Iterator[Product]:
    lab = Lab(f"hybrid-{os.getpid()}", releases={"vps4": "trixie"})
    lab.down()
    lab.up(print)
    have(lab, "home", newer)
    yield Product(lab)
    lab.down()


def have(lab: Lab, host: str, newer: Path) -> None:
    """Have the newer strongSwan on a host."""
    place = lab.layout.root(host) / "srv/newer"
    place.mkdir()
    for package in newer.glob("*.deb"):
        shutil.copy(package, place)
    lab.root(host, INSTALL)


def applied(product: Product) -> tuple[Run, str]:
    """What both ends agreed on and by which new keys were made."""
    done = product.apply()
    assert done.code == 0, done.err
    assert product.audit().code == 0
    return done, "\n".join(
        line for step in done.document["steps"] for each in step["checks"] for line in each["evidence"]
    )


def test_where_one_end_has_it_the_other_does_not_hear_of_it_and_where_both_do_it_is_used(
    product: Product, newer: Path
) -> None:
    laws = Laws.of(product)
    _, told = applied(product)
    first = {host: product.lab.root(host, "cat /etc/swanctl/conf.d/*.conf").stdout for host in ("home", "vps4")}
    assert ["ke1_mlkem768" in text for text in first.values()] == [True, False]
    assert f"home: ula-net-vps4 IKE {SUITE}, ESP " in told
    assert "home: ula-net-vps4 has new keys by AES_GCM_16-256/ECP_384, SPI " in told

    have(product.lab, "vps4", newer)
    done, told = applied(product)
    assert ("connection", "vps4", "file /etc/swanctl/conf.d/ula-net-home.conf") in done.not_in_order
    for end in ("home: ula-net-vps4", "vps4: ula-net-home"):
        assert f"{end} IKE {SUITE}/KE1_ML_KEM_768, ESP " in told
    assert "home: ula-net-vps4 has new keys by AES_GCM_16-256/ECP_384/KE1_ML_KEM_768, SPI " in told
    laws.kept()
