"""The options of a connection, of the article and others: in the daemons that run, and in what these then do.

The two ends are configured in one style each, so that both are read; with --all, also the other way round.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from laws import Laws
from product import Product, Run

from lab import Lab
from steps.ipsec.styles import STYLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from steps.ipsec.negotiated import Sa
    from steps.ipsec.style import Style

pytestmark = pytest.mark.lab

CONNECTIONS = {"home": "ula-net-vps4", "vps4": "ula-net-home"}
HOME, VPS4 = "fdd7:5938:e2e6:3::1", "fdd7:5938:e2e6:3::8e71"
ARTICLE = """\
  ikelifetime: 60m
  keylife: 20m
  rekeymargin: 3m
  keyingtries: 1
  mobike: no
  sendcert: always
  type: tunnel
"""
PATIENCE = 60.0


@dataclass(frozen=True)
class Ends(Product):
    """Two hosts, and how the strongSwan of each is configured; home is the one that brings the tunnel up."""

    styles: Mapping[str, Style] = field(default_factory=dict)

    def configure(self, **options: str) -> None:
        """Write these options into `ipsec` of sites.yaml, in place of what they were."""
        path = self.lab.directory / "sites.yaml"
        text = path.read_text()
        for key, value in options.items():
            text = re.sub(rf"^  {key}: .*\n", "", text, flags=re.MULTILINE)
            text = text.replace("\nipsec:\n", f"\nipsec:\n  {key}: {value}\n")
        path.write_text(text)

    def applied(self, **options: str) -> Run:
        """Apply with these options; the law is that the audit then finds nothing to do."""
        self.configure(**options)
        done = self.apply()
        assert done.code == 0, done.err
        assert self.audit().code == 0
        return done

    def sas(self, host: str = "home") -> list[Sa]:
        """What stands of the tunnel."""
        style = self.styles[host]
        return style.associations(self.lab.root(host, style.listing).stdout, CONNECTIONS[host])

    def loaded(self, host: str) -> bool:
        return bool(self.lab.root(host, self.styles[host].view(CONNECTIONS[host]), check=False).stdout.strip())

    def waits(self) -> bool:
        """Whether home's charon waits for the first packet."""
        return bool(self.lab.root("home", self.styles["home"].trapped(CONNECTIONS["home"]), check=False).stdout.strip())

    def restarted(self, host: str = "home") -> None:
        """Its strongSwan begins anew, as at boot, and has read all."""
        self.lab.root(host, f"systemctl restart {self.styles[host].unit}")
        counting = self.styles[host].listing
        eventually(lambda: self.lab.root(host, counting, check=False).returncode == 0)

    def bring_up(self) -> None:
        """By hand, and anew."""
        style, name = self.styles["home"], CONNECTIONS["home"]
        self.lab.root("home", f"{style.down(name)}; {style.initiate(name)}", check=False)

    def journal(self, host: str, words: str) -> list[str]:
        """The lines of strongSwan's log that have these words."""
        read = f"journalctl -q {self.styles[host].journal} -o cat | grep -F '{words}'"
        return self.lab.root(host, read, check=False).stdout.splitlines()

    def ping(self) -> bool:
        """Whether a packet from home is answered."""
        return not self.lab.root("home", f"ping -6 -n -q -c 1 -W 1 -I {HOME} {VPS4}", check=False).returncode


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def notes(run: Run) -> dict[tuple[str, str], str]:
    """What is said of parts, by target and part."""
    parts = [part for step in run.document["steps"] for part in step["parts"]]
    return {(part["target"], part["part"]): part["note"] for part in parts}


def evidence(run: Run) -> str:
    return "\n".join(line for step in run.document["steps"] for check in step["checks"] for line in check["evidence"])


@pytest.fixture(scope="module", params=["swanctl", pytest.param("stroke", marks=pytest.mark.slow)])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    lab = Lab(f"options-{os.getpid()}")
    lab.down()
    lab.up(print)
    sites = lab.directory / "sites.yaml"
    text = sites.read_text().replace("ipsec:\n", f"ipsec:\n{ARTICLE}")
    named = dict(zip(CONNECTIONS, (request.param, *(each for each in STYLES if each != request.param)), strict=True))
    for host, style in named.items():
        fqdn = f"    fqdn: {host}.example.test\n"
        text = text.replace(fqdn, f"{fqdn}    config: {style}\n")
    sites.write_text(text)
    yield Ends(lab, {host: STYLES[style] for host, style in named.items()})
    lab.down()


@pytest.fixture(scope="module")
def laws(ends: Ends) -> Laws:
    return Laws.of(ends)


@pytest.fixture(scope="module")
def articles(laws: Laws) -> Run:
    """With the article's options, and `auto=route`, which is the default."""
    done = laws.applied()
    laws.kept()
    return done


def test_the_articles_lifetimes_are_those_of_the_daemons(ends: Ends, articles: Run) -> None:
    """60 and 20 minutes; a successor is made three to six minutes before."""
    assert articles.code == 0
    for host, name in CONNECTIONS.items():
        if ends.styles[host] is STYLES["stroke"]:
            stands = ends.lab.root(host, f"ipsec statusall {name}").stdout
            (ike,) = re.findall(r"reauthentication in (\d+) minutes", stands)
            assert 52 <= int(ike) <= 57
            assert all(12 <= int(child) <= 17 for child in re.findall(r"rekeying in (\d+) minutes", stands))
            continue
        listed = ends.lab.root(host, "swanctl --list-conns --pretty").stdout
        assert re.findall(r" rekey_time = (\d+)", listed) == ["3420", "1020"]
        stands = ends.lab.root(host, f"swanctl --list-sas --pretty --ike {name}").stdout
        age, left = (int(re.findall(rf" {key}-time = (\d+)", stands)[-1]) for key in ("install", "life"))
        assert age + left == 1200


@pytest.mark.usefixtures("articles")
def test_the_articles_way_of_proving_oneself_is_what_is_sent(ends: Ends) -> None:
    """With the certificate (sendcert), and without an offer to move (mobike)."""
    for host, kind in (("home", "request"), ("vps4", "response")):
        assert " CERT " in sent(ends, host, kind)
        assert "MOBIKE" not in sent(ends, host, kind)
        assert {child.mode for sa in ends.sas(host) for child in sa.children} == {"TUNNEL"}


def sent(ends: Ends, host: str, kind: str) -> str:
    """What this end put into the message by which it proved itself, the last time."""
    return ends.journal(host, f"generating IKE_AUTH {kind} 1 [ ID")[-1]


@pytest.mark.usefixtures("articles")
def test_trap_waits_for_the_first_packet_which_brings_the_tunnel_up(ends: Ends) -> None:
    ends.restarted()
    eventually(ends.waits)
    assert not ends.sas()
    assert not ends.sas("vps4")
    with ends.lab.capture() as wire:
        eventually(ends.ping)
    assert ends.sas()[-1].installed
    assert (wire.esp_packets > 0, wire.plaintext_packets) == (True, 0)


@pytest.mark.usefixtures("articles")
def test_start_is_up_at_once_and_again_after_the_other_end_has_closed_it(ends: Ends, laws: Laws) -> None:
    ends.applied(start="start")
    ends.restarted()
    eventually(lambda: any(sa.installed for sa in ends.sas()))
    (first,) = ends.sas()
    ends.lab.root("vps4", ends.styles["vps4"].down(CONNECTIONS["vps4"]), check=False)
    eventually(lambda: any(sa.installed and sa.unique_id != first.unique_id for sa in ends.sas()))
    laws.kept()


@pytest.mark.usefixtures("articles")
def test_add_leaves_it_to_a_person_and_nothing_is_said_to_be_wrong(ends: Ends, laws: Laws) -> None:
    ends.applied(start="add")
    ends.restarted()
    eventually(lambda: ends.loaded("home"))
    assert not ends.ping()
    assert not ends.sas()
    audited = laws.kept()
    by_hand = ends.styles["home"].initiate(CONNECTIONS["home"])
    assert notes(audited)["home", "tunnel ula-net-vps4"] == f"down: `start: add` leaves it to you (`{by_hand}`)"
    assert "is down, and `start: add` leaves it so: nothing was pinged" in evidence(
        ends.run("audit", "--probe", "--json")
    )

    ends.lab.root("home", by_hand)
    assert ends.ping()
    proved = ends.run("audit", "--probe", "--json")
    assert proved.code == 0
    assert "home: ula-net-vps4 has new keys by AES_GCM_16-256/ECP_384, SPI " in evidence(proved)


@pytest.mark.usefixtures("articles")
def test_ignore_is_not_loaded_at_either_end_and_is_in_order(ends: Ends, laws: Laws) -> None:
    ends.applied(start="start")
    assert ends.ping()
    ends.applied(start="ignore")
    for host in CONNECTIONS:
        assert (ends.loaded(host), ends.sas(host)) == (False, []), "what charon was told of before is forgotten"
        ends.restarted(host)
    with ends.lab.capture() as wire:
        assert not ends.ping()
    assert wire.plaintext_packets == 0
    assert not any(ends.loaded(host) for host in CONNECTIONS)
    audited = laws.kept()
    for host, name in CONNECTIONS.items():
        assert notes(audited)[host, f"loaded connection {name}"] == "not loaded: `start: ignore`"


UNASKED = {
    STYLES["swanctl"]: (
        r"sed -i 's/^    send_cert = .*/    send_certreq = no/' /etc/swanctl/conf.d/ula-net-home.conf; "
        "swanctl --load-conns >/dev/null"
    ),
    STYLES["stroke"]: (
        r"sed -i 's/^conn ula-net-home$/&\n\trightsendcert = never/' /etc/ipsec.conf; ipsec reload 2>/dev/null; sleep 1"
    ),
}
"""What has vps4 ask for no certificate, whatever it is sent."""


@pytest.mark.slow
@pytest.mark.usefixtures("articles")
def test_what_is_otherwise_than_in_the_article_is_seen_in_what_is_sent(ends: Ends) -> None:
    ends.applied(mobike="yes", sendcert="ifasked", start="add")
    ends.lab.root("vps4", UNASKED[ends.styles["vps4"]])
    ends.bring_up()
    assert "MOBIKE_SUP" in sent(ends, "home", "request")
    assert " CERT " not in sent(ends, "home", "request"), "it was not asked for"
    assert not ends.sas()

    ends.applied(sendcert="always")
    ends.lab.root("vps4", UNASKED[ends.styles["vps4"]])
    ends.bring_up()
    assert " CERT " in sent(ends, "home", "request")
    assert ends.sas()
    ends.applied(mobike="no", start="trap")


QUICK = "charon { retransmit_tries = 1\n retransmit_timeout = 0.2\n }"
DROP = "iptables -t raw -{} PREROUTING -p udp --dport 500 -j DROP"


@pytest.mark.slow
@pytest.mark.usefixtures("articles")
def test_one_try_as_in_the_article_is_all_and_without_a_word_it_goes_on_until_the_other_end_is_back(ends: Ends) -> None:
    gave_up, goes_on = "establishing IKE_SA failed, peer not responding", "peer not responding, trying again"
    ends.applied(start="trap", keyingtries="1")
    ends.lab.root("home", f"printf '{QUICK}' >/etc/strongswan.d/zz-quick.conf")
    ends.restarted()
    ends.lab.root("vps4", DROP.format("I"))
    eventually(ends.waits)
    before = len(ends.journal("home", gave_up)), len(ends.journal("home", goes_on))
    assert not ends.ping()
    eventually(lambda: len(ends.journal("home", gave_up)) > before[0])
    assert len(ends.journal("home", goes_on)) == before[1]

    ends.lab.root("vps4", DROP.format("D"))
    ends.applied(keyingtries="forever")
    ends.lab.root("vps4", DROP.format("I"))
    ends.restarted()
    eventually(ends.waits)
    assert not ends.ping()
    eventually(lambda: len(ends.journal("home", goes_on)) > before[1])
    ends.lab.root("vps4", DROP.format("D"))
    eventually(lambda: any(sa.installed for sa in ends.sas()))
    ends.lab.root("home", "rm /etc/strongswan.d/zz-quick.conf")
    ends.restarted()
    ends.applied(keyingtries="1")


@pytest.mark.slow
@pytest.mark.usefixtures("articles")
def test_lives_of_seconds_are_followed_by_others_and_packets_go_on(ends: Ends) -> None:
    ends.applied(start="trap", ikelifetime="30s", keylife="20s", rekeymargin="5s")
    ends.restarted()
    eventually(ends.ping)
    (first,) = ends.sas()
    keys = {child.spi_in for child in first.children}
    eventually(lambda: {child.spi_in for sa in ends.sas() for child in sa.installed}.isdisjoint(keys))
    eventually(lambda: first.unique_id not in {sa.unique_id for sa in ends.sas()})
    eventually(ends.ping)
    ends.applied(ikelifetime="60m", keylife="20m", rekeymargin="3m")


def test_with_any_of_them_it_is_taken_back_to_what_was_there(ends: Ends, laws: Laws, articles: Run) -> None:
    """Whatever has been applied one after another."""
    assert articles.code == 0
    ends.applied(start="trap")
    laws.undone()
    assert not any(ends.loaded(host) for host in CONNECTIONS)
