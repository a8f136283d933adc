"""From two login names to the ping: the interview at a terminal, by flags alone, stopped and taken up again."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest
from product import RUNBOOK, Product
from screens import Person, same

from lab import Lab, snapshot
from lab.layout import BEHIND_ROUTER, ROUTER_INNER
from steps.description.sites_yaml import load

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.lab

SITES = ("home", "vps4")
DOWN, CTRL_C, CTRL_U = "\x1b[B", "\x03", "\x15"
FIRST, SECOND = "thejc@home.example.test", "thejc@vps4.example.test"
PREFIX = "fdd7:5938:e2e6::/48"
DIRECTORY = "https://acme.example.test:14000/dir"
OF_THE_CA = ("acme-ca.pem", "trust-anchor.pem")
PLANNED = ("--prefix", PREFIX, "--subnet", "home=1", "--subnet", "vps4=8e71")
FLAGS = (
    *("--ssh", f"home={FIRST}", "--ssh", f"vps4={SECOND}", *PLANNED),
    *("--fqdn", "home=home.example.test", "--fqdn", "vps4=vps4.example.test"),
    *("--interface", "home=eth0", "--interface", "vps4=eth0"),
    *("--address", "home=dynamic", "--address", "vps4=203.0.113.20, 2001:db8:113::20"),
    *("--link-subnet", "3", "--directory", DIRECTORY, "--ca-bundle", OF_THE_CA[0], "--trust-anchors", OF_THE_CA[1]),
    *("--contact", "me@example.test", "--agree-to-terms"),
)


class Newcomer:
    """A user with a key and nothing else, at home in a folder of their own."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.ssh = folder / "home" / ".ssh"
        self.ssh.mkdir(mode=0o700, parents=True)
        shutil.copy(lab.directory / "id_ed25519", self.ssh)
        for name in OF_THE_CA:
            shutil.copy(lab.directory / name, folder)
        self.environment = {**os.environ, "HOME": str(folder / "home"), "LANG": "C.UTF-8"}

    @property
    def sites(self) -> Path:
        return self.folder / "sites.yaml"

    def knows(self) -> None:
        """The hosts' keys, from now on."""
        shutil.copy(self.lab.directory / "known_hosts", self.ssh)

    def sits_down(self, *arguments: str, columns: int = 80, **environment: str) -> Person:
        """At a terminal, with the product's command line typed."""
        argv = self.lab.admin_argv([*RUNBOOK, *arguments])
        return Person(argv, columns=columns, cwd=self.folder, env={**self.environment, **environment})

    def pipes(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same without a terminal."""
        return self.lab.admin([*RUNBOOK, *arguments], cwd=self.folder, env=self.environment)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab(f"init-{os.getpid()}")
    lab.down()
    lab.up(print)
    yield lab
    lab.down()


@pytest.fixture(scope="module")
def newcomer(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    return Newcomer(lab, tmp_path_factory.mktemp("newcomer"))


@pytest.fixture
def other(lab: Lab, tmp_path: Path) -> Newcomer:
    """Somebody else, who knows the hosts' keys."""
    other = Newcomer(lab, tmp_path)
    other.knows()
    return other


@pytest.fixture(scope="module")
def fresh(lab: Lab) -> dict[str, dict[str, str]]:
    return {site: snapshot.take(lab, site) for site in SITES}


@pytest.fixture(scope="module")
def stopped(newcomer: Newcomer, fresh: object) -> Person:  # noqa: ARG001 - the hosts are looked at first
    """The interview, stopped by Ctrl-C in the middle."""
    person = newcomer.sits_down("init")
    person.types("home.example.test:0", after="The first host")
    person.types(FIRST, after="The first host")
    person.says("y", to="want to continue")
    person.types("thejc@vps.example.test", after="The second host")
    person.types(SECOND, after="The second host")
    person.says("y", to="want to continue")
    person.sees("Who is to issue")
    person.press(CTRL_C)
    assert person.ends() == 4
    return person


def test_a_wrong_answer_is_told_with_its_reason_and_ctrl_c_with_how_to_go_on(
    stopped: Person, request: pytest.FixtureRequest
) -> None:
    same(request, "init-stopped", stopped.screen)


def test_the_answers_are_kept_for_the_user_alone(newcomer: Newcomer, stopped: Person) -> None:  # noqa: ARG001 - after it
    kept = newcomer.folder / ".runbook" / "init.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert "PRIVATE" not in kept.read_text()


@pytest.fixture(scope="module")
def finished(newcomer: Newcomer, stopped: Person) -> Person:  # noqa: ARG001 - it goes on from there
    """The rest of it: taken up again, an answer changed at the end, the file written."""
    person = newcomer.sits_down("init", *PLANNED)
    person.types(f"{DOWN}{DOWN}", after="Who is to issue")
    person.types("http://acme.example.test/dir", after="directory:")
    person.types(DIRECTORY, after="directory:")
    person.types(after="home: fqdn")
    person.types(after="vps4: fqdn")
    person.types(OF_THE_CA[0], after="ca_bundle")
    person.types(OF_THE_CA[1], after="trust_anchors")
    person.types("me", after="contact:")
    person.types("me@example.test", after="contact:")
    person.says("n", to="Do you agree")
    person.says("y", to="Do you agree")
    person.types(DOWN, after="Is this what you want?")
    person.types(DOWN * 3, after="Which one?")
    person.types("203.0.113.300", after="home: address [")
    person.types("dynamic", after="home: address [")
    person.types(after="Is this what you want?")
    assert person.ends() == 0
    return person


def test_the_interview_goes_on_from_the_answers_given(finished: Person, request: pytest.FixtureRequest) -> None:
    same(request, "init-finished", finished.screen)


def test_the_file_is_as_it_was_looked_at(
    newcomer: Newcomer,
    finished: Person,  # noqa: ARG001 - after it
    request: pytest.FixtureRequest,
) -> None:
    same(request, "init-sites.yaml", newcomer.sites.read_text())


@pytest.mark.usefixtures("finished")
def test_the_hosts_are_as_they_were(lab: Lab, fresh: dict[str, dict[str, str]]) -> None:
    now = {site: snapshot.take(lab, site) for site in SITES}
    assert {site: snapshot.diff(fresh[site], now[site]) for site in SITES} == {"home": [], "vps4": []}


def test_flags_alone_give_the_same_file_and_plain_output(
    newcomer: Newcomer,
    other: Newcomer,
    finished: Person,  # noqa: ARG001 - after it
    request: pytest.FixtureRequest,
) -> None:
    done = other.pipes("init", *FLAGS)
    assert done.returncode == 0, done.stderr
    assert other.sites.read_text() == newcomer.sites.read_text()
    assert "\x1b" not in done.stdout + done.stderr
    waited = [line for line in done.stdout.splitlines() if not line.startswith("      ...")]
    same(request, "init-piped", "\n".join(waited))


def test_what_is_missing_without_a_terminal_is_named_by_its_flags(other: Newcomer) -> None:
    nothing = other.pipes("init")
    assert nothing.returncode == 2
    assert "--ssh NAME=TARGET for each of two sites" in nothing.stderr
    some = other.pipes("init", "--yes", "--ssh", f"home={FIRST}", "--ssh", f"vps4={SECOND}")
    assert some.returncode == 2
    assert "these are missing: --contact, --agree-to-terms" in some.stderr
    another = other.pipes("init", "--yes", *FLAGS[:4], "--directory", DIRECTORY)
    assert "these are missing: --trust-anchors, --contact, --agree-to-terms" in another.stderr
    assert not other.sites.exists()


def test_one_host_by_two_names_is_no_network(other: Newcomer) -> None:
    second = ("--ssh", "vps4=thejc@203.0.113.10", "--certificate-authority", "private")
    done = other.pipes("init", "--yes", *FLAGS[:2], *second)
    assert done.returncode == 2
    assert "thejc@203.0.113.10 is the host of home, under another name" in done.stderr
    assert "name the other host" in done.stderr


def test_a_narrow_terminal_without_box_drawing_and_colours(other: Newcomer, request: pytest.FixtureRequest) -> None:
    person = other.sits_down("init", "--yes", *FLAGS, columns=60, NO_COLOR="1", LC_ALL="C")
    assert person.ends() == 0
    assert "\x1b[3" not in person.raw
    assert person.screen.isascii()
    same(request, "init-narrow", person.screen)


def test_proposals_are_enough(lab: Lab, other: Newcomer) -> None:
    """Only what nobody can propose is given: the rest is read, or drawn. Of an older file a copy stays."""
    other.sites.write_text("mine\n")
    done = other.pipes("init", "--yes", *FLAGS[:4], "--contact", "me@example.test", "--agree-to-terms")
    assert done.returncode == 0, done.stderr
    text = other.sites.read_text()
    for host in SITES:
        mac = lab.root(host, "cat /sys/class/net/eth0/address").stdout.strip()
        assert f"the end of eth0's MAC address, {mac}" in text
    assert "ula_prefix: fd" in text
    assert PREFIX not in text
    assert (other.folder / "sites.yaml.1").read_text() == "mine\n"


def test_an_authority_of_ones_own_needs_neither_terms_nor_port_80(other: Newcomer) -> None:
    wanted = ("--certificate-authority", "private", "--keys", "host", "--config", "home=stroke")
    done = other.pipes("init", "--yes", *FLAGS[:4], *wanted)
    assert done.returncode == 0, done.stderr
    assert "port 80 of" not in done.stdout
    network = load(other.sites)
    assert (network.certificate_authority, network.keys) == ("private", "host")
    assert [site.config for site in network.sites.values()] == ["stroke", "swanctl"]


def test_a_file_that_is_there_is_replaced_only_when_that_is_agreed_to(other: Newcomer) -> None:
    other.sites.write_text("mine\n")
    person = other.sits_down("init")
    person.says("n", to="sites.yaml is there already")
    assert person.ends() == 4
    refused = other.pipes("init", *FLAGS)
    assert refused.returncode == 2
    assert "sites.yaml is there already" in refused.stderr
    assert other.sites.read_text() == "mine\n"


@pytest.fixture(scope="module")
def joined(newcomer: Newcomer, finished: Person) -> str:  # noqa: ARG001 - after it
    """The tunnel, made by answering at the terminal."""
    code, said = Product(newcomer.lab).apply_at_a_terminal(
        lambda _step: None, file=str(newcomer.sites), HOME=newcomer.environment["HOME"]
    )
    assert code == 0, said
    return said


def test_apply_leads_from_there_to_the_ping(newcomer: Newcomer, joined: str) -> None:
    assert "4 packets transmitted, 4 received, 0% packet loss" in joined
    audit = newcomer.pipes("audit")
    assert audit.returncode == 0, audit.stdout


@pytest.mark.usefixtures("joined")
def test_on_hosts_that_are_joined_already_what_is_there_is_named(lab: Lab, other: Newcomer) -> None:
    lab.root("home", "ip -6 route add fdd7:5938:e2e6:99::/64 dev eth1")
    lab.root("vps4", "ip -6 route add fdd7:5938:e2e6:98::/64 dev eth0")
    done = other.pipes("init", *FLAGS)
    lab.root("home", "ip -6 route del fdd7:5938:e2e6:99::/64 dev eth1")
    lab.root("vps4", "ip -6 route del fdd7:5938:e2e6:98::/64 dev eth0")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "strongSwan, with the connections ula-net-vps4; they stay, but for one with the name of a link" in said
    assert "leads to this host, where nginx(nginx.service) answers" in said
    assert said.count("has a route into") == 2
    assert "! home has a route into fdd7:5938:e2e6::/48 already: fdd7:5938:e2e6:99::/64 over eth1" in said
    assert "! vps4 has a route into fdd7:5938:e2e6::/48 already: fdd7:5938:e2e6:98::/64 over eth0" in said


@pytest.mark.usefixtures("joined")
def test_a_host_behind_a_nat_is_known_for_one_and_for_the_ports_that_it_is_sent(lab: Lab, other: Newcomer) -> None:
    lab.put_behind_router("home")
    lab.root("home", f"ip addr flush dev eth0; ip addr add {BEHIND_ROUTER}/24 dev eth0")
    lab.root("home", f"ip route replace default via {ROUTER_INNER}")
    lab.admin(["ip", "neigh", "flush", "dev", "eth0"], check=True)  # it would find out by itself, in ten seconds
    done = other.pipes("init", "--yes", *FLAGS[:4], "--contact", "me@example.test", "--agree-to-terms")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert f"{BEHIND_ROUTER} (private: behind a NAT) on eth0" in said
    assert f"dynamic (behind a NAT: its own address is {BEHIND_ROUTER})" in said
    assert "port 80 of home.example.test (203.0.113.10): leads to this host, where nginx(nginx.service) answers" in said
    assert "!" not in said
