"""`sites.yaml`: what a good one means, and that a bad one is refused at the exact line and key."""

import re
import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_network import UNHURRIED, networks

from runbook.errors import UsageError
from steps.description.sites_yaml import load
from steps.ipsec.ipsec_options import Ipsec
from steps.network import Network

DATA = Path(__file__).parent / "data" / "sites"
FULL = (DATA / "full.yaml").read_text()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files lie that full.yaml names."""
    made = tmp_path_factory.mktemp("sites")
    for name in ("ssh_config", "acme-ca.pem", "root.pem", "other-root.pem"):
        (made / name).touch()
    return made


def load_text(text: str, directory: Path) -> Network:
    path = directory / "sites.yaml"
    path.write_text(text)
    return load(path)


def refusal(text: str | bytes, directory: Path) -> str:
    """What is said of a bad file, without its name."""
    path = directory / "sites.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UsageError) as raised:
        load(path)
    message = str(raised.value)
    assert message.startswith(f"{path}:")
    assert "\n" not in message
    return message.removeprefix(f"{path}:")


def changed(old: str, new: str) -> str:
    assert FULL.count(old) == 1, f"{old!r} is not in full.yaml exactly once"
    return FULL.replace(old, new)


def test_the_articles_network_has_the_articles_numbers() -> None:
    network = load(DATA / "article.yaml")
    home, vps4 = network.sites.values()
    (at_home,), (at_vps4,) = network.ends(home), network.ends(vps4)

    assert network.prefix == ip_network("fdd7:5938:e2e6::/48")
    assert str(network.link_network) == "fdd7:5938:e2e6:3::/64"
    assert str(network.subnet(home)) == "fdd7:5938:e2e6:1::/64"
    assert str(network.subnet(vps4)) == "fdd7:5938:e2e6:8e71::/64"
    assert str(network.link_address(home)) == "fdd7:5938:e2e6:3::1"
    assert str(network.link_address(vps4)) == "fdd7:5938:e2e6:3::8e71"
    assert [str(each) for each in network.own_addresses(home)] == ["fdd7:5938:e2e6:1::1/64"]
    assert [str(each) for each in network.own_addresses(vps4)] == ["fdd7:5938:e2e6:8e71::1/64"]

    assert at_home.connection == "ula-net-vps4"
    assert [str(each) for each in at_home.local_ts] == ["fdd7:5938:e2e6:1::/64", "fdd7:5938:e2e6:3::1/128"]
    assert [str(each) for each in at_home.remote_ts] == ["fdd7:5938:e2e6:8e71::/64", "fdd7:5938:e2e6:3::8e71/128"]
    assert at_home.local_addrs == ("%any",)
    assert at_home.remote_addrs == ("185.133.75.14", "2a06:8ec0:1:ec::2da9")
    assert at_home.initiates

    assert at_vps4.connection == "ula-net-home"
    assert (at_vps4.local_ts, at_vps4.remote_ts) == (at_home.remote_ts, at_home.local_ts)
    assert at_vps4.local_addrs == ("185.133.75.14", "2a06:8ec0:1:ec::2da9")
    assert at_vps4.remote_addrs == ("home.johncook.co.uk", "%any")
    assert not at_vps4.initiates

    assert [link.name for link in network.links] == ["home-vps4"]
    assert network.ssh_config is None
    assert network.ipsec == Ipsec()
    assert network.certificates.directory_url == "https://acme-v02.api.letsencrypt.org/directory"
    assert network.certificates.trust_anchors == ()
    assert network.certificates.challenge_site is None


def test_every_key_arrives(directory: Path) -> None:
    network = load_text(FULL, directory)

    assert network.directory == directory
    assert network.ssh_config == directory / "ssh_config"
    certificates = network.certificates
    assert certificates.directory_url == "https://acme.example.org:14000/dir"
    assert certificates.contact == "hostmaster@example.org"
    assert certificates.agree_to_terms
    assert certificates.ca_bundle == directory / "acme-ca.pem"
    assert certificates.trust_anchors == (directory / "root.pem", directory / "other-root.pem")
    assert certificates.challenge_site == "home"
    assert network.ipsec == Ipsec(
        encapsulation="always",
        extra_packages=("libcharon-extra-plugins",),
        ike_proposals=("aes256gcm16-prfsha384-ecp384-ke1_mlkem768", "aes256gcm16-prfsha384-ecp384"),
        esp_proposals=("aes256gcm16-ecp384",),
    )
    home, vps4, vps5 = network.sites.values()
    assert (home.name, home.ssh, home.fqdn) == ("home", "thejc@home.example.org:2222", "home.example.org")
    assert (home.dynamic, home.interface, home.lan_interface, home.lan_host) == (True, "eth0", "eth1", "lan")
    assert (vps4.addresses, vps4.interface, vps4.lan_interface) == ((ip_address("192.0.2.4"),), "ens3.100", None)
    assert (vps5.ssh, vps5.subnet_id) == ("root@[2001:db8::5]", 0x10)
    assert [str(address) for address in vps5.addresses] == ["192.0.2.5", "2001:db8::5"]


def test_an_authority_of_ones_own_needs_no_section_and_keys_may_be_on_the_hosts(directory: Path) -> None:
    section = FULL[FULL.index("certificates:") : FULL.index("ipsec:")]
    network = load_text(changed(section, "certificate_authority: private\nkeys: host\n"), directory)
    assert (network.certificate_authority, network.keys, network.certificates) == ("private", "host", None)
    default = load_text(FULL, directory)
    assert (default.certificate_authority, default.keys) == ("acme", "controller")
    with pytest.raises(UsageError, match=r":2: certificates: is missing; add .* `certificate_authority: private`"):
        load_text(changed(section, ""), directory)


def test_auto_and_an_address_as_people_write_it_are_taken(directory: Path) -> None:
    assert load_text(changed("encapsulation: always", "encapsulation: auto"), directory).ipsec.encapsulation == "auto"
    contact = "Jo.O'Neil+ca@Example.ORG"
    assert load_text(changed("hostmaster@example.org", contact), directory).certificates.contact == contact


THE_ARTICLES = """\
encapsulation: always
  config: stroke
  start: route
  ikelifetime: 60m
  keylife: 20m
  rekeymargin: 3m
  keyingtries: 1
  mobike: no
  sendcert: always
  type: tunnel"""


def test_the_articles_options_are_read_by_the_names_that_ipsec_conf_has_for_them(directory: Path) -> None:
    text = changed("encapsulation: always", THE_ARTICLES)
    network = load_text(text, directory)
    ipsec = network.ipsec
    assert (ipsec.ikelifetime, ipsec.keylife, ipsec.rekeymargin, ipsec.keyingtries) == (3600, 1200, 180, 1)
    assert (ipsec.mobike, ipsec.sendcert, ipsec.start, ipsec.config) == (False, "always", "trap", "stroke")
    assert load_text(text.replace("keylife:", "lifetime:"), directory).ipsec == ipsec


def test_a_site_may_be_configured_otherwise_than_the_others(directory: Path) -> None:
    text = changed("encapsulation: always", "encapsulation: always\n  config: stroke")
    text = text.replace("    ssh: vps4\n", "    ssh: vps4\n    config: swanctl\n")
    styles = {name: site.config for name, site in load_text(text, directory).sites.items()}
    assert styles == {"home": "stroke", "vps4": "swanctl", "vps5": "stroke"}


@pytest.mark.parametrize(
    ("written", "own", "selectors"),
    [
        ("[10]", ["fdd7:5938:e2e6:10::1/64"], ["fdd7:5938:e2e6:10::/64"]),
        (
            "[10, 20]",
            ["fdd7:5938:e2e6:10::1/64", "fdd7:5938:e2e6:20::1/64"],
            ["fdd7:5938:e2e6:10::/64", "fdd7:5938:e2e6:20::/64"],
        ),
        (
            "[10, 10.0.5.0/24, 10.0.6.200/25]",
            ["fdd7:5938:e2e6:10::1/64", "10.0.5.1/24", "10.0.6.200/25"],
            ["fdd7:5938:e2e6:10::/64", "10.0.5.0/24", "10.0.6.128/25"],
        ),
    ],
)
def test_a_site_may_have_more_subnets_also_of_ipv4(
    directory: Path, written: str, own: list[str], selectors: list[str]
) -> None:
    network = load_text(changed("    subnet: 10", f"    subnet: {written}"), directory)
    vps5 = network.sites["vps5"]
    assert [str(each) for each in network.own_addresses(vps5)] == own
    assert [str(each) for each in network.selectors(vps5)] == [*selectors, "fdd7:5938:e2e6:3::10/128"]


def test_the_spokes_of_a_hub_reach_each_other_through_it(directory: Path) -> None:
    text = FULL[: FULL.index("links:")] + "links:\n  - hub: vps4\n    spokes: [home, vps5]\n"
    network = load_text(text, directory)
    assert [(link.name, link.initiator) for link in network.links] == [("vps4-home", "home"), ("vps4-vps5", "vps4")]
    (at_home,) = network.ends(network.sites["home"])
    assert {str(each) for each in at_home.remote_ts} == {
        "fdd7:5938:e2e6:8e71::/64",
        "fdd7:5938:e2e6:3::8e71/128",
        "fdd7:5938:e2e6:10::/64",
        "fdd7:5938:e2e6:3::10/128",
    }
    assert [[site.name for site in each] for each in network.joined_by_hubs()] == [["vps4", "home", "vps5"]]


def test_the_initiator_is_whoever_is_named_else_the_dynamic_end_else_the_first(directory: Path) -> None:
    assert [link.initiator for link in load_text(FULL, directory).links] == ["vps4", "vps4", "home"]


def test_paths_may_be_absolute_and_names_may_be_relative_to_the_file_alone(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = changed("ca_bundle: acme-ca.pem", f"ca_bundle: {directory / 'root.pem'}")
    load_text(text, directory)
    monkeypatch.chdir(directory)
    assert load(Path("sites.yaml")).certificates.ca_bundle == directory / "root.pem"
    assert load(Path("sites.yaml")).directory == directory


BAD = [  # what of full.yaml, what instead, then the line and the key that are to be named, and what is said
    # the shape
    ("link_subnet: 3", "link_subnet: 3\nlinksubnet: 3", 4, "linksubnet", "did you mean `link_subnet`?"),
    ("    fqdn: vps4.", "    fqnd: vps4.", 30, "sites.vps4.fqnd", "did you mean `fqdn`?"),
    ("  challenge_site: home", "  zzz: home", 11, "certificates.zzz", "write one of: directory, contact"),
    ("link_subnet: 3", "link_subnet: 3\nkeys: hosts", 4, "keys", "did you mean `host`?"),
    ("link_subnet: 3", "link_subnet: 3\ncertificate_authority: own", 4, "certificate_authority", "acme, private"),
    ("ula_prefix: fdd7:5938:e2e6::/48\n", "", 2, "ula_prefix", "missing"),
    ("    subnet: 8e71\n", "", 28, "sites.vps4.subnet", "missing"),
    ("  agree_to_terms: true\n", "", 5, "certificates.agree_to_terms", "missing"),
    ("  - between: [vps4, vps5]", "  - initiator: vps4", 45, "links[1].between", "missing"),
    ("    subnet: 8e71", "    subnet: 8e71\n    subnet: 8e72", 33, "sites.vps4.subnet", "twice, first in line 32"),
    ("  vps5:", "  vps4:", 34, "sites.vps4", "twice, first in line 28"),
    ("    subnet: 8e71", "    subnet: &id 8e71", 32, "sites.vps4.subnet", "the anchor `&id`"),
    ("  vps4:", "  vps4: &base", 28, "sites.vps4", "the anchor `&base`"),
    ("[home, vps4]", "[home, *end]", 43, "links[0].between[1]", "the alias `*end`"),
    ("    subnet: 8e71", "    subnet: !!str 8e71", 32, "sites.vps4.subnet", "the tag"),
    ("    subnet: 8e71", "    subnet: !hex 8e71", 32, "sites.vps4.subnet", "the tag"),
    ("    subnet: 8e71", "    <<: {subnet: 8e71}", 32, "sites.vps4.<<", "unknown key"),
    ("    subnet: 8e71", "    subnet:", 32, "sites.vps4.subnet", "no value"),
    ("    subnet: 8e71", "    subnet: {8e71: 1}", 32, "sites.vps4.subnet", "list or a mapping"),
    ("    subnet: 8e71", "    ? [subnet]\n    : 8e71", 32, "sites.vps4", "write `key: value`"),
    ("    ssh: vps4", '    ssh: "vps4\\x1b[2J"', 29, "sites.vps4.ssh", "U+001B"),
    ("    ssh: vps4", "    ssh: vps4\u00a0", 29, "sites.vps4.ssh", "U+00A0"),
    ("  extra_packages: [libcharon-extra-plugins]", "  extra_packages: x", 14, "ipsec.extra_packages", "no list"),
    ("  esp_proposals: [aes256gcm16-ecp384]", "  esp_proposals: []", 18, "ipsec.esp_proposals", "empty list"),
    ("  home:\n    ssh: thejc", "  home: here\n  x:\n    ssh: thejc", 20, "sites.home", "no mapping"),
    ("  - between: [vps4, vps5]", "  - [vps4, vps5]", 45, "links[1]", "no mapping"),
    # the prefix and the subnet ids
    ("fdd7:5938:e2e6::/48", "2001:db8:1::/48", 2, "ula_prefix", "no unique local prefix"),
    ("fdd7:5938:e2e6::/48", "fc12:5938:e2e6::/48", 2, "ula_prefix", "fc00::/8, which is reserved"),
    ("fdd7:5938:e2e6::/48", "10.0.0.0/8", 2, "ula_prefix", "no IPv6 prefix"),
    ("fdd7:5938:e2e6::/48", "fdd7:5938:e2e6:/48", 2, "ula_prefix", "no IPv6 prefix"),
    ("fdd7:5938:e2e6::/48", "fdd7:5938:e2e6:1::/64", 2, "ula_prefix", "must be a /48"),
    ("fdd7:5938:e2e6::/48", "'fdd7:5938:e2e6::'", 2, "ula_prefix", "write fdd7:5938:e2e6::/48"),
    ("fdd7:5938:e2e6::/48", "fdd7:5938:e2e6:1::/48", 2, "ula_prefix", "write fdd7:5938:e2e6::/48"),
    ("fdd7:5938:e2e6::/48", "fdd7:5938:e2e6::%eth0/48", 2, "ula_prefix", "no IPv6 prefix"),
    ("fdd7:5938:e2e6::/48", "fd00::/48", 2, "ula_prefix", "RFC 4193, 3.2"),
    ("fdd7:5938:e2e6::/48", "fd11:1111:1111::/48", 2, "ula_prefix", "RFC 4193, 3.2"),
    ("link_subnet: 3", "link_subnet: 8e71", 32, "sites.vps4.subnet", "link_subnet in line 3"),
    ("    subnet: 10", "    subnet: 08E71", 40, "sites.vps5.subnet", "hexadecimal"),
    ("    subnet: 10", "    subnet: 8E71", 40, "sites.vps5.subnet", "sites.vps4.subnet in line 32"),
    ("    subnet: 10", "    subnet: 0001", 40, "sites.vps5.subnet", "sites.home.subnet in line 24"),
    ("    subnet: 10", "    subnet: 0", 40, "sites.vps5.subnet", "reserved"),
    ("    subnet: 10", "    subnet: 10000", 40, "sites.vps5.subnet", "one to four hexadecimal digits"),
    ("    subnet: 10", "    subnet: 1_0", 40, "sites.vps5.subnet", "`1_0` is no subnet id"),
    ("    subnet: 10", "    subnet: 10:20", 40, "sites.vps5.subnet", "`10:20` is no subnet id"),
    ("    subnet: 10", "    subnet: 0x10", 40, "sites.vps5.subnet", "`0x10` is no subnet id"),
    ("    subnet: 10", "    subnet: no", 40, "sites.vps5.subnet", "`no` is no subnet id"),
    ("    subnet: 10", "    subnet: -1", 40, "sites.vps5.subnet", "`-1` is no subnet id"),
    ("    subnet: 10", "    subnet: ::10", 40, "sites.vps5.subnet", "`::10` is no subnet id"),
    ("    subnet: 10", "    subnet: [10, 8e71]", 40, "sites.vps5.subnet[1]", "sites.vps4.subnet in line 32"),
    ("    subnet: 10", "    subnet: 10.0.5.0/24", 40, "sites.vps5.subnet", "write its hexadecimal id"),
    ("    subnet: 10", "    subnet: [10, 10.0.5.0]", 40, "sites.vps5.subnet[1]", "no subnet id"),
    ("    subnet: 10", "    subnet: [10, 10.0.5/24]", 40, "sites.vps5.subnet[1]", "no subnet; write"),
    ("    subnet: 10", "    subnet: [10, fd00::/64]", 40, "sites.vps5.subnet[1]", "no subnet; write"),
    ("    subnet: 10", "    subnet: [10, 224.0.5.0/24]", 40, "sites.vps5.subnet[1]", "no subnet; write"),
    ("    subnet: 10", "    subnet: [10, 0.0.0.0/0]", 40, "sites.vps5.subnet[1]", "no subnet; write"),
    ("    subnet: 10", "    subnet: [10, 10.0.5.1/32]", 40, "sites.vps5.subnet[1]", "too small"),
    ("    subnet: 10", "    subnet: [10, 10.0.5.255/24]", 40, "sites.vps5.subnet[1]", "broadcast"),
    ("    subnet: 10", "    subnet: [10, 192.0.2.0/24]", 40, "sites.vps5.subnet[1]", "sites.vps4.address in line 31"),
    (
        "    subnet: 10",
        "    subnet: [10, 10.0.5.0/24, 10.0.0.0/16]",
        40,
        "sites.vps5.subnet[2]",
        "overlaps with 10.0.5.0/24, that of sites.vps5.subnet[1] in line 40",
    ),
    # names and hosts
    ("  vps4:", "  vps_4:", 28, "sites.vps_4", "no DNS label"),
    ("  vps4:", "  controller:", 28, "sites.controller", "what the machine is called that this runs on"),
    ("  vps4:", "  Vps4:", 28, "sites.Vps4", "lower-case"),
    ("  vps4:", "  -vps4:", 28, "sites.-vps4", "no DNS label"),
    ("  vps4:", f"  {'v' * 64}:", 28, f"sites.{'v' * 64}", "at most 63"),
    ("vps4.example.org", "vps4", 30, "sites.vps4.fqdn", "single label"),
    ("vps4.example.org", "vps4.example.org.", 30, "sites.vps4.fqdn", "ends in a dot"),
    ("vps4.example.org", "vps4.exämple.org", 30, "sites.vps4.fqdn", "punycode"),
    ("vps4.example.org", "vps4..org", 30, "sites.vps4.fqdn", "no domain name"),
    ("vps4.example.org", "192.0.2.4", 30, "sites.vps4.fqdn", "no domain name"),
    ("vps4.example.org", "'*.example.org'", 30, "sites.vps4.fqdn", "no domain name"),
    ("vps4.example.org", f"{'v' * 64}.example.org", 30, "sites.vps4.fqdn", "at most 63"),
    ("vps4.example.org", f"{'v.' * 125}org1", 30, "sites.vps4.fqdn", "at most 253"),
    ("vps4.example.org", "home.example.org", 30, "sites.vps4.fqdn", "sites.home.fqdn in line 22"),
    ("    ssh: vps4", "    ssh: -oProxyCommand=reboot", 29, "sites.vps4.ssh", "no SSH target"),
    ("    ssh: vps4", "    ssh: vps4; reboot", 29, "sites.vps4.ssh", "no SSH target"),
    ("    ssh: vps4", "    ssh: vps4:65536", 29, "sites.vps4.ssh", "no SSH target"),
    ("    ssh: vps4", "    ssh: 2001:db8::4", 29, "sites.vps4.ssh", "IPv6 address in brackets"),
    ("    ssh: vps4", "    ssh: '[2001:db8::4::]'", 29, "sites.vps4.ssh", "no SSH target"),
    ("    ssh: vps4", "    ssh: root@HOME.example.org:2222", 29, "sites.vps4.ssh", "sites.home.ssh in line 21"),
    ("    ssh: vps4", "    ssh: '[2001:db8:0::5]:22'", 35, "sites.vps5.ssh", "sites.vps4.ssh in line 29"),
    ("    lan_host: lan", "    lan_host: vps4", 29, "sites.vps4.ssh", "sites.home.lan_host in line 27"),
    ("\n  - between: [vps4, vps5]\n  - between: [vps5, home]", "", 34, "sites.vps5", "no link"),
    # addresses and interfaces
    ("192.0.2.4", "192.0.2.400", 31, "sites.vps4.address", "no IP address"),
    ("192.0.2.4", "192.0.2.4/24", 31, "sites.vps4.address", "no IP address"),
    ("192.0.2.4", "010.0.0.1", 31, "sites.vps4.address", "no IP address"),
    ("192.0.2.4", "[dynamic]", 31, "sites.vps4.address[0]", "no IP address"),
    ("192.0.2.4", "[]", 31, "sites.vps4.address", "empty list"),
    ("192.0.2.4", "224.0.0.1", 31, "sites.vps4.address", "multicast"),
    ("192.0.2.4", "ff02::1", 31, "sites.vps4.address", "multicast"),
    ("192.0.2.4", "127.0.0.1", 31, "sites.vps4.address", "loopback"),
    ("192.0.2.4", "::1", 31, "sites.vps4.address", "loopback"),
    ("192.0.2.4", "0.0.0.0", 31, "sites.vps4.address", "unspecified"),  # noqa: S104 - nothing is bound to it
    ("192.0.2.4", "'::'", 31, "sites.vps4.address", "unspecified"),
    ("192.0.2.4", "0.1.2.3", 31, "sites.vps4.address", "reserved"),
    ("192.0.2.4", "255.255.255.255", 31, "sites.vps4.address", "reserved"),
    ("192.0.2.4", "fe80::1", 31, "sites.vps4.address", "link-local"),
    ("192.0.2.4", "fe80::1%eth0", 31, "sites.vps4.address", "no IP address"),
    ("192.0.2.4", "::ffff:192.0.2.4", 31, "sites.vps4.address", "IPv4 address written as IPv6"),
    ("192.0.2.4", "fdd7:5938:e2e6:8e71::1", 31, "sites.vps4.address", "inside the network to be tunnelled"),
    ("192.0.2.4", "192.0.2.5", 38, "sites.vps5.address[0]", "sites.vps4.address in line 31"),
    ("      - 2001:db8::5", "      - 192.0.2.5", 39, "sites.vps5.address[1]", "sites.vps5.address[0] in line 38"),
    ("      - 2001:db8::5", "      - dynamic", 39, "sites.vps5.address[1]", "no IP address"),
    ("ens3.100", "lo", 33, "sites.vps4.interface", "no interface"),
    ("ens3.100", "all", 33, "sites.vps4.interface", "no interface"),
    ("ens3.100", "..", 33, "sites.vps4.interface", "no interface"),
    ("ens3.100", "eth0/../../x", 33, "sites.vps4.interface", "no interface"),
    ("ens3.100", "eth0 up", 33, "sites.vps4.interface", "no interface"),
    ("ens3.100", "abcdefghijklmnop", 33, "sites.vps4.interface", "at most 15"),
    ("lan_interface: eth1", "lan_interface: lo", 26, "sites.home.lan_interface", "no interface"),
    # links
    ("[vps5, home]", "[vps5, vps5]", 46, "links[2].between", "to itself"),
    ("[vps5, home]", "[vps5, vps6]", 46, "links[2].between[1]", "did you mean `vps5`?"),
    ("[vps5, home]", "[vps5]", 46, "links[2].between", "two ends, not 1"),
    ("[vps5, home]", "[vps5, vps4, home]", 46, "links[2].between", "two ends, not 3"),
    ("[vps5, home]", "[vps4, home]", 46, "links[2].between", "links[0].between in line 43"),
    ("initiator: vps4", "initiator: vps5", 44, "links[0].initiator", "write home or vps4"),
    ("address: 192.0.2.4", "address: dynamic", 43, "links[0].between", "both sites are dynamic"),
    ("      - 192.0.2.5\n", "", 44, "links[1].between", "only IPv4"),
    ("[vps5, home]", "[vps5, home]\n  - hub: home\n    spokes: [vps4]", 48, "links[3].spokes", "at least two spokes"),
    (
        "between: [vps5, home]",
        "hub: home\n    spokes: [vps5, vps4]",
        47,
        "links[2].spokes[1]",
        "links[0].between in line",
    ),
    ("between: [vps5, home]", "hub: home\n    spokes: [vps5, vps5]", 47, "links[2].spokes[1]", "pair of sites"),
    ("between: [vps5, home]", "hub: home\n    spokes: [vps5, home]", 47, "links[2].spokes[1]", "to itself"),
    ("between: [vps5, home]", "hub: vps6\n    spokes: [vps5, home]", 46, "links[2].hub", "no site `vps6`"),
    ("between: [vps5, home]", "hub: vps5", 46, "links[2].spokes", "missing"),
    ("between: [vps5, home]", "initiator: home", 46, "links[2].between", "missing"),
    # certificates
    ("agree_to_terms: true", "agree_to_terms: false", 8, "certificates.agree_to_terms", "terms of service"),
    ("agree_to_terms: true", "agree_to_terms: yes", 8, "certificates.agree_to_terms", "write true"),
    ("https://acme.example.org:14000/dir", "letsencript", 6, "certificates.directory", "did you mean `letsencrypt`?"),
    ("https://acme.example.org:14000/dir", "http://acme.example.org", 6, "certificates.directory", "is not https"),
    ("https://acme.example.org:14000/dir", "https://a:99999/", 6, "certificates.directory", "no URL"),
    ("https://acme.example.org:14000/dir", "https://[::1/", 6, "certificates.directory", "no URL"),
    ("https://acme.example.org:14000/dir", "https:///dir", 6, "certificates.directory", "no URL"),
    ("https://acme.example.org:14000/dir", "https://me:secret@a.org/", 6, "certificates.directory", "no URL"),
    ("https://acme.example.org:14000/dir", "https://a.org/';x", 6, "certificates.directory", "no URL"),
    ("hostmaster@example.org", "hostmaster", 7, "certificates.contact", "no e-mail address"),
    ("hostmaster@example.org", "mailto:me@example.org", 7, "certificates.contact", "no e-mail address"),
    ("hostmaster@example.org", "me@example.org,you@example.org", 7, "certificates.contact", "no e-mail address"),
    ("hostmaster@example.org", "me@localhost", 7, "certificates.contact", "no e-mail address"),
    ("ca_bundle: acme-ca.pem", "ca_bundle: acme.pem", 9, "certificates.ca_bundle", "there is no file"),
    ("ca_bundle: acme-ca.pem", "ca_bundle: .", 9, "certificates.ca_bundle", "there is no file"),
    ("ca_bundle: acme-ca.pem", "ca_bundle: ~no-such-user/x", 9, "certificates.ca_bundle", "cannot be read"),
    ("ca_bundle: acme-ca.pem", f"ca_bundle: {'x' * 300}", 9, "certificates.ca_bundle", "cannot be read"),
    ("[root.pem, other-root.pem]", "[root.pem, none.pem]", 10, "certificates.trust_anchors[1]", "there is no file"),
    ("ssh_config: ssh_config", "ssh_config: config", 4, "ssh_config", "there is no file"),
    ("challenge_site: home", "challenge_site: hone", 11, "certificates.challenge_site", "did you mean `home`?"),
    # ipsec
    ("encapsulation: always", "encapsulation: yes", 13, "ipsec.encapsulation", "auto, always"),
    ("encapsulation: always", "encapsulation: always\n  start: begin", 14, "ipsec.start", "start, trap, add, ignore"),
    ("encapsulation: always", "encapsulation: always\n  config: ipsec.conf", 14, "ipsec.config", "swanctl, stroke"),
    ("encapsulation: always", "encapsulation: always\n  ikelifetime: 1 hour", 14, "ipsec.ikelifetime", "no time"),
    ("encapsulation: always", "encapsulation: always\n  ikelifetime: 18m", 14, "ipsec.ikelifetime", "twice the margin"),
    ("encapsulation: always", "encapsulation: always\n  keylife: 0", 14, "ipsec.keylife", "no time"),
    ("encapsulation: always", "encapsulation: always\n  rekeymargin: 30m", 14, "ipsec.rekeymargin", "twice the margin"),
    (
        "encapsulation: always",
        "encapsulation: always\n  keyingtries: -1",
        14,
        "ipsec.keyingtries",
        "1 to 999, or forever",
    ),
    ("encapsulation: always", "encapsulation: always\n  mobike: maybe", 14, "ipsec.mobike", "yes, no"),
    ("encapsulation: always", "encapsulation: always\n  sendcert: never", 14, "ipsec.sendcert", "always or ifasked"),
    ("encapsulation: always", "encapsulation: always\n  type: transport", 14, "ipsec.type", "write tunnel"),
    (
        "encapsulation: always",
        "encapsulation: always\n  keylife: 1h\n  lifetime: 1h",
        15,
        "ipsec.lifetime",
        "another name of keylife",
    ),
    ("    ssh: vps4", "    ssh: vps4\n    config: stork", 30, "sites.vps4.config", "did you mean `stroke`?"),
    ("[libcharon-extra-plugins]", "[curl, -y]", 14, "ipsec.extra_packages[1]", "no Debian package"),
    ("[libcharon-extra-plugins]", "['a; reboot']", 14, "ipsec.extra_packages[0]", "no Debian package"),
    ("-ecp384-ke1_mlkem768", "-ecp384!", 16, "ipsec.ike_proposals[0]", "no proposal"),
    ("-ecp384-ke1_mlkem768", '"\\n}"', 16, "ipsec.ike_proposals[0]", "no proposal"),
    ("[aes256gcm16-ecp384]", '["x\\n  }\\n"]', 18, "ipsec.esp_proposals[0]", "U+000A"),
    ("[aes256gcm16-ecp384]", "[default]", 18, "ipsec.esp_proposals[0]", "no proposal"),
    ("[aes256gcm16-ecp384]", "[null-sha256]", 18, "ipsec.esp_proposals[0]", "no proposal"),
    ("[aes256gcm16-ecp384]", "[aes256-null-sha256]", 18, "ipsec.esp_proposals[0]", "a null cipher encrypts nothing"),
    ("[aes256gcm16-ecp384]", "[aes256-ecp384]", 18, "ipsec.esp_proposals[0]", "names no integrity, such as sha384"),
    ("[aes256gcm16-ecp384]", "[aes256gcm16-ke1_ecp521]", 18, "ipsec.esp_proposals[0]", "names no key exchange"),
    ("[aes256gcm16-ecp384]", "[aes256gcm16-aes256-sha384]", 18, "ipsec.esp_proposals[0]", "write two proposals"),
    ("-prfsha384-ecp384-ke1_mlkem768", "-ecp384", 16, "ipsec.ike_proposals[0]", "names no PRF, such as prfsha384"),
    ("-ecp384-ke1_mlkem768", "-none", 16, "ipsec.ike_proposals[0]", "names no key exchange, such as ecp384"),
]


@pytest.mark.parametrize("bad", BAD, ids=[f"{bad[3]}: {bad[1]}" for bad in BAD])
def test_a_bad_file_is_refused_at_its_line_and_key(bad: tuple[str, str, int, str, str], directory: Path) -> None:
    old, new, line, key, says = bad
    message = refusal(changed(old, new), directory)
    assert message.startswith(f"{line}: {key}: ")
    assert says in message


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "empty"),
        ("# nothing\n", 1, "empty"),
        ("---\n", 1, "empty"),
        ("- home\n- vps4\n", 1, "no mapping"),
        (b"ula_prefix: fdd7::/48\n# caf\xe9\n", 2, "not UTF-8"),
        (FULL.encode("utf-16"), 1, "not UTF-8"),
        (FULL + "# bell: \a\n", FULL.count("\n") + 1, "U+0007"),
        (FULL + "---\nula_prefix: x\n", FULL.count("\n") + 1, "second document"),
        ("ula_prefix: fdd7:5938:e2e6::\nlink_subnet: 3\n", 1, "a colon too many"),
        ("sites:\n\thome:\n", 2, "a tab; indent by spaces alone"),
        ("link_subnet:\t3\n", 1, "a tab"),
        ("sites:\n  - home:\n  vps4:\n", 3, "see that it is indented like its neighbours, and closed"),
        ("links: [home, vps4\nsites: {}\n", 2, "began in line 1"),
        ('ula_prefix: "\\U00110000"\n', 1, "an escape stands for no character"),
        ("ula_prefix: " + "[" * 5000, 1, "too deeply"),
    ],
)
def test_a_file_that_has_not_even_the_shape_is_refused_at_its_line(
    text: str | bytes, line: int, says: str, directory: Path
) -> None:
    message = refusal(text, directory)
    assert message.startswith(f"{line}: ")
    assert says in message


@pytest.mark.parametrize(("name", "says"), [("none.yaml", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_refused_by_its_name(name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        load(tmp_path / name)
    assert str(raised.value).startswith(f"{tmp_path / name}: ")


def test_a_single_site_is_refused(directory: Path) -> None:
    text = FULL[: FULL.index("  vps4:\n")] + FULL[FULL.index("links:\n") :]
    assert refusal(text, directory).startswith("19: sites: there must be at least two sites")


def test_links_whose_names_would_be_one_are_refused(directory: Path) -> None:
    text = "{ssh: %s, fqdn: %s.example.org, address: 192.0.2.%s, subnet: %s, interface: eth0}"
    sites = "".join(f"  {name}: {text % (name, name, n, n)}\n" for n, name in enumerate(["a-b", "c", "a", "b-c"], 1))
    head = FULL[: FULL.index("sites:\n")].replace("link_subnet: 3", "link_subnet: 9").replace("site: home", "site: c")
    message = refusal(f"{head}sites:\n{sites}links:\n  - between: [a-b, c]\n  - between: [a, b-c]\n", directory)
    assert "links[1].between: this name of a link is already that of links[0].between in line 25" in message


def test_the_prefix_that_is_suggested_is_one_that_is_taken(directory: Path) -> None:
    message = refusal(changed("fdd7:5938:e2e6::/48", "fd00::/48"), directory)
    found = re.search(r"fd[0-9a-f:]+::/48(?=, which)", message)
    assert found
    assert str(load_text(changed("fdd7:5938:e2e6::/48", found[0]), directory).prefix) == found[0]


WRITTEN_IDS = st.tuples(
    st.integers(1, 0xFFFF).filter(lambda subnet_id: subnet_id not in {0x3, 0x1, 0x8E71}),
    st.sampled_from(["{:x}", "{:X}", "{:02x}", "{:03x}", "{:04x}", "'{:x}'", '"{:04X}"']),
)


@UNHURRIED
@given(WRITTEN_IDS)
def test_a_subnet_id_is_the_hexadecimal_number_that_was_typed(directory: Path, written: tuple[int, str]) -> None:
    subnet_id, form = written
    text = form.format(subnet_id)
    network = load_text(changed("    subnet: 10", f"    subnet: {text}"), directory)
    assert network.sites["vps5"].subnet_id == subnet_id
    assert str(network.link_address(network.sites["vps5"])) == f"fdd7:5938:e2e6:3::{subnet_id:x}"


@pytest.mark.parametrize("text", ["10", "0010", "0o10", "1e10", "010", "1e1", "0b1", "10e2"])
def test_yamls_own_reading_of_a_number_does_not_matter(text: str, directory: Path) -> None:
    change = changed("    subnet: 10", f"    subnet: {text}")
    if re.fullmatch("[0-9a-f]{1,4}", text):
        assert load_text(change, directory).sites["vps5"].subnet_id == int(text, 16)
    else:
        assert "is no subnet id" in refusal(change, directory)


def as_yaml(network: Network) -> str:
    lines = [
        f"ula_prefix: {network.prefix}",
        f"link_subnet: {network.link_subnet_id:x}",
        "certificates: {directory: letsencrypt-staging, contact: hostmaster@example.org, agree_to_terms: true}",
        "sites:",
    ]
    for site in network.sites.values():
        address = f"[{', '.join(map(str, site.addresses))}]" if site.addresses else "dynamic"
        lines.append(f"  {site.name}: {{ssh: {site.ssh}, fqdn: {site.fqdn}, address: {address},")
        subnets = [f"{each:x}" if isinstance(each, int) else f"{each}" for each in (site.subnet_id, *site.more_subnets)]
        lines.append(f"    subnet: [{', '.join(subnets)}], interface: {site.interface}}}")
    lines.append("links:")
    lines += [
        f"- {{between: [{', '.join(link.between)}], initiator: {link.initiator}}}"
        for link in network.links
        if not link.hub
    ]
    if spokes := [link.between[1] for link in network.links if link.hub]:
        lines.append(f"- {{hub: {network.links[0].hub}, spokes: [{', '.join(spokes)}]}}")
    return "\n".join(lines)


@UNHURRIED
@given(networks())
def test_a_network_written_down_and_read_is_the_same(directory: Path, network: Network) -> None:
    assert load_text(as_yaml(network), directory) == replace(network, directory=directory)


@UNHURRIED
@given(st.integers(0, len(FULL)), st.integers(0, 20), st.text(max_size=8) | st.sampled_from(["\\", '"', "\t", ": "]))
def test_whatever_is_done_to_a_file_ends_in_a_network_or_in_one_sentence(
    directory: Path, start: int, length: int, insert: str
) -> None:
    path = directory / "sites.yaml"
    text = FULL[:start] + insert + FULL[start + length :]
    path.write_text(text, errors="surrogatepass", newline="")
    message = ""
    try:
        load(path)
    except UsageError as error:
        message = str(error)
    assert message.isprintable()
    assert not message or re.match(rf"{re.escape(str(path))}:[1-9][0-9]*: \S", message)


def test_after_what_is_wrong_and_where_stands_the_command_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "sites.yaml"
    path.write_text("ula_prefix: fdd7:5938:e2e6::/48\nlinksubnet: 3\n")
    said = subprocess.run(
        [sys.executable, "-m", "runbook", "audit", "--file", path], capture_output=True, text=True, check=False
    )
    assert said.returncode == 2
    wrong, go_on = said.stderr.splitlines()
    assert wrong == f"runbook: {path}:2: linksubnet: unknown key; did you mean `link_subnet`?"
    assert re.fullmatch(rf"to go on: runbook audit --file {path}", go_on)
