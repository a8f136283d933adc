"""`certificates` of `sites.yaml`: where they come from, and what they must chain to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from steps.certificates.certificate_options import DIRECTORIES, Certificates
from steps.description.marked_yaml import Keys, meant
from steps.description.sites import site_of
from steps.description.words import FQDN, read_each, read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from steps.description.marked_yaml import Value
    from steps.network import Site

CERTIFICATES: Final = Keys(
    {
        "directory": f"{', '.join(f'`{name}`' for name in DIRECTORIES)}, or the https URL of any ACME directory.",
        "contact": "Your e-mail address, for the authority.",
        "agree_to_terms": "`true`: you agree to the authority's terms of service.",
    },
    {
        "ca_bundle": (
            "A file with the CAs that the ACME server's own HTTPS is trusted by; those of this system by default."
        ),
        "trust_anchors": (
            "Files with the roots that the sites' certificates must chain to, a list; Let's Encrypt's two by default."
        ),
        "challenge_site": "The one site that serves every site's challenges; the others redirect to it.",
    },
)

_CONTACT = re.compile(r"[A-Za-z0-9_+'=~-]+(?:\.[A-Za-z0-9_+'=~-]+)*@(?P<domain>.+)")
_URL = re.compile(r"https://[A-Za-z0-9._~:/?@%&=+,\[\]-]+")


def read_certificates(value: Value, directory: Path, sites: Mapping[str, Site]) -> Certificates:
    """Read the section; paths in it are relative to `directory`."""
    keys = value.keys(CERTIFICATES)
    if keys["agree_to_terms"].text() != "true":
        raise keys["agree_to_terms"].wrong(
            "the CA gives certificates only to those who agree to its terms of service; read them, and write true",
        )
    return Certificates(
        directory=_acme_directory(keys["directory"]),
        contact=_contact(keys["contact"]),
        agree_to_terms=True,
        ca_bundle=read_file(keys["ca_bundle"], directory) if "ca_bundle" in keys else None,
        trust_anchors=read_each(keys, "trust_anchors", lambda item: read_file(item, directory)),
        challenge_site=site_of(keys["challenge_site"], sites).name if "challenge_site" in keys else None,
    )


def _acme_directory(value: Value) -> str:
    text = value.text()
    if text in DIRECTORIES:
        return text
    if "://" not in text:
        raise value.wrong(f"`{text}` is no ACME directory; {meant(text, (*DIRECTORIES, 'its https:// URL'))}")
    if not text.startswith("https://"):
        raise value.wrong(f"`{text}` is not https, as ACME requires (RFC 8555, 6.1); write its https:// URL")
    try:
        url = urlsplit(text)
        sound = url.hostname and url.port != 0 and url.username is None
    except ValueError:  # a port that is none, brackets around no IPv6 address
        sound = False
    if not sound or not _URL.fullmatch(text):
        raise value.wrong(f"`{text}` is no URL of an ACME directory; write one such as {DIRECTORIES['letsencrypt']}")
    return text


def _contact(value: Value) -> str:
    text = value.text()
    match = _CONTACT.fullmatch(text)
    if not match or not FQDN.fullmatch(match["domain"].lower()):
        raise value.wrong(f"`{text}` is no e-mail address; write one that the CA may write to: name@example.org")
    return text
