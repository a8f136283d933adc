"""The connection of one end as ipsec.conf(5) has it, and as `ipsec statusall` lists it once it is loaded.

`conn` states it once, for strongSwan 5.9 and 6.0 alike; `planned` says what of it `statusall` must then show. That
listing keeps quiet about proposals, lifetimes, mobike, forceencaps, keyingtries, sendcert and auto: for these, the
journal tells when charon last read the connection, to be held against the file's own time. Of auto, the trap is among
what is listed as routed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from steps.ipsec.swanctl import ACTIONS, DPD_DELAY, REAUTH_TIME, exact_name, listed_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cryptography import x509

    from steps.ipsec.ipsec_options import Start
    from steps.ipsec.style import Wanted
    from steps.network import End

IKE_LIFETIME: Final = REAUTH_TIME
"""Seconds that an IKE SA lives where sites.yaml does not say: ipsec.conf knows one time for new keys and for proving
oneself anew, and before strongSwan 6.0 the latter interrupts the tunnel."""

_AUTO: Final[Mapping[Start, str]] = {"start": "start", "trap": "route", "add": "add", "ignore": "ignore"}
_DPD: Final = {"restart": "restart", "clear": "clear"}
_CLOSE: Final = {"start": "restart", "none": "none"}
_VALUE = re.compile(r"[^\s\x00-\x1f\x7f\"#=,]+")


def conn(end: End, *, certificate: str, root: x509.Certificate) -> str:
    """Make the `conn` section of one end.

    Every key is there that an admin's `conn %default` may have something else for; one without a value takes that away.

    Args:
        end: The end that the host is.
        certificate: The path of the host's own certificate.
        root: The root that the other end must chain to.

    Raises:
        ValueError: A value holds what would mean something else in ipsec.conf (space, quote, hash, comma).
    """
    ipsec, act = end.network.ipsec, ACTIONS[end.start]
    dn = root.subject.public_bytes().hex()
    return f"""\
conn {_word(end.connection)}
	keyexchange = ikev2
	type = tunnel
	# the first address given is the one spoken to; a peer may come from any of them
	left = {_list(end.local_addrs)}
	leftsubnet = {_list(map(str, end.local_ts))}
	leftauth = pubkey
	leftid = @{_word(end.here.fqdn)}
	leftcert = {_word(certificate)}
	leftsendcert = {ipsec.sendcert}
	# what passes the tunnel is let through by rules of the firewall's own
	leftfirewall = no
	right = {_list(end.remote_addrs)}
	rightsubnet = {_list(map(str, end.remote_ts))}
	# exactly this name, from exactly this root: other holders of its certificates are refused
	rightauth = pubkey
	rightid = @{_word(exact_name(end.there.fqdn))}
	# {listed_name(root.subject)}
	rightca = "asn1dn:#{dn}"
	ike = {_list(ipsec.ike_proposals)}!
	esp = {_list(ipsec.esp_proposals)}!
	# what is about to end is replaced one to two times rekeymargin before; for an IKE SA, both prove themselves anew
	ikelifetime = {ipsec.ikelifetime or IKE_LIFETIME}s
	lifetime = {ipsec.keylife}s
	rekeymargin = {ipsec.rekeymargin}s
	rekeyfuzz = 100%
	rekey = yes
	reauth = yes
	keyingtries = {ipsec.keyingtries or "%forever"}
	mobike = {_yes(end.mobike)}
	forceencaps = {_yes(ipsec.encapsulation == "always")}
	fragmentation = yes
	dpddelay = {DPD_DELAY}s
	dpdaction = {_DPD[act.dpd]}
	closeaction = {_CLOSE[act.close]}
	installpolicy = yes
	compress = no
	leftsourceip =
	rightsourceip =
	leftupdown =
	leftauth2 =
	rightauth2 =
	rightcert =
	inactivity =
	# one end brings the tunnel up; the other waits, or both would do it at once
	auto = {_AUTO[end.start]}
"""


def _yes(flag: bool) -> str:  # noqa: FBT001 - the one argument of a two-word vocabulary
    return "yes" if flag else "no"


def _word(value: str) -> str:
    """Let a value through that ipsec.conf reads as one word and nothing else (lexer.l)."""
    if not _VALUE.fullmatch(value):
        raise ValueError(f'{value!r} cannot stand in ipsec.conf: it is empty or holds a space or one of "#=,')
    return value


def _list(values: Sequence[str] | Iterator[str]) -> str:
    return ",".join(_word(value) for value in values)


def planned(end: End, wanted: Wanted) -> Mapping[str, str]:
    """Say what `statusall` shows of a connection once `conn` is loaded, as `viewed` reads it."""
    action = {"restart": "start", "clear": "none"}[ACTIONS[end.start].dpd]
    return {
        "addresses": f"{','.join(end.local_addrs)}...{','.join(end.remote_addrs)} IKEv2, dpddelay={DPD_DELAY}s",
        "local": f"[{end.here.fqdn}] uses public key authentication",
        "local cert": f'"{listed_name(wanted.leaf.subject)}"',
        "remote": f"[{end.there.fqdn}] uses public key authentication",
        "remote ca": f'"{listed_name(wanted.roots[end.there.name].subject)}"',
        "child": f"{_sides(end.local_ts)} === {_sides(end.remote_ts)} TUNNEL, dpdaction={action}",
    }


def _sides(selectors: Sequence[object]) -> str:
    return " ".join(sorted(map(str, selectors)))
