"""Each row of the diagnosis table, on the very lines that daemons print."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from ula_network import ends

from steps.diagnosis import states
from steps.diagnosis.diagnose import Diagnosis, Evidence, Role, Stage, diagnose
from steps.diagnosis.row import Cause, Row
from steps.diagnosis.side import Side, found
from steps.diagnosis.table import ROWS
from steps.ipsec.styles import STYLES
from steps.procedure import PROCEDURE


def quoted(found: Diagnosis, end: Role) -> str:
    return "\n".join(quote.line for quote in found.quotes if quote.end == end)


# One line of a daemon for each pattern of each row, in the words of the version that prints it.
LINES: dict[int, list[str]] = {
    1: ["received proposals unacceptable"],
    2: ["no IKE config found for 192.0.2.1...192.0.2.2, sending NO_PROPOSAL_CHOSEN"],
    3: ["no acceptable proposal found"],
    4: [
        "unable to install inbound and outbound IPsec SA (SAD) in kernel",
        "unable to install inbound IPsec SA (SAD) in kernel",
        "unable to add SAD entry with SPI cfcea96f (FAILED)",
        "algorithm AES_GCM_16 not supported by kernel!",
    ],
    5: [
        "unable to install IPsec policies (SPD) in kernel",
        "unable to add policy fd00::/64 === fd01::/64 out",
        "policy already exists, try to update it",
    ],
    6: ["CHILD_SA rekeying failed, trying again in 10 seconds"],
    7: ["requested DH group MODP_2048 not contained in any of our proposals"],
    8: ["no matching peer config found"],
    9: ['no issuer certificate found for "C=US, O=ISRG, CN=Root YE"'],
    10: ["no private key found for 'home.example.org'"],
    12: [
        "subject certificate invalid (valid from Nov 23 06:28:00 2026 to Nov 23 06:42:24 2026)",
    ],
    54: [
        "issuer certificate invalid (valid from Nov 23 06:28:00 2026 to Nov 23 06:42:24 2026)",
    ],
    13: ["no trusted ECDSA public key found for 'home.example.org'"],
    14: ['  self-signed certificate "CN=Fake Root" is not trusted', "  reached end of incomplete trust chain"],
    15: ["constraint check failed: RULE_CRL_VALIDATION is FAILED, but requires at least GOOD"],
    16: [
        "unable to fetch from http://ye1.c.lencr.org/43.crl, no capable fetcher found",
        "libcurl request failed [6]: Could not resolve host: ye1.c.lencr.org",
        "crl fetching failed",
        "certificate status is not available",
        "fetching crl from 'http://ye1.c.lencr.org/43.crl' ...",
    ],
    17: ["certificate was revoked on Nov 23 06:28:00 UTC 2026, reason: key compromise"],
    18: [
        "constraint check failed: identity 'a.example' (ID_FQDN) required, not matched by 'b.example' (ID_FQDN)",
        "constraint check failed: identity 'a.example.org' required ",
    ],
    19: [
        "constraint check failed: peer not authenticated by CA 'CN=Other'",
        "X.509 signature scheme ECDSA_WITH_SHA384_DER not acceptable",
    ],
    20: ["rejecting certificate without digitalSignature or nonRepudiation keyUsage flags"],
    21: [
        "found unsupported critical X.509 extension: nameConstraints",
        "critical 'nameConstraints' extension not supported",
    ],
    22: [
        "signature validation failed, looking for another key",
        "no common hash algorithm found to create signature with ECDSA key",
    ],
    23: ["traffic selectors fd00::/64 === fd01::/64 unacceptable"],
    25: ["no acceptable traffic selectors found", "configuration payload negotiation failed, no CHILD_SA built"],
    26: [
        "retransmit 1 of request with message ID 0",
        "establishing IKE_SA failed, peer not responding",
        "peer not responding, trying again (2/0)",
    ],
    27: ["retransmit 1 of request with message ID 1"],
    30: [
        "unable to resolve vps4.example.org, initiate aborted",
        "unable to resolve vps4.example.org, retrying in 60s",
        "resolving 'vps4.example.org' failed: Temporary failure in name resolution",
    ],
    31: ["installing trap failed, remote address unknown"],
    33: ["ignoring acquire for reqid 1, connection attempt pending"],
    34: [
        "loading connection 'ula-net-vps4' failed: unknown option: mobikee, config discarded",
        "loading connection 'ula-net-vps4' failed: invalid value for: proposals, config discarded",
        "invalid config file '/etc/swanctl/swanctl.conf'",
        "skipped invalid proposal string: aes999gcm16-ecp384",
        "# ignored conn 'ula-net-vps4' due to 1 parsing error",
    ],
    35: [
        "loading certs certificate '/etc/swanctl/x509/home.pem' failed: No such file or directory",
        "loading '/etc/swanctl/x509/home.pem' failed: parsing X509 certificate failed",
        "  loading certificate from '/etc/ssl/home.example.org/home.example.org.chained.pem' failed",
    ],
    36: [
        "connecting to 'unix:///var/run/charon.vici' failed: No such file or directory",
        "Error: connecting to 'default' URI failed: Permission denied",
    ],
    37: [
        "opening '/srv/home.pem' failed: Permission denied",
        'audit: type=1400 apparmor="DENIED" operation="open" profile="/usr/sbin/swanctl" name="/srv/home.pem" pid=7',
    ],
    38: [
        "could not open socket: Address family not supported by protocol",
        "unable to bind socket: Address already in use",
        "could not create any sockets",
    ],
    39: [
        "plugin 'openssl': failed to load - openssl_plugin_create not found",
        "ENCRYPTION_ALGORITHM AES_GCM_16 (key size 256) not supported!",
        "negotiated key exchange method ML_KEM_768 not supported",
        "negotiated DH group CURVE_448 not supported",
    ],
    40: ["updown: /bin/sh: 1: iptables: not found"],
    41: ["could not decrypt payloads", "integrity check failed", "message parsing failed"],
    42: ["deleting duplicate IKE_SA for peer 'home.example.org' due to uniqueness policy"],
    43: ["deleting half open IKE_SA with 192.0.2.2 after timeout"],
    44: ["ignoring IKE_SA setup from 192.0.2.2, per-IP half-open IKE_SA limit of 5 reached"],
    45: [
        "path length of 2 violates constraint of 1",
        "subject alternative name 'home.example.org' of 'CN=x' does not match any permitted name constraints",
    ],
    46: ["error installing route with policy fd00::/64 === fd01::/64 out"],
    47: ["CHILD_SA config 'ula-net-vps4' not found", "no config named 'ula-net-vps4'"],
    48: ["retransmit 1 of request with message ID 0"],
    49: ["retransmit 1 of request with message ID 1"],
    50: ["no IKE config found for 192.0.2.1...192.0.2.2, sending NO_PROPOSAL_CHOSEN"],
    51: ["retransmit 1 of request with message ID 12"],
    52: ["constraint requires public key authentication, but pre-shared key was used"],
    53: [
        "no shared key found for 'vps4.example.org' - 'home.example.org'",
        "tried 1 shared key for 'vps4.example.org' - 'home.example.org', but MAC mismatched",
    ],
}
# What a row wants to see besides its own line: at the same end, at the other.
BESIDES: dict[int, tuple[list[str], list[str]]] = {
    1: ([], ["received NO_PROPOSAL_CHOSEN notify error"]),
    2: ([], ["received NO_PROPOSAL_CHOSEN notify error"]),
    6: ([], ["no acceptable proposal found"]),
    8: ([], ["received AUTHENTICATION_FAILED notify error"]),
    48: ([], ["192.0.2.2 is initiating an IKE_SA"]),
    49: ([], ["parsed IKE_AUTH request 1 [ IDi CERT ]"]),
    50: (["added vici connection: ula-net-home"], ["received NO_PROPOSAL_CHOSEN notify error"]),
}


def test_there_is_a_line_for_every_row() -> None:
    assert {row.number for row in ROWS} == set(LINES)
    for row in ROWS:
        for pattern in row.lines:
            assert any(re.search(pattern, line) for line in LINES[row.number]), pattern


@pytest.mark.parametrize(
    ("row", "line"),
    [(row, line) for row in ROWS for line in LINES[row.number]],
    ids=lambda value: f"row{value.number}" if isinstance(value, Row) else "",
)
@pytest.mark.parametrize("grouped", [True, False], ids=["log", "journal"])
def test_each_row_is_found_by_its_own_line(row: Row, line: str, *, grouped: bool) -> None:
    own, others = BESIDES.get(row.number, ([], []))
    prefix = "09[XYZ] " if grouped else "Nov 23 14:00:00 vps4 charon-systemd[77]: "
    here = Evidence([prefix + text for text in [*own, *[line] * row.times]])
    there = Evidence([prefix + text for text in others])
    role: Role = "responder" if row.at != "initiator" else "initiator"
    found = diagnose(here, there) if role == "initiator" else diagnose(there, here)
    assert (found.stage, found.cause.id) == (row.stage, row.cause.id), found
    assert line.strip() in quoted(found, role)
    assert "{" not in "".join(found.told.values())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"row{row.number}")
def test_each_sentence_names_the_ends(row: Row) -> None:
    own, others = BESIDES.get(row.number, ([], []))
    here = Evidence([*own, *LINES[row.number][:1] * row.times], end=None)
    found = diagnose(Evidence(others), here) if row.at != "initiator" else diagnose(here, Evidence(others))
    assert re.search("initiator|responder|ends|tunnel", found.told["what"])
    assert all(found.told.values())
    assert not any(text.endswith(".") for text in found.told.values())


# --- how each cause is told -------------------------------------------------------------------------------------------

CAUSES = [*(row.cause for row in ROWS), *(each for each in vars(states).values() if isinstance(each, Cause))]
NAMES = [step.name for step in PROCEDURE]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.id)
def test_each_cause_has_its_four_parts_in_the_words_of_the_hosts_own_style(cause: Cause, style: str) -> None:
    """What is to be typed is for a program that is there: swanctl is not, where ipsec.conf is used, nor the reverse."""
    home, vps4 = (
        Side.of(role, Evidence([], end=replace(end, here=replace(end.here, config=style))))
        for role, end in zip(("initiator", "responder"), ends(), strict=True)
    )
    told = found(Stage.OK, cause, vps4, home).told
    for text in told.values():
        assert text
        assert "\n" not in text
        assert not text.endswith(".")
    typed = f"{told['look']}; {told['fix']}"
    assert not re.search(
        r"\bipsec (?!.*policy)|starter" if style == "swanctl" else r"\bswanctl |-u strongswan ", typed
    ), typed
    assert re.search(r"\b(?:home|vps4|both)\b", told["look"]), "on which host it is to be typed"
    assert set(re.findall(r"--step ([\w-]+)", typed)) <= set(NAMES)
    assert typed.count("runbook audit") == len(
        re.findall(r"runbook audit --step [\w-]+\{file\}", cause.look + cause.fix)
    )
