"""Where nginx comes from: Debian, or a repository of its own whose signing keys are verified first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runbook.resources.file import File
from runbook.resources.package import Packages
from runbook.resources.package_from import PackagesFrom
from runbook.resources.signing_key import SigningKey, judged_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook.step import Part
    from steps.nginx_options import Nginx

KEYRING: Final = "/etc/apt/keyrings/ipsec-runbook-nginx.gpg"
SOURCE: Final = "/etc/apt/sources.list.d/ipsec-runbook-nginx.sources"
PIN: Final = "/etc/apt/preferences.d/ipsec-runbook-nginx"

FACTS: Final = """\
(. /etc/os-release && printf 'codename=%s\\n' "$VERSION_CODENAME")
"""
"""The fact `codename`: the release of Debian, as repositories call it."""

_PIN: Final = """\
# managed by ipsec-runbook: nginx and its modules come from nginx.org's repository, and nothing else does
Package: *
Pin: release o=nginx
Pin-Priority: -1

Package: nginx nginx-module-*
Pin: release o=nginx
Pin-Priority: 900
"""


def packages(nginx: Nginx, facts: Mapping[str, str]) -> list[Part]:
    """The package, the last of them; before it what it needs to come from where it is to come from."""
    if not nginx.url:
        return [Packages(("nginx",), ("/var/www/html/index.nginx-debian.html", "/var/www/html", "/var/www"))]
    source = (
        "# managed by ipsec-runbook\nTypes: deb\n"
        f"URIs: {nginx.url}\nSuites: {facts.get('codename', 'stable')}\nComponents: nginx\nSigned-By: {KEYRING}\n"
    )
    over_tls = any(each.startswith("https:") for each in (nginx.url, nginx.signing_key))
    return [
        *([Packages(("ca-certificates",))] if over_tls else []),
        SigningKey(KEYRING, nginx.signing_key, nginx.fingerprints, source),
        File(SOURCE, source.encode(), validator=judged_source(KEYRING, SOURCE)),
        File(PIN, _PIN.encode()),
        PackagesFrom(
            ("nginx",),
            rivals=("nginx-common",),
            origin=nginx.url,
            fills=("/var/log/nginx", "/var/cache/nginx"),
        ),
    ]
