"""The one place that everything printed or stored passes through, so that no secret does."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "(secret)"

_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY)-----.*?(?:-----END (?P=kind)-----|\Z)",
    re.DOTALL,
)
_ENCODED = re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=\s]*")
"""PEM in base64, which is how a key travels in a script: a shell that stumbles over a script quotes it."""


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
        text = _ENCODED.sub(MASK, _PRIVATE_KEY.sub(MASK, text))
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text

    def everywhere(self, value: object) -> object:
        """A value of JSON's with every text in it without any secret; to be called before it is encoded."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {key: self.everywhere(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.everywhere(each) for each in value]
        return value
