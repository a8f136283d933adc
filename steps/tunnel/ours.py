"""The tunnels of ours that stand: not those of a connection of the same name that an admin has described."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steps.ipsec.styles import style_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steps.ipsec.negotiated import Sa
    from steps.network import End

_SEPARATOR = "--\n"


def listing(end: End) -> str:
    """Shell that lists them without what moves by itself, and says whether they are by hand."""
    style, name = style_of(end.here), end.connection
    return f"{style.settled(name)}\necho --\nif {style.by_hand(name)}; then echo 'by hand'; fi"


def by_hand(listed: str) -> bool:
    """Whether what stands is the admin's: it ends with its section."""
    return bool(listed.partition(_SEPARATOR)[2].strip())


def associations(end: End, listed: str) -> Sequence[Sa]:
    """The security associations of ours."""
    return [] if by_hand(listed) else style_of(end.here).associations(listed.partition(_SEPARATOR)[0], end.connection)
