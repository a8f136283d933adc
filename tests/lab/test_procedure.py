"""The whole procedure on real hosts: what the audit says, what apply does, what rollback undoes."""

from __future__ import annotations

import json
import os
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from product import Product
from product import picture as product_picture

from lab import Lab, snapshot
from steps.procedure import PROCEDURE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

SITES = ("home", "vps4")
STEPS = [section.name for section in PROCEDURE]
NOTHING_TO_DO = {"apparmor", "upgrade"}
"""There is no AppArmor in the lab's kernel, and an upgrade is only offered."""


def picture(lab: Lab) -> dict[str, dict[str, str]]:
    return {site: product_picture(lab, site) for site in SITES}


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"procedure-{os.getpid()}")
    lab.down()
    lab.up(print)
    yield Product(lab)
    lab.down()


@pytest.fixture(scope="module")
def fresh(product: Product) -> dict[str, dict[str, str]]:
    return picture(product.lab)


@pytest.fixture(scope="module")
def audited(product: Product, fresh: object) -> object:  # noqa: ARG001 - the picture is taken first
    return product.audit()


@pytest.fixture(scope="module")
def before(product: Product, audited: object) -> dict[str, dict[str, dict[str, str]]]:  # noqa: ARG001 - in this order
    """The hosts as they were when each step was confirmed, by a person at a terminal."""
    pictures = {}

    def remember(step: str) -> None:
        pictures[step] = picture(product.lab)

    code, said = product.apply_at_a_terminal(remember)
    assert code == 0, said
    return pictures


def test_an_audit_of_fresh_hosts_finds_changes_at_every_step_that_has_something_to_do(audited: object) -> None:
    assert audited.code == 3
    steps = {step for step, _, _ in audited.not_in_order}
    assert steps == set(STEPS) - NOTHING_TO_DO


def test_an_audit_changes_nothing(product: Product, fresh: object, audited: object) -> None:  # noqa: ARG001 - after it
    now = picture(product.lab)
    assert {site: snapshot.diff(fresh[site], now[site]) for site in SITES} == {"home": [], "vps4": []}


def test_every_step_is_asked_about_once_and_applied(before: dict[str, object]) -> None:
    assert list(before) == [step for step in STEPS if step not in NOTHING_TO_DO]


def test_what_was_audited_is_what_was_applied(product: Product, audited: object, before: object) -> None:  # noqa: ARG001 - after it
    report = max((product.lab.directory / ".runbook" / "logs").glob("*-apply.json"))
    applied = json.loads(report.read_text())
    changed = {
        (step["name"], part["target"], part["part"])
        for step in applied["steps"]
        for part in step["parts"]
        if part["change"]
    }
    assert changed == audited.not_in_order


REFERENCE = (Path(__file__).parents[2] / "docs/reference.md").read_text()
FILES = re.findall(r"^\| `([^`]+)` \|", REFERENCE[REFERENCE.index("## Files") :], re.MULTILINE)
LEFT_BY_PACKAGES = re.compile(
    r"/etc/(rc.\.d|systemd/system|alternatives|ssl/certs|nginx/modules-enabled|nginx/sites-enabled/default"
    r"|iproute2|apparmor\.d/(cache|local))(/|$)"
)
"""What their own scripts make, or what is theirs and is put aside."""


def in_the_reference(path: str) -> bool:
    patterns = [re.sub("SITE|FQDN|TIME|COMMAND", "*", each).rstrip("/") for each in FILES]
    return any(fnmatch(path, each) or each.startswith(f"{path}/") or path.startswith(f"{each}/") for each in patterns)


@pytest.mark.usefixtures("before")
def test_every_file_that_is_left_somewhere_is_in_the_reference(product: Product, fresh: object) -> None:
    for site in SITES:
        now = product_picture(product.lab, site)
        files = {key.removeprefix("file:") for key in now if key.startswith("file:/etc/")}
        changed = {path for path in files if fresh[site].get(f"file:{path}") != now[f"file:{path}"]}
        known = product.lab.root(site, "dpkg-query -S '/etc/*' | sed 's/^[^/]*: //'").stdout.splitlines()
        of_packages = {path for path in set(known) & changed if f"file:{path}" not in fresh[site]}
        ours = {path for path in changed - of_packages if not LEFT_BY_PACKAGES.match(path)}
        assert sorted(path for path in ours if not in_the_reference(path)) == []
        assert len(ours) > 10
    here = product.lab.directory
    kept = [str(each.relative_to(here)) for each in (here / ".runbook").rglob("*") if each.is_file()]
    assert [path for path in kept if not in_the_reference(path)] == []


@pytest.mark.usefixtures("before")
def test_after_apply_all_is_in_order_and_a_second_apply_changes_nothing(product: Product) -> None:
    assert product.audit().code == 0
    again = product.apply()
    assert (again.code, again.changes) == (0, {})
    shutil.rmtree(product.lab.directory / ".runbook" / "checkpoints")
    then = picture(product.lab)
    without = product.apply()
    assert (without.code, without.changes) == (0, {})
    now = picture(product.lab)
    assert {site: snapshot.diff(then[site], now[site]) for site in SITES} == {"home": [], "vps4": []}


def test_rollback_step_by_step_gives_back_each_state_before(product: Product, before: dict[str, object]) -> None:
    for step in reversed(before):
        done = product.run("rollback", "--step", step, "--yes", "--json")
        assert done.code == 0, done.err
        assert {each["outcome"] for each in done.document["undone"]} == {"undone"}
        now = picture(product.lab)
        left = {site: snapshot.diff(before[step][site], now[site]) for site in SITES}
        assert left == {"home": [], "vps4": []}, f"after the rollback of {step}"
    rest = [product.lab.root(site, "ls -A /var/lib/ipsec-runbook 2>&1 || true").stdout for site in SITES]
    assert all("No such file" in each for each in rest)


@pytest.fixture(scope="module")
def again(product: Product, before: object) -> None:  # noqa: ARG001 - after it
    """All in order, whatever the tests before have left."""
    done = product.apply()
    assert done.code == 0, done.err


DAMAGE = {
    "nginx's configuration changed": (
        "vps4",
        "echo '# edited' >>/etc/nginx/conf.d/ipsec-runbook.conf",
        {
            ("nginx", "vps4", "file /etc/nginx/conf.d/ipsec-runbook.conf"),
            ("nginx", "vps4", "nginx's loaded configuration"),
        },
    ),
    "written, but not loaded by nginx": (
        "home",
        "touch /etc/nginx/conf.d/ipsec-runbook.conf",
        {("nginx", "home", "nginx's loaded configuration")},
    ),
    "nginx stopped": (
        "home",
        "systemctl stop nginx",
        {("nginx", "home", "service nginx.service"), ("nginx", "home", "nginx's loaded configuration")},
    ),
    "nginx disabled": ("vps4", "systemctl disable -q nginx", {("nginx", "vps4", "service nginx.service")}),
    "legacy starter unmasked": (
        "vps4",
        "systemctl unmask -q strongswan-starter",
        {("strongswan", "vps4", "masked service strongswan-starter.service")},
    ),
    "key readable by others": (
        "home",
        "chmod 644 /etc/swanctl/private/home.example.test.key",
        {("credentials", "home", "file /etc/swanctl/private/home.example.test.key")},
    ),
    "a CA certificate gone": (
        "vps4",
        "rm $(ls -d /etc/swanctl/x509ca/ipsec-runbook-* | head -1)",
        {("credentials", "vps4", "CA certificates in /etc/swanctl/x509ca")},
    ),
    "a stale CA certificate left": (
        "home",
        "cp $(ls -d /etc/swanctl/x509ca/ipsec-runbook-* | head -1) /etc/swanctl/x509ca/ipsec-runbook-old.pem",
        {
            ("credentials", "home", "CA certificates in /etc/swanctl/x509ca"),
            ("connection", "home", "loaded connection ula-net-vps4"),
        },
    ),
    "an address gone": (
        "home",
        "ip -6 address del fdd7:5938:e2e6:3::1/128 dev eth0",
        {
            ("addresses", "home", "address fdd7:5938:e2e6:3::1/128 on eth0"),
            ("connection", "home", "loaded connection ula-net-vps4"),
        },
    ),
    "an address gone at the other end": (
        "vps4",
        "ip -6 address del fdd7:5938:e2e6:8e71::1/128 dev eth0",
        {
            ("addresses", "vps4", "address fdd7:5938:e2e6:8e71::1/128 on eth0"),
            ("connection", "vps4", "loaded connection ula-net-home"),
        },
    ),
    "a rule no longer in force": (
        "home",
        "iptables-save | grep -v 'ipsec-runbook:web' | iptables-restore",
        {("web-firewall", "home", "iptables rules in force for web")},
    ),
    "a stored rule gone": (
        "vps4",
        "sed -i '/ipsec-runbook:ipsec/d' /etc/network/ip6tables.save",
        {("ipsec-firewall", "vps4", "rules in /etc/network/ip6tables.save for ipsec")},
    ),
    "forwarding off": (
        "vps4",
        "sysctl -qw net.ipv6.conf.all.forwarding=0",
        {("ipsec-firewall", "vps4", "sysctl net.ipv6.conf.all.forwarding")},
    ),
    "the stored addresses gone": (
        "vps4",
        "rm /etc/network/interfaces.d/ipsec-runbook",
        {("addresses", "vps4", "file /etc/network/interfaces.d/ipsec-runbook")},
    ),
    "a connection unloaded": (
        "vps4",
        (
            "mv /etc/swanctl/conf.d/ula-net-home.conf /root/; swanctl --load-conns >/dev/null; "
            "mv /root/ula-net-home.conf /etc/swanctl/conf.d/"
        ),
        {("connection", "vps4", "loaded connection ula-net-home")},
    ),
    "charon's keys cleared": (
        "home",
        (
            "mv /etc/swanctl/private/home.example.test.key /root/; swanctl --load-creds --clear >/dev/null; "
            "mv /root/home.example.test.key /etc/swanctl/private/"
        ),
        {("connection", "home", "loaded connection ula-net-vps4")},
    ),
    "the tunnel taken down": (
        "home",
        "swanctl --terminate --ike ula-net-vps4 >/dev/null",
        {("ping", "home", "tunnel ula-net-vps4")},
    ),
}


@pytest.mark.usefixtures("again")
@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_mended_exactly(product: Product, name: str) -> None:
    host, script, expected = DAMAGE[name]
    product.lab.root(host, script)
    assert product.audit().not_in_order == expected
    mended = product.apply()
    assert mended.code == 0, mended.err
    assert mended.not_in_order == expected
    assert product.audit().code == 0


CONTROLLER_DAMAGE = {
    "a request lost": ("csr/home.csr.pem", "rm", {("csr", "home.csr.pem"), ("csr", "home.csr.der")}),
    "a key readable by others": ("keys/vps4.key", "chmod 644", {("key", "vps4.key")}),
}


@pytest.mark.usefixtures("again")
@pytest.mark.parametrize("name", CONTROLLER_DAMAGE)
def test_damage_on_the_controller_is_named_and_mended_exactly(product: Product, name: str) -> None:
    file, command, expected = CONTROLLER_DAMAGE[name]
    product.lab.admin([*command.split(), str(product.lab.directory / ".runbook" / file)], check=True)
    found = {(step, part.rpartition("/")[2]) for step, _, part in product.audit().not_in_order}
    assert found == expected
    mended = product.apply()
    assert mended.code == 0, mended.err
    assert {(step, part.rpartition("/")[2]) for step, _, part in mended.not_in_order} == expected
    assert product.audit().code == 0
