"""A host set up by hand from the article: what is outdated is named, brought in order, and no line is lost."""

from __future__ import annotations

import os
import re
from itertools import product as product_of
from typing import TYPE_CHECKING, Final

import article
import by_hand
import pytest
from product import Product

from lab import Lab
from lab.layout import VPS4
from runbook.resources.block import BEGIN, END
from runbook.resources.retired import RETIRED
from steps.description.sites_yaml import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from product import Run

pytestmark = pytest.mark.lab

SSL: Final = article.ssl("vps4")
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
    ("strongswan", "strongSwan started by hand"): "outside of its unit",
    ("ipsec-firewall", "outdated rules for IPsec in force (iptables)"): "a NAT on the way",
    ("ipsec-firewall", "outdated rules for IPsec in /etc/network/iptables.save"): "policy rules of the wrong family",
    ("credentials", f"permissions of {SSL}"): "can put a key of theirs into it",
    ("credentials", "outdated CA certificates in /etc/ipsec.d/cacerts"): "can verify nothing any more",
    ("connection", "connection ula-net-home by hand in /etc/ipsec.conf"): "a subnet is listed twice",
    ("addresses", "addresses of the private network added by hand in /etc/network/interfaces"): "being checked",
}
"""What is named, and a word of why."""


def lines_lost(before: str, now: str) -> list[str]:
    """Lines of a file before that are not in it now, remarks or not, outside of our block and in their order."""
    left = iter(re.sub(f"(?ms)^{BEGIN}$.*?^{END}\n", "", now).replace(RETIRED, "").splitlines())
    return [line for line in before.splitlines() if line not in left]


def texts(lab: Lab) -> dict[str, str]:
    return {path: lab.root("vps4", f"cat {path}").stdout for path in FILES}


def state(lab: Lab) -> str:
    """All that was planted, and the rules in force, but for what counts and dates them."""
    planted = f"{' '.join(FILES)} {SSL} {SSL}/* /etc/ipsec.d/cacerts /etc/ipsec.d/cacerts/* /etc/nginx/sites-*/*"
    script = (
        f"for each in {planted}; do\n"
        '    stat -c "%N %A %U %G" "$each"; [ ! -f "$each" ] || sha256sum "$each"\ndone\n'
        "iptables-save | sed 's/ *\\[.*//; /^#/d'; ip -6 address show to fdd7:5938:e2e6::/48 | grep -o 'inet6 [^ ]*'\n"
        'echo "$(systemctl is-active strongswan-starter) $(cat "/proc/$(cat /run/starter.charon.pid)/comm")"'
    )
    return lab.root("vps4", script).stdout


HOSTS: Final = [
    pytest.param((release, style), id=f"{release}-{style}", marks=() if number == 0 else pytest.mark.slow)
    for number, (release, style) in enumerate(product_of(("bookworm", "trixie"), ("swanctl", "stroke")))
]


@pytest.fixture(scope="module", params=HOSTS)
def product(request: pytest.FixtureRequest) -> Iterator[Product]:
    """The host by hand, on either release, for which sites.yaml has either style; its own is ipsec.conf."""
    release, style = request.param
    lab = Lab(f"by-hand-{os.getpid()}", {"vps4": release})
    lab.down()
    lab.up(print)
    article.plant(lab, "vps4", article.authority(), by_hand.CONF.replace("3::1/128", "1::/64"))
    lab.root("vps4", "ipsec restart")  # as one does who does not know of its unit
    sites = lab.directory / "sites.yaml"
    sites.write_text(sites.read_text().replace("ipsec:\n", f"ipsec:\n  config: {style}\n"))
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
    assert (
        "by ipsec.conf, with the connections ula-net-home; they stay, but for one with the name of a link"
        in " ".join(done.out.split())
    )
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
        assert lines_lost(text, product.lab.root("vps4", f"cat {moved.get(path, path)}").stdout) == [], path


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
dpkg-deb -b /tmp/libreswan /tmp/libreswan.deb >/dev/null && dpkg -i --force-conflicts /tmp/libreswan.deb >/dev/null
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
    "its lines end in CR LF, as on Windows": (
        "/etc/ipsec.conf",
        "cp -a /etc/ipsec.conf /root/kept; sed -i 's/$/\\r/' /etc/ipsec.conf",
        "mv /root/kept /etc/ipsec.conf",
    ),
    "Name /etc/network/iptables.bak so, which is there": (
        "/etc/network/iptables.bak",
        "mv /etc/network/iptables.save /etc/network/iptables.bak",
        "mv /etc/network/iptables.bak /etc/network/iptables.save",
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
