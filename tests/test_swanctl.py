from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import charon
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from ula_network import ends

from steps.ipsec import swanctl, vici
from steps.ipsec.abilities import Abilities
from steps.ipsec.ciphers import offer
from steps.ipsec.ipsec_options import Ipsec

if TYPE_CHECKING:
    from steps.network import End

DATA = Path(__file__).parent / "data"
SAMPLES = DATA / "swanctl"
HOME, VPS4 = ends()
IKE, ESP = "aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384"


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.pretty.txt").read_text()


def named(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


ANCHOR_NAME = named(
    (NameOID.COUNTRY_NAME, "US"), (NameOID.ORGANIZATION_NAME, "Let's, ü"), (NameOID.COMMON_NAME, "Root")
)


def certificate(subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool = False) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(ANCHOR_NAME, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(KEY, hashes.SHA384())
    )


KEY = ec.generate_private_key(ec.SECP384R1())
ANCHOR = certificate(ANCHOR_NAME, KEY, ca=True)
LEAF = certificate(named((NameOID.COMMON_NAME, "home.example.org")), KEY)
NAMELESS = certificate(named(), KEY)


# --- the file ---------------------------------------------------------------------------------------------------------


def keys(text: str) -> dict[str, str]:
    return dict(re.findall(r"^ *(\w+) = (.+)$", text, re.MULTILINE))


def rendered(end: End = HOME) -> str:
    """The file of an end that can do the one proposal that this is not about."""
    end = end.under(replace(end.network.ipsec, ike_proposals=(IKE,), esp_proposals=(ESP,)))
    return swanctl.render(end, certificate="home.pem", anchors=["isrg-root-x1.pem", "isrg-root-x2.pem"])


def test_the_file_says_what_the_network_does() -> None:
    text = rendered()
    assert text.startswith("# managed by ipsec-runbook")
    assert keys(text.split("children {")[1]) == {
        "mode": "tunnel",
        "local_ts": "fdd7:5938:e2e6:1::/64,fdd7:5938:e2e6:3::1/128",
        "remote_ts": "fdd7:5938:e2e6:8e71::/64,fdd7:5938:e2e6:3::8e71/128",
        "esp_proposals": ESP,
        "life_time": "3600s",
        "rekey_time": "3060s",
        "rand_time": "540s",
        "start_action": "trap",
        "dpd_action": "restart",
        "close_action": "none",
    }
    assert keys(text.split("remote {")[1].split("}")[0]) == {
        "auth": "pubkey",
        "id": "fqdn:vps4.example.org",
        "cacerts": "isrg-root-x1.pem,isrg-root-x2.pem",
    }
    assert keys(text.split("local {")[0]) == {
        "version": "2",
        "local_addrs": "192.0.2.2",
        "remote_addrs": "192.0.2.1",
        "proposals": IKE,
        "mobike": "no",
        "encap": "no",
        "fragmentation": "yes",
        "send_cert": "always",
        "keyingtries": "0",
        "dpd_delay": "30s",
        "rekey_time": "13860s",
        "over_time": "540s",
        "rand_time": "540s",
        "reauth_time": "24h",
        "unique": "replace",
    }


def test_only_one_end_brings_the_tunnel_up() -> None:
    waiting = keys(rendered(VPS4).split("children {")[1])
    assert (waiting["start_action"], waiting["dpd_action"], waiting["close_action"]) == ("none", "clear", "none")


def test_the_ends_mirror_each_other() -> None:
    here, there = (keys(rendered(end).split("children {")[1]) for end in (HOME, VPS4))
    assert (here["local_ts"], here["remote_ts"]) == (there["remote_ts"], there["local_ts"])


@pytest.mark.parametrize("end", ends(dynamic=True), ids=["home", "vps4"])
def test_both_ends_follow_an_address_that_changes(end: End) -> None:
    assert keys(rendered(end))["mobike"] == "yes"


def test_a_dynamic_peer_is_both_called_and_awaited() -> None:
    assert keys(rendered(ends(dynamic=True)[1]))["remote_addrs"] == "home.example.org,%any"


def test_encapsulation_is_forced_only_when_asked_for() -> None:
    assert keys(rendered(ends(Ipsec("always"))[0]))["encap"] == "yes"


@given(st.text(max_size=20), st.sampled_from(" \n\t\r{}\"'#\\=,\0\x1b"))
def test_a_value_that_would_mean_something_else_is_refused(text: str, bad: str) -> None:
    for value in (text + bad, bad + text, text + bad + text):
        with pytest.raises(ValueError, match="cannot stand in swanctl"):
            swanctl.render(HOME, certificate=value, anchors=["root.pem"])
        with pytest.raises(ValueError, match="cannot stand in swanctl"):
            swanctl.render(HOME, certificate="home.pem", anchors=[value])


@pytest.mark.parametrize("fqdn", ["%any", "*.example.org"])
def test_a_peer_is_never_a_pattern(fqdn: str) -> None:
    anyone = replace(HOME, there=replace(HOME.there, fqdn=fqdn))
    with pytest.raises(ValueError, match="pattern"):
        rendered(anyone)


def test_a_connection_without_an_anchor_is_refused() -> None:
    with pytest.raises(ValueError, match="no trust anchor"):
        swanctl.render(HOME, certificate="home.pem", anchors=[])


# --- what swanctl prints ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted(DATA.glob("**/*.pretty.txt")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_every_listing_can_be_read(path: Path) -> None:
    text = path.read_text()
    events = vici.parse(text)
    assert "\n".join(line for event in events for line in dumped(event)) == text.rstrip("\n")


def dumped(event: vici.Event) -> list[str]:
    """As vici_message.c prints it."""
    return [f"{event.name} {event.kind} {{", *dumped_body(event.body, 2), "}"]


def dumped_body(body: vici.Section, indent: int) -> list[str]:
    out, pad = [], " " * indent
    for key, value in body.items():
        if isinstance(value, str):
            out.append(f"{pad}{key} = {value}")
        elif isinstance(value, list):
            out += [f"{pad}{key} = [", *(f"{pad}  {item}" for item in value), f"{pad}]"]
        else:
            out += [f"{pad}{key} {{", *dumped_body(value, indent + 2), f"{pad}}}"]
    return out


NAMES = st.from_regex(r"[A-Za-z0-9_%/.-]{1,12}", fullmatch=True)
VALUES = st.from_regex(r"([!-Z^-|~][ -~]{0,20})?", fullmatch=True).map(str.strip)
BODIES: st.SearchStrategy[vici.Section] = st.recursive(
    st.dictionaries(NAMES, VALUES | st.lists(VALUES, max_size=3), max_size=4),
    lambda inner: st.dictionaries(NAMES, VALUES | inner, max_size=4),
)


@given(st.lists(BODIES, max_size=3))
def test_what_is_printed_reads_back_as_it_was(bodies: list[vici.Section]) -> None:
    events = [vici.Event("list-conn", "event", body) for body in bodies]
    assert vici.parse("\n".join(line for event in events for line in dumped(event))) == events


@given(st.integers(min_value=0))
def test_an_output_cut_short_is_never_taken_for_whole(cut: int) -> None:
    lines = sample("swanctl-list-sas").splitlines()
    lines = lines[: cut % len(lines)]
    if lines and lines[-1] != "}":
        with pytest.raises(vici.UnreadableOutputError, match="ends in the middle"):
            vici.parse("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "line"),
    [("no connections found", 1), ("list-conns reply {\n  what is this\n}", 2), ("<html>", 1)],
)
def test_anything_else_is_quoted_with_its_line(text: str, line: int) -> None:
    with pytest.raises(vici.UnreadableOutputError, match=f"cannot be read: line {line} is") as caught:
        vici.parse(text)
    assert caught.value.hint


# --- what charon has loaded -------------------------------------------------------------------------------------------

RECORDED = Ipsec(ikelifetime=14400 + 540, keylife=3600 + 540)
"""What the listings were recorded with: new keys every four hours, and every hour."""
AT_HOME = ends(RECORDED)[0]
LISTINGS = {
    f"{version}-{kind}": (f"{version}-list-conns-{kind}", kind == "dynamic")
    for version in ("5.9.8", "6.0.1")
    for kind in ("fixed", "dynamic")
}


@pytest.mark.parametrize(("listing", "dynamic"), LISTINGS.values(), ids=LISTINGS)
def test_a_file_loaded_as_rendered_shows_no_difference(listing: str, *, dynamic: bool) -> None:
    events = vici.parse(sample(listing))
    for end in ends(RECORDED, dynamic=dynamic):
        wanted = swanctl.wanted_connection(end, certificate=NAMELESS if dynamic else LEAF, anchors=[ANCHOR])
        assert swanctl.differences(wanted, swanctl.loaded_connection(events, end.connection)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("192.0.2.1\n", "192.0.2.9\n", ["remote addresses: charon has 192.0.2.9, wanted 192.0.2.1"]),
        ("IKEv2", "IKEv1", ["version: charon has IKEv1, wanted IKEv2"]),
        ("id = vps4.example.org", "id = %any", ["remote id: charon has %any, wanted vps4.example.org"]),
        ("class = public key", "class = any", ["local-1 any, remote-1 any"]),
        ("CN=Root", "CN=Other", ["anchors: charon has C=US, O=Let's, ??, CN=Other"]),
        ("CN=home.example.org", "CN=x", ["certificates: charon has CN=x, wanted CN=home.example.org"]),
        ("dpd_delay = 30", "dpd_delay = 0", ["dpd delay: charon has 0, wanted 30"]),
        ("reauth_time = 86400", "reauth_time = 0", ["reauth time: charon has 0, wanted 86400"]),
        ("rekey_time = 14400", "rekey_time = 1", ["rekey time: charon has 1, wanted 14400"]),
        ("UNIQUE_REPLACE", "UNIQUE_NO", ["unique: charon has UNIQUE_NO, wanted UNIQUE_REPLACE"]),
        ("mode = TUNNEL", "mode = TRANSPORT", ["child ula-net-vps4: mode: charon has TRANSPORT, wanted TUNNEL"]),
        ("dpd_action = start", "dpd_action = none", ["child ula-net-vps4: dpd action: charon has none, wanted start"]),
        ("close_action = none", "close_action = trap", ["child ula-net-vps4: close action"]),
        ("3::8e71/128", "3::8e72/128", ["child ula-net-vps4: remote selectors: charon has fdd7:5938:e2e6:3::8e72/128"]),
        ("remote-1 {", "remote-2 {", ["authentication: charon has local-1 public key, remote-2 public key"]),
        (
            "    children {\n      ula-net-vps4 {",
            "    children {\n      other {",
            ["not loaded", "loaded, but not wanted"],
        ),
    ],
)
def test_each_thing_changed_in_charon_is_said(old: str, new: str, said: list[str]) -> None:
    text = sample("6.0.1-list-conns-fixed")
    connection = text[text.index("  ula-net-vps4 {") :]
    assert old in connection
    changed = "list-conn event {\n" + connection.replace(old, new)
    wanted = swanctl.wanted_connection(AT_HOME, certificate=LEAF, anchors=[ANCHOR])
    found = "\n".join(swanctl.differences(wanted, swanctl.loaded_connection(vici.parse(changed), "ula-net-vps4")))
    assert found
    assert all(words in found for words in said), found


def test_a_connection_that_is_not_loaded_is_said() -> None:
    loaded = swanctl.loaded_connection(vici.parse(sample("6.0.1-list-conns-fixed")), "ula-net-nowhere")
    assert loaded is None
    wanted = swanctl.wanted_connection(AT_HOME, certificate=LEAF, anchors=[ANCHOR])
    assert swanctl.differences(wanted, loaded) == ["charon has not loaded the connection"]


def test_an_association_of_that_name_is_no_connection() -> None:
    assert swanctl.loaded_connection(vici.parse(sample("swanctl-list-sas")), "ula-net-vps4") is None


def test_the_order_of_selectors_does_not_matter() -> None:
    text = sample("6.0.1-list-conns-fixed")
    one, other = "          fdd7:5938:e2e6:1::/64\n", "          fdd7:5938:e2e6:3::1/128\n"
    assert one + other in text
    loaded = swanctl.loaded_connection(vici.parse(text.replace(one + other, other + one)), "ula-net-vps4")
    assert loaded == swanctl.wanted_connection(AT_HOME, certificate=LEAF, anchors=[ANCHOR])


def test_counters_are_the_daemons_own() -> None:
    counters = swanctl.message_counters(vici.parse(sample("swanctl-counters")))
    assert (counters["ike-init-out-req"], counters["ike-init-in-req"]) == (1, 0)


# --- a real charon ----------------------------------------------------------------------------------------------------

ROOTS = charon.roots()


@pytest.mark.lab
@pytest.mark.skipif(not ROOTS, reason="needs root and charon-systemd here, or in a root named by CHARON_ROOTS")
@pytest.mark.parametrize("root", ROOTS, ids=str)
@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
def test_a_real_charon_takes_the_file_and_shows_what_was_wanted(root: Path, tmp_path: Path, *, dynamic: bool) -> None:
    leaf = NAMELESS if dynamic else LEAF
    with charon.running(root, tmp_path) as daemon:
        (tmp_path / "x509/home.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
        (tmp_path / "x509ca/root.pem").write_bytes(ANCHOR.public_bytes(Encoding.PEM))
        key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / "private/home.pem").write_bytes(key)
        names = re.findall(r"^    ([A-Z0-9_]+) = ", daemon.swanctl("--list-algs", "--pretty"), re.MULTILINE)
        able, _ = offer(Ipsec("always" if dynamic else "auto"), Abilities(frozenset(names)))
        pair = ends(able, dynamic=dynamic)
        for end in pair:
            text = swanctl.render(end, certificate="home.pem", anchors=["root.pem"])
            (tmp_path / f"conf.d/{end.connection}.conf").write_text(text)
        daemon.swanctl("--load-all")
        listing = daemon.swanctl("--list-conns", "--pretty")
        for end in pair:
            wanted = swanctl.wanted_connection(end, certificate=leaf, anchors=[ANCHOR])
            assert swanctl.differences(wanted, swanctl.loaded_connection(vici.parse(listing), end.connection)) == []

        changed = tmp_path / f"conf.d/{pair[0].connection}.conf"
        changed.write_text(changed.read_text().replace("dpd_delay = 30s", "dpd_delay = 31s"))
        daemon.swanctl("--load-conns")
        loaded = swanctl.loaded_connection(vici.parse(daemon.swanctl("--list-conns", "--pretty")), pair[0].connection)
        wanted = swanctl.wanted_connection(pair[0], certificate=leaf, anchors=[ANCHOR])
        assert swanctl.differences(wanted, loaded) == ["dpd delay: charon has 31, wanted 30"]
