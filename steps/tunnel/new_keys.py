"""New keys for a tunnel that is up: forward secrecy proved by using it.

A tunnel's first keys come out of the IKE SA's. Whether the ends agree on a key exchange of the tunnel's own is seen
only when it gets new keys, an hour later, and the command for that says that it has succeeded even where it has not.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from runbook.errors import StepError
from steps import catalogue
from steps.ipsec.proposals import read_proposal
from steps.ipsec.styles import style_of
from steps.tunnel.both_ends import explained, listen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook.target import Target
    from steps.ipsec.negotiated import ChildSa
    from steps.network import End

PATIENCE: Final = 6.0
"""Seconds for the other end to answer, one lost packet included (strongSwan repeats it after 4)."""


def asking(end: End) -> str:
    """Shell that lists the tunnels, has this one get new keys, and lists them again."""
    style = style_of(end.here)
    return f"{style.listing}\necho ==\n{style.rekey(end.connection)} >/dev/null 2>&1 || true\n{_look(end)}"


def got(end: End, hosts: Mapping[str, Target], before: str, after: str) -> str:
    """Say which keys the tunnel got, from both lists of `asking`.

    Raises:
        StepError: It got none, also when asked again; or not by a key exchange of its own, where one is planned.
    """
    new = _awaited(end, hosts, before, after)
    if new is None:
        stood = listen(end, hosts)
        asked = hosts[end.here.name].run(asking(end), purpose="ask for new keys again").stdout
        new = _awaited(end, hosts, *asked.split("==\n"))
        if new is None:
            down = style_of(end.here).down(end.connection)
            raise explained(end, hosts, stood, catalogue.NO_NEW_KEYS, initiator=end.here.name, down=down)
    if not new.suite.key_exchange and all(read_proposal(each).key_exchange for each in end.network.ipsec.esp_proposals):
        style = style_of(end.here)
        raise StepError(
            catalogue.NO_OWN_KEYS,
            target=end.here.name,
            there=end.there.name,
            connection=end.connection,
            suite=new.suite,
            sas=style.typed["sas"],
            down=style.down(end.connection),
        )
    return f"{end.here.name}: {end.connection} has new keys by {new.suite}, SPI {new.spi_in}"


def _awaited(end: End, hosts: Mapping[str, Target], before: str, after: str) -> ChildSa | None:
    """The tunnel that took the place of those listed before; None where none did in time."""
    was = {child.spi_in for child in _installed(end, before)}
    deadline = time.monotonic() + PATIENCE
    while True:
        fresh = [child for child in _installed(end, after) if child.spi_in not in was]
        if fresh:
            return fresh[-1]
        if time.monotonic() > deadline:
            return None
        after = hosts[end.here.name].run(_look(end), purpose="look for the new keys").stdout


def _look(end: End) -> str:
    return f"sleep 0.2\n{style_of(end.here).listing}"


def _installed(end: End, listed: str) -> list[ChildSa]:
    """The tunnels of the connection that carry traffic, the newest last."""
    return [child for sa in style_of(end.here).associations(listed, end.connection) for child in sa.installed]
