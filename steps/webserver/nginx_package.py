"""Where nginx comes from: Debian, or a repository of its own whose signing keys are verified first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runbook.errors import StepError
from runbook.resources.file import Absent, File
from runbook.resources.package import Packages
from runbook.resources.package_back import PackagesBack
from runbook.resources.package_from import PackagesFrom
from runbook.resources.signing_key import SigningKey, judged_source
from runbook.step import Told, Verdict
from steps import catalogue
from steps.webserver.nginx_daemon import TAKES_WHAT_STANDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook.step import Part
    from steps.webserver.nginx_options import Nginx

KEYRING: Final = "/etc/apt/keyrings/ipsec-runbook-nginx.gpg"
SOURCE: Final = "/etc/apt/sources.list.d/ipsec-runbook-nginx.sources"
PIN: Final = "/etc/apt/preferences.d/ipsec-runbook-nginx"

_BOUND: Final = r"""
$1 == "installed" && $2 !~ /^nginx(-common)?$/ {
    count = split($3, clauses, ",")
    for (at = 1; at <= count; at++) {
        free = clauses[at] ~ /^ *$/
        others = split(clauses[at], either, "|")
        for (one = 1; one <= others; one++)
            if (either[one] !~ /^ *(nginx-(abi-|r[0-9]|common|core|light|full|extras)|nginx \((=|<))/) free = 1
        if (!free) { print $2; next }
    }
}
"""
"""Packages that need the very nginx that is installed: its modules, and what brings them."""

FACTS: Final = f"""\
(. /etc/os-release && printf 'codename=%s\\n' "$VERSION_CODENAME")
packages='${{db:Status-Status}}\\t${{Package}}\\t${{Pre-Depends}},${{Depends}}\\n'
nginx_bound=$(dpkg-query -W -f "$packages" | awk -F '\\t' '{_BOUND}' | tr '\\n' ' ')
for each in {SOURCE} {PIN} {KEYRING}; do [ ! -e "$each" ] || nginx_ours="${{nginx_ours:-}}$each "; done
nginx_origin=$(sed -n 's/^URIs: //p' {SOURCE} 2>/dev/null)
named=$(grep -lF -- "${{nginx_origin:-none}}" /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null)
[ "$named" = {SOURCE} ] || nginx_origin= # the admin has named it, too
printf 'nginx_bound=%s\\nnginx_ours=%s\\nnginx_origin=%s\\n' "$nginx_bound" "${{nginx_ours:-}}" "$nginx_origin"
"""
"""Facts: `codename`, the release of Debian, as repositories call it; `nginx_bound`, the packages that need the very
nginx that is there; `nginx_ours`, the files by which apt was told of another repository here; `nginx_origin`, its URL,
where nobody else has named it."""

_PIN: Final = """\
# managed by ipsec-runbook: nginx and its modules come from nginx.org's repository, and nothing else does
Package: *
Pin: release o=nginx
Pin-Priority: -1

Package: nginx nginx-module-*
Pin: release o=nginx
Pin-Priority: 900
"""


_LEAVES: Final = ("/var/www/html/index.nginx-debian.html", "/var/www/html", "/var/www")
PACKAGE: Final = Packages(("nginx",)).key
"""The package's part, wherever it comes from."""


def in_the_way(nginx: Nginx, facts: Mapping[str, str]) -> list[Part]:
    """What keeps nginx from coming from where it is to come from: modules that some site may need go with the other."""
    if not nginx.url and not facts.get("nginx_origin"):
        return []
    modules = [
        each for each in facts.get("nginx_bound", "").split() if each.startswith(_MODULES) is not bool(nginx.url)
    ]
    if not modules:
        return []
    where = nginx.url or "Debian"
    error = StepError(catalogue.NGINX_MODULES, packages=" ".join(modules), where=where)
    return [Told("modules of the nginx that is there", Verdict.UNKNOWN, error)]


_MODULES: Final = "nginx-module-"
"""What the names of nginx.org's modules begin with."""


def packages(nginx: Nginx, facts: Mapping[str, str]) -> list[Part]:
    """The package, and what it needs to come from where it is to come from."""
    if not nginx.url:
        return _debians(facts)
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
            trial=TAKES_WHAT_STANDS,
        ),
    ]


def _debians(facts: Mapping[str, str]) -> list[Part]:
    """What the host has anyway; where another repository was put there by us, nginx is Debian's again."""
    origin, ours = facts.get("nginx_origin"), facts.get("nginx_ours", "").split()
    package = Packages(("nginx",), _LEAVES)
    if origin:
        package = PackagesBack(
            ("nginx",),
            _LEAVES,
            origin=origin,
            source=SOURCE,
            brings=("nginx-common",),
            trial=TAKES_WHAT_STANDS,
        )
    return [package, *(Absent(each, "sites.yaml has nginx from Debian") for each in ours)]
