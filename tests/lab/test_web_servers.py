"""An nginx that serves sites already goes on serving them, whoever has the host's name; something else is named."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from laws import Laws
from product import Product

from lab import Lab, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from product import Run

pytestmark = pytest.mark.lab

HOME = """\
# the admin's own site, of the host's own name
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    server_name home.example.test
                www.home.example.test;
    location / { return 200 "home's own site"; }
}
"""
VPS4 = """\
server {
    listen 203.0.113.20:80;
    server_name shop.example.test;
    location / { return 200 "the shop"; }
}
"""
WEB = re.compile(r"nginx|acme-challenge|/var/www")


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"web-servers-{os.getpid()}")
    lab.down()
    lab.up(print)
    for host, site in (("home", HOME), ("vps4", VPS4)):
        lab.root(host, "apt-get -q update; DEBIAN_FRONTEND=noninteractive apt-get -qy install nginx")
        lab.root(host, f"cat >/etc/nginx/sites-available/mine <<'END'\n{site}END")
        lab.root(
            host,
            "cd /etc/nginx/sites-enabled; ln -s ../sites-available/mine mine; nginx -t && systemctl restart nginx",
            check=host == "vps4",
        )
    lab.root("home", "rm /etc/nginx/sites-enabled/default; nginx -t && systemctl restart nginx")
    yield Product(lab)
    lab.down()


def pictures(product: Product) -> dict[str, dict[str, str]]:
    """All that has to do with the web; the rest is every other test's."""
    taken = {site: snapshot.take(product.lab, site) for site in ("home", "vps4")}
    return {site: {key: each for key, each in found.items() if WEB.search(key)} for site, found in taken.items()}


@pytest.fixture(scope="module")
def before(product: Product) -> dict[str, dict[str, str]]:
    return pictures(product)


@pytest.fixture(scope="module")
def laws(product: Product, before: dict[str, dict[str, str]]) -> Laws:  # noqa: ARG001 - before it
    return Laws.of(product)


@pytest.fixture(scope="module")
def applied(laws: Laws) -> Run:
    return laws.applied()


def visited(product: Product, host: str, name: str) -> str:
    """What a visitor gets; the hosts' firewalls let their own traffic through."""
    address = {"home": "127.0.0.1", "vps4": "203.0.113.20"}[host]
    return product.lab.root(host, f"curl -s -H 'Host: {name}' http://{address}/", check=False).stdout


def test_a_run_beside_them_ends_in_order_with_certificates_of_a_real_authority(applied: Run) -> None:
    assert applied.code == 0, applied.err
    assert applied.changes["certificate"] == 2


def test_their_visitors_notice_nothing(product: Product, applied: Run) -> None:
    assert applied.code == 0
    assert visited(product, "home", "home.example.test") == "home's own site"
    assert visited(product, "home", "unheard.of") == "home's own site"
    assert visited(product, "vps4", "shop.example.test") == "the shop"
    assert visited(product, "vps4", "unheard.of") == "the shop"


def test_one_of_the_hosts_own_name_gets_one_line_and_any_other_none(product: Product, applied: Run) -> None:
    assert applied.code == 0
    read = "cat /etc/nginx/sites-available/mine"
    home = product.lab.root("home", read).stdout
    assert home.splitlines()[6].strip().startswith("include /etc/nginx/ipsec-runbook-challenges.conf;")
    assert re.sub(r".*ipsec-runbook.*\n", "", home) == HOME
    assert product.lab.root("vps4", read).stdout == VPS4
    assert product.lab.root("home", "readlink /etc/nginx/sites-enabled/mine").stdout == "../sites-available/mine\n"


def test_again_there_is_nothing_to_do(laws: Laws, applied: Run) -> None:
    assert applied.code == 0
    laws.kept()


def test_a_site_that_is_added_later_is_noticed(product: Product, applied: Run) -> None:
    assert applied.code == 0
    late = "server { listen 127.0.0.9:80; server_name late.example.test; return 200 late; }"
    product.lab.root("vps4", f"echo '{late}' >/etc/nginx/conf.d/late.conf; systemctl reload nginx")
    try:
        assert product.audit().not_in_order >= {
            ("nginx", "vps4", "file /etc/nginx/sites-enabled/zz-ipsec-runbook.conf")
        }
    finally:
        product.lab.root("vps4", "rm /etc/nginx/conf.d/late.conf; systemctl reload nginx")
    assert product.audit().code == 0


def test_taken_back_they_are_as_they_were(
    product: Product, before: dict[str, dict[str, str]], laws: Laws, applied: Run
) -> None:
    assert applied.code == 0
    laws.undone()
    now = pictures(product)
    assert {site: snapshot.diff(before[site], now[site]) for site in now} == {"home": [], "vps4": []}


def test_another_program_on_port_80_is_named_and_left_alone(
    product: Product, before: dict[str, dict[str, str]]
) -> None:
    lab = product.lab
    for host in before:
        lab.root(host, "systemctl stop nginx; systemd-run -q --unit other systemd-socket-activate -l 80 --inetd -a cat")
        lab.root(host, "until ss -Hltn 'sport = :80' | grep -q .; do sleep 0.1; done")
    try:
        done = product.apply()
    finally:
        now = {host: lab.root(host, "systemctl is-active other", check=False).stdout for host in before}
        for host in before:
            lab.root(host, "systemctl stop other; systemctl start nginx")
    assert done.code == 1
    assert now == {"home": "active\n", "vps4": "active\n"}
    told = {each["target"]: each["error"] for each in done.document["failures"] if each["step"] == "nginx"}
    assert set(told) == set(before)
    for error in told.values():
        assert "systemd-socket" in error
        assert "(other.service)" in error
    assert visited(product, "home", "home.example.test") == "home's own site"
    assert visited(product, "vps4", "shop.example.test") == "the shop"
