"""When a certificate is due to be renewed, and what came of trying: what the vault keeps of it, a file for each site.

A record speaks of one certificate, by its serial number: once that is replaced, it tells nothing any more.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from steps.pki import days_left
from steps.vault import put, read_if_there

if TYPE_CHECKING:
    from cryptography import x509

    from runbook.target import Target
    from steps.network import Site
    from steps.vault import Vault

ASKED_FOR: Final = "asked for"
"""Why a certificate is due that the user wants renewed."""

_TIMES = ("due", "ask_again", "failing_since")


@dataclass(frozen=True)
class Suggestion:
    """An authority's word: when to renew, and when to ask again whether that still holds. Times have a zone."""

    due: datetime
    ask_again: datetime


@dataclass(frozen=True)
class Renewal:
    """What is known of one certificate's renewal beside what it says itself."""

    serial: str
    """In hexadecimal."""
    due: datetime | None = None
    """By the authority's word, or the user's; None: by its lifetime."""
    because: str = ""
    """Whose word that is."""
    ask_again: datetime | None = None
    failing_since: datetime | None = None
    why: str = ""
    to_show: tuple[str, ...] = ()
    """The links through which it has not been shown yet, since it took another one's place."""

    @classmethod
    def of(cls, leaf: x509.Certificate, to_show: tuple[str, ...] = ()) -> Renewal:
        """Of a certificate of which nothing else is known."""
        return cls(f"{leaf.serial_number:x}", to_show=to_show)

    def suggested(self, suggestion: Suggestion | None) -> Renewal:
        """With the authority's word, or with its silence."""
        if suggestion is None:
            return replace(self, due=None, because="", ask_again=None)
        return replace(self, due=suggestion.due, because="by its authority's word", ask_again=suggestion.ask_again)

    def asked_for(self, at: datetime) -> Renewal:
        """Due at once, because the user says so."""
        return replace(self, due=at, because=ASKED_FOR)

    def failed(self, at: datetime, why: str) -> Renewal:
        """With an attempt that failed."""
        return replace(self, failing_since=self.failing_since or at, why=why)

    def shown(self, link: str) -> Renewal:
        """With one link less through which it is still to be shown."""
        return replace(self, to_show=tuple(each for each in self.to_show if each != link))

    def keep(self, vault: Vault, site: Site, controller: Target) -> None:
        """Write it down."""
        times = {name: value.isoformat() for name in _TIMES if (value := getattr(self, name))}
        text = json.dumps({**asdict(self), **dict.fromkeys(_TIMES), **times}, indent=2) + "\n"
        controller.run(put(vault.renewal(site), text.encode(), "600"), purpose="note when to renew a certificate")


def renewal_of(vault: Vault, site: Site, leaf: x509.Certificate) -> Renewal:
    """What is known of the renewal of a site's certificate."""
    unknown = Renewal.of(leaf)
    kept = read_if_there(vault.renewal(site))
    try:
        entry = json.loads(kept or b"{}")
        times = {name: datetime.fromisoformat(entry[name]) for name in _TIMES if entry.get(name)}
        shown = {"to_show": tuple(entry.get("to_show", ()))}
        known = Renewal(**{**entry, **times, **shown}) if entry else unknown
    except (ValueError, TypeError):  # damaged: it is made again
        return unknown
    return known if known.serial == unknown.serial else unknown


def due_at(leaf: x509.Certificate, renewal: Renewal) -> datetime:
    """When a certificate is to be renewed: by a word about it, or once two thirds of its lifetime are over."""
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return renewal.due or leaf.not_valid_before_utc + lifetime * 2 / 3


def is_due(leaf: x509.Certificate, renewal: Renewal) -> bool:
    """Whether it is to be renewed now."""
    return datetime.now(UTC) >= due_at(leaf, renewal)


def standing(leaf: x509.Certificate, renewal: Renewal) -> str:
    """How a certificate stands, in words."""
    words = [f"{days_left(leaf, datetime.now(UTC))} days left"]
    when = f"{due_at(leaf, renewal):%Y-%m-%d}"
    because = f" ({renewal.because})" if renewal.because else ""
    words.append(f"renewal due since {when}{because}" if is_due(leaf, renewal) else f"renewal due on {when}{because}")
    if renewal.failing_since:
        words.append(f"renewal has failed since {renewal.failing_since:%Y-%m-%d %H:%M} UTC: {renewal.why}")
    return ", ".join(words)
