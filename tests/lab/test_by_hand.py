"""A host set up by hand from the article: what is outdated is named, brought in order, and no line is lost."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import by_hand
import pytest
from made_pki import issue
from product import Product

from lab import Lab
from lab.layout import VPS4
from runbook.resources.block import BEGIN, END
from runbook.resources.retired import RETIRED
from steps import pki
from steps.sites_yaml import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from product import Run

pytestmark = pytest.mark.lab

SSL: Final = f"/etc/ssl/{VPS4.fqdn}"
PREPARE: Final = f"""\
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -q update >/dev/null
apt-get -q -y install --no-install-recommends nginx strongswan-charon strongswan-starter libcharon-extra-plugins \\
    libstrongswan-standard-plugins libstrongswan-extra-plugins >/dev/null
rm /etc/nginx/sites-enabled/default
mkdir -p {SSL} /etc/ssl/LetsEncrypt /etc/apparmor.d/local
cd {SSL}
openssl ecparam -out vps4_johncook_co_uk.key1 -name secp384r1 -genkey -noout
openssl req -new -x509 -days 90 -key vps4_johncook_co_uk.key1 -subj /CN={VPS4.fqdn} -out vps4_johncook_co_uk.chained.pem
openssl ec -in vps4_johncook_co_uk.key1 -inform PEM -outform DER -out vps4_johncook_co_uk.key1 2>/dev/null
chown thejc:sudo {SSL}
chmod 775 {SSL}
chmod 400 vps4_johncook_co_uk.key1
chown root:thejc vps4_johncook_co_uk.key1
"""
FINISH: Final = """\
set -e
iptables-restore </etc/network/iptables.save
ip addr add fdd7:5938:e2e6:3::8e71 dev eth0
systemctl restart nginx strongswan-starter
"""


def of_the_lab(text: str) -> str:
    """The article's text with the names and addresses of the lab."""
    return text.replace("185.133.75.14", VPS4.ipv4).replace("johncook.co.uk", "example.test")


def plant(lab: Lab) -> None:
    """Make vps4 as the article leaves it."""
    lab.root("vps4", PREPARE)
    root = lab.layout.root("vps4")
    for path, text in {
        "etc/nginx/sites-enabled/default_server.conf": by_hand.NGINX,
        "etc/ipsec.conf": by_hand.CONF.replace("3::1/128", "1::/64"),
        "etc/ipsec.secrets": by_hand.SECRETS,
        "etc/apparmor.d/local/usr.lib.ipsec.charon": by_hand.APPARMOR,
    }.items():
        (root / path).write_text(of_the_lab(text))
    rules, interfaces = root / "etc/network/iptables.save", root / "etc/network/interfaces"
    rules.write_text(rules.read_text().replace("COMMIT\n", f"{by_hand.IPTABLES}COMMIT\n"))
    interfaces.write_text(interfaces.read_text() + f"    {by_hand.INTERFACE}")
    now = datetime.now(UTC)
    for name, days in {
        "isrgrootx1": 999,
        "lets-encrypt-x3-cross-signed": -9,
        "lets-encrypt-x4-cross-signed": -9,
    }.items():
        made = issue(name, None, before=now - timedelta(days=1999), after=now + timedelta(days=days))
        (root / f"etc/ssl/LetsEncrypt/{name}.pem").write_bytes(pki.to_pem(made.cert))
    for name, target in by_hand.CA_LINKS.items():
        (root / "etc/ipsec.d/cacerts" / name).symlink_to(target)
    lab.root("vps4", FINISH)


FILES: Final = (
    "/etc/nginx/sites-enabled/default_server.conf",
    "/etc/network/interfaces",
    "/etc/network/iptables.save",
    "/etc/network/ip6tables.save",
    "/etc/ipsec.conf",
    "/etc/ipsec.secrets",
    "/etc/apparmor.d/local/usr.lib.ipsec.charon",
    f"{SSL}/vps4_johncook_co_uk.chained.pem",
)
OUTDATED: Final = {
    ("nginx", FILES[0]): "it answers challenges and nothing else",
    ("ipsec-firewall", "outdated rules for IPsec in force (iptables)"): "a NAT on the way",
    ("ipsec-firewall", "outdated rules for IPsec in /etc/network/iptables.save"): "policy rules of the wrong family",
    ("credentials", f"permissions of {SSL}"): "can put a key of theirs into it",
    ("credentials", "outdated CA certificates in /etc/ipsec.d/cacerts"): "can verify nothing any more",
    ("connection", "connection ula-net-home by hand in /etc/ipsec.conf"): "a subnet is listed twice",
    ("addresses", "addresses of the private network added by hand in /etc/network/interfaces"): "being checked",
}
"""What is named, and a word of why."""


def texts(lab: Lab) -> dict[str, str]:
    return {path: lab.root("vps4", f"cat {path}").stdout for path in FILES}


def state(lab: Lab) -> str:
    """All that was planted, and the rules in force, but for what counts and dates them."""
    planted = f"{' '.join(FILES)} {SSL} {SSL}/* /etc/ipsec.d/cacerts /etc/ipsec.d/cacerts/* /etc/nginx/sites-*/*"
    script = (
        f"for each in {planted}; do\n"
        '    stat -c "%N %A %U %G" "$each"; [ ! -f "$each" ] || sha256sum "$each"\ndone\n'
        "iptables-save | sed 's/ *\\[.*//; /^#/d'; ip -6 address show to fdd7:5938:e2e6::/48 | grep -o 'inet6 [^ ]*'"
    )
    return lab.root("vps4", script).stdout


@pytest.fixture(scope="module", params=["swanctl", pytest.param("stroke", marks=pytest.mark.slow)])
def product(request: pytest.FixtureRequest) -> Iterator[Product]:
    """The host by hand, for which sites.yaml has either style; its own is ipsec.conf."""
    lab = Lab(f"by-hand-{os.getpid()}")
    lab.down()
    lab.up(print)
    plant(lab)
    sites = lab.directory / "sites.yaml"
    sites.write_text(sites.read_text().replace("ipsec:\n", f"ipsec:\n  config: {request.param}\n"))
    yield Product(lab)
    lab.down()


@pytest.fixture(scope="module")
def before(product: Product) -> tuple[dict[str, str], str]:
    return texts(product.lab), state(product.lab)


@pytest.fixture(scope="module")
def audited(product: Product, before: object) -> Run:  # noqa: ARG001 - first
    return product.audit()


def notes(run: Run) -> dict[tuple[str, str], str]:
    return {
        (step["name"], part["part"]): part["note"]
        for step in run.document["steps"]
        for part in step["parts"]
        if part["target"] == "vps4" and part["verdict"] == "drift"
    }


def test_what_is_outdated_is_named_and_why(audited: Run) -> None:
    found = notes(audited)
    named = {(step, part.removeprefix("outdated file ")): note for (step, part), note in found.items()}
    assert {key: words in named.get(key, "") for key, words in OUTDATED.items()} == dict.fromkeys(OUTDATED, True)


@pytest.mark.usefixtures("audited")
def test_who_describes_it_anew_is_proposed_what_keeps_its_connections(product: Product, tmp_path: Path) -> None:
    targets = [word for site in ("home", "vps4") for word in ("--ssh", f"{site}={site}")]
    known = ["--ssh-config", str(product.lab.directory / "ssh_config"), "--certificate-authority", "private"]
    sites = tmp_path / "sites.yaml"
    done = product.run("init", "--yes", *targets, *known, file=str(sites))
    assert done.code == 0, done.err
    assert "by ipsec.conf, with the connections ula-net-home; they stay as they are" in " ".join(done.out.split())
    assert [site.config for site in load(sites).sites.values()] == ["swanctl", "stroke"]


@pytest.fixture(scope="module")
def applied(product: Product, audited: Run) -> Run:
    done = product.apply()
    assert done.code == 0, done.err
    assert done.not_in_order == audited.not_in_order
    return done


@pytest.mark.usefixtures("applied")
def test_it_is_brought_in_order_with_a_tunnel_and_stays_so(product: Product) -> None:
    again = product.apply()
    assert (again.code, again.changes) == (0, {})
    assert product.audit().code == 0


@pytest.mark.usefixtures("applied")
def test_no_line_of_the_admins_is_lost(product: Product, before: tuple[dict[str, str], str]) -> None:
    moved = {FILES[0]: FILES[0].replace("enabled", "available")}
    for path, text in before[0].items():
        text_now = re.sub(
            f"(?ms)^{BEGIN}$.*?^{END}\n", "", product.lab.root("vps4", f"cat {moved.get(path, path)}").stdout
        )
        now = text_now.replace(RETIRED, "").splitlines()
        assert [line for line in text.splitlines() if line not in now] == [], path
        kept = [line for line in now if line in text.splitlines()]
        assert kept == text.splitlines(), f"{path}: in their order"


@pytest.mark.usefixtures("applied")
def test_the_rules_land_where_the_admins_accept_new_connections(product: Product) -> None:
    lines = product.lab.root("vps4", "cat /etc/network/iptables.save").stdout.splitlines()
    marks = [lines.index(f"### ipsec-runbook:{purpose} ###") for purpose in ("web", "ipsec")]
    assert lines.index("-A in-new -p tcp -m tcp --dport 22 -j ACCEPT") < min(marks)
    rules = [line.split(" -m comment ")[0] for line in lines if 'comment "ipsec-runbook:' in line]
    assert rules == [
        f"-A in-new -d {VPS4.ipv4}/32 -p tcp -m tcp --dport 80",
        "-A in-new -p udp -m udp --dport 500",
        "-A in-new -p udp -m udp --dport 4500",
        "-A in-new -p esp",
    ]


@pytest.mark.usefixtures("applied")
def test_a_file_that_nothing_loads_at_boot_is_said(product: Product) -> None:
    product.lab.root("vps4", "chmod -x /etc/network/if-pre-up.d/firewall")
    parts = [part for step in product.audit().document["steps"] for part in step["parts"] if part["target"] == "vps4"]
    product.lab.root("vps4", "chmod +x /etc/network/if-pre-up.d/firewall")
    notes = {part["part"]: part["note"] for part in parts if part["part"].startswith("rules in ")}
    assert len(notes) == 4
    assert all("nothing seen on this host loads" in note for note in notes.values())


@pytest.mark.usefixtures("applied")
def test_after_a_reboot_all_is_in_order(product: Product) -> None:
    product.lab.reboot("vps4")
    assert product.lab.root("vps4", "systemctl is-failed networking", check=False).stdout.strip() == "active"
    assert {part for part in product.audit().not_in_order if part[1] == "vps4" and part[0] != "ping"} == set()


@pytest.mark.usefixtures("applied")
def test_rollback_gives_it_back_byte_for_byte(product: Product, before: tuple[dict[str, str], str]) -> None:
    done = product.run("rollback", "--all", "--yes")
    assert done.code == 0, done.out + done.err
    assert texts(product.lab) == before[0]
    assert state(product.lab) == before[1]


LIBRESWAN: Final = """\
mkdir -p /tmp/libreswan/DEBIAN
printf 'Package: libreswan\\nVersion: 9\\nArchitecture: all\\nMaintainer: x <x@example.test>\\nDescription: x\\n' \
    >/tmp/libreswan/DEBIAN/control
echo '# of libreswan' >/etc/ipsec.d/libreswan.conf
dpkg-deb -b /tmp/libreswan /tmp/libreswan.deb >/dev/null && dpkg -i /tmp/libreswan.deb >/dev/null
"""
IN_THE_WAY: Final = {
    "iptables-restore does not take /etc/network/iptables.save as it is": (
        "/etc/network/iptables.save",
        "cp -a /etc/network/iptables.save /root/kept; echo '-A INPUT -j' >>/etc/network/iptables.save",
        "mv /root/kept /etc/network/iptables.save",
    ),
    "strongSwan's starter does not take it, so it is left alone": (
        "/etc/ipsec.conf",
        "cp -a /etc/ipsec.conf /root/kept; echo 'conn' >>/etc/ipsec.conf",
        "mv /root/kept /etc/ipsec.conf",
    ),
    "libreswan does this on this host already": (
        "/etc/ipsec.d/libreswan.conf",
        LIBRESWAN,
        "dpkg -P libreswan; rm /etc/ipsec.d/libreswan.conf",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("words", IN_THE_WAY)
def test_what_must_not_be_touched_is_named_and_untouched(
    product: Product,
    before: object,  # noqa: ARG001 - as it is given back
    words: str,
) -> None:
    path, there, gone = IN_THE_WAY[words]
    product.lab.root("vps4", there)
    text = product.lab.root("vps4", f"cat {path}").stdout
    run = product.apply()
    assert run.code == 1
    assert [each["error"] for each in run.document["failures"] if words in each["error"]], run.err
    assert product.lab.root("vps4", f"cat {path}").stdout == text
    product.lab.root("vps4", gone)
