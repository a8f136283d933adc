"""A third site: what it changes at the others when it comes, how it is reached, and what is left when it goes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from laws import Laws, left, pictures
from product import Product

from lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from product import Run

pytestmark = pytest.mark.lab

MESH = """\
  - between: [home, vps5]
    initiator: home
  - between: [vps4, vps5]
"""
LAN_TO_LAN = "fdd7:5938:e2e6:1::10 -> fdd7:5938:e2e6:5::10"
LINKS = re.compile(r"^links:\n(?:  .*\n)+", re.MULTILINE)
VPS5 = re.compile(r"^  vps5:\n(?:    .*\n)+", re.MULTILINE)


@dataclass
class Described:
    """A product whose sites.yaml is changed."""

    product: Product
    text: str
    laws: Laws

    def describe(self, *, links: str, with_vps5: bool = True) -> None:
        text = LINKS.sub(f"links:\n{links}", self.text)
        (self.product.lab.directory / "sites.yaml").write_text(text if with_vps5 else VPS5.sub("", text))

    def apply(self) -> Run:
        done = self.product.apply()
        assert done.code == 0, done.err
        return done

    def unique_id(self, host: str, connection: str) -> str:
        """The number of an IKE SA, which it keeps as long as it lives; empty when there is none."""
        said = self.product.lab.root(host, f"swanctl --list-sas --pretty --ike {connection}").stdout
        return "".join(re.findall(r"^    uniqueid = (.*)$", said, re.MULTILINE))


@pytest.fixture(scope="module", params=["bookworm", pytest.param("trixie", marks=pytest.mark.slow)])
def network(request: pytest.FixtureRequest) -> Iterator[Described]:
    """Two sites that are joined; of the third, and of the machine behind it, the release is tried."""
    lab = Lab(f"more-sites-{os.getpid()}", releases={"vps5": request.param, "lan5": request.param})
    lab.down()
    lab.up(print)
    text = (lab.directory / "sites.yaml").read_text()
    assert MESH in text
    found = Described(Product(lab), text, Laws.of(Product(lab), ("home", "vps4", "vps5")))
    found.describe(links="  - between: [home, vps4]\n    initiator: home\n", with_vps5=False)
    found.apply()
    yield found
    lab.down()


def steps_by_target(run: Run) -> dict[str, set[str]]:
    """Which steps find something to do where."""
    found: dict[str, set[str]] = {}
    for step, target, _ in run.not_in_order:
        found.setdefault(target, set()).add(step)
    return found


def evidence(run: Run) -> dict[str, list[str]]:
    return {
        check["title"]: check["evidence"]
        for step in run.document["steps"]
        if step["name"] == "ping"
        for check in step["checks"]
    }


PEER = {"ipsec-firewall", "connection", "ping"}
NEW = {"nginx", "web-firewall", "strongswan", "credentials", "ipsec-firewall", "addresses", "connection"}


def test_a_site_that_is_added_changes_itself_and_its_peer_and_no_other(network: Described) -> None:
    kept = network.unique_id("home", "ula-net-vps4")
    network.describe(links="  - between: [home, vps4]\n    initiator: home\n  - between: [home, vps5]\n")
    found = network.product.audit()
    assert found.code == 3
    # which CA certificates home needs for vps5 is known once that has its own
    home = PEER | {"credentials"}
    assert steps_by_target(found) == {"controller": {"key", "csr", "certificate"}, "home": home, "vps5": NEW}
    done = network.apply()
    assert {part for step, target, part in done.not_in_order if target != "vps5" and "vps4" in part} == set()
    assert steps_by_target(done)["home"] == PEER
    assert {target for _, target, _ in done.not_in_order} == {"controller", "home", "vps5"}
    assert network.unique_id("home", "ula-net-vps4") == kept != "", "the tunnel that was there stays"


def test_lan_to_lan_both_ways_and_a_full_mesh_is_one_more_line(network: Described) -> None:
    network.describe(links="  - between: [home, vps4]\n    initiator: home\n" + MESH)
    done = network.apply()
    assert {target for _, target, _ in done.not_in_order} == {"vps4", "vps5"}
    told = evidence(done)
    assert set(told) == {"ping through home-vps4", "ping through home-vps5", "ping through vps4-vps5"}
    there, back = LAN_TO_LAN, " -> ".join(reversed(LAN_TO_LAN.split(" -> ")))
    for line in (f"home's LAN host: {there}", f"vps5's LAN host: {back}"):
        assert f"{line}: 4 packets transmitted, 4 received, 0% packet loss" in told["ping through home-vps5"]
    network.laws.kept()


def test_the_spokes_of_a_hub_reach_each_other_through_it_alone(network: Described) -> None:
    network.describe(links="  - hub: home\n    spokes: [vps4, vps5]\n")
    audited = network.product.audit()
    done = network.apply()
    assert done.not_in_order == audited.not_in_order
    told = evidence(done)
    assert set(told) == {"ping through home-vps4", "ping through home-vps5", "ping from vps4 to vps5 through home"}
    lines = told["ping from vps4 to vps5 through home"]
    for pair in (
        "vps4: fdd7:5938:e2e6:8e71::1 -> fdd7:5938:e2e6:5::1",
        "vps5's LAN host: fdd7:5938:e2e6:5::10 -> fdd7:5938:e2e6:3::8e71",
    ):
        assert f"{pair}: 4 packets transmitted, 4 received, 0% packet loss" in lines
    with network.product.lab.capture() as wire:
        ping = "ping -6 -n -q -c 3 -i 0.2 -I fdd7:5938:e2e6:8e71::1 fdd7:5938:e2e6:5::10 | grep -c ' 0% packet loss'"
        assert network.product.lab.root("vps4", ping).stdout == "1\n"
    # every packet is seen twice: it is the hub's to pass on
    assert sum(n for (address, _), n in wire.esp_from.items() if address == "203.0.113.10") >= 6
    assert wire.plaintext_packets == 0
    # what the mesh had between the spokes is gone
    assert network.unique_id("vps4", "ula-net-vps5") == ""
    assert "ula-net-vps5" not in network.product.lab.root("vps4", "swanctl --list-conns; ls /etc/swanctl/conf.d").stdout
    network.laws.kept()


def test_what_a_site_leaves_at_its_peers_is_seen_and_goes_with_it(network: Described) -> None:
    lab = network.product.lab
    mine = "connections { ula-net-mine { version = 2 } }"
    lab.root("vps4", f"echo '{mine}' >/etc/swanctl/conf.d/ula-net-mine.conf; swanctl --load-conns >/dev/null")
    network.describe(links="  - between: [home, vps4]\n    initiator: home\n", with_vps5=False)
    found = network.product.audit()
    assert ("connection", "home", "connections of an earlier sites.yaml") in found.not_in_order
    assert steps_by_target(found) == {"home": {"ipsec-firewall", "connection"} | {"ping"}, "vps4": PEER - {"ping"}}
    network.apply()
    assert network.product.audit().code == 0
    looking = (
        "swanctl --list-conns; swanctl --list-sas; ls /etc/swanctl/conf.d; ip6tables-save; ip -6 route show table 220"
    )
    for host in ("home", "vps4"):
        said = lab.root(host, looking).stdout
        assert "vps5" not in said
        assert "fdd7:5938:e2e6:5:" not in said
    assert "ula-net-mine: " in lab.root("vps4", "swanctl --list-conns").stdout, "what is not ours stays"


def test_a_site_that_is_gone_from_the_file_is_named_until_it_is_taken_back(network: Described) -> None:
    product, gone = network.product, "vps5 is no longer in sites.yaml"
    undo = "runbook rollback --all --site vps5 --file FILE"
    for command in (("audit",), ("apply", "--yes")):
        (told,) = [line for line in product.run(*command).out.splitlines() if gone in line]
        assert undo in told
    before = pictures(product.lab, ("home", "vps4"))
    earlier = product.lab.directory / "sites-before.yaml"
    earlier.write_text(network.text)
    done = product.run("rollback", "--all", "--site", "vps5", "--yes", file=str(earlier))
    assert done.code == 0, done.out + done.err
    assert left({"vps5": network.laws.fresh["vps5"]}, pictures(product.lab, ("vps5",))) == []
    assert left(before, pictures(product.lab, ("home", "vps4"))) == []
    audit = product.run("audit")
    assert audit.code == 0, audit.out
    assert gone not in audit.out


def test_rolled_back_every_site_is_as_it_was_whatever_it_was_joined_to(network: Described) -> None:
    network.product.lab.root("vps4", "rm /etc/swanctl/conf.d/ula-net-mine.conf; swanctl --load-conns >/dev/null")
    network.describe(links="  - hub: home\n    spokes: [vps4, vps5]\n")  # or vps5 would not be asked
    network.laws.undone()
