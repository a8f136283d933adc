"""Whether a tunnel runs the strongest that both ends can do, and what is said where it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from told import told_as
from ula_network import ends

from runbook.errors import StepError
from runbook.script import Reading
from runbook.step import Finding, Verdict
from steps import catalogue
from steps.ipsec.abilities import SEVERAL
from steps.ipsec.ipsec_options import Ipsec
from steps.ipsec.styles import STYLES
from steps.tunnel.strongest import strongest_ciphers

DATA = Path(__file__).parent / "data"
LISTED = {
    "swanctl": (DATA / "swanctl" / "swanctl-list-sas.pretty.txt").read_text(),
    "stroke": (DATA / "stroke" / "6.0.1-statusall.txt")
    .read_text()
    .replace("[home.example.test]...", "[home.example.org]...")
    .replace("[vps4.example.test]", "[vps4.example.org]"),
}
WEAK = {
    "swanctl": ("        encr-keysize = 256", "        encr-keysize = 128"),
    "stroke": ("AES_GCM_16_256, ", "AES_GCM_16_128, "),
}
"""What makes the tunnel one with half the key."""
ALL = "AES_GCM_16 AES_CBC HMAC_SHA2_384_192 PRF_HMAC_SHA2_256 PRF_HMAC_SHA2_384 ECP_256 ECP_384"
CAN = f"{ALL}\nopenssl\nkernel rfc4106(gcm(aes)) cbc(aes) hmac(sha384)\n"
HYBRID = CAN.replace("ECP_384\n", f"ECP_384 ML_KEM_768 {SEVERAL}\n")
NO_GCM = CAN.replace("rfc4106(gcm(aes)) ", "")
SILENT = "\n\nunknown\n"


def judged(style: str, listed: str, home: str | None, vps4: str | None, ipsec: Ipsec | None = None) -> Finding:
    """At home, where the daemon lists this, of ends that say this of themselves."""
    end = ends(ipsec or Ipsec("auto" if style == "stroke" else "always"))[0]
    part = strongest_ciphers(replace(end, here=replace(end.here, config=style)))
    assert [site for site, _ in part.beside] == ["home", "vps4"]
    return part.judge_beside(Reading(listed), [None if each is None else Reading(each) for each in (home, vps4)])


@pytest.mark.parametrize("style", STYLES)
def test_the_strongest_is_in_order_and_nothing_is_said(style: str) -> None:
    for vps4 in (CAN, HYBRID, None):
        found = judged(style, LISTED[style], CAN, vps4)
        assert (found.verdict, found.note) == (Verdict.IN_ORDER, "")


@pytest.mark.parametrize("style", STYLES)
def test_a_weaker_one_is_in_order_where_an_end_lacks_the_stronger_and_that_is_said(style: str) -> None:
    listed = LISTED[style].replace(*WEAK[style])
    found = judged(style, listed, CAN, NO_GCM, Ipsec("always", esp_proposals=("aes256gcm16-ecp384", "aes128gcm16")))
    assert found.verdict is Verdict.IN_ORDER
    assert found.note == "the tunnel runs AES_GCM_16-128, not aes256gcm16-ecp384: vps4's kernel has no AES_GCM_16"
    found = judged(style, listed, NO_GCM, NO_GCM, Ipsec("always", esp_proposals=("aes256gcm16-ecp384", "aes128gcm16")))
    assert found.note.endswith(": home's kernel has no AES_GCM_16 and vps4's kernel has no AES_GCM_16")


@pytest.mark.parametrize("style", STYLES)
def test_a_weaker_one_is_to_be_made_anew_where_both_ends_can_do_the_stronger_now(style: str) -> None:
    found = judged(style, LISTED[style].replace(*WEAK[style]), CAN, CAN)
    assert found.verdict is Verdict.DRIFT
    assert found.change
    assert found.change.summary == (
        "make ula-net-vps4 anew: both ends can do aes256gcm16-ecp384 (the tunnel runs AES_GCM_16-128)"
    )
    assert found.change.diff == "- the tunnel: AES_GCM_16-128\n+ the tunnel: aes256gcm16-ecp384"


def test_a_hybrid_that_both_ends_have_come_to_is_stronger_than_what_there_was() -> None:
    found = judged("swanctl", LISTED["swanctl"], HYBRID, HYBRID)
    assert found.verdict is Verdict.DRIFT
    assert found.change
    assert "both ends can do aes256gcm16-prfsha384-ecp384-ke1_mlkem768 (the IKE SA runs " in found.change.summary
    hybrid = (DATA / "swanctl" / "6.1.0-list-sas-hybrid.pretty.txt").read_text()
    assert judged("swanctl", hybrid, HYBRID, HYBRID).verdict is Verdict.IN_ORDER


@pytest.mark.parametrize("unread", [None, SILENT])
def test_where_an_end_could_not_be_read_no_cause_is_made_up(unread: str | None) -> None:
    found = judged("swanctl", LISTED["swanctl"].replace(*WEAK["swanctl"]), CAN, unread)
    assert found.verdict is Verdict.IN_ORDER
    assert found.note == (
        "the tunnel runs AES_GCM_16-128, not aes256gcm16-ecp384: it was not agreed on when this came up, "
        "and what vps4 can do now could not be read"
    )


def test_what_is_asked_for_by_name_and_one_end_has_not_is_said_also_of_a_hybrid() -> None:
    named = Ipsec("always", ike_proposals=Ipsec().ike_proposals[:2])
    found = judged("swanctl", LISTED["swanctl"], HYBRID, CAN, named)
    assert found.verdict is Verdict.IN_ORDER
    assert found.note.endswith(f", not {named.ike_proposals[0]}: vps4's strongSwan has no ML_KEM_768")


@pytest.mark.parametrize(
    "listed",
    ["", LISTED["swanctl"].replace("state = INSTALLED", "state = REKEYED")],
    ids=["down", "not as planned"],
)
def test_a_tunnel_that_is_down_or_not_as_planned_is_another_parts_matter(listed: str) -> None:
    found = judged("swanctl", listed, CAN, CAN)
    assert (found.verdict, found.note) == (Verdict.IN_ORDER, "")


def test_one_that_cannot_be_made_anew_stays_as_it_is_and_both_ends_are_asked_why() -> None:
    weak, ran = LISTED["swanctl"].replace(*WEAK["swanctl"]), list[str]()

    def run(script: str, **_: object) -> SimpleNamespace:
        ran.append(script)
        if "is-active" in script:
            return SimpleNamespace(stdout="--\n--\n--\nactive\n--\n--\n0")
        said = {"--initiate": "initiate failed\nnot made\n", "--list-sas": weak}
        return SimpleNamespace(stdout=next((text for word, text in said.items() if word in script), "--\n"))

    change = judged("swanctl", weak, CAN, CAN).change
    assert change
    assert change.obtain
    hosts: dict[str, Any] = {name: SimpleNamespace(run=run) for name in ("home", "vps4")}
    with pytest.raises(StepError) as error:
        change.obtain(hosts)
    told = told_as(error, catalogue.NOT_ANEW)
    assert "ula-net-vps4 cannot be made anew by the ciphers that both ends can do" in told["error"]
    assert not any("--terminate" in script for script in ran)
