"""The whole procedure on real hosts: what the audit says, what apply does, what rollback undoes."""

from __future__ import annotations

import os
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from laws import SITES, Laws, Pictures, left, pictures
from product import Product, Run

from lab import Lab
from steps.procedure import PROCEDURE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

STEPS = [section.name for section in PROCEDURE]
NOTHING_TO_DO = {"apparmor", "upgrade"}
"""There is no AppArmor in the lab's kernel, and an upgrade is only offered."""


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"procedure-{os.getpid()}")
    lab.down()
    lab.up(print)
    yield Product(lab)
    lab.down()


@pytest.fixture(scope="module")
def laws(product: Product) -> Laws:
    return Laws.of(product)


@pytest.fixture(scope="module")
def before(product: Product, laws: Laws) -> dict[str, Pictures]:  # noqa: ARG001 - the audit comes first
    """The hosts as they were when each step was confirmed, by a person at a terminal."""
    found = {}

    def remember(step: str) -> None:
        found[step] = pictures(product.lab)

    code, said = product.apply_at_a_terminal(remember)
    assert code == 0, said
    return found


def test_an_audit_of_fresh_hosts_finds_changes_at_every_step_that_has_something_to_do(laws: Laws) -> None:
    steps = {step for step, _, _ in laws.audited.not_in_order}
    assert steps == set(STEPS) - NOTHING_TO_DO


def test_every_step_is_asked_about_once_and_applied(before: dict[str, object]) -> None:
    assert list(before) == [step for step in STEPS if step not in NOTHING_TO_DO]


@pytest.mark.usefixtures("before")
def test_what_was_audited_is_what_was_applied(product: Product, laws: Laws) -> None:
    report = max((product.lab.directory / ".runbook" / "logs").glob("*-apply.json"))
    applied = Run(0, report.read_text(), "")
    assert applied.changed == laws.audited.not_in_order


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
def test_every_file_that_is_left_somewhere_is_in_the_reference(product: Product, laws: Laws) -> None:
    for site, now in pictures(product.lab).items():
        files = {key.removeprefix("file:") for key in now if key.startswith("file:/etc/")}
        changed = {path for path in files if laws.fresh[site].get(f"file:{path}") != now[f"file:{path}"]}
        known = product.lab.root(site, "dpkg-query -S '/etc/*' | sed 's/^[^/]*: //'").stdout.splitlines()
        of_packages = {path for path in set(known) & changed if f"file:{path}" not in laws.fresh[site]}
        ours = {path for path in changed - of_packages if not LEFT_BY_PACKAGES.match(path)}
        assert sorted(path for path in ours if not in_the_reference(path)) == []
        assert len(ours) > 10
    here = product.lab.directory
    kept = [str(each.relative_to(here)) for each in (here / ".runbook").rglob("*") if each.is_file()]
    assert [path for path in kept if not in_the_reference(path)] == []


@pytest.mark.usefixtures("before")
def test_after_apply_all_is_in_order_and_a_second_apply_changes_nothing(product: Product, laws: Laws) -> None:
    laws.kept()
    shutil.rmtree(product.lab.directory / ".runbook" / "checkpoints")
    laws.kept()


def test_rollback_step_by_step_gives_back_each_state_before(product: Product, before: dict[str, Pictures]) -> None:
    for step in reversed(before):
        done = product.run("rollback", "--step", step, "--yes", "--json")
        assert done.code == 0, done.err
        assert {each["outcome"] for each in done.document["undone"]} == {"undone"}
        assert left(before[step], pictures(product.lab)) == [], f"after the rollback of {step}"
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
