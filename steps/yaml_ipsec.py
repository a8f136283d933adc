"""`ipsec` of `sites.yaml`: how the tunnels are made."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from steps.ipsec_options import Ipsec
from steps.proposals import read_proposal
from steps.yaml_words import read_each

if TYPE_CHECKING:
    from steps.marked_yaml import Value

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")  # Debian Policy, section 5.6.1
_PROPOSAL = re.compile(r"(?!default|null)[a-z0-9]+(?:[-_][a-z0-9]+)*")


def read_ipsec(value: Value) -> Ipsec:
    """Read the section; what it leaves out is as `Ipsec` has it."""
    keys = value.keys((), ("encapsulation", "extra_packages", "ike_proposals", "esp_proposals"))
    default = Ipsec()
    return Ipsec(
        encapsulation=_encapsulation(keys["encapsulation"]) if "encapsulation" in keys else default.encapsulation,
        extra_packages=read_each(keys, "extra_packages", _package),
        ike_proposals=read_each(keys, "ike_proposals", _proposal) or default.ike_proposals,
        esp_proposals=read_each(keys, "esp_proposals", _proposal) or default.esp_proposals,
    )


def _encapsulation(value: Value) -> Literal["auto", "always"]:
    match value.text():
        case "auto":
            return "auto"
        case "always":
            return "always"
        case text:
            raise value.wrong(f"`{text}` is no way to encapsulate; write auto or always")


def _package(value: Value) -> str:
    return value.matching(_PACKAGE, "is no Debian package; write its name, such as libcharon-extra-plugins")


def _proposal(value: Value) -> str:
    problem = (
        "is no proposal that can be held to: write all algorithms of one, lower case, such as "
        "aes256gcm16-prfsha384-ecp384; neither `default` nor a null cipher"
    )
    text = value.matching(_PROPOSAL, problem)
    try:
        read_proposal(text)
    except ValueError as error:
        raise value.wrong(f"cannot be held to: {error}") from error
    return text
