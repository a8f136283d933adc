"""Packages that the admin has removed and not purged: rolled back, they are gone again, and what lay there still is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest
from laws import SITES, Laws
from product import Product
from survival import apply_until_the_power_fails

from lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from product import Run

pytestmark = pytest.mark.lab

OURS: Final = "charon-systemd strongswan-swanctl libstrongswan-extra-plugins nginx"
EDIT: Final = f"""\
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -qy install --no-install-recommends {OURS}
echo '# mine' | tee -a /etc/nginx/nginx.conf >>/etc/strongswan.conf
chmod 640 /etc/strongswan.conf
rm /etc/nginx/fastcgi.conf
cd /etc/nginx && mv koi-win koi-mine && ln -s koi-mine koi-win && echo '# mine' >>koi-mine
echo 'server {{ listen 80; server_name shop.example.test; return 200 "the shop"; }}' >/etc/nginx/sites-available/shop
apt-get -qy remove {OURS}
"""
"""Edited, made stricter, thrown away, made a link: each is the admin's will; the shop is known to no package."""
OLDER: Final = """\
made=$(mktemp -d)
dpkg-deb -R /srv/packages/nginx-common_*.deb "$made/deb"
sed -i 's/^Version: .*/Version: 1/' "$made/deb/DEBIAN/control"
echo '# as version 1 has it' >>"$made/deb/etc/nginx/mime.types"
sed -i "s,.* etc/nginx/mime.types,$(md5sum <"$made/deb/etc/nginx/mime.types" | cut -c -32)  etc/nginx/mime.types," \
    "$made/deb/DEBIAN/md5sums"
dpkg-deb --build "$made/deb" "$made/older.deb"
dpkg -i "$made/older.deb"
rm -r "$made"
"""
"""Another version of a configuration file, which the admin has left as it was."""
DPKGS_OWN: Final = r"^vps4: . package:nginx-common|file:/var/lib/dpkg/status:"
"""dpkg remembers the version that was installed last; the file is compared by `CONFFILES`."""
FILES_AND_PACKAGES: Final = rf"{DPKGS_OWN}|^\w+: . (?!file:|package:)"
"""What a reboot leaves as it is."""
CONFFILES: Final = (
    "dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\\n${Conffiles}\\n' | grep -v 'remove-on-upgrade$'"
)
"""What is there to be removed by an upgrade, dpkg knows by its content only once the package came a second time."""


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"remains-{os.getpid()}")
    lab.down()
    lab.up(print)
    for host, more in {"home": "", "vps4": OLDER}.items():
        lab.root(host, f"{EDIT}{more}apt-get -qy autoremove; systemctl reset-failed")
    yield Product(lab)
    lab.down()


@pytest.fixture(scope="module")
def laws(product: Product) -> Laws:
    return Laws.of(product)


@pytest.fixture(scope="module")
def conffiles(product: Product) -> str:
    return product.lab.root("home", CONFFILES).stdout


@pytest.fixture(scope="module")
def applied(laws: Laws, conffiles: str) -> Run:
    assert "rc  strongswan-libcharon" in conffiles
    assert "rc  nginx-common" in conffiles
    return laws.applied()


@pytest.mark.parametrize("host", SITES)
def test_what_lay_there_is_what_the_packages_have_now(product: Product, applied: Run, host: str) -> None:
    assert applied.changes["strongswan"]
    assert product.lab.root(host, "tail -n 1 /etc/nginx/nginx.conf /etc/strongswan.conf").stdout.count("# mine") == 2
    assert "version 1" not in product.lab.root(host, "cat /etc/nginx/mime.types").stdout


def test_rolled_back_they_are_gone_but_for_what_lay_there(laws: Laws, applied: Run, conffiles: str) -> None:
    assert applied.code == 0
    laws.undone(DPKGS_OWN)
    lab = laws.product.lab
    assert lab.root("home", CONFFILES).stdout == conffiles
    assert lab.root("home", "stat -c %a /etc/strongswan.conf; ls /etc/nginx/fastcgi.conf 2>&1", check=False).stdout == (
        "640\nls: cannot access '/etc/nginx/fastcgi.conf': No such file or directory\n"
    )
    assert "# as version 1 has it" in lab.root("vps4", "cat /etc/nginx/mime.types").stdout
    for host in SITES:
        assert "the shop" in lab.root(host, "cat /etc/nginx/sites-available/shop").stdout


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_so_they_are_where_the_power_has_failed_while_they_were_installed(laws: Laws) -> None:
    """The hosts are as at first, by the rollback before."""
    apply_until_the_power_fails(laws.product.lab, laws.product.sites)
    laws.undone(FILES_AND_PACKAGES)
