"""What two real ends agree on: of what each can do the strongest, and forward secrecy as it is used."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from laws import Laws
from product import Product, Run
from told import told_as

from lab import Lab
from steps import catalogue
from steps.ipsec.styles import STYLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steps.ipsec.style import Style

pytestmark = pytest.mark.lab

XCBC, GCM128, HYBRID = "aes256-aesxcbc-ecp384", "aes128gcm16-ecp256", "aes256gcm16-prfsha384-ecp384-ke1_mlkem768"
TWICE = "aes256gcm16-prfsha384-ecp384-ke1_ecp521"
ARTICLE = f"""\
  ike_proposals:
    - {HYBRID}
    - {TWICE}
    - {XCBC}
    - aes256gcm16-prfsha384-ecp384
    - aes128gcm16-prfsha256-ecp256
  esp_proposals: [{XCBC}, {GCM128}]
"""
"""The article's, with what no release here has, and what one of the two alone has; XCBC vps4 is denied."""
DENIED = "/etc/strongswan.d/zz-without-xcbc.conf"
WITHOUT_XCBC = f"echo 'charon {{ plugins {{ aesni {{ load = no }} xcbc {{ load = no }} }} }}' >{DENIED}"
WITHOUT_KDF = "echo 'charon { plugins { kdf { load = no } } }' >/etc/strongswan.d/zz-without-kdf.conf"


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"ciphers-{os.getpid()}")
    lab.down()
    lab.up(print)
    lab.root("vps4", WITHOUT_XCBC)
    lab.root("home", WITHOUT_KDF)
    yield Product(lab)
    lab.down()


@pytest.fixture(scope="module")
def laws(product: Product) -> Laws:
    return Laws.of(product)


@pytest.fixture(scope="module")
def applied(laws: Laws) -> Run:
    return laws.applied()


@pytest.fixture(scope="module")
def held(product: Product, applied: Run) -> Run:  # noqa: ARG001 - after it
    """The same, held to proposals of which each end can do others."""
    sites = product.lab.directory / "sites.yaml"
    text = sites.read_text()
    assert text.count("ipsec:\n") == 1
    sites.write_text(text.replace("ipsec:\n", f"ipsec:\n{ARTICLE}"))
    done = product.apply()
    assert done.code == 0, done.err
    return done


def evidence(run: Run, title: str) -> list[str]:
    checks = [check for step in run.document["steps"] for check in step["checks"]]
    return [line for check in checks if check["title"] == title for line in check["evidence"]]


def notes(run: Run) -> dict[tuple[str, str], str]:
    """What is said of parts, by target and part."""
    parts = [part for step in run.document["steps"] for part in step["parts"]]
    return {(part["target"], part["part"]): part["note"] for part in parts if part["note"]}


def proposals(lab: Lab, host: str) -> str:
    return lab.root(host, "cat /etc/swanctl/conf.d/ula-net-*.conf").stdout


def test_without_a_word_about_ciphers_the_strongest_that_both_can_do_is_used(product: Product, applied: Run) -> None:
    agreed = evidence(applied, "ping through home-vps4")
    for end in ("home: ula-net-vps4", "vps4: ula-net-home"):
        assert f"{end} IKE AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384, ESP AES_GCM_16-256" in "\n".join(agreed)
    for host in ("home", "vps4"):
        assert "mlkem" not in proposals(product.lab, host), "neither release has ML-KEM"
    assert not any("without" in note for note in notes(applied).values())


def test_the_tunnel_gets_new_keys_by_a_key_exchange_of_its_own(product: Product, applied: Run) -> None:
    told = "\n".join(evidence(applied, "ping through home-vps4"))
    said = re.search(r"^home: ula-net-vps4 has new keys by AES_GCM_16-256/ECP_384, SPI (\w+)$", told, re.MULTILINE)
    assert said
    listed = product.lab.root("vps4", "swanctl --list-sas --pretty").stdout
    newest = listed[listed.rindex(f"spi-out = {said[1]}") :]
    assert "dh-group = ECP_384" in newest, "the other end has it from the same exchange"


@pytest.mark.usefixtures("applied")
def test_what_a_daemon_can_do_is_all_that_was_installed_for_it(product: Product) -> None:
    """Its own package starts it, on Debian 13 before those of its plugins are there."""
    lists = "swanctl --list-algs; swanctl --stats | grep plugins"
    for host in CONNECTIONS:
        before = product.lab.root(host, lists).stdout
        begun_anew(product, STYLES["swanctl"], host)
        assert product.lab.root(host, lists).stdout == before
    product.lab.root("home", AWAIT.format(STYLES["swanctl"].up("ula-net-vps4")))


def test_what_an_end_cannot_do_is_left_out_there_and_named_and_its_connection_is_loaded(
    product: Product, held: Run
) -> None:
    home, vps4 = proposals(product.lab, "home"), proposals(product.lab, "vps4")
    assert f"esp_proposals = {XCBC},{GCM128}\n" in home
    assert f"esp_proposals = {GCM128}\n" in vps4
    assert "mlkem" not in home + vps4
    said = notes(product.audit())
    lacking = {host: said[host, f"file /etc/swanctl/conf.d/{name}.conf"] for host, name in CONNECTIONS.items()}
    assert f"ESP without {XCBC}: this host's strongSwan has no AES_XCBC_96" in lacking["vps4"]
    assert "ESP without" not in lacking["home"]
    assert f"IKE without {XCBC}: this host's strongSwan has no PRF_AES128_XCBC" in lacking["home"], "it is listed"
    assert (TWICE in home, TWICE in vps4) == (True, False), "a word that would discard vps4's connection"
    assert f"IKE without {TWICE}: this host's strongSwan has no MULTIPLE_KEY_EXCHANGES" in lacking["vps4"]
    assert all("this host's strongSwan has no ML_KEM_768" in each for each in lacking.values())
    assert held.code == 0


CONNECTIONS = {"home": "ula-net-vps4", "vps4": "ula-net-home"}
TUNNEL = ("home", "ciphers of ula-net-vps4")


def test_the_two_agree_on_what_both_have_and_the_weaker_one_is_explained(product: Product, held: Run) -> None:
    agreed = evidence(held, "ping through home-vps4")
    ike = "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384"
    assert f"home: ula-net-vps4 IKE {ike}, ESP AES_GCM_16-128/ECP_256, in UDP" in agreed
    assert f"home: the tunnel runs AES_GCM_16-128/ECP_256, not {XCBC}: vps4's strongSwan has no AES_XCBC_96" in agreed
    assert any("has new keys by AES_GCM_16-128/ECP_256, " in line for line in agreed)
    audited = product.audit()
    assert audited.code == 0
    hybrid = "home's strongSwan has no ML_KEM_768 and vps4's strongSwan has no ML_KEM_768"
    assert notes(audited)[TUNNEL] == (
        f"the IKE SA runs {ike}, not {HYBRID}: {hybrid}; "
        f"the tunnel runs AES_GCM_16-128, not {XCBC}: vps4's strongSwan has no AES_XCBC_96"
    )
    alone = notes(product.run("audit", "--json", "--site", "home"))[TUNNEL]
    assert alone.endswith(": it was not agreed on when this came up, and what vps4 can do now could not be read")


@pytest.mark.usefixtures("held")
def test_an_end_that_would_give_no_new_keys_is_found_and_explained(product: Product) -> None:
    """vps4 wants another key exchange than home: it shows at the first rekeying alone, and the command succeeds."""
    lab = product.lab
    conf = "/etc/swanctl/conf.d/ula-net-home.conf"
    lab.root("vps4", f"cp -p {conf} /root/kept; sed -i 's/{GCM128}/aes128gcm16-ecp521/' {conf}")
    lab.root("vps4", "swanctl --load-conns >/dev/null; swanctl --terminate --ike ula-net-home >/dev/null", check=False)
    lab.root("home", "swanctl --initiate --child ula-net-vps4 >/dev/null")
    lab.root("vps4", f"cp -p /root/kept {conf}; swanctl --load-conns >/dev/null")
    assert product.audit().code == 0, "nothing can be seen of it: a tunnel keeps to what it was begun with"

    failed = product.run("audit", "--probe", "--step", "ping", "--json")
    assert failed.code == 1
    told = failed.document["failures"][0]
    told_as(told, catalogue.NO_NEW_KEYS)
    assert "the ends want different key exchanges for ESP" in told["error"]
    assert "the first keys need no key exchange, so it shows only now" in told["likely"]
    assert "vps4: no acceptable proposal found" in told["error"]
    assert "swanctl --terminate --ike ula-net-vps4" in told["hint"]

    lab.root("home", "swanctl --terminate --ike ula-net-vps4 >/dev/null")
    mended = product.apply()
    assert mended.code == 0, mended.err
    assert any(
        "has new keys by AES_GCM_16-128/ECP_256, " in line for line in evidence(mended, "ping through home-vps4")
    )


def begun_anew(product: Product, style: Style, host: str) -> None:
    """A host's strongSwan, as an upgrade does it."""
    answers = f"{style.listing} >/dev/null 2>&1"
    product.lab.root(host, f"systemctl restart {style.unit}\n{AWAIT.format(answers)}")


AWAIT = "for _ in $(seq 100); do ! {{ {}\n}} || exit 0; sleep 0.2; done; exit 1"


def suites(product: Product, style: Style) -> set[str]:
    """What both ends encrypt by."""
    listed = {host: product.lab.root(host, style.listing).stdout for host in CONNECTIONS}
    found = [sa for host, name in CONNECTIONS.items() for sa in style.associations(listed[host], name)]
    return {child.suite.encryption for sa in found for child in sa.installed}


def comes_to_it(product: Product, style: Style, host: str) -> list[str]:
    """An end cannot do the stronger; then it can. Returns what home tells of its tunnels by the apply that follows."""
    lab = product.lab
    lab.root(host, WITHOUT_XCBC)
    begun_anew(product, style, host)
    assert product.apply().code == 0
    assert suites(product, style) == {"AES_GCM_16-128"}
    assert notes(product.audit())[TUNNEL].endswith(f", not {XCBC}: {host}'s strongSwan has no AES_XCBC_96")

    lab.root(host, f"rm {DENIED}")
    begun_anew(product, style, host)
    lab.root("home", f"{style.down('ula-net-vps4')} >&2 || true\n{AWAIT.format(style.up('ula-net-vps4'))}")
    assert suites(product, style) == {"AES_GCM_16-128"}
    audited = product.audit()
    assert audited.code == 3
    assert {(step, at) for step, at, _ in audited.not_in_order} == {("connection", host), ("ping", "home")}
    (change,) = [part["change"] for part in audited.document["steps"][-1]["parts"] if part["change"]]
    assert change["summary"] == f"make ula-net-vps4 anew: both ends can do {XCBC} (the tunnel runs AES_GCM_16-128)"

    cursor = lab.root("home", "journalctl -q -n 0 --show-cursor | sed -n 's/^-- cursor: //p'").stdout.strip()
    done = product.apply()
    assert done.code == 0, done.err
    assert done.not_in_order == audited.not_in_order
    assert suites(product, style) == {"AES_CBC-256"}
    again = product.apply()
    assert (again.code, again.changes) == (0, {})
    said = lab.root("home", f"journalctl -q {style.journal} -o cat --after-cursor='{cursor}'").stdout
    return re.findall(r"closing(?= CHILD_SA)|deleting(?= IKE_SA)|established(?= with SPIs)", said)


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("host", ["vps4", "home"])
def test_where_an_end_has_come_to_the_stronger_the_tunnel_is_made_anew_beside_the_old_one(
    product: Product, host: str
) -> None:
    assert comes_to_it(product, STYLES["swanctl"], host)[0] == "established", "the new one first"


@pytest.mark.slow
@pytest.mark.usefixtures("held")
def test_the_same_with_ipsec_conf(product: Product) -> None:
    sites = product.lab.directory / "sites.yaml"
    text = sites.read_text()
    sites.write_text(text.replace("ipsec:\n", "ipsec:\n  config: stroke\n"))
    assert product.apply().code == 0
    for host in CONNECTIONS:
        comes_to_it(product, STYLES["stroke"], host)


@pytest.mark.usefixtures("held")
def test_the_laws_hold_whatever_an_end_cannot_do(product: Product, laws: Laws) -> None:
    laws.kept()
    product.lab.root("vps4", "rm -f /root/kept")
    laws.undone(but="without-xcbc")  # it was there, and is given back
