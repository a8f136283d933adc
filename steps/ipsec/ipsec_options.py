"""What `ipsec` of `sites.yaml` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Start: TypeAlias = Literal["start", "trap", "add", "ignore"]
"""What a connection does by itself once it is loaded: come up at once, come up with the first packet, wait to be
brought up by hand or by the other end; or it is not loaded at all (auto= of ipsec.conf(5), with trap for route)."""


@dataclass(frozen=True)
class Ipsec:
    """How the tunnels are made, the same at all ends.

    `encapsulation` "always" wraps ESP in UDP even where no NAT is seen: for lines that drop ESP, and for kernels
    without it. `extra_packages` are Debian packages that a site needs besides strongSwan's usual ones. `config` is the
    style of configuration (`steps.ipsec.styles`) of those sites that name no other. Of
    the proposals, the strongest first, an end offers those that it can do (`steps.ipsec.ciphers`); all of ours have
    forward
    secrecy, and the weakest is the article's for the end that could do no better.

    The rest is called as in ipsec.conf(5), times in seconds. `ikelifetime` is None where the style's own is best;
    `keyingtries` 0 means for ever; `mobike` None means where an end's address changes.
    """

    encapsulation: Literal["auto", "always"] = "auto"
    extra_packages: tuple[str, ...] = ()
    ike_proposals: tuple[str, ...] = (
        "aes256gcm16-prfsha384-ecp384-ke1_mlkem768",
        "aes256gcm16-prfsha384-ecp384",
        "aes256-sha384-ecp384",
        "aes128gcm16-prfsha256-ecp256",
    )
    esp_proposals: tuple[str, ...] = (
        "aes256gcm16-ecp384-ke1_mlkem768",
        "aes256gcm16-ecp384",
        "aes256-sha384-ecp384",
        "aes128gcm16-ecp256",
    )
    config: str = "swanctl"
    start: Start = "trap"
    ikelifetime: int | None = None
    keylife: int = 3600
    rekeymargin: int = 540
    keyingtries: int = 0
    mobike: bool | None = None
    sendcert: Literal["always", "ifasked"] = "always"
