"""The one place that everything printed or stored passes through, so that no secret does."""

from __future__ import annotations

import json
import re
from shlex import quote
from typing import Final

MASK: Final = "(secret)"

_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY)-----.*?(?:-----END (?P=kind)-----|\Z)",
    re.DOTALL,
)
_PRIVATE_KEYS_END = re.compile(
    r"(?:^[A-Za-z0-9+/=]{1,80}\r?\n)+-----END [A-Z0-9 ]*PRIVATE KEY-----",
    re.MULTILINE,
)
"""Where only the last lines of something were kept, and they begin within a key."""
_ENCODED = re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=\s]*")
"""PEM in base64, which is how a key travels in a script: a shell that stumbles over a script quotes it."""
_BEGUN = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?!.*-----END )|LS0tLS1CRUdJTi")
_ENDED = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY-----")
_WITHIN = re.compile(r"\s*(?:\S+:\s+)*\S*\s*|.*[A-Za-z0-9+/=]{40}.*")
"""A line of a key: one word, where it stands behind a program's name, too; or a long one among others."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class KeyLines:
    """Takes private keys out of lines that come one by one, each of which says of itself nothing that gives it away."""

    def __init__(self) -> None:
        """No key has begun."""
        self._within = False

    def __call__(self, line: str) -> str:
        """The line, or what stands for it where it is one of a key's."""
        begun, ended, bare = _BEGUN.search(line), _ENDED.search(line), _COLOUR.sub("", line)
        within = bool(begun) or (self._within and not ended and bool(_WITHIN.fullmatch(bare)))
        self._within = within
        if not within and not ended:
            return line
        colours = "".join(_COLOUR.findall(line))
        return f"{line[: begun.start()] if begun else ''}{MASK}{line[ended.end() :] if ended else colours}"


class Redactor:
    """Takes private keys, and every secret that it was told of, out of text."""

    def __init__(self) -> None:
        """Know no secret yet but the look of a private key."""
        self._secrets: set[str] = set()
        self._learnt: re.Pattern[str] | None = None

    def learn(self, secret: str) -> None:
        """Remember a secret, such as a password just typed; each line of a long one counts by itself."""
        for line in (secret, *secret.splitlines()):
            if line.strip():
                # also as a message quotes it: for Python, for JSON, for a shell
                self._secrets.update((line, repr(line)[1:-1], json.dumps(line)[1:-1], quote(line)))
        if self._secrets:
            self._learnt = re.compile(
                "|".join(re.escape(each) for each in sorted(self._secrets, key=len, reverse=True))
            )

    def __call__(self, text: str) -> str:
        """The text without any secret."""
        text = _PRIVATE_KEY.sub(MASK, text)
        if "PRIVATE KEY-----" in text:
            text = _PRIVATE_KEYS_END.sub(MASK, text)
        text = _ENCODED.sub(MASK, text)
        return self._learnt.sub(MASK, text) if self._learnt else text

    def everywhere(self, value: object) -> object:
        """A value of JSON's with every text in it without any secret; to be called before it is encoded."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {key: self.everywhere(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.everywhere(each) for each in value]
        return value
