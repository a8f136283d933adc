"""The one place that everything printed or stored passes through, so that no secret does."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "(secret)"

_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY)-----.*?(?:-----END (?P=kind)-----|\Z)",
    re.DOTALL,
)


class Redactor:
    """Takes private keys, and every secret that it was told of, out of text."""

    def __init__(self) -> None:
        """Know no secret yet but the look of a private key."""
        self._secrets: set[str] = set()

    def learn(self, secret: str) -> None:
        """Remember a secret, such as a password just typed; each line of a long one counts by itself."""
        self._secrets.update(line for line in (secret, *secret.splitlines()) if line.strip())

    def __call__(self, text: str) -> str:
        """The text without any secret."""
        text = _PRIVATE_KEY.sub(MASK, text)
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text
