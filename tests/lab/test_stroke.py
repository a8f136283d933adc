"""ipsec.conf on Debian 12 and 13: asked of the daemon, beside the admin's own lines, and to swanctl and back."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from laws import kept, pictures, undone
from product import Product
from told import told_as

from lab import Lab
from steps import catalogue
from steps.ipsec.statusall import associations, viewed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from product import Run

pytestmark = pytest.mark.lab

SITES = ("home", "vps4")
PEER = {"home": "vps4", "vps4": "home"}
ADMINS_CONF = """\
# kept by the admin
conn %default
	ikelifetime = 60m
	keyexchange = ikev1
	leftfirewall = yes
	leftsourceip = %config
	leftupdown =

conn office
	left = %any
	leftid = @office.example.org
	leftauth = psk
	leftfirewall = no
	leftsourceip =
	right = 198.51.100.7
	rightauth = psk
	auto = add
"""
ADMINS_SECRETS = '@office.example.org : PSK "not ours"\n'
INSTALLED = "strongswan-charon strongswan-starter libstrongswan-standard-plugins libcharon-extra-plugins"
BEFOREHAND = f"""\
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends {INSTALLED} >/dev/null 2>&1
cat >/etc/ipsec.conf <<'EOF'
{ADMINS_CONF}EOF
printf '%s' '{ADMINS_SECRETS}' >/etc/ipsec.secrets
systemctl restart strongswan-starter
"""
"""vps4 has it already, with a connection of its own."""
PING = (
    "ping -6 -n -q -c 3 -i 0.2 -W 2 -I fdd7:5938:e2e6:3::1 fdd7:5938:e2e6:3::8e71 | grep -c ' 0% packet loss' || true"
)


def configure(product: Product, old: str, new: str) -> None:
    sites = product.lab.directory / "sites.yaml"
    text = sites.read_text()
    assert text.count(old) == 1
    sites.write_text(text.replace(old, new))


def statusall(product: Product, site: str) -> str:
    return product.lab.root(site, "ipsec statusall").stdout


def ike_daemons(product: Product, site: str) -> list[str]:
    """The programs that listen on UDP port 500."""
    said = product.lab.root(site, "ss -Hlunp 'sport = :500'").stdout
    return sorted({line.split('(("')[1].split('"')[0] for line in said.splitlines()})


def encrypted(product: Product) -> bool:
    with product.lab.capture() as wire:
        answered = product.lab.root("home", PING).stdout.strip() == "1"
    return answered and wire.esp_packets > 0 and wire.plaintext_packets == 0


def within(seconds: float, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.1)


@pytest.fixture(scope="module", params=["bookworm", pytest.param("trixie", marks=pytest.mark.slow)])
def product(request: pytest.FixtureRequest) -> Iterator[Product]:
    """The admin's own connections are on vps4, of either release."""
    lab = Lab(f"stroke-{os.getpid()}", {"vps4": request.param})
    lab.down()
    lab.up(print)
    product = Product(lab)
    configure(product, "ipsec:\n", "ipsec:\n  config: stroke\n")
    lab.root("vps4", BEFOREHAND)
    yield product
    lab.down()


@pytest.fixture(scope="module")
def fresh(product: Product) -> dict[str, dict[str, str]]:
    return pictures(product.lab)


@pytest.fixture(scope="module")
def applied(product: Product, fresh: object) -> Run:  # noqa: ARG001 - the picture is taken first
    done = product.apply()
    assert done.code == 0, done.err
    return done


@pytest.mark.usefixtures("applied")
def test_the_daemon_has_it_as_planned_and_packets_pass_encrypted(product: Product) -> None:
    for site in SITES:
        said = statusall(product, site)
        (sa,) = associations(said, f"ula-net-{PEER[site]}")
        assert (sa.state, sa.remote_id) == ("ESTABLISHED", f"{PEER[site]}.example.test")
        assert str(sa.suite) == "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384"
        assert "remote ca" in viewed(said, f"ula-net-{PEER[site]}")
        assert "has private key" in product.lab.root(site, "ipsec listcerts").stdout
        assert ike_daemons(product, site) == ["charon"]
    assert encrypted(product)


@pytest.mark.usefixtures("applied")
def test_what_is_the_admins_stays_and_does_not_reach_into_what_is_ours(product: Product) -> None:
    assert product.lab.root("vps4", "cat /etc/ipsec.conf").stdout.startswith(f"{ADMINS_CONF}# ipsec-runbook: begin\n")
    assert product.lab.root("vps4", "cat /etc/ipsec.secrets").stdout.startswith(ADMINS_SECRETS)
    said = statusall(product, "vps4")
    assert viewed(said, "office")["local"] == "[office.example.org] uses pre-shared key authentication"
    assert "reauthentication in 23 hours" in said, "the lifetime is ours, not that of the admin's default"


@pytest.mark.usefixtures("applied")
def test_a_connection_that_the_admin_adds_and_has_read_by_an_update_is_no_change_of_ours(product: Product) -> None:
    branch = "conn branch\n\tright = 198.51.100.8\n\trightauth = psk\n\tleftauth = psk\n\tauto = add\n"
    product.lab.root("vps4", f"cp /etc/ipsec.conf /root/kept; printf '%s' '{branch}' >>/etc/ipsec.conf; ipsec update")
    within(30, lambda: "branch:" in statusall(product, "vps4"))
    audit = product.audit()
    assert audit.code == 0, audit.not_in_order
    product.lab.root("vps4", "cat /root/kept >/etc/ipsec.conf; rm /root/kept; ipsec update")
    within(30, lambda: "branch:" not in statusall(product, "vps4"))
    audit = product.audit()
    assert audit.code == 0, audit.not_in_order


@pytest.mark.usefixtures("applied")
def test_an_audit_changes_nothing_and_a_second_apply_neither(product: Product) -> None:
    kept(product)


LOADED = {site: ("connection", site, f"loaded connection ula-net-{PEER[site]}") for site in SITES}
MOVED = {
    ("strongswan", "home", "masked service strongswan-starter.service"),
    ("strongswan", "home", "service strongswan.service"),
    ("credentials", "home", "block in /etc/ipsec.secrets"),
    ("credentials", "home", "no file /etc/ssl/home.example.test/home.example.test.key"),
    ("credentials", "home", "file /etc/swanctl/private/home.example.test.key"),
    ("connection", "home", "block in /etc/ipsec.conf"),
    ("connection", "home", "file /etc/swanctl/conf.d/ula-net-vps4.conf"),
    LOADED["home"],
}


@pytest.fixture(scope="module")
def moved(product: Product, applied: object) -> Run:  # noqa: ARG001 - after it
    """Home, on Debian 13, where the two daemons' packages conflict, goes over to swanctl; vps4 stays."""
    configure(product, "    fqdn: home.example.test\n", "    fqdn: home.example.test\n    config: swanctl\n")
    audited = product.audit()
    assert audited.not_in_order >= MOVED
    done = product.apply()
    assert done.code == 0, done.err
    assert done.not_in_order == audited.not_in_order
    return done


def told_of(run: Run, target: str) -> str:
    return "\n".join(
        f"{part['change']}"
        for step in run.document["steps"]
        for part in step["parts"]
        if part["target"] == target and part["change"]
    )


def test_a_host_goes_over_to_the_other_style_and_nothing_of_ours_is_left_in_the_first(
    product: Product, moved: Run
) -> None:
    assert "in place of strongswan-charon" in told_of(moved, "home")
    assert ike_daemons(product, "home") == ["charon-systemd"]
    assert product.lab.root("home", "systemctl is-active strongswan-starter || true").stdout.strip() == "inactive"
    left = product.lab.root(
        "home",
        "grep -l ipsec-runbook /etc/ipsec.conf /etc/ipsec.secrets || true; ls /etc/ssl/*/*.key 2>/dev/null || true",
    )
    assert not left.stdout.strip()
    assert "ESTABLISHED" in product.lab.root("home", "swanctl --list-sas").stdout


@pytest.mark.usefixtures("moved")
def test_the_two_styles_speak_to_each_other(product: Product) -> None:
    assert encrypted(product)
    assert product.audit().code == 0
    again = product.apply()
    assert (again.code, again.changes) == (0, {})


@pytest.mark.usefixtures("moved")
def test_rollback_of_all_gives_back_the_hosts_as_they_were(product: Product, fresh: dict[str, dict[str, str]]) -> None:
    undone(product, fresh)
    assert ike_daemons(product, "vps4") == ["charon"]
    assert "office" in statusall(product, "vps4")


@pytest.fixture(scope="module")
def again(product: Product, applied: object) -> None:  # noqa: ARG001 - after it
    """Both sites by ipsec.conf, whatever the tests before have left."""
    sites = product.lab.directory / "sites.yaml"
    sites.write_text(sites.read_text().replace("    config: swanctl\n", ""))
    done = product.apply()
    assert done.code == 0, done.err


@pytest.mark.slow
@pytest.mark.usefixtures("again")
def test_either_host_goes_over_and_back(product: Product, fresh: dict[str, dict[str, str]]) -> None:
    name = "    fqdn: {}.example.test\n"
    for moving, staying in (("vps4", "home"), ("home", "vps4")):
        configure(product, name.format(moving), f"{name.format(moving)}    config: swanctl\n")
        done = product.apply()
        assert done.code == 0, done.err
        assert (ike_daemons(product, moving), ike_daemons(product, staying)) == (["charon-systemd"], ["charon"])
        assert encrypted(product)
        assert product.audit().code == 0
        configure(product, "    config: swanctl\n", "")
    assert product.apply().code == 0
    assert [ike_daemons(product, site) for site in SITES] == [["charon"], ["charon"]]
    assert encrypted(product)
    undone(product, fresh, r"fe80::.* ipsec0|ipsec0.* fe80::")  # the admin's charon has made its device anew
    assert product.apply().code == 0


DAMAGE = {
    "written, and not read by charon": ("vps4", "touch /etc/ipsec.conf", {LOADED["vps4"]}),
    "our lines gone, and read": (
        "vps4",
        "sed -i '/^# ipsec-runbook: begin/,$d' /etc/ipsec.conf; ipsec reload 2>/dev/null; sleep 1",
        {("connection", "vps4", "block in /etc/ipsec.conf"), LOADED["vps4"]},
    ),
    "charon's keys forgotten": (
        "home",
        "cp -a /etc/ipsec.secrets /root/; : >/etc/ipsec.secrets; ipsec rereadsecrets; mv /root/ipsec.secrets /etc/",
        {LOADED["home"]},
    ),
    "a link of an earlier sites.yaml": (
        "vps4",
        (
            "sed -i 's/^conn ula-net-home$/conn ula-net-old/' /etc/ipsec.conf; ipsec reload 2>/dev/null; sleep 1; "
            "ipsec down 'ula-net-home[*]' >/dev/null; timeout 30 ipsec up ula-net-old >/dev/null"
        ),
        {
            ("connection", "vps4", "block in /etc/ipsec.conf"),
            LOADED["vps4"],
            ("connection", "vps4", "tunnels of an earlier sites.yaml"),
        },
    ),
    "the trap taken away": ("home", "ipsec unroute ula-net-vps4", {LOADED["home"]}),
    "the tunnel taken down": ("home", "ipsec down ula-net-vps4", {("ping", "home", "tunnel ula-net-vps4")}),
    "the other daemon let loose": (
        "home",
        "systemctl unmask -q strongswan.service",
        {("strongswan", "home", "masked service strongswan.service")},
    ),
}


@pytest.mark.usefixtures("again")
@pytest.mark.parametrize(
    "name", [*list(DAMAGE)[:3], *(pytest.param(each, marks=pytest.mark.slow) for each in list(DAMAGE)[3:])]
)
def test_damage_is_named_and_mended_exactly(product: Product, name: str) -> None:
    host, script, expected = DAMAGE[name]
    product.lab.root(host, script)
    assert product.audit().not_in_order == expected
    mended = product.apply()
    assert mended.code == 0, mended.err
    assert mended.not_in_order >= expected
    assert product.audit().code == 0
    assert "ula-net-old" not in statusall(product, host)


THEIRS = "/etc/ipsec.d/of another.conf"
"""A section that is not found, for the space, and so is not made remarks."""


@pytest.mark.usefixtures("again")
def test_a_dead_tunnel_is_explained_by_both_ends_in_the_commands_of_ipsec(product: Product) -> None:
    lab = product.lab
    lab.root("vps4", f"printf 'conn ula-net-home\\n\\tesp = aes192gcm16-ecp384!\\n' >'{THEIRS}'")
    lab.root("vps4", f"echo 'include \"{THEIRS}\"' >>/etc/ipsec.conf; ipsec reload 2>/dev/null; sleep 1")
    lab.root("vps4", "ipsec down 'ula-net-home[*]' >/dev/null")
    failed = product.apply()
    lab.root("vps4", f"sed -i '/^include/d' /etc/ipsec.conf; rm '{THEIRS}'; ipsec reload 2>/dev/null")
    assert failed.code == 1
    (failure,) = failed.document["failures"]
    told = told_as(failure, catalogue.TUNNEL_DOWN)
    assert "stage CHILD SA" in told["error"]
    assert "vps4: " in told["error"]
    assert "home: " in told["error"]
    assert "/etc/ipsec.conf" in told["look"]
    assert "swanctl" not in told["look"] + told["hint"]
    assert product.apply().code == 0
