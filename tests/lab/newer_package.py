"""A package on a lab's host of which its own repository has a newer version, whose installation asks for a reboot."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab import Lab

NAME = "tiny-thing"

_MAKE = f"""\
set -e
make() {{ # VERSION
    root=$(mktemp -d) && chmod 755 "$root" && mkdir "$root/DEBIAN"
    printf '%s\\n' 'Package: {NAME}' "Version: $1" 'Architecture: all' 'Maintainer: nobody <nobody@example.test>' \
        'Description: something tiny' >"$root/DEBIAN/control"
    printf '%s\\n' '#!/bin/sh' 'touch /run/reboot-required; echo {NAME} >>/run/reboot-required.pkgs' \
        >"$root/DEBIAN/postinst"
    chmod 755 "$root/DEBIAN/postinst"
    dpkg-deb --build "$root" "/srv/newer/{NAME}_$1.deb" >/dev/null
    rm -r "$root"
}}
mkdir -p /srv/newer
make 1
dpkg -i /srv/newer/{NAME}_1.deb >/dev/null
rm -f /srv/newer/{NAME}_1.deb /run/reboot-required*
make 2
cd /srv/newer
{{ dpkg-deb -f {NAME}_2.deb; echo "Filename: ./{NAME}_2.deb"; echo "Size: $(stat -c %s {NAME}_2.deb)"
   echo "SHA256: $(sha256sum <{NAME}_2.deb | cut -d ' ' -f 1)"; }} >Packages
echo 'deb [trusted=yes] file:/srv/newer ./' >/etc/apt/sources.list.d/newer.list
"""


def plant(lab: Lab, host: str, *, lists: str) -> None:
    """Install version 1, offer version 2; the package lists are `fresh`, and tell of it, or `old`, and do not."""
    old = "apt-get -q update; touch -d '12 days ago' /var/lib/apt/lists /var/lib/apt/lists/partial"
    script = {"fresh": f"{_MAKE}\napt-get -q update", "old": f"{old}\n{_MAKE}"}[lists]
    lab.root(host, script)


def version(lab: Lab, host: str) -> str:
    return lab.root(host, f"dpkg-query -W -f '${{Version}}' {NAME}").stdout
