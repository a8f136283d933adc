"""nginx from a repository of its own, in place of Debian's: verified first, and taken back whole."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import nginx_repository
import pytest
from nginx_repository import VERSION, Repository
from product import Product, picture

from lab import Lab, snapshot
from runbook import complaints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from product import Run

pytestmark = pytest.mark.lab

HOSTS = ("home", "vps4")
SHOP = """\
server {
    listen 203.0.113.20:80;
    server_name shop.example.test;
    location / { return 200 "the shop"; }
}
"""
OF_NGINX = re.compile(r"nginx|apt|acme-challenge|/var/www")
LISTS = "cd /var/lib/apt/lists && ls"
OF_ALL_PACKAGES = {"file:/var/lib/dpkg/status", "file:/var/lib/apt/extended_states"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Product, Repository]]:
    """home has no nginx, vps4 Debian's, which serves a shop."""
    lab = Lab(f"nginx-org-{os.getpid()}")
    lab.down()
    lab.up(print)
    lab.root("home", "apt-get -q update")
    lab.root("vps4", "apt-get -q update; DEBIAN_FRONTEND=noninteractive apt-get -qy install nginx")
    lab.root("vps4", f"cat >/etc/nginx/sites-available/shop <<'END'\n{SHOP}END")
    lab.root("vps4", "ln -s ../sites-available/shop /etc/nginx/sites-enabled/shop; systemctl restart nginx")
    for made in nginx_repository.served(lab, tmp_path_factory.mktemp("repository")):
        fingerprint = made.new_key("right")
        made.new_key("wrong")
        made.publish("right")
        for host in HOSTS:
            made.add(lab, host)
        sites = lab.directory / "sites.yaml"
        text = f"nginx:\n  repository: {made.url}\n  signing_key: {made.key_url}\n  fingerprints: [{fingerprint}]\n"
        sites.write_text(sites.read_text() + text)
        yield Product(lab), made
    lab.down()


@pytest.fixture(scope="module")
def product(repository: tuple[Product, Repository]) -> Product:
    return repository[0]


def pictures(product: Product) -> dict[str, dict[str, str]]:
    """All that has to do with nginx and with where packages come from; the rest is every other test's."""
    found = {}
    for host in HOSTS:
        taken = picture(product.lab, host)
        found[host] = {key: each for key, each in taken.items() if OF_NGINX.search(key) and key not in OF_ALL_PACKAGES}
        found[host]["lists"] = product.lab.root(host, LISTS).stdout
    return found


@pytest.fixture(scope="module")
def before(product: Product) -> dict[str, dict[str, str]]:
    return pictures(product)


def version(product: Product, host: str) -> str:
    return product.lab.root(host, "dpkg-query -W -f '${Version}' nginx").stdout


def shop(product: Product) -> str:
    return product.lab.root("vps4", "curl -s -H 'Host: shop.example.test' http://203.0.113.20/", check=False).stdout


@pytest.fixture(scope="module")
def refused(repository: tuple[Product, Repository], before: dict[str, dict[str, str]]) -> Run:
    assert before
    product, made = repository
    made.sign("wrong")
    return product.apply()


def test_a_repository_that_another_key_has_signed_is_refused(refused: Run) -> None:
    assert refused.code == 1
    told = {each["target"]: each for each in refused.document["failures"] if each["step"] == "nginx"}
    assert {target: each["id"] for target, each in told.items()} == dict.fromkeys(HOSTS, complaints.NOT_SIGNED.id)
    assert "is not signed by a key that is expected of it" in told["vps4"]["error"]


def test_what_was_refused_has_left_nothing_behind(
    product: Product, before: dict[str, dict[str, str]], refused: Run
) -> None:
    assert refused.code == 1
    now = pictures(product)
    assert {host: snapshot.diff(before[host], now[host]) for host in now} == {"home": [], "vps4": []}
    assert shop(product) == "the shop"


@pytest.fixture(scope="module")
def applied(repository: tuple[Product, Repository], refused: Run) -> Run:  # noqa: ARG001 - after it
    product, made = repository
    made.sign("right")
    return product.apply()


def test_signed_by_the_right_key_it_is_what_every_host_gets(product: Product, applied: Run) -> None:
    assert applied.code == 0, applied.err
    assert applied.changes["certificate"] == 2
    assert version(product, "home") == f"{VERSION}-1~trixie"
    assert version(product, "vps4") == f"{VERSION}-1~bookworm"
    assert product.audit().code == 0
    assert product.apply().changes == {}


def test_what_debians_served_is_served_on(product: Product, applied: Run) -> None:
    assert applied.code == 0
    assert shop(product) == "the shop"


def test_nothing_else_is_taken_from_there(product: Product, applied: Run) -> None:
    assert applied.code == 0
    policy = product.lab.root("home", "apt-cache policy | grep -B1 o=nginx; apt-cache policy nginx").stdout
    assert re.search(rf"-1 {re.escape('http://203.0.113.100')}", policy), policy
    assert re.search(rf"{VERSION}-1~trixie 900", policy), policy


def test_taken_back_each_has_what_it_had(product: Product, before: dict[str, dict[str, str]], applied: Run) -> None:
    assert applied.code == 0
    done = product.run("rollback", "--step", "nginx", "--yes")
    assert done.code == 0, done.out + done.err
    now = pictures(product)
    assert {host: snapshot.diff(before[host], now[host]) for host in now} == {"home": [], "vps4": []}
    assert shop(product) == "the shop"
