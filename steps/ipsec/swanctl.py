"""The connection of one end: the file that swanctl loads, and what charon says that it has loaded.

`render` states it once, for strongSwan 5.9 and 6.0 alike (swanctl.conf(5)); `wanted_connection` says what of it
`swanctl --list-conns` must then show. That listing keeps quiet about proposals, mobike, encap, keyingtries, send_cert,
life_time, start_action and which of two certificates with one subject is in use: for these, the journal tells when
charon last read the file, to be held against the file's own time. Of start_action, the trap is asked for besides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from cryptography.x509.oid import NameOID

from steps.ipsec.vici import items_of, number_of, sections_of, selectors_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cryptography.x509 import Certificate, Name, ObjectIdentifier

    from steps.ipsec.ipsec_options import Ipsec, Start
    from steps.ipsec.vici import Event, Section
    from steps.network import End

MANAGED = "# managed by ipsec-runbook: "
"""How a file of ours begins."""
LOAD = "swanctl --load-all --clear --noprompt >&2"
"""Shell that has charon read all of /etc/swanctl anew."""
DPD_DELAY = 30
"""Seconds of silence after which the other end is asked whether it lives."""
REAUTH_TIME = 24 * 3600
"""Seconds after which both ends prove themselves anew."""
IKE_LIFETIME = 4 * 3600
"""Seconds that an IKE SA lives with its keys, where sites.yaml does not say."""

_WORD = re.compile(r"[^\s\x00-\x1f\x7f{}\"'#\\=,]+")
_NAME = re.compile(r"[A-Za-z0-9_-]+")


def render(end: End, *, certificate: str, anchors: Sequence[str]) -> str:
    """Make the text of /etc/swanctl/conf.d/<connection>.conf for one end.

    Args:
        end: The end that the host is.
        certificate: The host's own leaf, a file name below /etc/swanctl/x509.
        anchors: The roots that the other end must chain to, file names below /etc/swanctl/x509ca.

    Raises:
        ValueError: A value holds what would mean something else in swanctl.conf (space, brace, quote, hash, comma).
    """
    if not _NAME.fullmatch(end.connection):
        raise ValueError(f"{end.connection!r} cannot be a connection's name in swanctl.conf")
    if not anchors:
        raise ValueError(f"{end.connection} has no trust anchor: any certificate at all would have to be refused")
    ipsec = end.network.ipsec
    act = ACTIONS[end.start]
    text = f"""\
connections {{
  {end.connection} {{
    version = 2
    # the first address given is the one spoken to; a peer may come from any of them
    local_addrs = {_list(end.local_addrs)}
    remote_addrs = {_list(end.remote_addrs)}
    proposals = {_list(ipsec.ike_proposals)}
    # mobike: an end whose address changes takes its tunnel along (RFC 4555)
    mobike = {_yes(end.mobike)}
    # encap: wrap ESP in UDP even where no NAT is seen; no means only where one is
    encap = {_yes(ipsec.encapsulation == "always")}
    # large certificate chains: split the message ourselves, since lines drop fragments of IP
    fragmentation = yes
    send_cert = {ipsec.sendcert}
    # 0: never stop trying to reach the other end
    keyingtries = {ipsec.keyingtries}
    dpd_delay = {DPD_DELAY}s
    # new keys before the old ones' life ends: ikelifetime without one to two times rekeymargin
    rekey_time = {_ike_lifetime(ipsec) - ipsec.rekeymargin}s
    over_time = {ipsec.rekeymargin}s
    rand_time = {ipsec.rekeymargin}s
    # certificates are looked at again only here, never by a rekeying
    reauth_time = {REAUTH_TIME // 3600}h
    # an end that comes back after a crash replaces what it left behind
    unique = replace
    local {{
      auth = pubkey
      certs = {_word(certificate)}
      id = fqdn:{_word(end.here.fqdn)}
    }}
    # exactly this name, from exactly these roots: other holders of their certificates are refused
    remote {{
      auth = pubkey
      id = fqdn:{exact_name(end.there.fqdn)}
      cacerts = {_list(anchors)}
    }}
    children {{
      {end.connection} {{
        mode = tunnel
        local_ts = {_list(map(str, end.local_ts))}
        remote_ts = {_list(map(str, end.remote_ts))}
        esp_proposals = {_list(ipsec.esp_proposals)}
        life_time = {ipsec.keylife}s
        rekey_time = {ipsec.keylife - ipsec.rekeymargin}s
        rand_time = {ipsec.rekeymargin}s
        # one end brings the tunnel up; the other waits, or both would do it at once
        start_action = {act.start}
        dpd_action = {act.dpd}
        close_action = {act.close}
      }}
    }}
  }}
}}
"""
    if end.start == "ignore":
        commented = "".join(f"# {line}" for line in text.splitlines(keepends=True))
        text = f"# start: ignore in sites.yaml, so that charon is not told of it\n{commented}"
    return f"{MANAGED}made from sites.yaml; the next apply overwrites what is changed here\n{text}"


@dataclass(frozen=True)
class _Actions:
    start: str
    dpd: str
    close: str


ACTIONS: Final[Mapping[Start, _Actions]] = {
    "start": _Actions("start", "restart", "start"),
    "trap": _Actions("trap", "restart", "none"),
    "add": _Actions("none", "clear", "none"),
    "ignore": _Actions("none", "clear", "none"),
}
"""What a connection does when it is loaded, when the other end is silent, and when that end closes it.

A trap stays when its tunnel is closed. To set it then would set one as it was when that tunnel began: a tunnel outlives
the loading of another configuration, and keeps its own.
"""


def _ike_lifetime(ipsec: Ipsec) -> int:
    return ipsec.ikelifetime or IKE_LIFETIME


def _yes(flag: bool) -> str:  # noqa: FBT001 - the one argument of a two-word vocabulary
    return "yes" if flag else "no"


def _word(value: str) -> str:
    """Let a value through that swanctl.conf reads as one word and nothing else (settings_lexer.l)."""
    if not _WORD.fullmatch(value):
        raise ValueError(f"{value!r} cannot stand in swanctl.conf: it is empty or holds a space or one of {{}}\"'#\\=,")
    return value


def exact_name(fqdn: str) -> str:
    """Let an exact name through; with a pattern any holder of a certificate from these roots could be the peer."""
    if "%" in fqdn or "*" in fqdn:
        raise ValueError(f"{fqdn!r} is a pattern, not the name of one peer")
    return _word(fqdn)


def _list(values: Iterable[str]) -> str:
    return ",".join(_word(value) for value in values)


@dataclass(frozen=True)
class LoadedChild:
    """What `--list-conns` shows of a connection's child; times in seconds."""

    name: str
    mode: str
    local_selectors: frozenset[str]
    remote_selectors: frozenset[str]
    rekey_time: int
    dpd_action: str
    close_action: str


@dataclass(frozen=True)
class Loaded:
    """What `--list-conns` shows of a connection, in the listing's own words; times in seconds.

    `certificates` are the subjects of the end's own, `anchors` those of the roots that the other end is pinned to.
    """

    version: str
    local_addresses: tuple[str, ...]
    remote_addresses: tuple[str, ...]
    authentication: tuple[tuple[str, str], ...]
    local_id: str
    remote_id: str
    certificates: frozenset[str]
    anchors: frozenset[str]
    dpd_delay: int
    rekey_time: int
    reauth_time: int
    unique: str
    children: tuple[LoadedChild, ...]


def wanted_connection(end: End, *, certificate: Certificate, anchors: Iterable[Certificate]) -> Loaded:
    """Say what `--list-conns` shows once `render`'s file for this end is loaded, with these very certificates."""
    act, ipsec = ACTIONS[end.start], end.network.ipsec
    child = LoadedChild(
        name=end.connection,
        mode="TUNNEL",
        local_selectors=frozenset(map(str, end.local_ts)),
        remote_selectors=frozenset(map(str, end.remote_ts)),
        rekey_time=ipsec.keylife - ipsec.rekeymargin,
        dpd_action=_LISTED_ACTION.get(act.dpd, act.dpd),
        close_action=_LISTED_ACTION.get(act.close, act.close),
    )
    return Loaded(
        version="IKEv2",
        local_addresses=end.local_addrs,
        remote_addresses=end.remote_addrs,
        authentication=(("local-1", "public key"), ("remote-1", "public key")),
        local_id=end.here.fqdn,
        remote_id=end.there.fqdn,
        certificates=frozenset({listed_name(certificate.subject)}),
        anchors=frozenset(listed_name(anchor.subject) for anchor in anchors),
        dpd_delay=DPD_DELAY,
        rekey_time=_ike_lifetime(ipsec) - ipsec.rekeymargin,
        reauth_time=REAUTH_TIME,
        unique="UNIQUE_REPLACE",
        children=(child,),
    )


_LISTED_ACTION = {"restart": "start", "clear": "none"}
"""Actions that swanctl.conf and the listing call by different names (child_cfg.c, action_names)."""


def loaded_connection(events: Iterable[Event], name: str) -> Loaded | None:
    """Take one connection out of `--list-conns --pretty`; None when charon has none of that name."""
    for event in events:
        conn = sections_of(event.body).get(name)
        if event.name == "list-conn" and conn is not None:
            return _loaded(conn)
    return None


def _loaded(conn: Section) -> Loaded:
    parts = sections_of(conn)
    rounds = {key: part for key, part in parts.items() if re.fullmatch(r"(local|remote)-\d+", key)}
    local, remote = rounds.get("local-1", {}), rounds.get("remote-1", {})
    return Loaded(
        version=text_of(conn, "version"),
        local_addresses=items_of(conn, "local_addrs"),
        remote_addresses=items_of(conn, "remote_addrs"),
        authentication=tuple((key, text_of(part, "class")) for key, part in sorted(rounds.items())),
        local_id=text_of(local, "id"),
        remote_id=text_of(remote, "id"),
        certificates=frozenset(items_of(local, "certs")),
        anchors=frozenset(items_of(remote, "cacerts")),
        dpd_delay=number_of(conn, "dpd_delay"),
        rekey_time=number_of(conn, "rekey_time"),
        reauth_time=number_of(conn, "reauth_time"),
        unique=text_of(conn, "unique"),
        children=tuple(_loaded_child(*item) for item in sections_of(parts.get("children", {})).items()),
    )


def _loaded_child(name: str, child: Section) -> LoadedChild:
    return LoadedChild(
        name=name,
        mode=text_of(child, "mode"),
        local_selectors=selectors_of(child, "local-ts"),
        remote_selectors=selectors_of(child, "remote-ts"),
        rekey_time=number_of(child, "rekey_time"),
        dpd_action=text_of(child, "dpd_action"),
        close_action=text_of(child, "close_action"),
    )


def differences(wanted: Loaded, loaded: Loaded | None) -> list[str]:
    """Say in words what charon's connection has other than wanted; nothing when it is as wanted."""
    if loaded is None:
        return ["charon has not loaded the connection"]
    found = _differing(wanted, loaded, "")
    theirs = {child.name: child for child in loaded.children}
    for child in wanted.children:
        if child.name in theirs:
            found += _differing(child, theirs.pop(child.name), f"child {child.name}: ")
        else:
            found.append(f"child {child.name}: not loaded")
    return [*found, *(f"child {name}: loaded, but not wanted" for name in theirs)]


def _differing(wanted: Loaded | LoadedChild, loaded: Loaded | LoadedChild, where: str) -> list[str]:
    pairs = ((f.name, getattr(wanted, f.name), getattr(loaded, f.name)) for f in fields(wanted) if f.name != "children")
    return [
        f"{where}{name.replace('_', ' ')}: charon has {_words(ours)}, wanted {_words(want)}"
        for name, want, ours in pairs
        if want != ours
    ]


def _words(value: object) -> str:
    if isinstance(value, frozenset):
        value = tuple(sorted(value))
    if isinstance(value, tuple):
        return ", ".join(" ".join(item) if isinstance(item, tuple) else f"{item}" for item in value) or "none"
    return f"{value}" or "none"


_RDN_NAMES: Mapping[ObjectIdentifier, str] = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "G",
    NameOID.TITLE: "T",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.USER_ID: "UID",
    NameOID.EMAIL_ADDRESS: "E",
    NameOID.STREET_ADDRESS: "STREET",
}


def listed_name(name: Name) -> str:
    """Write a certificate's subject as strongSwan lists it (identification.c, dntoa): `C=US, O=ISRG, CN=Root YE`."""
    return ", ".join(f"{_listed_type(attribute.oid)}={_listed_value(attribute.value)}" for attribute in name)


def _listed_type(oid: ObjectIdentifier) -> str:
    """The short name, or the OID's encoding (X.690, section 8.19) in hexadecimal where strongSwan knows none."""
    if oid in _RDN_NAMES:
        return _RDN_NAMES[oid]
    first, second, *others = (int(arc) for arc in oid.dotted_string.split("."))
    encoded = bytearray()
    for arc in (first * 40 + second, *others):
        groups = [arc >> shift & 0x7F for shift in range(0, max(arc.bit_length(), 1), 7)]
        encoded += bytes([*(group | 0x80 for group in reversed(groups[1:])), groups[0]])
    return encoded.hex(":")


def _listed_value(value: str | bytes) -> str:
    raw = value.encode() if isinstance(value, str) else value
    return "".join(chr(byte) if chr(byte).isascii() and chr(byte).isprintable() else "?" for byte in raw)


def message_counters(events: Iterable[Event]) -> dict[str, int]:
    """Read the daemon-wide part of `--counters --pretty`: how many messages of each kind came and went."""
    totals: Section = {}
    for event in events:
        totals |= sections_of(sections_of(event.body).get("counters", {})).get("", {})
    return {key: number_of(totals, key) for key in totals}
