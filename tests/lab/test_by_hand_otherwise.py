"""Hosts set up by hand, otherwise than the article has it: included files, sections of sections, TLS, locked keys."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import article
import by_hand
import pytest
from product import Product
from test_by_hand import lines_lost

from lab import Lab, snapshot
from lab.layout import VPS4
from steps.ipsec.statusall import viewed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from product import Run

pytestmark = [pytest.mark.lab, pytest.mark.slow]

DEFAULT, SECTION = by_hand.CONF.split("\nconn ula-net-home\n")
FAR = [line for line in SECTION.splitlines(keepends=True) if "right" in line and "subnet" not in line]
NEAR = "".join(line for line in SECTION.splitlines(keepends=True) if line not in FAR)
CONF: Final = f"include ipsec.d/admin/*.conf\n{DEFAULT}\n# the end"
"""It has no line end."""
ADMINS: Final = {
    "far.conf": f"conn far\n{''.join(FAR)}",
    "home.conf": f"conn ula-net-home\n\talso = far\n{NEAR}",
    "office.conf": "conn office\n\talso = far\n\tleftcert =\n\tleftauth = psk\n\trightauth = psk\n\tauto = add\n",
}
SECRETS: Final = f': ECDSA {article.ssl("vps4")}/locked.key "a passphrase"\n# the end'
NGINX: Final = by_hand.NGINX.replace("#\t", "\t")
FILES: Final = (
    *(f"/etc/ipsec.d/admin/{name}" for name in ADMINS),
    "/etc/ipsec.conf",
    "/etc/ipsec.secrets",
    "/etc/nginx/sites-enabled/default_server.conf",
    "/etc/network/interfaces",
    "/etc/network/iptables.save",
)
PREPARE: Final = f"""\
set -e
cd {article.ssl("vps4")}
openssl ec -aes256 -passout 'pass:a passphrase' -in vps4_johncook_co_uk.key1 -inform DER -out locked.key 2>/dev/null
openssl req -x509 -days 9 -newkey rsa:2048 -nodes -subj /CN=web -keyout web.key -out web.pem 2>/dev/null
mkdir /etc/nginx/includes
echo "ssl_certificate $PWD/web.pem; ssl_certificate_key $PWD/web.key;" >/etc/nginx/includes/web.example.test-ssl
nginx -t -q
systemctl restart nginx
systemctl stop strongswan-starter
ipsec start
"""
ASK: Final = f"curl -sk --http1.1 --max-time 5 {{}}://{VPS4.ipv4}/; echo $?"
NOTHING: Final = {"52", "56"}
"""curl's exit codes where a connection is closed without a word, with TLS or without: so the admin wants it."""


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def product(request: pytest.FixtureRequest) -> Iterator[Product]:
    lab = Lab(f"otherwise-{os.getpid()}", {"vps4": request.param})
    lab.down()
    lab.up(print)
    article.plant(lab, "vps4", article.authority(), CONF)
    etc = lab.layout.root("vps4") / "etc"
    (etc / "ipsec.d/admin").mkdir()
    for name, text in ADMINS.items():
        (etc / "ipsec.d/admin" / name).write_text(article.of_the_lab(text))
    (etc / "ipsec.secrets").write_text(SECRETS)
    (etc / "nginx/sites-enabled/default_server.conf").write_text(article.of_the_lab(NGINX))
    lab.root("vps4", PREPARE)
    sites = lab.directory / "sites.yaml"
    sites.write_text(sites.read_text().replace("ipsec:\n", "ipsec:\n  config: stroke\n"))
    yield Product(lab)
    lab.down()


@pytest.fixture(scope="module")
def before(product: Product) -> dict[str, str]:
    return article.pictured(product.lab, "vps4")


def texts(product: Product) -> dict[str, str]:
    return {path: product.lab.root("vps4", f"cat {path}").stdout for path in FILES}


@pytest.fixture(scope="module")
def kept(product: Product, before: object) -> dict[str, str]:  # noqa: ARG001 - first
    return texts(product)


@pytest.fixture(scope="module")
def audited(product: Product, kept: object) -> Run:  # noqa: ARG001 - first
    return product.audit()


def test_what_is_not_of_the_article_is_seen_as_well(audited: Run) -> None:
    by_hand_too = {
        ("connection", "vps4", "connection ula-net-home by hand in /etc/ipsec.d/admin/home.conf"),
        ("strongswan", "vps4", "strongSwan started by hand"),
    }
    assert by_hand_too <= audited.not_in_order
    assert not [each for each in audited.not_in_order if "outdated file" in each[2]], "what has TLS stays"


@pytest.fixture(scope="module")
def applied(product: Product, audited: Run) -> Run:
    done = product.apply()
    assert done.code == 0, done.err
    assert done.not_in_order == audited.not_in_order
    return done


@pytest.mark.usefixtures("applied")
def test_all_of_it_goes_on(product: Product, kept: dict[str, str]) -> None:
    for path, text in texts(product).items():
        assert lines_lost(kept[path], text) == [], path
    said = product.lab.root("vps4", "ipsec statusall").stdout
    assert viewed(said, "office")["remote"] == "[home.example.test] uses pre-shared key authentication"
    assert product.lab.root("vps4", "systemctl is-active strongswan-starter").stdout == "active\n"
    for scheme in ("http", "https"):
        assert product.lab.root("vps4", ASK.format(scheme)).stdout.strip() in NOTHING, scheme


@pytest.mark.usefixtures("applied")
def test_a_second_apply_changes_nothing(product: Product) -> None:
    again = product.apply()
    assert (again.code, again.changes) == (0, {})
    assert product.audit().code == 0


@pytest.mark.usefixtures("applied")
def test_rollback_gives_it_back(product: Product, before: dict[str, str], kept: dict[str, str]) -> None:
    done = product.run("rollback", "--all", "--yes")
    assert done.code == 0, done.out + done.err
    assert texts(product) == kept
    assert snapshot.diff(before, article.pictured(product.lab, "vps4")) == []
    assert "office:" in product.lab.root("vps4", "ipsec statusall").stdout, "it runs again, by hand"


@pytest.mark.usefixtures("before")
def test_a_section_that_others_are_made_of_is_named_and_untouched(product: Product) -> None:
    """Ours of that name would be within it."""
    there = (
        "cp -a /etc/ipsec.d/admin/office.conf /root/kept; echo '\talso = ula-net-home' >>/etc/ipsec.d/admin/office.conf"
    )
    product.lab.root("vps4", there)
    text = texts(product)
    run = product.apply()
    assert run.code == 1
    assert [each for each in run.document["failures"] if "office would lose what" in each["error"]], run.err
    assert texts(product)["/etc/ipsec.d/admin/home.conf"] == text["/etc/ipsec.d/admin/home.conf"]
    assert product.run("rollback", "--all", "--yes").code == 0
    product.lab.root("vps4", "mv /root/kept /etc/ipsec.d/admin/office.conf")
