"""Read what `ipsec statusall` and `listcounters` print: made for people, and the same in strongSwan 5.9 and 6.0."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from steps.ipsec.negotiated import ChildSa, Sa, Suite
from steps.ipsec.vici import selector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_VIEWED = re.compile(
    r" *(?P<name>[^ :]+): +(?:(?P<what>local|remote|child|ca|im-ca|cert|ocsp|crl|group): *)?(?P<rest>.+)"
)
_CHILD = re.compile(r"(?P<local>.*) === (?P<remote>.*) (?P<mode>\w+(?:, dpdaction=\w+)?)")


def viewed(lines: str, name: str) -> Mapping[str, str]:
    """Read what `statusall` shows of one connection below `Connections:`; empty where it is not loaded."""
    found: dict[str, str] = {}
    side = ""
    for line in lines.splitlines():
        match = _VIEWED.fullmatch(line)
        if not match or match["name"] != name:
            continue
        what, rest = match["what"] or "addresses", " ".join(match["rest"].split())
        if what in {"local", "remote"}:
            side = what
        elif what == "child" and (child := _CHILD.fullmatch(rest)):
            rest = f"{_set(child['local'])} === {_set(child['remote'])} {child['mode']}"
        elif what not in {"addresses", "child"}:
            what = f"{side} {what}"
        # a second one of a kind, such as another round of authentication, is seen as well
        found[what] = f"{found[what]} and {rest}" if what in found else rest
    return found


def _set(selectors: str) -> str:
    return " ".join(sorted(selector(each) for each in selectors.split()))


def unlike(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Say in words what charon's connection has other than wanted."""
    return [
        f"{what}: charon has {found.get(what, 'nothing')}, wanted {wanted.get(what, 'nothing')}"
        for what in dict.fromkeys([*wanted, *found])
        if wanted.get(what) != found.get(what)
    ]


_IKE = re.compile(
    r" *(?P<name>[^ \[]+)\[(?P<id>\d+)\]: (?P<state>[A-Z]+)(?: .*? ago)?, "
    r"(?P<local>[^\[]*)\[(?P<local_id>.*)\]\.\.\.(?P<remote>[^\[]*)\[(?P<remote_id>.*)\]"
)
_IKE_SPIS = re.compile(r" *[^ \[]+\[(?P<id>\d+)\]: IKEv2 SPIs: \w+(?P<initiator>\*?) .*")
_IKE_SUITE = re.compile(r" *[^ \[]+\[(?P<id>\d+)\]: IKE proposal: (?P<suite>\S+)")
_SA = re.compile(
    r" *(?P<name>[^ {]+)\{(?P<id>\d+)\}:  (?P<state>[A-Z]+), (?P<mode>[A-Z]+), reqid \d+"
    r"(?:, ESP(?P<udp> in UDP)? SPIs: (?P<spi_in>\w+)_i (?P<spi_out>\w+)_o)?.*"
)
_SA_SUITE = re.compile(
    r" *[^ {]+\{(?P<id>\d+)\}:  (?P<suite>[A-Z][^, ]*), (?P<in>\d+) bytes_i(?: \((?P<pkts_in>\d+) pkt[^)]*\))?, "
    r"(?P<out>\d+) bytes_o(?: \((?P<pkts_out>\d+) pkt[^)]*\))?, .*"
)
_SA_NETWORKS = re.compile(r" *[^ {]+\{(?P<id>\d+)\}:   (?P<local>.*) === (?P<remote>.*)")
_SIZED = re.compile(r"(?P<name>(?:AES|CAMELLIA)_\w+)_(?P<bits>128|192|256)")
"""An encryption with its key's length, which swanctl sets off by a hyphen."""


def associations(listed: str, name: str) -> list[Sa]:
    """Take the IKE SAs of one connection out of `statusall`, with the tunnels below each; none when it is down."""
    found: dict[str, list[str]] = {}
    ike = ""
    for line in listed.partition("Security Associations (")[2].splitlines() or listed.splitlines():
        if match := _IKE.fullmatch(line):
            ike = match["id"] if match["name"] == name else ""
        if ike:
            found.setdefault(ike, []).append(line)
    return [_sa(name, lines) for lines in found.values()]


def _sa(name: str, lines: Sequence[str]) -> Sa:
    head, spis = _first(_IKE, lines), _first(_IKE_SPIS, lines)
    suite = _first(_IKE_SUITE, lines)
    children: dict[str, list[str]] = {}
    for line in lines:
        if match := re.match(r" *[^ {]+\{(\d+)\}:", line):
            children.setdefault(match[1], []).append(line)
    return Sa(
        name=name,
        unique_id=head.get("id", ""),
        state=head.get("state", ""),
        initiator=bool(spis.get("initiator")),
        local_host=head.get("local", ""),
        remote_host=head.get("remote", ""),
        local_id=head.get("local_id", ""),
        remote_id=head.get("remote_id", ""),
        behind_nat=False,  # it is not told
        suite=_suite(suite.get("suite", "")),
        children=tuple(_child(each) for each in children.values()),
    )


def _child(lines: Sequence[str]) -> ChildSa:
    head, suite, networks = _first(_SA, lines), _first(_SA_SUITE, lines), _first(_SA_NETWORKS, lines)
    return ChildSa(
        name=head.get("name", ""),
        unique_id=head.get("id", ""),
        state=head.get("state", ""),
        mode=head.get("mode", ""),
        encapsulated=bool(head.get("udp")),
        suite=_suite(suite.get("suite", "")),
        local_selectors=frozenset(map(selector, networks.get("local", "").split())),
        remote_selectors=frozenset(map(selector, networks.get("remote", "").split())),
        spi_in=head.get("spi_in", ""),
        spi_out=head.get("spi_out", ""),
        bytes_in=int(suite.get("in", "0")),
        bytes_out=int(suite.get("out", "0")),
        packets_in=int(suite.get("pkts_in", "0")),
        packets_out=int(suite.get("pkts_out", "0")),
    )


def _first(pattern: re.Pattern[str], lines: Sequence[str]) -> Mapping[str, str]:
    """The groups of the first line that matches, without those that are not there."""
    match = next((match for line in lines if (match := pattern.fullmatch(line))), None)
    return {key: value for key, value in match.groupdict().items() if value} if match else {}


def _suite(text: str) -> Suite:
    """Read `AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384` by what each algorithm's name says that it is."""
    found: dict[str, str] = {}
    further: list[tuple[int, str]] = []
    for each in text.split("/"):
        if match := re.fullmatch(r"KE(\d)_(.+)", each):
            further.append((int(match[1]), match[2]))
        elif each.startswith("PRF_"):
            found["prf"] = each
        elif each.startswith(("HMAC_", "AES_XCBC_", "AES_CMAC_")):
            found["integrity"] = each
        elif each.startswith(("ECP_", "MODP_", "CURVE_", "ML_KEM_")):
            found["key_exchange"] = each
        elif each and each != "ESN":
            found["encryption"] = _SIZED.sub(r"\g<name>-\g<bits>", each)
    empty = dict.fromkeys(("encryption", "integrity", "prf", "key_exchange"), "")
    return Suite(**{**empty, **found}, further=tuple(further))


_COUNTER = re.compile(r"ike(?P<way>In|Out)(?P<kind>Init|Auth|CrChild|Info)(?P<side>Req|Rsp) +(?P<number>\d+)")
_KINDS: Final = {"Init": "ike-init", "Auth": "ike-auth", "CrChild": "create-child", "Info": "info"}


def counters(listed: str) -> dict[str, int]:
    """Read `listcounters` under the names that swanctl has for them: `ike-init-in-req`."""
    return {
        f"{_KINDS[match['kind']]}-{match['way'].lower()}-{match['side'].lower()}": int(match["number"])
        for match in _COUNTER.finditer(listed)
    }
