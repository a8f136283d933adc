"""`ipsec` of `sites.yaml`: how the tunnels are made."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from steps.description.marked_yaml import Keys
from steps.description.words import choices, read_choice, read_each
from steps.ipsec.ipsec_options import Ipsec, Start
from steps.ipsec.proposals import flaw, read_proposal
from steps.ipsec.styles import MEANINGS, STYLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steps.description.marked_yaml import Value

T = TypeVar("T")

_PROPOSED: Final = (
    "The ciphers that {} may use, a list, the strongest first, with all algorithms of a proposal: "
    "`{}`. Of these, or of today's best by default, each end offers what it can do, and says what it leaves out."
)
IPSEC: Final = Keys(
    {},
    {
        "config": f"How strongSwan is configured: {choices(MEANINGS)}.",
        "encapsulation": (
            f"`{Ipsec.encapsulation}` (the default), or `always`: ESP is wrapped in UDP even where no NAT is seen, for "
            "lines that drop ESP, or a kernel without it."
        ),
        "extra_packages": "Debian packages that the sites need besides strongSwan's usual ones, a list.",
        "ike_proposals": _PROPOSED.format("the IKE SA", Ipsec.ike_proposals[1]),
        "esp_proposals": _PROPOSED.format("ESP", Ipsec.esp_proposals[1]),
        "start": (
            "What the initiator does by itself: `trap` (the default) brings the tunnel up with the first packet, "
            "`start` at once, `add` waits until it is brought up by hand, `ignore` does not load it."
        ),
        "ikelifetime": "How long an IKE SA lives: `20m`, `4h`, `1d`; the daemon's own default is the best.",
        "keylife": f"How long the keys of the traffic live, {Ipsec.keylife} s by default.",
        "lifetime": "Another name of `keylife`.",
        "rekeymargin": (
            f"How long before the end of a life its successor is made, {Ipsec.rekeymargin} s by default, and up to "
            "twice as long, by chance."
        ),
        "keyingtries": "How often an end tries before it gives up: a number, or `forever` (the default).",
        "mobike": "Whether a tunnel may move to another address: `yes` or `no`; by default, where an end is `dynamic`.",
        "sendcert": f"When an end sends its certificate: `{Ipsec.sendcert}` (the default), or `ifasked`.",
        "type": "`tunnel`, which alone joins networks.",
    },
)

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")  # Debian Policy, section 5.6.1
_PROPOSAL = re.compile(r"(?!default|null)[a-z0-9]+(?:[-_][a-z0-9]+)*")
_TIME = re.compile(r"(?P<number>[1-9][0-9]{0,7})(?P<unit>[smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_TRIES = re.compile(r"[1-9][0-9]{0,2}")

_ENCAPSULATIONS: Final[Mapping[str, Literal["auto", "always"]]] = {"auto": "auto", "always": "always"}
_STARTS: Final[Mapping[str, Start]] = {"start": "start", "trap": "trap", "add": "add", "ignore": "ignore"}
_FOREVER: Final = {"0": 0, "forever": 0, "%forever": 0}
_YES_OR_NO: Final = {"yes": True, "no": False, "true": True, "false": False}


def read_ipsec(value: Value) -> Ipsec:
    """Read the section; what it leaves out is as `Ipsec` has it."""
    keys = value.keys(IPSEC)
    default = Ipsec()
    if "type" in keys:
        _tunnel_mode(keys["type"])
    ikelifetime, keylife, rekeymargin = _times(keys, default)
    return Ipsec(
        config=read_config(keys, default.config),
        encapsulation=_meant_by(keys, "encapsulation", _ENCAPSULATIONS, default.encapsulation),
        extra_packages=read_each(keys, "extra_packages", _package),
        ike_proposals=read_each(keys, "ike_proposals", partial(_proposal, child=False)) or default.ike_proposals,
        esp_proposals=read_each(keys, "esp_proposals", partial(_proposal, child=True)) or default.esp_proposals,
        # ipsec.conf has another word for a trap
        start=_meant_by(keys, "start", {**_STARTS, "route": "trap"}, default.start),
        ikelifetime=ikelifetime,
        keylife=keylife,
        rekeymargin=rekeymargin,
        keyingtries=_keyingtries(keys["keyingtries"]) if "keyingtries" in keys else default.keyingtries,
        mobike=_meant_by(keys, "mobike", _YES_OR_NO, default.mobike),
        sendcert=_sendcert(keys, default),
    )


def read_config(keys: Mapping[str, Value], default: str) -> str:
    """Read the style of configuration of all sites, or of one."""
    return read_choice(keys["config"], STYLES) if "config" in keys else default


def _meant_by(keys: Mapping[str, Value], name: str, words: Mapping[str, T], default: T) -> T:
    """Read one of a few words that stand for something."""
    return words[read_choice(keys[name], words)] if name in keys else default


def _times(keys: Mapping[str, Value], default: Ipsec) -> tuple[int | None, int, int]:
    """Read the lifetimes and how long before their end a successor is made; up to twice that (rekeyfuzz, 100 %)."""
    if "keylife" in keys and "lifetime" in keys:
        raise keys["lifetime"].wrong("is another name of keylife, which is there as well; keep one of them")
    lives = {name: keys[name] for name in ("ikelifetime", "keylife", "lifetime") if name in keys}
    seconds = {name: _time(each) for name, each in lives.items()}
    margin = _time(keys["rekeymargin"]) if "rekeymargin" in keys else default.rekeymargin
    keylife = seconds.get("keylife", seconds.get("lifetime", default.keylife))
    for name, life in {"keylife": keylife, **seconds}.items():
        if life <= 2 * margin:
            raise lives.get(name, keys.get("rekeymargin", next(iter(keys.values())))).wrong(
                f"a life of {life} s and a rekeymargin of {margin} s cannot be: a successor is made up to twice the "
                "margin before the end; write a longer life or a shorter margin"
            )
    return seconds.get("ikelifetime"), keylife, margin


def _time(value: Value) -> int:
    match = _TIME.fullmatch(value.text())
    if not match:
        raise value.wrong(f"`{value.text()}` is no time; write a number and its unit: 20m, 1h, 1d, 90s")
    return int(match["number"]) * _SECONDS[match["unit"]]


def _keyingtries(value: Value) -> int:
    if value.text() in _FOREVER:
        return 0
    return int(value.matching(_TRIES, "is no number of tries; write 1 to 999, or forever"))


def _sendcert(keys: Mapping[str, Value], default: Ipsec) -> Literal["always", "ifasked"]:
    words: Mapping[str, Literal["always", "ifasked"]] = {"always": "always", "yes": "always", "ifasked": "ifasked"}
    if "sendcert" in keys and keys["sendcert"].text() in {"never", "no"}:
        raise keys["sendcert"].wrong(
            "the other end knows the certificate's issuer, not the certificate, and has to be sent it; "
            "write always or ifasked"
        )
    return _meant_by(keys, "sendcert", words, default.sendcert)


def _tunnel_mode(value: Value) -> None:
    if value.text() != "tunnel":
        raise value.wrong(
            f"`{value.text()}` joins no networks: transport mode is between two hosts' own addresses; write tunnel"
        )


def _package(value: Value) -> str:
    return value.matching(_PACKAGE, "is no Debian package; write its name, such as libcharon-extra-plugins")


def _proposal(value: Value, *, child: bool) -> str:
    problem = (
        "is no proposal that can be held to: write all algorithms of one, lower case, such as "
        "aes256gcm16-prfsha384-ecp384; neither `default` nor a null cipher"
    )
    text = value.matching(_PROPOSAL, problem)
    try:
        why = flaw(read_proposal(text), child=child)
    except ValueError as error:
        raise value.wrong(f"cannot be held to: {error}") from error
    if why:
        raise value.wrong(f"cannot be held to: {why}")
    return text
