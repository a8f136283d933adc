"""From answers and proposals to a `sites.yaml`: what is proposed, why, and what is refused in which words."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from surveyed import link, surveyed

from runbook.errors import UsageError
from steps.description.sites_yaml import load
from steps.interview.answers import Answers, Known, SiteAnswers, complete
from steps.interview.reasons import network_reasons, site_reasons
from steps.interview.yaml_text import described, problem, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steps.interview.survey import Survey

FILE = Path("sites.yaml")
HOME = surveyed(link("eth0", "192.168.1.2/24"), link("eth1", "10.0.0.1/24"), names="home\nhome.lan\n")
VPS4 = surveyed(link("ens3", "192.0.2.4/24", "2001:db8::4/64"), uplink="ens3", names="vps4\nvps4.example.org\n")
ANSWERS = Answers(
    sites=(SiteAnswers(ssh="me@home.example.org"), SiteAnswers(ssh="vps4")),
    prefix="fdd7:5938:e2e6::/48",
    contact="me@example.org",
    agree_to_terms="true",
)


def known(home: Survey = HOME, vps4: Survey = VPS4, named: Sequence[str] = ("192.0.2.4", "2001:db8::4")) -> Known:
    """What was found out: the name of vps4 leads to `named`, that of home to its router."""
    leads = {"vps4": named, "home": ["198.51.100.7"]}
    return Known(
        {"me@home.example.org": home, "vps4": vps4},
        {f"{name}.example.org": [ip_address(each) for each in found] or None for name, found in leads.items()},
    )


def test_two_ssh_targets_a_contact_and_consent_are_enough() -> None:
    plan = complete(ANSWERS, known())
    home, vps4 = plan.sites
    assert (home.name, home.fqdn, home.address, home.interface) == ("home", "home.example.org", "dynamic", "eth0")
    assert (vps4.name, vps4.fqdn, vps4.address) == ("vps4", "vps4.example.org", "192.0.2.4, 2001:db8::4")
    assert (home.subnet, vps4.subnet, plan.link_subnet) == ("8e71", "8e72", "3")
    network = described(plan, known(), FILE)
    assert network.sites["home"].dynamic
    assert network.links[0].initiator == "home"


TUNNELS = {
    "ipsec.conf": """\
Connections:
{there}:  %any...192.0.2.1  IKEv2
{there}:   local:  [home.example.org] uses public key authentication
{there}:   child:  {own} 10.0.0.0/24 === {far} TUNNEL
""",
    "swanctl.conf": """\
{there}: IKEv2, no reauthentication, rekeying every 14400s
  local:  %any
  remote: 192.0.2.1
  {there}: TUNNEL, rekeying every 3600s
    local:  {own} 10.0.0.0/24
    remote: {far}
""",
}
OWN = {
    "home": "fd07:1:2:5::/64 fd07:1:2:4::5/128",
    "vps4": "fd07:1:2:8e71::/64 fd07:1:2:4::8e71/128",
}


@pytest.mark.parametrize("listing", TUNNELS.values(), ids=TUNNELS)
def test_the_plan_of_tunnels_that_are_there_is_kept(listing: str) -> None:
    home = listing.format(there="ula-net-vps4", own=OWN["home"], far=OWN["vps4"])
    vps4 = listing.format(there="ula-net-home", own=OWN["vps4"], far=OWN["home"])
    at_home = link("eth0", "192.168.1.2/24"), link("eth1", "10.0.0.1/24"), link("eth2", "fd07:1:2:5::1/64")
    there = known(surveyed(*at_home, names="home\n", connections=home), replace(VPS4, carried=carried(vps4)))
    plan = complete(replace(ANSWERS, prefix=""), there)
    assert (plan.prefix, plan.link_subnet) == ("fd07:1:2::/48", "4")
    assert [(site.subnet, site.lan_interface) for site in plan.sites] == [("5", "eth2"), ("8e71", "none")]
    assert "as the tunnels that are there have it" in site_reasons(plan, plan.sites[0], there)["subnet"]
    assert network_reasons(plan, there)["prefix"] == "as the tunnels that are there have it"

    other = complete(replace(ANSWERS, prefix="fd99::/48"), there)
    assert (other.link_subnet, other.sites[1].subnet) == ("3", "8e72")
    assert "your own" in network_reasons(other, there)["prefix"]


def carried(listing: str) -> Sequence[IPv6Network]:
    return surveyed(link("eth0", "192.0.2.4/24"), connections=listing).carried


@pytest.mark.parametrize(
    "own", ["fd07:1:2:5::/64 fd08:1:2:4::5/128", "10.1.0.0/16 2001:db8::/64", "fd00::/8 fc00:1:2:3::/64", "dynamic"]
)
def test_tunnels_of_no_one_plan_are_none_to_keep(own: str) -> None:
    listing = TUNNELS["ipsec.conf"].format(there="office", own=own, far="10.9.0.0/16")
    there = known(replace(HOME, carried=carried(listing)))
    first, second = (complete(replace(ANSWERS, prefix=""), there).prefix for _ in range(2))
    assert first != second, "drawn"


def test_every_proposal_has_its_reason() -> None:
    plan = complete(ANSWERS, known())
    home, vps4 = (site_reasons(plan, site, known()) for site in plan.sites)
    assert home["fqdn"] == "leads to 198.51.100.7, which this host does not have itself"
    assert home["address"] == "behind a NAT: its own address is 192.168.1.2"
    assert vps4["address"] == "it has them itself, and its name leads there"
    assert vps4["interface"] == "carries its default route"
    assert "8e71, the end of ens3's MAC address, 02:00:00:00:8e:71, is that of home" in vps4["subnet"]
    assert "eth1 may lead to a LAN" in home["lan_interface"]


def test_what_is_given_stays_and_what_follows_from_it_is_proposed() -> None:
    given_id = replace(ANSWERS.sites[1], subnet="8e71", name="far")
    plan = complete(replace(ANSWERS, sites=(ANSWERS.sites[0], given_id), link_subnet="8e72"), known())
    assert plan.sites[1].name == "far"
    assert plan.sites[0].subnet == "8e73"
    assert "is that of far" in site_reasons(plan, plan.sites[0], known())["subnet"]


def test_a_host_that_has_connections_by_ipsec_conf_goes_on_with_it() -> None:
    mine = replace(VPS4, daemons=("charon",), connections=("road-warriors",))
    plan = complete(replace(ANSWERS, keys="host"), known(vps4=mine))
    assert [site.config for site in plan.sites] == ["swanctl", "stroke"]
    assert site_reasons(plan, plan.sites[1], known(vps4=mine))["config"] == "by ipsec.conf, where road-warriors is now"
    network = described(plan, known(vps4=mine), FILE)
    assert ([site.config for site in network.sites.values()], network.keys) == (["swanctl", "stroke"], "host")
    said = text(plan, known(vps4=mine))
    assert "keys: host                               # each made on its host, which it never leaves" in said
    assert said.count("config:") == 1


def test_a_daemon_of_ipsec_conf_without_connections_or_of_swanctl_with_some_is_no_reason() -> None:
    for host in (replace(VPS4, daemons=("charon",)), replace(VPS4, daemons=("charon-systemd",), connections=("one",))):
        assert complete(ANSWERS, known(vps4=host)).sites[1].config == "swanctl"


def test_a_gateway_is_proposed_to_be_one_where_it_forwards() -> None:
    router = replace(HOME, forwards=True)
    plan = complete(ANSWERS, known(router))
    assert plan.sites[0].lan_interface == "eth1"
    assert described(plan, known(router), FILE).sites["home"].lan_interface == "eth1"


def test_of_addresses_those_are_proposed_that_the_name_leads_to() -> None:
    plan = complete(ANSWERS, known(named=["192.0.2.4"]))
    assert plan.sites[1].address == "192.0.2.4"
    elsewhere = complete(ANSWERS, known(named=["198.51.100.9"]))
    assert elsewhere.sites[1].address == "192.0.2.4, 2001:db8::4"


def test_a_name_that_leads_here_is_preferred_to_one_that_does_not() -> None:
    host = surveyed(link("eth0", "192.0.2.4/24"), names="web\nweb.example.net\n")
    site = SiteAnswers(ssh="me@vps4.example.org")
    found = Known({site.ssh: host}, {"vps4.example.org": [ip_address("192.0.2.4")], "web.example.net": None})
    assert complete(replace(ANSWERS, sites=(site,)), found).sites[0].fqdn == "vps4.example.org"


def test_hosts_of_the_same_name_are_told_apart() -> None:
    host = surveyed(link("eth0", "192.0.2.4/24"), names="debian\ndebian\n")
    plan = complete(ANSWERS, Known({"me@home.example.org": host, "vps4": host}))
    assert [site.name for site in plan.sites] == ["debian", "debian-2"]


def test_a_kernel_without_esp_gets_what_does_without() -> None:
    found = known(vps4=replace(VPS4, kernel_esp=False))
    network = described(complete(ANSWERS, found), found, FILE)
    assert network.ipsec.encapsulation == "always"
    assert network.ipsec.extra_packages == ("libcharon-extra-plugins",)


def test_an_authority_of_ones_own_needs_nobodys_terms() -> None:
    private = replace(ANSWERS, contact="", agree_to_terms="", certificate_authority="private")
    network = described(complete(private, known()), known(), FILE)
    assert network.certificate_authority == "private"
    assert network.certificates is None


def test_the_file_says_what_was_answered_and_why(tmp_path: Path) -> None:
    file = tmp_path / "sites.yaml"
    plan = complete(ANSWERS, known())
    file.write_text(text(plan, known()))
    assert load(file) == replace(described(plan, known(), file), directory=tmp_path)
    comments = [line.partition("# ")[2] for line in file.read_text().splitlines()]
    assert "behind a NAT: its own address is 192.168.1.2" in comments
    assert "home begins, since it always finds vps4" in comments
    assert max(map(len, file.read_text().splitlines())) <= 120


def test_two_ends_that_cannot_find_each_other_are_refused() -> None:
    plan = complete(
        replace(ANSWERS, sites=(ANSWERS.sites[0], SiteAnswers(ssh="vps4", fqdn="b.example.org"))), known(vps4=HOME)
    )
    with pytest.raises(UsageError, match=r"^links\[0\]\.between: both sites are dynamic, so that neither could find"):
        described(plan, known(vps4=HOME), FILE)


def test_three_sites_are_joined_each_with_each_but_for_two_that_cannot_be() -> None:
    third = SiteAnswers(
        ssh="vps5", name="vps5", fqdn="vps5.example.org", address="dynamic", interface="eth0", subnet="5"
    )
    plan = complete(replace(ANSWERS, sites=(*ANSWERS.sites, third)), known())
    assert [link.name for link in described(plan, known(), FILE).links] == ["home-vps4", "vps4-vps5"]


SITE = SiteAnswers(ssh="home", name="home")


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (Answers(sites=(replace(SITE, ssh="a b"),)), "`a b` is no SSH target; write [user@]host[:port]"),
        (Answers(sites=(SITE, replace(SITE, name="b"))), "this host is already that of sites.home.ssh; write another"),
        (Answers(sites=(SITE, replace(SITE, ssh="b"))), "is there twice"),
        (Answers(sites=(replace(SITE, name="A"),)), "`A` is no DNS label"),
        (Answers(sites=(replace(SITE, fqdn="home"),)), "`home` is a single label; write the full name"),
        (Answers(sites=(replace(SITE, address="fdd7::1, x"),)), "`x` is no IP address; write dynamic, or an address"),
        (Answers(sites=(replace(SITE, address="127.0.0.1"),)), "is a loopback address"),
        (Answers(sites=(replace(SITE, subnet="0"),)), "0 is reserved"),
        (Answers(sites=(replace(SITE, subnet="10000"),)), "`10000` is no subnet id"),
        (
            Answers(sites=(replace(SITE, subnet="fffe"),), link_subnet="fffe"),
            "this subnet id is already that of link_subnet",
        ),
        (Answers(sites=(replace(SITE, interface="all"),)), "is no interface that can carry an address"),
        (Answers(prefix="2001:db8::/48"), "is no unique local prefix"),
        (Answers(prefix="fd00::/48"), "has no random global id"),
        (Answers(contact="me"), "`me` is no e-mail address"),
        (Answers(directory="letsencript"), "did you mean `letsencrypt`?"),
        (Answers(ca_bundle="not-there.pem"), "not-there.pem"),
        (Answers(agree_to_terms="no"), "the CA gives certificates only to those who agree"),
        (Answers(certificate_authority="mine"), "mine"),
        (Answers(encapsulation="never"), "write one of: auto, always"),
        (Answers(ssh_config="not-there"), "there is no file"),
    ],
)
def test_a_wrong_answer_is_refused_in_the_readers_words_without_a_place_in_a_file(answers: Answers, words: str) -> None:
    said = problem(answers, FILE)
    assert words in said
    assert "line" not in said
    assert not said.startswith("sites")


def test_no_answers_are_no_wrong_ones() -> None:
    assert problem(Answers(), FILE) == ""
    assert problem(ANSWERS, FILE) == ""


@given(st.sampled_from(["name", "fqdn", "ssh", "interface", "subnet", "address"]), st.text(min_size=1, max_size=40))
def test_whatever_is_typed_is_refused_or_means_what_was_typed(field: str, typed: str) -> None:
    site = replace(SITE, fqdn="home.example.org")
    site = replace(site, **{field: typed.strip()})
    answers = Answers(sites=(site,))
    if not typed.strip() or problem(answers, FILE):
        return
    plan = complete(replace(ANSWERS, sites=(site, ANSWERS.sites[1])), Known({"vps4": VPS4, site.ssh: HOME}))
    found = described(plan, Known(), FILE).sites[plan.sites[0].name]
    back = {
        "name": found.name,
        "fqdn": found.fqdn,
        "ssh": found.ssh,
        "interface": found.interface,
        "subnet": f"{found.subnet_id:x}",
        "address": ", ".join(map(str, found.addresses)) or "dynamic",
    }
    if field == "subnet":
        assert int(back["subnet"], 16) == int(typed, 16)
    elif field == "address" and back["address"] != "dynamic":
        assert [ip_address(each) for each in back["address"].split(", ")] == [
            ip_address(each.strip()) for each in typed.split(",") if each.strip()
        ]
    else:
        assert back[field] == typed.strip()


@pytest.mark.parametrize(
    ("key", "value"),
    [("contact", "~me@example.org"), ("contact", "'me'@example.org"), ("trust_anchors", "a #b.pem, c: d.pem, {e}.pem")],
)
def test_what_yaml_would_take_for_something_else_is_quoted(tmp_path: Path, key: str, value: str) -> None:
    for name in ("a #b.pem", "c: d.pem", "{e}.pem"):
        (tmp_path / name).touch()
    found = described(complete(ANSWERS.having(key, value), known()), known(), tmp_path / "sites.yaml").certificates
    expected = {"contact": value, "trust_anchors": tuple(tmp_path / each for each in value.split(", "))}
    assert getattr(found, key) == expected[key]


def test_an_ssh_target_in_brackets_is_no_list() -> None:
    sites = (replace(SITE, ssh="[2001:db8::5]:22", fqdn="home.example.org", address="dynamic"), ANSWERS.sites[1])
    found = Known({"vps4": VPS4, sites[0].ssh: HOME})
    assert described(complete(replace(ANSWERS, sites=sites), found), found, FILE).sites["home"].ssh == sites[0].ssh


def test_an_address_family_is_no_matter_of_order() -> None:
    assert isinstance(described(complete(ANSWERS, known()), known(), FILE).sites["vps4"].addresses[1], IPv6Address)


@pytest.mark.parametrize("hostname", ["localhost", "controller"])
def test_what_no_site_may_be_called_is_not_proposed(hostname: str) -> None:
    plan = complete(ANSWERS, known(vps4=replace(VPS4, hostname=hostname)))
    assert plan.sites[1].name == "vps4"
