from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_runs import CASES
from ula_network import ends

from steps.diagnosis.charon_log import of_connection, read_lines, stands
from steps.diagnosis.diagnose import Diagnosis, Evidence, Role, Stage, diagnose
from steps.ipsec import swanctl, vici
from steps.ipsec.ipsec_options import Ipsec
from steps.ipsec.negotiated import Sa, security_associations

if TYPE_CHECKING:
    from random import Random

TRANSCRIPTS = Path(__file__).parent / "data/transcripts"
HOME, VPS4 = ends(Ipsec("always"))


def case(name: str) -> tuple[Evidence, Evidence]:
    """What a recorded run left: both logs, and what swanctl printed at either end."""
    directory = TRANSCRIPTS / name
    printed = (directory / "initiator-home.swanctl.txt").read_text().splitlines()
    at_vps4 = [line.removeprefix("[load h1] ") for line in printed if line.startswith("[load h1] ")]
    at_home = [line.removeprefix("[load h2] ") for line in printed if not line.startswith("[load h1] ")]
    logs = [
        (directory / f"{name}.charon.log").read_text().splitlines() for name in ("initiator-home", "responder-vps4")
    ]
    return Evidence(logs[0], at_home, HOME), Evidence(logs[1], at_vps4, VPS4)


def quoted(found: Diagnosis, end: Role) -> str:
    return "\n".join(quote.line for quote in found.quotes if quote.end == end)


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_run_is_explained_by_the_lines_that_tell(name: str) -> None:
    stage, cause_id, end, initiator, responder, words = CASES[name]
    found = diagnose(*case(name))
    assert (found.stage, found.cause.id, found.end) == (stage, cause_id, end), found
    assert initiator in quoted(found, "initiator")
    assert responder in quoted(found, "responder")
    assert words in f"{found.told['what']}: {found.told['likely']}"


def test_every_recorded_run_is_looked_at() -> None:
    beyond_a_log = {"6.0.1-ts-narrowed"}
    assert {path.name for path in TRANSCRIPTS.iterdir()} == set(CASES) | beyond_a_log


@pytest.mark.parametrize("name", CASES)
def test_without_knowing_the_ends_the_cause_is_the_same(name: str) -> None:
    initiator, responder = (replace(evidence, end=None) for evidence in case(name))
    found = diagnose(initiator, responder)
    assert (found.stage, found.cause.id, found.end) == CASES[name][:3]


@pytest.mark.parametrize("name", CASES)
def test_a_journal_without_threads_tells_the_same(name: str) -> None:
    initiator, responder = (
        replace(
            evidence,
            log=[
                "1763906400.000100 host charon-systemd[77]: " + re.sub(r"^\d+\[[A-Z]{3}\] ?", "", line)
                for line in evidence.log
            ],
        )
        for evidence in case(name)
    )
    found = diagnose(initiator, responder)
    assert (found.stage, found.cause.id, found.end) == CASES[name][:3]


# --- other connections of the same daemon -----------------------------------------------------------------------------

OTHERS = [
    """\
70[NET] received packet: from 198.51.100.9[4500] to 192.0.2.1[4500] (1111 bytes)
70[ENC] parsed IKE_AUTH request 1 [ IDi CERT CERTREQ IDr AUTH SA TSi TSr ]
70[CFG] selected peer config 'ula-net-other'
70[CFG]   using certificate "CN=other.example.org"
70[CFG] no issuer certificate found for "CN=Other CA"
70[CFG]   issuer is "CN=Other Root"
70[IKE] no trusted ECDSA public key found for 'other.example.org'
70[NET] sending packet: from 192.0.2.1[4500] to 198.51.100.9[4500] (65 bytes)""",
    """\
71[NET] received packet: from 198.51.100.8[4500] to 192.0.2.1[4500] (1111 bytes)
71[CFG] selected peer config 'ula-net-third'
71[IKE] IKE_SA ula-net-third[9] established between 192.0.2.1[vps4.example.org]...198.51.100.8[third.example.org]
71[KNL] received netlink error: Function not implemented (38)
71[KNL] unable to add SAD entry with SPI cfcea96f (FAILED)
71[IKE] unable to install inbound and outbound IPsec SA (SAD) in kernel
71[NET] sending packet: from 192.0.2.1[4500] to 198.51.100.8[4500] (804 bytes)""",
    """\
72[NET] received packet: from 198.51.100.7[4500] to 192.0.2.1[4500] (1008 bytes)
72[IKE] IKE_SA ula-net-fourth[12] established between 192.0.2.1[vps4.example.org]...198.51.100.7[fourth.example.org]
72[IKE] CHILD_SA ula-net-fourth{31} established with SPIs 85a88a75_i 5041e7f2_o and TS fd00::/64 === fd01::/64
73[IKE] initiating IKE_SA ula-net-fifth[13] to 198.51.100.6
73[IKE] no private key found for 'fifth.example.org'""",
]


@given(name=st.sampled_from(sorted(CASES)), chance=st.randoms(use_true_random=False))
def test_lines_of_other_connections_change_nothing_wherever_they_fall(name: str, chance: Random) -> None:
    initiator, responder = case(name)
    plain = diagnose(initiator, responder)
    mixed = [
        replace(evidence, log=interleaved(chance, [list(evidence.log), *(other.splitlines() for other in OTHERS)]))
        for evidence in (initiator, responder)
    ]
    assert diagnose(mixed[0], mixed[1]) == plain


def interleaved(chance: Random, logs: list[list[str]]) -> list[str]:
    """One log of several, each in its own order."""
    order = [number for number, log in enumerate(logs) for _ in log]
    chance.shuffle(order)
    readers = [iter(log) for log in logs]
    return [next(readers[number]) for number in order]


def test_a_thread_that_takes_up_another_job_is_followed() -> None:
    lines = read_lines(
        [
            "09[CFG] selected peer config 'ula-net-other'",
            "09[IKE] no private key found for 'other.example.org'",
            "09[NET] sending packet: from 192.0.2.1[4500] to 198.51.100.9[4500] (65 bytes)",
            "09[IKE] no private key found for 'home.example.org'",
        ]
    )
    assert [line.text for line in of_connection(lines, "ula-net-vps4")] == [
        "no private key found for 'home.example.org'"
    ]


# --- causes before their consequences ---------------------------------------------------------------------------------


def test_a_kernel_that_refuses_is_never_called_a_mismatch_of_proposals() -> None:
    initiator, responder = case("kernel-without-esp")
    noisy = replace(responder, log=[*responder.log, "02[IKE] no acceptable proposal found"])
    assert diagnose(initiator, noisy).cause.id == "install-child-sa-failed"


def test_the_initiators_own_failure_outranks_the_responders_wait_for_it() -> None:
    found = diagnose(
        Evidence(["no private key found for 'home.example.org'"]),
        Evidence(["deleting half open IKE_SA with 192.0.2.2 after timeout"]),
    )
    assert (found.cause.id, found.end) == ("local-auth-failed", "initiator")


def test_of_two_ends_with_one_fault_the_responder_is_believed() -> None:
    line = "unable to install inbound and outbound IPsec SA (SAD) in kernel"
    assert diagnose(Evidence([line]), Evidence([line])).end == "responder"


def test_refused_strangers_do_not_explain_our_own_silence() -> None:
    """A host on the internet is knocked at by many; none of that is why our own packets get no answer."""
    responder = ["no IKE config found for 192.0.2.1...203.0.113.66, sending NO_PROPOSAL_CHOSEN"] * 5
    initiator = ["initiating IKE_SA ula-net-vps4[1] to 192.0.2.1", "retransmit 1 of request with message ID 0"]
    assert diagnose(Evidence(initiator), Evidence(responder)).cause.id == "peer-init-unreachable"


def test_an_optional_plugin_that_does_not_load_is_no_cause() -> None:
    found = diagnose(Evidence(["plugin 'tpm': failed to load - tpm_plugin_create returned NULL"]), Evidence([]))
    assert found.cause.id == "unknown"


def test_a_revocation_list_that_was_not_to_be_had_is_no_cause_once_the_attempt_went_on() -> None:
    fetched = ["crl fetching failed", "certificate status is not available"]
    found = diagnose(Evidence([]), Evidence([*fetched, "the frobnicator is jammed"]))
    assert found.cause.id == "unknown"
    assert "the frobnicator is jammed" in quoted(found, "responder")


def test_an_answer_that_waits_for_a_revocation_list_is_not_called_lost() -> None:
    found = diagnose(
        Evidence(["retransmit 1 of request with message ID 1"]),
        Evidence(["parsed IKE_AUTH request 1 [ IDi CERT ]", "fetching crl from 'http://ye1.c.lencr.org/43.crl' ..."]),
    )
    assert (found.cause.id, found.end) == ("revocation-fetch-failed", "responder")


def test_one_duplicate_replaced_is_routine() -> None:
    line = "deleting duplicate IKE_SA for peer 'home.example.org' due to uniqueness policy"
    assert diagnose(Evidence([]), Evidence([line])).cause.id == "unknown"
    repeated_by_swanctl = Evidence([line], swanctl=[line] * 5)
    assert diagnose(Evidence([]), repeated_by_swanctl).cause.id == "unknown"


def test_what_a_responder_says_tells_nothing_when_the_initiator_says_it_to_others() -> None:
    found = diagnose(
        Evidence(["no matching peer config found"]), Evidence(["received AUTHENTICATION_FAILED notify error"])
    )
    assert found.cause.id == "unknown"


# --- a tunnel that stands ---------------------------------------------------------------------------------------------


def associations(name: str, end_name: str, connection: str) -> list[Sa]:
    text = (TRANSCRIPTS / name / f"{end_name}.list-sas.pretty.txt").read_text()
    return security_associations(vici.parse(text), connection)


def standing(name: str = "6.0.1-ok") -> tuple[Evidence, Evidence]:
    initiator, responder = case(name)
    return (
        replace(initiator, sas=associations(name, "home", "ula-net-vps4")),
        replace(responder, sas=associations(name, "vps4", "ula-net-home")),
    )


def counted(evidence: Evidence, packets_in: int, packets_out: int) -> Evidence:
    assert evidence.sas
    [sa] = evidence.sas
    [child] = sa.children
    child = replace(child, packets_in=packets_in, packets_out=packets_out)
    return replace(evidence, sas=[replace(sa, children=(child,))])


def test_a_real_tunnel_is_ok() -> None:
    assert diagnose(*standing()).stage is Stage.OK


def test_a_real_narrowing_is_found_though_no_line_tells_of_it() -> None:
    found = diagnose(*standing("6.0.1-ts-narrowed"))
    assert (found.stage, found.cause.id) == (Stage.CHILD_SA, "ts-narrowed")
    assert "fdd7:5938:e2e6:1::/64 was narrowed away" in found.told["what"]


def test_another_cipher_than_planned_is_found() -> None:
    initiator, responder = standing()
    strict = ends(Ipsec("always", esp_proposals=("chacha20poly1305",)))[0]
    found = diagnose(replace(initiator, end=strict), responder)
    assert found.cause.id == "not-as-planned"
    assert "AES_GCM_16-256" in found.told["what"]
    assert "chacha20poly1305" in found.told["what"]


@pytest.mark.parametrize(
    ("home", "vps4", "cause_id", "end"),
    [
        ((0, 4), (0, 0), "esp-blocked", "responder"),
        ((0, 4), (4, 4), "esp-blocked", "initiator"),
        ((0, 4), (4, 0), "no-return-traffic", "responder"),
        ((0, 0), (0, 0), "nothing-enters-tunnel", "initiator"),
        ((4, 4), (4, 4), "no-return-traffic", "responder"),
    ],
)
def test_lost_packets_are_traced_by_what_each_end_counted(
    home: tuple[int, int], vps4: tuple[int, int], cause_id: str, end: str
) -> None:
    initiator, responder = standing()
    evidence = counted(initiator, *home), counted(responder, *vps4)
    found = diagnose(*evidence, traffic_lost=True)
    assert (found.stage, found.cause.id, found.end) == (Stage.TRAFFIC, cause_id, end)
    assert diagnose(*evidence).stage is Stage.OK


def test_large_packets_that_are_lost_alone_are_a_matter_of_the_line() -> None:
    initiator, responder = standing()
    found = diagnose(counted(initiator, 4, 9), counted(responder, 4, 4), traffic_lost=True, only_large=True)
    assert (found.stage, found.cause.id) == (Stage.TRAFFIC, "large-packets-lost")
    assert "MTU" in found.told["likely"]


def test_what_the_firewall_is_to_let_in_is_what_the_tunnel_travels_in() -> None:
    initiator, responder = standing()
    assert initiator.sas
    initiator, responder = replace(initiator, end=None), replace(responder, end=None)
    wrapped = diagnose(counted(initiator, 0, 4), counted(responder, 0, 0), traffic_lost=True)
    assert "let UDP 4500 in" in wrapped.told["fix"]
    [sa] = initiator.sas
    bare = [replace(sa, children=tuple(replace(each, encapsulated=False) for each in sa.children))]
    found = diagnose(counted(replace(initiator, sas=bare), 0, 4), counted(responder, 0, 0), traffic_lost=True)
    assert "let ESP (protocol 50) in" in found.told["fix"]


def test_a_failed_firewall_script_explains_lost_packets() -> None:
    initiator, responder = standing()
    responder = replace(responder, log=[*responder.log, "09[CHD] updown: /bin/sh: 1: iptables: not found"])
    assert diagnose(initiator, responder, traffic_lost=True).cause.id == "updown-failed"


def test_a_tunnel_that_only_one_end_believes_in_is_said() -> None:
    initiator, responder = standing()
    found = diagnose(initiator, replace(responder, log=["00[DMN] Starting charon-systemd IKE daemon"], sas=[]))
    assert (found.cause.id, found.end) == ("one-sided", "initiator")
    assert "Starting charon-systemd" in quoted(found, "responder")


UP = [
    "09[IKE] IKE_SA ula-net-vps4[1] established between 192.0.2.2[home.example.org]...192.0.2.1[vps4.example.org]",
    "09[IKE] CHILD_SA ula-net-vps4{1} established with SPIs 85a88a75_i 5041e7f2_o and TS fd00::/64 === fd01::/64",
]


@pytest.mark.parametrize(
    ("after", "up"),
    [
        ([], True),
        (["10[IKE] retransmit 1 of request with message ID 3"], True),
        (["10[IKE] giving up after 5 retransmits"], False),
        (["10[IKE] deleting IKE_SA ula-net-vps4[1] between 192.0.2.2[a]...192.0.2.1[b]"], False),
        (["10[IKE] closing CHILD_SA ula-net-vps4{1} with SPIs 95655bce_i (0 bytes)"], False),
        (["00[DMN] SIGTERM received, shutting down"], False),
        (  # a rekeying: the successor stands
            [
                "10[IKE] CHILD_SA ula-net-vps4{2} established with SPIs 1_i 2_o and TS fd00::/64 === fd01::/64",
                "10[IKE] closing CHILD_SA ula-net-vps4{1} with SPIs 95655bce_i (0 bytes)",
            ],
            True,
        ),
        (  # a reauthentication, make before break
            [
                "10[IKE] IKE_SA ula-net-vps4[2] established between 192.0.2.2[a]...192.0.2.1[b]",
                "10[IKE] CHILD_SA ula-net-vps4{2} established with SPIs 1_i 2_o and TS fd00::/64 === fd01::/64",
                "10[IKE] deleting IKE_SA ula-net-vps4[1] between 192.0.2.2[a]...192.0.2.1[b]",
            ],
            True,
        ),
    ],
)
def test_a_log_tells_whether_the_tunnel_stands(after: list[str], *, up: bool) -> None:
    assert stands(read_lines([*UP, *after])) is up
    bare = (re.sub(r"^\d+\[[A-Z]{3}\] ", "", line) for line in [*UP, *after])
    assert stands(read_lines(f"Nov 23 14:00:00 home charon-systemd[77]: {line}" for line in bare)) is up


def test_a_tunnel_that_came_up_at_the_second_try_is_ok() -> None:
    tried = [
        "08[IKE] initiating IKE_SA ula-net-vps4[1] to 192.0.2.1",
        "08[IKE] retransmit 1 of request with message ID 0",
    ]
    assert diagnose(Evidence([*tried, *UP]), Evidence(UP)).stage is Stage.OK


# --- an end that cannot hear, and one that cannot tell the time -------------------------------------------------------

SILENCE = [
    "08[IKE] initiating IKE_SA ula-net-vps4[1] to 192.0.2.1",
    "08[IKE] retransmit 1 of request with message ID 0",
    "08[IKE] giving up after 5 retransmits",
]


def test_silence_is_explained_by_a_daemon_that_does_not_run() -> None:
    found = diagnose(Evidence(SILENCE, active="active"), Evidence([], active="inactive"))
    assert (found.stage, found.cause.id, found.end) == (Stage.CONFIG, "daemon-down", "responder")
    assert found.told["fix"] == "on the responder: systemctl start strongswan"
    assert "retransmit" in quoted(found, "initiator") or "giving up" in quoted(found, "initiator")


def test_silence_is_explained_by_another_program_on_the_port() -> None:
    found = diagnose(Evidence(SILENCE, active="active"), Evidence([], active="active", holder="pluto"))
    assert (found.cause.id, found.end) == ("port-in-use", "responder")
    assert "pluto holds UDP 500" in found.told["what"]


def test_what_an_end_has_logged_is_believed_before_what_systemd_says() -> None:
    """A daemon that is restarted just now is still activating; why the attempt failed stands in its log."""
    initiator, responder = case("no-private-key-responder")
    found = diagnose(initiator, replace(responder, active="activating"))
    assert found.cause.id == "local-auth-failed"


def dated(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%b %d %H:%M:%S %Y")


@pytest.mark.parametrize(
    ("begins", "ends", "ahead", "told"),
    [
        (-10, 80, 100 * 86400, "the clock of the responder is 100 days ahead"),
        (-10, 80, -30 * 86400, "the clock of the responder is 30 days behind"),
        (-1, 80, -40 * 3600, "the clock of the responder is 40 hours behind"),
        (-90, -10, 7200, ""),  # it has expired, whatever the clock says
        (-90, -10, 0, ""),
        (-10, 80, 200, ""),  # too little to explain it
    ],
)
def test_a_certificate_that_is_good_now_is_rejected_by_a_wrong_clock(
    begins: float, ends: float, ahead: float, told: str
) -> None:
    said = f"subject certificate invalid (valid from {dated(begins)} to {dated(ends)})"
    found = diagnose(Evidence([]), Evidence([said], ahead=ahead))
    assert found.cause.id == ("clock-wrong" if told else "cert-expired")
    assert told in found.told["what"]
    # it is the clock of who rejects that counts
    assert diagnose(Evidence([], ahead=ahead), Evidence([said])).cause.id == "cert-expired"


# --- where nothing is known -------------------------------------------------------------------------------------------


def test_what_is_not_understood_is_said_to_be_so_and_quoted() -> None:
    found = diagnose(
        Evidence(["09[IKE] initiating IKE_SA ula-net-vps4[1] to 192.0.2.1", "09[IKE] the frobnicator is jammed"]),
        Evidence(["11[IKE] 192.0.2.2 is initiating an IKE_SA", "11[ENC] generating noise", "11[IKE] wobble detected"]),
    )
    assert (found.cause.id, found.stage) == ("unknown", Stage.NO_ANSWER)
    assert "not one that is known" in found.told["what"]
    assert "the frobnicator is jammed" in quoted(found, "initiator")
    assert "wobble detected" in quoted(found, "responder")
    assert "noise" not in quoted(found, "responder")


@pytest.mark.parametrize(
    ("said", "stage"),
    [
        ("received AUTHENTICATION_FAILED notify error", Stage.IKE_SA),
        ("received NO_PROPOSAL_CHOSEN notify error", Stage.IKE_SA),
        ("received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built", Stage.CHILD_SA),
        ("initiating IKE_SA ula-net-vps4[1] to 192.0.2.1", Stage.NO_ANSWER),
        ("nothing known", Stage.CONFIG),
    ],
)
def test_a_symptom_alone_gives_the_stage_and_no_cause(said: str, stage: Stage) -> None:
    found = diagnose(Evidence([said]), Evidence([]))
    assert (found.cause.id, found.stage) == ("unknown", stage)
    assert "no log of the responder" in found.told["what"]


def test_an_end_without_a_log_cannot_contradict_the_other() -> None:
    _, responder = case("remote-id-mismatch-responder")
    assert diagnose(Evidence([]), responder).cause.id == "peer-auth-failed"


def test_the_counters_tell_where_both_logs_are_silent() -> None:
    sent = swanctl.message_counters(
        vici.parse((TRANSCRIPTS / "6.0.1-ok/home.counters.pretty.txt").read_text()),
    )
    heard = dict.fromkeys(sent, 0)
    found = diagnose(Evidence([], counters=sent), Evidence([], counters=heard))
    assert (found.stage, found.cause.id, found.end) == (Stage.NO_ANSWER, "peer-init-unreachable", "responder")
    found = diagnose(Evidence([], counters=sent), Evidence([], counters={**heard, "ike-init-in-req": 1}))
    assert (found.cause.id, "UDP 4500" in found.told["likely"]) == ("retransmit-send-timeout", True)
