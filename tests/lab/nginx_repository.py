"""A package repository as nginx.org's is: signed, with an nginx of its own that takes the place of Debian's."""

from __future__ import annotations

import base64
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lab.layout import ADMIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab import Lab

VERSION: Final = "1.99.1"
PORT: Final = 8099
OWN_DIRECTIVE: Final = "http9_chunk_size"
"""What Debian's nginx does not know, and this one does."""

PACKAGE: Final = (
    """\
set -e
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
root=$(mktemp -d) && chmod 755 "$root" && cd "$root"
dpkg-deb --fsys-tarfile /srv/packages/nginx_1*.deb | tar -x ./usr/sbin/nginx
sed -i s/http2_chunk_size/OWN_DIRECTIVE/ usr/sbin/nginx
install -d DEBIAN etc/nginx/conf.d etc/init.d etc/logrotate.d lib/systemd/system usr/lib/nginx/modules var/log/nginx \
    var/cache/nginx
ln -s /usr/lib/nginx/modules etc/nginx/modules
depends=$(dpkg-deb -f /srv/packages/nginx_1*.deb Depends | sed 's/, iproute2.*//')
cat >DEBIAN/control <<END
Package: nginx
Version: VERSION-1~$codename
Architecture: $(dpkg --print-architecture)
Maintainer: nobody <nobody@example.test>
Depends: $depends
Provides: httpd, nginx, nginx-rVERSION
Conflicts: nginx-common, nginx-core
Replaces: nginx-common, nginx-core
Description: as nginx.org has it
END
cat >etc/nginx/nginx.conf <<'END'
user nginx;
pid /run/nginx.pid;
events { worker_connections 64; }
http {
    client_body_temp_path /var/cache/nginx/client_temp;
    proxy_temp_path /var/cache/nginx/proxy_temp;
    fastcgi_temp_path /var/cache/nginx/fastcgi_temp;
    uwsgi_temp_path /var/cache/nginx/uwsgi_temp;
    scgi_temp_path /var/cache/nginx/scgi_temp;
    include /etc/nginx/conf.d/*.conf;
}
END
echo 'server { listen 80; server_name localhost; return 200 "welcome to nginx"; }' >etc/nginx/conf.d/default.conf
cat >etc/init.d/nginx <<'END'
#!/bin/sh
### BEGIN INIT INFO
# Provides: nginx
# Required-Start: $remote_fs
# Required-Stop: $remote_fs
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
### END INIT INFO
END
chmod 755 etc/init.d/nginx
echo '/var/log/nginx/*.log { daily }' >etc/logrotate.d/nginx
cat >lib/systemd/system/nginx.service <<'END'
[Unit]
Description=nginx of another maker
[Service]
Type=forking
PIDFile=/run/nginx.pid
ExecStart=/usr/sbin/nginx -c /etc/nginx/nginx.conf
ExecReload=/bin/sh -c "/bin/kill -s HUP $(/bin/cat /run/nginx.pid)"
ExecStop=/bin/sh -c "/bin/kill -s TERM $(/bin/cat /run/nginx.pid)"
[Install]
WantedBy=multi-user.target
END
find etc -type f | sed 's,^,/,' >DEBIAN/conffiles
cat >DEBIAN/preinst <<'END'
#!/bin/sh
getent passwd nginx >/dev/null || useradd --system --user-group --no-create-home nginx
END
cat >DEBIAN/postinst <<'END'
#!/bin/sh
[ "$1" = configure ] || exit 0
[ -n "$2" ] || touch /var/log/nginx/access.log /var/log/nginx/error.log
[ ! -x /etc/init.d/nginx ] || update-rc.d nginx defaults >/dev/null
deb-systemd-helper unmask nginx.service >/dev/null
deb-systemd-helper enable nginx.service >/dev/null
systemctl daemon-reload
deb-systemd-invoke restart nginx.service
END
cat >DEBIAN/prerm <<'END'
#!/bin/sh
[ "$1" != remove ] || deb-systemd-invoke stop nginx.service
END
cat >DEBIAN/postrm <<'END'
#!/bin/sh
[ "$1" != remove ] || systemctl daemon-reload
[ "$1" != remove ] || deb-systemd-helper mask nginx.service >/dev/null
[ "$1" = purge ] || exit 0
update-rc.d nginx remove
deb-systemd-helper purge nginx.service >/dev/null
deb-systemd-helper unmask nginx.service >/dev/null
END
chmod 755 DEBIAN/p*
dpkg-deb --build "$root" /root/nginx.deb >/dev/null
base64 /root/nginx.deb
rm -r /root/nginx.deb "$root"
""".replace("OWN_DIRECTIVE", OWN_DIRECTIVE)
    .replace("VERSION-", f"{VERSION}-")
    .replace("-rVERSION", f"-r{VERSION}")
)

MODULES: Final = """\
set -e
abi=$(dpkg-query -W -f '${Provides}' nginx | tr -d ' ' | tr ',' '\\n' | grep '^nginx-abi-')
version=$(dpkg-query -W -f '${Version}' nginx)
make() { # NAME DEPENDS
    root=$(mktemp -d) && chmod 755 "$root" && mkdir "$root/DEBIAN"
    printf 'Package: %s\\nVersion: 1\\nArchitecture: all\\nMaintainer: nobody <nobody@example.test>\\nDepends: %s\\n' \\
        "$1" "$2" >"$root/DEBIAN/control"
    echo "Description: as Debian's depends on others" >>"$root/DEBIAN/control"
    dpkg-deb --build "$root" "/root/$1.deb" >/dev/null
    dpkg -i "/root/$1.deb" >/dev/null
    rm -r "$root" "/root/$1.deb"
}
make libnginx-mod-http-echo "$abi"
make nginx-full "libnginx-mod-http-echo, nginx (>= $version), nginx (<< $version.1~)"
make python3-certbot-nginx "nginx | httpd"
"""
"""A module of Debian's nginx, what brings it there, and what can do with any nginx: their names, and what they need."""


@dataclass(frozen=True)
class Repository:
    """What is served, from where the controller stands."""

    directory: Path

    @property
    def url(self) -> str:
        return f"http://{ADMIN.ipv4}:{PORT}/debian"

    @property
    def key_url(self) -> str:
        return f"http://{ADMIN.ipv4}:{PORT}/signing.key"

    @property
    def section(self) -> str:
        """What sites.yaml says to have nginx from here, signed by the key that is called right."""
        return (
            f"nginx:\n  repository: {self.url}\n  signing_key: {self.key_url}\n"
            f"  fingerprints: [{self.fingerprint('right')}]\n"
        )

    def new_key(self, name: str) -> None:
        """Make a key."""
        self.gpg("--quick-generate-key", name, "rsa2048", "sign", "never")

    def fingerprint(self, name: str) -> str:
        """A key's fingerprint, as gpg has it."""
        lines = self.gpg("--list-keys", "--with-colons", name).splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr"))

    def publish(self, *names: str) -> None:
        """Have these keys be those that are to be had there."""
        (self.directory / "signing.key").write_text(self.gpg("--armor", "--export", *names))

    def sign(self, name: str) -> None:
        """Have all suites be signed by a key."""
        for suite in (self.directory / "debian/dists").iterdir():
            for each in ("InRelease", "Release.gpg"):
                (suite / each).unlink(missing_ok=True)
            self.gpg("--local-user", name, "--clearsign", "--output", suite / "InRelease", suite / "Release")

    def add(self, lab: Lab, host: str) -> None:
        """Offer the package to a host's release."""
        codename = lab.releases[host]
        suite, pool = self.directory / f"debian/dists/{codename}", self.directory / "debian/pool" / codename
        architecture = lab.root(host, "dpkg --print-architecture").stdout.strip()
        binary = suite / f"nginx/binary-{architecture}"
        binary.mkdir(parents=True)
        pool.mkdir(parents=True)
        (pool / f"nginx_{VERSION}.deb").write_bytes(base64.b64decode(lab.root(host, PACKAGE).stdout))
        packages = self._run("apt-ftparchive", "packages", f"pool/{codename}", at=self.directory / "debian")
        (binary / "Packages").write_text(packages)
        named = {"Origin": "nginx", "Label": "nginx", "Suite": codename, "Codename": codename,
                 "Architectures": architecture, "Components": "nginx"}  # fmt: skip
        options = [f"-oAPT::FTPArchive::Release::{name}={value}" for name, value in named.items()]
        (suite / "Release").write_text(self._run("apt-ftparchive", *options, "release", ".", at=suite))

    def name_by_hand(self, lab: Lab, host: str) -> None:
        """Have a host's apt know of it as its admin would."""
        key = "".join(f" {line or '.'}\n" for line in self.gpg("--armor", "--export", "right").splitlines())
        text = f"Types: deb\nURIs: {self.url}\nSuites: {lab.releases[host]}\nComponents: nginx\nSigned-By:\n{key}"
        lab.root(host, f"cat >/etc/apt/sources.list.d/by-hand.sources <<'EOF'\n{text}EOF\napt-get -q update")

    def gpg(self, *arguments: str | Path) -> str:
        home = self.directory.parent / "gnupg"
        home.mkdir(mode=0o700, exist_ok=True)
        return self._run("gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", "", *arguments, at=home)

    @staticmethod
    def _run(*argv: str | Path, at: Path) -> str:
        return subprocess.run(argv, cwd=at, check=True, capture_output=True, text=True).stdout


def served(lab: Lab, directory: Path) -> Iterator[Repository]:
    """An empty repository, to be had in the lab for as long as that is wanted."""
    (directory / "web/debian/dists").mkdir(parents=True)
    argv = [sys.executable, "-m", "http.server", str(PORT), "--bind", ADMIN.ipv4, "--directory", str(directory / "web")]
    server = lab.admin_popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Repository(directory / "web")
    finally:
        server.terminate()
        server.wait()
