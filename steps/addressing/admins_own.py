"""Addresses that an admin's own files give a host: they were there without us, and stay as they are."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steps.network import Interface

_OWN: Final = "own_addresses_by_"

READ_THEIRS: Final = """\
theirs=$(find -L /etc/network/interfaces /etc/network/interfaces.d /etc/netplan /etc/systemd/network \\
    /run/systemd/network -type f ! -path '*ipsec-runbook*' -exec sed 's/#.*//' {} + 2>/dev/null)"""
"""Where an admin has a host's addresses given at boot."""


def given_by_admin(address: Interface, interface: str, facts: Mapping[str, str]) -> bool:
    """Whether the manager of addresses says so of itself, by a fact `own_addresses_by_NAME=INTERFACE,ADDRESS ...`.

    It has to where it would fail to give an address that ours has given before.
    """
    own = [each.partition(",") for name, value in facts.items() if name.startswith(_OWN) for each in value.split()]
    for where, _, written in own:
        with suppress(ValueError):  # no address: the manager makes nothing of it either
            if where == interface and ip_address(written) == address.ip:
                return True
    return False
