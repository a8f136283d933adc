"""What `ipsec` of `sites.yaml` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Ipsec:
    """How the tunnels are made; every value is meant for swanctl.conf as it stands, the same at all ends.

    `encapsulation` "always" wraps ESP in UDP even where no NAT is seen: for lines that drop ESP, and for kernels
    without it. `extra_packages` are Debian packages that a site needs besides strongSwan's usual ones.
    """

    encapsulation: Literal["auto", "always"] = "auto"
    extra_packages: tuple[str, ...] = ()
    ike_proposals: tuple[str, ...] = ("aes256gcm16-prfsha384-ecp384",)
    esp_proposals: tuple[str, ...] = ("aes256gcm16-ecp384",)
