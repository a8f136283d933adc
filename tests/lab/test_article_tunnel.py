"""Both hosts set up by hand from the article, its tunnel up: described, audited, brought in order, and given back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import article
import pytest
from product import Product
from test_by_hand import lines_lost

from lab import Lab, snapshot
from steps.description.sites_yaml import load
from steps.ipsec.styles import style_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from product import Run

pytestmark = pytest.mark.lab

SITES: Final = ("home", "vps4")
INIT: Final = (
    *("--yes", "--ssh", "home=home", "--ssh", "vps4=vps4", "--ssh-config", "ssh_config"),
    *("--directory", "https://acme.example.test:14000/dir", "--ca-bundle", "acme-ca.pem"),
    *("--trust-anchors", "trust-anchor.pem", "--contact", "me@example.test", "--agree-to-terms"),
)
FILES: Final = (
    "/etc/network/interfaces",
    "/etc/network/iptables.save",
    "/etc/network/ip6tables.save",
    "/etc/ipsec.conf",
    "/etc/ipsec.secrets",
)
LISTED: Final = {"stroke": "ipsec statusall", "swanctl": "swanctl --list-sas"}
PING: Final = f"ping -6 -n -q -c 3 -i 0.2 -W 2 -I {article.LINK_ADDRESSES['home']} {article.LINK_ADDRESSES['vps4']}"


@pytest.fixture(scope="module", params=["stroke", pytest.param("swanctl", marks=pytest.mark.slow)])
def product(request: pytest.FixtureRequest) -> Iterator[Product]:
    """Described anew by what is proposed; or with the other style for both."""
    lab = Lab(f"article-{os.getpid()}")
    lab.down()
    lab.up(print)
    article.join(lab)
    product = Product(lab)
    style = () if request.param == "stroke" else ("--config", "home=swanctl", "--config", "vps4=swanctl")
    described = product.run("init", *INIT, *style)
    assert described.code == 0, described.err
    assert {site.config for site in load(lab.directory / "sites.yaml").sites.values()} == {request.param}
    yield product
    lab.down()


@pytest.fixture(scope="module")
def before(product: Product) -> dict[str, dict[str, str]]:
    """The hosts as they are with their tunnel up."""
    return {site: article.pictured(product.lab, site) for site in SITES}


def test_what_is_there_is_proposed(product: Product) -> None:
    network = load(product.lab.directory / "sites.yaml")
    assert str(network.prefix) == "fdd7:5938:e2e6::/48"
    (end, _) = network.link_ends(network.links[0])
    assert set(map(str, end.local_ts)) == {"fdd7:5938:e2e6:3::1/128", "fdd7:5938:e2e6:1::/64"}
    assert set(map(str, end.remote_ts)) == {"fdd7:5938:e2e6:3::8e71/128", "fdd7:5938:e2e6:8e71::/64"}
    assert network.sites["home"].lan_interface == "eth1"


@pytest.fixture(scope="module")
def audited(product: Product, before: object) -> Run:  # noqa: ARG001 - first
    return product.audit()


def test_an_audit_names_what_is_there_and_changes_nothing(
    product: Product, audited: Run, before: dict[str, dict[str, str]]
) -> None:
    for site, other in (("home", "vps4"), ("vps4", "home")):
        assert ("connection", site, f"connection ula-net-{other} by hand in /etc/ipsec.conf") in audited.not_in_order
    assert ("ping", "home", "tunnel ula-net-vps4") in audited.not_in_order, "it is not ours that is up"
    now = {site: article.pictured(product.lab, site) for site in SITES}
    assert {site: snapshot.diff(before[site], now[site]) for site in SITES} == {"home": [], "vps4": []}
    article.ping(product.lab)


@pytest.fixture(scope="module")
def kept(product: Product, audited: object) -> dict[tuple[str, str], str]:  # noqa: ARG001 - in this order
    """The admin's own files."""
    return {(site, path): product.lab.root(site, f"cat {path}").stdout for site in SITES for path in FILES}


@pytest.fixture(scope="module")
def applied(product: Product, audited: Run, kept: object) -> Run:  # noqa: ARG001 - in this order
    done = product.apply()
    assert done.code == 0, done.err
    assert done.not_in_order == audited.not_in_order
    return done


@pytest.mark.usefixtures("applied")
def test_the_tunnel_is_ours_then_and_packets_pass_encrypted(product: Product) -> None:
    network = load(product.lab.directory / "sites.yaml")
    for end in network.link_ends(network.links[0]):
        style = style_of(end.here)
        (sa,) = style.associations(product.lab.root(end.here.name, style.listing).stdout, end.connection)
        (child,) = sa.installed
        assert child.suite.encryption == "AES_GCM_16-256", "the article's home offered 128 bits alone"
        issued = product.lab.root(end.here.name, style.held).stdout
        assert " key\n" in issued
        rules = product.lab.root(end.here.name, "ip6tables-save").stdout
        assert "--reqid" not in rules, "those of leftfirewall went with the tunnel that they were for"
    with product.lab.capture() as wire:
        assert " 0% packet loss" in product.lab.root("home", PING).stdout
    assert wire.esp_packets > 0
    assert wire.plaintext_packets == 0


@pytest.mark.usefixtures("applied")
def test_no_line_of_the_admins_is_lost_on_either_host(product: Product, kept: dict[tuple[str, str], str]) -> None:
    for (site, path), text in kept.items():
        now = product.lab.root(site, f"cat {path}").stdout
        assert lines_lost(text, now) == [], (site, path)


@pytest.mark.usefixtures("applied")
def test_a_second_apply_changes_nothing(product: Product) -> None:
    again = product.apply()
    assert (again.code, again.changes) == (0, {})


@pytest.mark.usefixtures("applied")
def test_rollback_gives_back_both_hosts_and_the_articles_tunnel_comes_up_by_a_ping(
    product: Product, before: dict[str, dict[str, str]]
) -> None:
    done = product.run("rollback", "--all", "--yes")
    assert done.code == 0, done.out + done.err
    for site in SITES:
        assert "ESTABLISHED" not in product.lab.root(site, "ipsec statusall").stdout, "ours is no more"
        product.lab.root(site, article.WAITING)
    article.ping(product.lab)
    now = {site: article.pictured(product.lab, site) for site in SITES}
    assert {site: snapshot.diff(before[site], now[site]) for site in SITES} == {"home": [], "vps4": []}
