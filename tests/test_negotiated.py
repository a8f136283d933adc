"""What two ends agreed on, in real listings, against what was planned."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from ula_network import ends

from steps.ipsec import vici
from steps.ipsec.ipsec_options import Ipsec
from steps.ipsec.negotiated import narrowed, negotiated_problems, security_associations
from steps.ipsec.proposals import read_proposal
from steps.ipsec.styles import STYLES

DATA = Path(__file__).parent / "data"


def sample(name: str) -> str:
    return (DATA / "swanctl" / f"{name}.pretty.txt").read_text()


def test_an_association_is_read_whole() -> None:
    [sa] = security_associations(vici.parse(sample("swanctl-list-sas")), "ula-net-vps4")
    [child] = sa.children
    assert (sa.state, sa.initiator, sa.behind_nat) == ("ESTABLISHED", True, True)
    assert (sa.local_host, sa.remote_host) == ("192.0.2.2", "192.0.2.1")
    assert (sa.local_id, sa.remote_id) == ("home.example.org", "vps4.example.org")
    assert sa.proposal == "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384"
    assert (child.state, child.mode, child.encapsulated, str(child.suite)) == (
        "INSTALLED",
        "TUNNEL",
        True,
        "AES_GCM_16-256",
    )
    assert child.remote_selectors == {"fdd7:5938:e2e6:3::8e71/128", "fdd7:5938:e2e6:8e71::/64"}
    assert (child.spi_in, child.spi_out, child.packets_in, child.bytes_out) == ("e5991f6a", "49bd59d5", 0, 0)
    assert security_associations(vici.parse(sample("swanctl-list-sas")), "ula-net-home") == []


@pytest.mark.parametrize("name", ["swanctl-list-sas", "6.0.1-list-sas-rekeyed", "6.1.0-list-sas-hybrid"])
def test_an_association_as_planned_has_no_problem(name: str) -> None:
    [sa] = security_associations(vici.parse(sample(name)), "ula-net-vps4")
    assert negotiated_problems(ends(Ipsec("always"))[0], sa) == []
    assert len(sa.installed) == 1


SAMPLES = {
    "swanctl": ("swanctl/swanctl-list-sas.pretty.txt", "ula-net-vps4"),
    "stroke": ("stroke/6.0.1-statusall.txt", "ula-net-vps4"),
}


@pytest.mark.parametrize("name", STYLES)
def test_while_new_keys_are_asked_for_the_tunnel_stands_as_before(tmp_path: Path, name: str) -> None:
    style, (file, connection) = STYLES[name], SAMPLES[name]
    now = (DATA / file).read_text()
    meanwhile = re.sub("INSTALLED|ESTABLISHED( .* ago)?", "REKEYING", now)
    [sa] = style.associations(meanwhile, connection)
    assert (sa.state, [child.state for child in sa.installed]) == ("REKEYING", ["REKEYING"])
    assert (
        negotiated_problems(
            ends(Ipsec("always"))[0], replace(sa, local_id="home.example.org", remote_id="vps4.example.org")
        )
        == []
    )

    program = tmp_path / ("swanctl" if name == "swanctl" else "ipsec")
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/said\n")
    running = tmp_path / "systemctl"
    running.write_text("#!/bin/sh\n")
    for each in (program, running):
        each.chmod(0o755)
    settled = []
    for said in (now, meanwhile):
        (tmp_path / "said").write_text(said)
        path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(["sh", "-c", style.settled(connection)], env=path, capture_output=True, check=True)
        settled.append(done.stdout)
    assert settled[0] == settled[1]
    assert b"INSTALLED" in settled[0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("state = ESTABLISHED", "state = CONNECTING", "the IKE SA ula-net-vps4 is CONNECTING, not ESTABLISHED"),
        (
            "remote-id = vps4",
            "remote-id = vps5",
            "the other end proved 'vps5.example.org', planned is 'vps4.example.org'",
        ),
        ("local-id = home", "local-id = hone", "this end calls itself 'hone.example.org'"),
        (
            "prf-alg = PRF_HMAC_SHA2_384",
            "prf-alg = PRF_HMAC_SHA2_256",
            "runs AES_GCM_16-256/PRF_HMAC_SHA2_256/ECP_384, planned is aes256gcm16-prfsha384-ecp384 (AES_GCM_16-256/",
        ),
        (
            "        encr-alg = AES_GCM_16\n        encr-keysize = 256",
            "        encr-alg = AES_CBC\n        encr-keysize = 128\n        integ-alg = AES_XCBC_96",
            "the tunnel runs AES_CBC-128/AES_XCBC_96, planned is aes256gcm16-ecp384",
        ),
        ("        encr-keysize = 256", "        encr-keysize = 128", "the tunnel runs AES_GCM_16-128, planned is"),
        (
            "          fdd7:5938:e2e6:8e71::/64\n",
            "",
            "fdd7:5938:e2e6:8e71::/64 was narrowed away; agreed are fdd7:5938:e2e6:3::8e71/128, planned are fdd7:",
        ),
        ("fdd7:5938:e2e6:1::/64", "fdd7:5938:e2e6::/48", "fdd7:5938:e2e6::/48 came in"),
        ("state = INSTALLED", "state = REKEYED", "no tunnel ula-net-vps4 is INSTALLED (there: ula-net-vps4 REKEYED)"),
        ("mode = TUNNEL", "mode = TRANSPORT", "the tunnel runs in mode TRANSPORT, planned is TUNNEL"),
        ("        encap = yes\n", "", "ESP is not wrapped in UDP"),
        (
            "rekey-time = 3545",
            "dh-group = ECP_256",
            "the tunnel runs AES_GCM_16-256/ECP_256, planned is aes256gcm16-ecp384",
        ),
    ],
)
def test_each_thing_not_as_planned_is_said(old: str, new: str, said: str) -> None:
    text = sample("swanctl-list-sas")
    assert old in text
    [sa] = security_associations(vici.parse(text.replace(old, new)), "ula-net-vps4")
    planned = Ipsec("always", (), ("aes256gcm16-prfsha384-ecp384",), ("aes256gcm16-ecp384",))
    problems = negotiated_problems(ends(planned)[0], sa)
    assert any(said in problem for problem in problems), problems


def test_a_real_narrowing_is_seen_at_both_ends() -> None:
    for end, name in zip(ends(Ipsec("always")), ("home", "vps4"), strict=True):
        text = (DATA / "transcripts/6.0.1-ts-narrowed" / f"{name}.list-sas.pretty.txt").read_text()
        [sa] = security_associations(vici.parse(text), end.connection)
        assert narrowed(end, sa)
        assert any("fdd7:5938:e2e6:1::/64 was narrowed away" in problem for problem in negotiated_problems(end, sa))


def test_the_same_cipher_with_another_integrity_is_another_suite() -> None:
    text = sample("swanctl-list-sas").replace(
        "        encr-alg = AES_GCM_16\n", "        encr-alg = AES_CBC\n        integ-alg = HMAC_SHA1_96\n"
    )
    [sa] = security_associations(vici.parse(text), "ula-net-vps4")
    planned, found = (ends(Ipsec("always", esp_proposals=(text,)))[0] for text in ("aes256-sha384", "aes256-sha1"))
    assert negotiated_problems(found, sa) == []
    assert any("AES_CBC-256/HMAC_SHA1_96" in problem for problem in negotiated_problems(planned, sa))


def test_a_selector_written_otherwise_is_the_same() -> None:
    text = sample("swanctl-list-sas").replace("fdd7:5938:e2e6:1::/64", "FDD7:5938:e2e6:0001::/64")
    [sa] = security_associations(vici.parse(text), "ula-net-vps4")
    assert negotiated_problems(ends(Ipsec("always"))[0], sa) == []


def test_any_of_several_proposals_will_do() -> None:
    home, _ = ends(Ipsec("always", esp_proposals=("aes128gcm16", "aes256gcm16"), ike_proposals=(
        "chacha20poly1305-prfsha256-x25519", "aes128gcm16-aes256gcm16-prfsha384-ecp384"
    )))  # fmt: skip
    [sa] = security_associations(vici.parse(sample("swanctl-list-sas")), "ula-net-vps4")
    assert negotiated_problems(home, sa) == []


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("aes256gcm16-prfsha384-ecp384", "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384"),
        ("aes256gcm16-sha384-ecp384", "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384"),
        ("aes128gcm16", "AES_GCM_16-128"),
        ("aes128gcm128-esn", "AES_GCM_16-128"),
        ("aes256-sha384-ecp384", "AES_CBC-256/HMAC_SHA2_384_192/PRF_HMAC_SHA2_384/ECP_384"),
        ("aes128-sha256-prfsha512-modp3072", "AES_CBC-128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_512/MODP_3072"),
        ("chacha20poly1305-prfsha256-x25519", "CHACHA20_POLY1305/PRF_HMAC_SHA2_256/CURVE_25519"),
        ("aes256ctr-sha512-curve448", "AES_CTR-256/HMAC_SHA2_512_256/PRF_HMAC_SHA2_512/CURVE_448"),
        ("aes256ccm8-ecp256bp", "AES_CCM_8-256/ECP_256_BP"),
        ("aes256gcm16-prfsha384-ecp384-ke1_mlkem768", "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384/KE1_ML_KEM_768"),
    ],
)
def test_a_proposal_is_listed_by_other_names(text: str, listed: str) -> None:
    assert read_proposal(text).listed == listed


@pytest.mark.parametrize("word", ["aes256gcm15", "default", "", "ke1_sha256", "ecp385", "prfaes", "camellia256gcm"])
def test_a_keyword_that_strongswan_does_not_have_is_named(word: str) -> None:
    with pytest.raises(ValueError, match=f"'{word}' in the proposal"):
        read_proposal(f"aes256gcm16-{word}")


def test_a_further_key_exchange_must_be_agreed_on_too() -> None:
    text = sample("swanctl-list-sas").replace("    established = 1", "    ake1 = ML_KEM_768\n    established = 1")
    [hybrid] = security_associations(vici.parse(text), "ula-net-vps4")
    [plain] = security_associations(vici.parse(sample("swanctl-list-sas")), "ula-net-vps4")
    wanted = "aes256gcm16-prfsha384-ecp384-ke1_mlkem768"
    home, _ = ends(Ipsec("always", ike_proposals=(wanted,)))
    either, _ = ends(Ipsec("always", ike_proposals=(f"{wanted}-ke1_none",)))
    assert hybrid.proposal == "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384/KE1_ML_KEM_768"
    assert negotiated_problems(home, hybrid) == []
    assert negotiated_problems(either, plain) == []
    assert any("KE1_ML_KEM_768" in problem for problem in negotiated_problems(home, plain))
