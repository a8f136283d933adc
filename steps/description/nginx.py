"""`nginx` of `sites.yaml`: where the web server comes from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from steps.description.marked_yaml import Keys, meant
from steps.description.words import read_each
from steps.webserver.nginx_options import DEBIANS, REPOSITORIES, Nginx

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steps.description.marked_yaml import Value

NGINX: Final = Keys(
    {
        "repository": (
            "`debian` (the default: what the host has, or Debian's again where this key has said otherwise before), "
            "`nginx.org` for its mainline, or the URL of a mirror of that. The signing keys are verified before "
            "anything trusts them, and nothing but nginx is taken from there."
        ),
    },
    {
        "signing_key": "The URL of a mirror's signing keys, where they are not nginx.org's own.",
        "fingerprints": "The fingerprints that those keys must have, 40 hexadecimal digits each: a list.",
    },
)

_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~+-]+)*")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}")


def read_nginx(value: Value) -> Nginx:
    """Read the section; what it leaves out is as `Nginx` has it."""
    keys = value.keys(NGINX)
    repository, default = _repository(keys["repository"]), DEBIANS
    if "signing_key" in keys and "fingerprints" not in keys:
        raise value.missing("fingerprints", "list those of the keys that are there, for nothing else tells them apart")
    _has_keys(keys, repository)
    return Nginx(
        repository=repository,
        signing_key=_url(keys["signing_key"]) if "signing_key" in keys else default.signing_key,
        fingerprints=read_each(keys, "fingerprints", _fingerprint) or default.fingerprints,
    )


def _repository(value: Value) -> str:
    text = value.text().rstrip("/")
    if text in REPOSITORIES:
        return text
    if "://" not in text:
        raise value.wrong(f"`{text}` is not known here; {meant(text, REPOSITORIES)}, or the URL of a mirror")
    return _url(value)


def _url(value: Value) -> str:
    text = value.text().rstrip("/")
    if not _URL.fullmatch(text):
        raise value.wrong(f"`{text}` is no URL that apt can be given; write one such as {REPOSITORIES['nginx.org']}")
    return text


def _has_keys(keys: Mapping[str, Value], repository: str) -> None:
    """Refuse keys for a repository that has its own on every Debian."""
    for name in ("signing_key", "fingerprints"):
        if name in keys and not Nginx(repository).url:
            raise keys[name].wrong("Debian's own repository is not verified by it; leave it out, or name a repository")


def _fingerprint(value: Value) -> str:
    text = value.text().replace(" ", "").upper()
    if not _FINGERPRINT.fullmatch(text):
        raise value.wrong(f"`{value.text()}` is no fingerprint; write all 40 hexadecimal digits, as gpg shows them")
    return text
