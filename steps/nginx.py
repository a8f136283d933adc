"""Installing and configuring nginx, for the challenge of the certificate authority."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from runbook.errors import StepError
from runbook.resources.file import Absent, Directory, File
from runbook.resources.service import Service
from runbook.script import quote
from runbook.step import Check, Part, Proof, Told, Verdict
from steps import catalogue, inherited
from steps.certificates.certificate_sources import source_of
from steps.certificates.webroot import CHALLENGES, WEBROOT, NoChallenges
from steps.section import HOST_ADDRESSES, Section, own_addresses
from steps.webserver import nginx_package, nginx_sites
from steps.webserver.nginx_daemon import NginxLoaded, judged_in_place
from steps.webserver.nginx_sites import CONF, DEFAULT, INCLUDED, PassedOn, beside, of_name, servers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.resources.retired import SetAside
    from runbook.target import Target
    from steps.network import Site

NOBODY_HAS: Final = f"{CHALLENGES}nonexistant"
"""A challenge that is never there, in the article's spelling, so that it can be found in logs."""


class NginxForAcme(Section):
    """Install a web server that answers one question. The authority asks it, to see that a name is yours.

    Everything outside `/.well-known/acme-challenge/` is closed without an answer (nginx's 444). Where one site serves
    the challenges of all, the others send the authority there (307). The server listens on both families, and on the
    site's own addresses too, since a more specific `listen` of another server would win over a wildcard.

        apt-get install nginx
        rm /etc/nginx/sites-enabled/default
        nano /etc/nginx/conf.d/ipsec-runbook.conf
        nginx -t && systemctl reload nginx

    To check by hand, on the host: `curl -i http://127.0.0.1/` gets an empty reply, and
    `curl -i http://127.0.0.1/.well-known/acme-challenge/nonexistant` a 404 (or the 307).

    An nginx that serves sites of yours goes on serving them: ours then answers for the host's own name alone. Where one
    of yours has that very name, one `include` line is put into it, and it passes the challenges on.

    With `nginx: {repository: nginx.org}` it is nginx.org's mainline. Its signing keys are fetched, and refused unless
    their fingerprints are those known and the repository is signed by them; only then is apt told of it (`Signed-By`),
    and that nothing but nginx comes from there. A Debian nginx moves over with its configuration, and back when
    sites.yaml says so no more; a repository of your own is left as it is. Before either, the nginx that would come is
    asked whether it takes the configuration, and its modules, which are built for one nginx alone, are left to you to
    remove. By hand: https://nginx.org/en/linux_packages.html#Debian.

    With an authority of your own (`certificate_authority: private`) nobody asks, and nothing is installed.

    What can go wrong: something else listens on port 80 (`ss -ltnp sport = :80` names it), or another file declares a
    default server for the same address (`nginx -t` names it).
    """

    name: ClassVar[str] = "nginx"
    title: ClassVar[str] = "Installing and configuring nginx"
    facts: ClassVar[str] = HOST_ADDRESSES + inherited.NGINX + nginx_sites.FACTS + nginx_package.FACTS

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """The package, the webroot, the one server, the running daemon."""
        if not source_of(self.network).OVER_HTTP:
            return [not_asked("web server")]
        if others := nginx_sites.strangers(facts.get("web_programs", "").split()):
            return [Told("port 80", Verdict.UNKNOWN, StepError(catalogue.PORT_TAKEN, program=", ".join(others)))]
        site = self.site(target)
        if modules := nginx_package.in_the_way(self.network.nginx, facts):
            return modules
        files = self._files(site, facts)
        read = [each.server.file if isinstance(each, PassedOn) else each.path for each in files]
        return [
            *nginx_package.packages(self.network.nginx, facts),
            *([Directory(f"{WEBROOT}{CHALLENGES.rstrip('/')}"), NoChallenges()] if self.serves(site) else []),
            *files,
            Service("nginx.service"),
            NginxLoaded(tuple(read), (nginx_package.PACKAGE, *(each.key for each in files))),
        ]

    def _files(self, site: Site, facts: Mapping[str, str]) -> list[File | Absent | SetAside | PassedOn]:
        """Our server, or where a server of the admin's has the name, what that one includes."""
        others, shared, debians = servers(facts), beside(facts), not self.network.nginx.url
        if theirs := of_name(others, site.fqdn):
            included = File(INCLUDED, f"{_HEAD}{self._location(site)}".encode())
            ours = [Absent(each, f"{theirs.file} serves {site.fqdn} now") for each in (CONF, shared)]
            return [*default_servers(facts, debians=debians), *ours, included, PassedOn(theirs, site.fqdn)]
        path, gone = (shared, CONF) if others else (CONF, shared)
        return [
            *default_servers(facts, debians=debians),
            *inherited.web_server(facts, CONF),
            Absent(gone, f"it is {path} now"),
            File(path, self._conf(site, facts).encode(), validator=judged_in_place(path, "" if others else DEFAULT)),
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

    def _location(self, site: Site) -> str:
        server = self.network.challenge_site
        answer = (
            f"root {WEBROOT};\n        default_type text/plain;"
            if self.serves(site) or server is None
            else f"return 307 http://{self.network.sites[server].fqdn}$request_uri;"
        )
        return f"""\
    # ^~: no regular expression of another include comes before it
    location ^~ {CHALLENGES} {{
        {answer}
    }}
"""

    def _conf(self, site: Site, facts: Mapping[str, str]) -> str:
        """Our server: for every name where nobody else is there, else for the site's own."""
        others, here = servers(facts), own_addresses(site, facts)
        own = [f"[{each}]:80" if each.version == 6 else f"{each}:80" for each in here]  # noqa: PLR2004
        default, names = ("", site.fqdn) if others else (" default_server", '_ ""')
        listen = "\n".join(f"    listen {each}{default};" for each in nginx_sites.sockets(others, own))
        return f"""\
{_HEAD}server {{
{listen}
    server_name {names};

{self._location(site)}
    location / {{
        return 444;
    }}
}}
"""

    def _asks(self, site: Site) -> Proof:
        def run(hosts: Mapping[str, Target]) -> Sequence[str]:
            facts = hosts[site.name].facts
            shared, theirs = bool(servers(facts)), is_theirs(site, facts)
            addresses = [*map(str, own_addresses(site, facts))]
            addresses = addresses if theirs and addresses else ["127.0.0.1", "::1", *addresses]
            script = _script(addresses, site.fqdn if shared else "ipsec-runbook.invalid", served=self.serves(site))
            answers = hosts[site.name].run(script, purpose="ask nginx over loopback").stdout.split("\n==\n")
            wanted = "200" if self.serves(site) else "307"
            return [
                _judged(site.name, address, answer, wanted, theirs=theirs)
                for address, answer in zip(addresses, answers, strict=True)
            ]

        return run


def default_servers(facts: Mapping[str, str], *, debians: bool) -> list[Absent]:
    """The packages' own default servers, which would answer in place of ours, or of the admin's."""
    why, brings = "its default server would answer in our place", (nginx_package.PACKAGE,)
    found = [] if servers(facts) else [Absent(DEFAULT, why, brings if debians else ())]
    if debians or nginx_sites.DEFAULT_OF_NGINX_ORG in facts.get("web_own", "").split():
        return found
    return [*found, Absent(nginx_sites.DEFAULT_OF_NGINX_ORG, why, brings)]


_HEAD: Final = "# managed by ipsec-runbook: answers the certificate authority's challenges, and nothing else\n"


def is_theirs(site: Site, facts: Mapping[str, str]) -> bool:
    """Whether a server of the admin's own has the site's name: what it answers elsewhere is its own."""
    return of_name(servers(facts), site.fqdn) is not None


def not_asked(what: str) -> Told:
    """What is to be said where the certificate authority asks no web server."""
    return Told(what, Verdict.IN_ORDER, "not needed: whoever signs the certificates asks no web server")


def _judged(target: str, address: str, answer: str, wanted: str, *, theirs: bool) -> str:
    """The evidence in what one address answered; raises StepError for a wrong answer."""
    root, _, challenge = answer.partition("\n--\n")
    if root.strip() and not theirs:
        got = repr(root.splitlines()[0])
        about = {"target": target, "asked": "/", "address": address}
        raise StepError(catalogue.NGINX_OTHER_ANSWER, answer=got, wanted="with nothing", **about)
    status = " ".join(challenge.split()[1:2])
    if status != wanted or (wanted == "200" and not challenge.rstrip().endswith(_WORD)):
        about = {"target": target, "asked": "a challenge", "address": address}
        instead = f"{wanted} and what is put there"
        raise StepError(catalogue.NGINX_OTHER_ANSWER, answer=repr(status), wanted=instead, **about)
    return f"{address}: {'' if theirs else '/ closed without an answer, '}a challenge {wanted}"


_WORD: Final = "ipsec-runbook looks whether this is served"


def _script(addresses: Sequence[str], name: str, *, served: bool) -> str:
    """Shell that prints what nginx answers to `/` and to a challenge, put there for as long as that takes.

    bash, which every Debian has, speaks TCP.
    """
    get = (
        'exec 3<>"/dev/tcp/$0/80" && '
        'printf "GET %s HTTP/1.0\\r\\nHost: %s\\r\\n\\r\\n" "$1" "$2" >&3 && head -c 600 <&3'
    )
    path = quote(f"{WEBROOT}{CHALLENGES}")
    put = f"token=$(mktemp {path}ipsec-runbook.XXXXXX) && trap 'rm -f -- \"$token\"' EXIT\n"
    write = f'chmod 644 "$token"; printf %s {quote(_WORD)} >"$token"; asked={CHALLENGES}${{token##*/}}\n'
    ask = f"timeout 10 bash -c {quote(get)}"
    each = [
        f"{ask} {address} / {quote(name)}\nprintf '\\n--\\n'\n{ask} {address} \"$asked\" {quote(name)}"
        for address in addresses
    ]
    first = put + write if served else f"asked={NOBODY_HAS}\n"
    return first + "\nprintf '\\n==\\n'\n".join(each)
