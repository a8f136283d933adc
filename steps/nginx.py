"""Installing and configuring nginx, for the challenge of the certificate authority."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar, Final

from runbook.errors import StepError
from runbook.resources.file import Absent, Directory, File
from runbook.resources.package import Packages
from runbook.resources.service import Service
from runbook.script import quote
from runbook.step import Change, Check, Finding, Part, Proof, Told, Verdict
from steps import inherited
from steps.certificate_sources import source_of
from steps.section import HOST_ADDRESSES, Section, own_addresses
from steps.webroot import CHALLENGES, WEBROOT, NoChallenges

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from runbook.script import Reading
    from runbook.target import Target
    from steps.network import Site

NOBODY_HAS: Final = f"{CHALLENGES}nonexistant"
"""A challenge that is never there, in the article's spelling, so that it can be found in logs."""
CONF: Final = "/etc/nginx/conf.d/ipsec-runbook.conf"
DEFAULT: Final = "/etc/nginx/sites-enabled/default"


class NginxForAcme(Section):
    """Install a web server that answers one question only: the certificate authority's proof that a name is yours.

    Everything outside `/.well-known/acme-challenge/` is closed without an answer (nginx's 444). Where one site serves
    the challenges of all, the others send the authority there (307). The server listens on both families, and on the
    site's own addresses too, since a more specific `listen` of another server would win over a wildcard. A server by
    hand that does the same, as in the article, makes way: it is moved to sites-available.

        apt-get install nginx
        rm /etc/nginx/sites-enabled/default
        nano /etc/nginx/conf.d/ipsec-runbook.conf
        nginx -t && systemctl reload nginx

    To check by hand, on the host: `curl -i http://127.0.0.1/` gets an empty reply, and
    `curl -i http://127.0.0.1/.well-known/acme-challenge/nonexistant` a 404 (or the 307).

    With an authority of your own (`certificate_authority: private`) nobody asks, and nothing is installed.

    What can go wrong: something else listens on port 80 (`ss -ltnp sport = :80` names it), or another file declares a
    default server for the same address (`nginx -t` names it).
    """

    name: ClassVar[str] = "nginx"
    title: ClassVar[str] = "Installing and configuring nginx"
    facts: ClassVar[str] = HOST_ADDRESSES + inherited.NGINX

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """The package, the webroot, the one server, the running daemon."""
        if not source_of(self.network).OVER_HTTP:
            return [not_asked("web server")]
        site = self.site(target)
        default = Absent(DEFAULT, "its default server would answer in our place", "nginx-common")
        by_hand = inherited.web_server(facts, CONF)
        conf = File(CONF, self._conf(site, own_addresses(site, facts)).encode(), validator=_IN_PLACE)
        return [
            OthersOnPort80(tuple(each.path for each in by_hand)),
            Packages(("nginx",), ("/var/www/html/index.nginx-debian.html", "/var/www/html", "/var/www")),
            *([Directory(f"{WEBROOT}{CHALLENGES.rstrip('/')}"), NoChallenges()] if self.serves(site) else []),
            default,
            *by_hand,
            conf,
            Service("nginx.service"),
            NginxLoaded(follows=(default.key, *(each.key for each in by_hand), conf.key)),
        ]

    def checks(self) -> Sequence[Check]:
        """Ask each server over loopback, and by the site's own addresses."""
        if not source_of(self.network).OVER_HTTP:
            return []
        return [
            Check(f"nginx on {site.name} answers nothing but challenges", (site.name,), self._asks(site))
            for site in self.network.sites.values()
        ]

    def serves(self, site: Site) -> bool:
        """Whether the site serves challenges itself."""
        return self.network.challenge_site in {None, site.name}

    def _conf(self, site: Site, addresses: Sequence[IPv4Address | IPv6Address]) -> str:
        wildcards = ["80", "[::]:80"]
        own = [f"[{each}]:80" if each.version == 6 else f"{each}:80" for each in addresses]  # noqa: PLR2004
        listen = "\n".join(f"    listen {each} default_server;" for each in [*wildcards, *own])
        server = self.network.challenge_site
        answer = (
            f"root {WEBROOT};\n        default_type text/plain;"
            if self.serves(site) or server is None
            else f"return 307 http://{self.network.sites[server].fqdn}$request_uri;"
        )
        return f"""\
# managed by ipsec-runbook: answers the certificate authority's challenges, and nothing else
server {{
{listen}
    server_name _ "";

    # ^~: no regular expression of another include comes before it
    location ^~ {CHALLENGES} {{
        {answer}
    }}

    location / {{
        return 444;
    }}
}}
"""

    def _asks(self, site: Site) -> Proof:
        def run(hosts: Mapping[str, Target]) -> Sequence[str]:
            wanted = "404" if self.serves(site) else "307"
            evidence = []
            addresses = ["127.0.0.1", "::1", *map(str, own_addresses(site, hosts[site.name].facts))]
            script = "\nprintf '\\n==\\n'\n".join(map(_ask, addresses))
            answers = hosts[site.name].run(script, purpose="ask nginx over loopback").stdout.split("\n==\n")
            for address, answer in zip(addresses, answers, strict=True):
                root, _, challenge = answer.partition("\n--\n")
                if root.strip():
                    raise StepError(
                        f"{site.name}: nginx answers / on {address} with {root.splitlines()[0]!r}, not with nothing"
                    )
                status = " ".join(challenge.split()[1:2])
                if status != wanted:
                    raise StepError(
                        f"{site.name}: nginx answers {NOBODY_HAS} on {address} with {status!r}, not {wanted}"
                    )
                evidence.append(f"{address}: / closed without an answer, {NOBODY_HAS} {status}")
            return evidence

        return run


def not_asked(what: str) -> Told:
    """What is to be said where the certificate authority asks no web server."""
    return Told(what, Verdict.IN_ORDER, "not needed: the authority that signs the certificates is your own")


def _ask(address: str) -> str:
    """Shell that prints what nginx answers to `/` and to a challenge; bash, which every Debian has, speaks TCP."""
    get = (
        'exec 3<>"/dev/tcp/$0/80" && '
        'printf "GET %s HTTP/1.0\\r\\nHost: ipsec-runbook.invalid\\r\\n\\r\\n" "$1" >&3 && head -c 300 <&3'
    )
    return "\n".join(
        [
            f"timeout 10 bash -c {quote(get)} {address} /",
            "printf '\\n--\\n'",
            f"timeout 10 bash -c {quote(get)} {address} {NOBODY_HAS}",
        ]
    )


@dataclass(frozen=True)
class OthersOnPort80(Part):
    """Whoever serves port 80 already: a default server of ours would take their visitors, so nothing is touched."""

    going: tuple[str, ...] = ()
    """Files of servers that ours takes the place of."""

    @property
    def key(self) -> str:
        """The port."""
        return "port 80"

    def probe(self) -> str:
        """Until our server is there: who listens, then each file with a server, but for the one that Debian ships."""
        return _OTHERS

    def judge(self, found: Reading) -> Finding:
        """In order while nobody else is there."""
        programs, _, files = found.text.partition("--\n")
        others = [each for each in programs.split() if each != "nginx"]
        if others:
            return self.unknown(
                f"{others[0]} listens there already; web servers other than nginx are not supported yet"
            )
        if staying := [each for each in files.split() if each not in self.going]:
            return self.unknown(
                f"nginx serves sites of yours already ({', '.join(staying)}), and a default server of ours could "
                "take their visitors: sharing it with them is not supported yet, so nothing is touched"
            )
        return self.in_order()


_OTHERS: Final = f"""\
[ ! -e {CONF} ] || exit 0
ss -Hltnp 'sport = :80' | sed -n 's/.*users:(("\\([^"]*\\)".*/\\1/p' | sort -u
echo --
command -v nginx >/dev/null || exit 0
shipped=$(dpkg-query -W -f '${{Conffiles}}\\n' nginx-common 2>/dev/null |
    sed -n 's,^ /etc/nginx/sites-available/default \\([^ ]*\\).*,\\1,p')
passed=none
[ ! -e {DEFAULT} ] || [ "$(md5sum <{DEFAULT} | cut -d' ' -f1)" != "$shipped" ] || passed={DEFAULT}
nginx -T 2>/dev/null | awk -v passed="$passed" '
    /^# configuration file / {{ file = substr($4, 1, length($4) - 1) }}
    /^[[:space:]]*server[[:space:]]*(\\{{|$)/ && file != passed {{ print file }}' | sort -u"""

_IN_PLACE: Final = f"""\
copy=$(mktemp -d /run/ipsec-runbook.XXXXXX) && cp -a /etc/nginx/. "$copy"/ &&
    cp -- "$new" "$copy/conf.d/{PurePath(CONF).name}" && rm -f -- "$copy/{DEFAULT.removeprefix("/etc/nginx/")}" &&
    sed -i "s,/etc/nginx/,$copy/,g" "$copy/nginx.conf" && nginx -t -q -c "$copy/nginx.conf"
judged=$?
rm -rf -- "$copy"
[ "$judged" = 0 ]"""
"""The whole configuration judged on a copy with the new file in its place, before it takes that place."""

_LOADED: Final = f"""\
command -v nginx >/dev/null || {{ echo 'not installed'; exit 0; }}
master=$(cat /run/nginx.pid 2>/dev/null)
[ -n "$master" ] || {{ echo 'not running'; exit 0; }}
nginx -t -q 2>/dev/null || {{ echo 'invalid configuration'; exit 0; }}
newest=$(stat -c %.Z {CONF} 2>/dev/null || echo 0)
now=$(date +%s.%N); up=$(cut -d' ' -f1 /proc/uptime); hz=$(getconf CLK_TCK)
tr ' ' '\\n' <"/proc/$master/task/$master/children" | while read -r pid; do
    tr '\\000' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q 'worker process is shutting down' && continue
    sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f20
done | sort -n | head -n 1 | awk -v now="$now" -v up="$up" -v hz="$hz" -v newest="$newest" '
    {{ started = now - up + $1 / hz }}
    END {{ print (NR && started >= newest) ? "current" : "stale" }}'"""
"""The running workers' start beside the last change of the file that they should have read (proc(5), stat(1)).
A change time, not a modification time: a file put back by rollback keeps its old modification time."""


@dataclass(frozen=True)
class NginxLoaded(Part):
    """What the running nginx has loaded is what its files say."""

    follows: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The daemon."""
        return "nginx's loaded configuration"

    def probe(self) -> str:
        """Whether the workers are younger than the configuration."""
        return _LOADED

    def judge(self, found: Reading) -> Finding:
        """In order when they are."""
        state = found.text.strip()
        if state == "current":
            return self.in_order()
        if state == "invalid configuration":
            return self.unknown("nginx -t refuses the configuration on this host: run it there, and mend what it names")
        change = self._load(state)
        return self.drift(change) if state == "stale" else self.absent(change)

    def again(self, found: Reading) -> Finding:
        """The files are about to change, so it must load them."""
        return self.drift(self._load(found.text.strip()))

    def _load(self, state: str) -> Change:
        wait = (
            f'for _ in 1 2 3 4 5 6 7 8 9 10; do [ "$( ( {_LOADED}\n) )" != current ] || exit 0; sleep 0.3; done\nexit 1'
        )
        return Change(
            summary=f"load the configuration (it is {state})",
            apply=f"nginx -t -q\nsystemctl reload-or-restart nginx.service >&2\n{wait}",
            settle="! systemctl is-active --quiet nginx.service || systemctl reload nginx.service >&2",
        )
