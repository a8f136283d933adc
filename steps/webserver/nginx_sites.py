"""The sites that a host's nginx serves already: they go on being served, and ours stands beside them.

Where nobody else is there, our server answers for every name. Where others are, it answers for the site's own name
alone, on the same sockets. Where one of theirs has that very name, it is theirs that must pass the challenges on: one
`include` line is put into it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runbook.errors import StepError
from runbook.script import quote
from runbook.step import Change, Finding, Part
from steps import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runbook.script import Reading

CONF: Final = "/etc/nginx/conf.d/ipsec-runbook.conf"
DEFAULT: Final = "/etc/nginx/sites-enabled/default"
DEFAULT_OF_NGINX_ORG: Final = "/etc/nginx/conf.d/default.conf"
LAST: Final = "zz-ipsec-runbook.conf"
"""Our file's name beside others: of the servers on a socket the first is its default, which must stay one of theirs."""
INCLUDED: Final = "/etc/nginx/ipsec-runbook-challenges.conf"
"""What a server of theirs includes to serve the challenges."""
LINE: Final = f"    include {INCLUDED}; # managed by ipsec-runbook"

PROGRAMS: Final = """\
ss -Hltnp 'sport = :80' 2>/dev/null | sed -n 's/.*users:(("\\([^"]*\\)",pid=\\([0-9]*\\).*/\\2 \\1/p' |
while read -r pid program; do
    unit=$(sed -n 's,.*/\\([^/]*\\.\\(service\\|scope\\)\\).*,\\1,p' "/proc/$pid/cgroup" 2>/dev/null | tail -n 1)
    printf '%s(%s)\\n' "$program" "${unit:-process-$pid}"
done | tr ' ' - | sort -u"""
"""Shell that prints who listens on port 80, one a line, each with its unit: `apache2(apache2.service)`."""
_CONTAINER: Final = re.compile(r"nginx\((?:docker|libpod|crio|cri-containerd)-")


def strangers(programs: Iterable[str]) -> list[str]:
    """Which of `PROGRAMS` are no nginx of the host's own."""
    others = [each for each in programs if each.partition("(")[0] != "nginx" or _CONTAINER.match(each)]
    return [each.replace("(", " (") for each in others]


_SERVERS: Final = r"""
function flush() {
    if (statement == "") return
    count = split(statement, word, /[ \t\n]+/)
    if (depth == inside && inside > 0) {
        if (word[1] == "listen") { listens = listens "," word[2]; if (statement ~ /ipv6only=off/) both = 1 }
        if (word[1] == "server_name") { for (i = 2; i <= count; i++) names = names "," word[i]; named = line }
        if (word[1] == "include" && word[2] == included) ours = 1
    }
    statement = ""
}
function text(value) { gsub(/[^A-Za-z0-9._:*,~\/\[\]-]/, "?", value); return "\"" substr(value, 2) "\"" }
/^# configuration file / { flush(); file = substr($4, 1, length($4) - 1); line = 0; depth = 0; inside = 0; next }
{
    line++
    gsub(/\\./, "_"); gsub(/"[^"]*"/, "_"); gsub(/'[^']*'/, "_"); sub(/(^|[ \t;{}])#.*/, " ")
    for (at = 1; at <= length($0); at++) {
        letter = substr($0, at, 1)
        if (letter == ";") { sub(/^[ \t\n]+/, "", statement); flush() }
        else if (letter == "{") {
            sub(/^[ \t\n]+/, "", statement); sub(/[ \t\n]+$/, "", statement)
            depth++
            if (statement == "server" && !inside) {
                inside = depth; opened = line; named = 0; both = 0; ours = 0; listens = ""; names = ""
            }
            statement = ""
        } else if (letter == "}") {
            if (inside && depth == inside) {
                printf "%s{\"file\":%s,\"line\":%d,\"until\":%d,", comma, text("," file), named, line
                printf "\"listens\":%s,\"names\":%s,\"both\":%d,\"ours\":%d}", text(listens), text(names), both, ours
                comma = ","; inside = 0
            }
            depth--; statement = ""
        } else statement = statement letter
    }
    statement = statement "\n"
}
"""
"""Each `server` of `nginx -T` as JSON: the file and the line that its name ends in, its sockets, its names."""

SURVEY: Final = f"""\
nginx_servers() {{ nginx -T 2>/dev/null | awk -v included={INCLUDED} '{_SERVERS.replace("'", "'" + chr(92) + "''")}'; }}
nginx_shipped() {{
    shipped=$(dpkg-query -W -f '${{Conffiles}}\\n' nginx-common nginx 2>/dev/null |
        sed -n "s,^ $1 \\([^ ]*\\).*,\\1,p" | head -n 1)
    [ -f "$1" ] && [ "$(md5sum <"$1" | cut -d' ' -f1)" = "$shipped" ]
}}"""

FACTS: Final = f"""\
{SURVEY}
web_programs=$({PROGRAMS})
printf 'web_programs=%s\\n' "$(printf %s "$web_programs" | tr '\\n' ' ')"
if command -v nginx >/dev/null; then
    printf 'web_servers=[%s]\\n' "$(nginx_servers)"
    web_last=/etc/nginx/sites-enabled
    ! grep -Eq "^[^#]*include +$web_last/" /etc/nginx/nginx.conf || printf 'web_last=%s\\n' "$web_last"
    for each in /etc/nginx/sites-available/default {DEFAULT_OF_NGINX_ORG}; do
        [ -f "$each" ] || continue
        if nginx_shipped "$each"; then web_shipped="${{web_shipped:-}}$each "; else web_own="${{web_own:-}}$each "; fi
    done
    printf 'web_shipped=%s\\nweb_own=%s\\n' "${{web_shipped:-}}" "${{web_own:-}}"
fi
"""
"""Facts: `web_programs`, who listens on port 80, each with its unit; `web_servers`, nginx's own; `web_last`, the
directory that it reads last, if that is not conf.d; `web_shipped`, default servers as their package brought them;
`web_own`, those that the admin has made their own."""


@dataclass(frozen=True)
class Server:
    """One `server` of nginx's configuration: where it stands, its port 80 sockets as they are written, its names."""

    file: str
    line: int
    """The line in which its `server_name` ends, counted from one; 0 where it has none."""
    until: int
    """The line of its closing brace."""
    sockets: tuple[str, ...]
    names: tuple[str, ...]
    both: bool
    """One of its sockets takes IPv4 and IPv6 (`ipv6only=off`)."""
    ours: bool
    """It includes our challenges."""


def servers(facts: Mapping[str, str]) -> list[Server]:
    """The servers on port 80 that stay: not ours, nor the package's default, nor what ours takes the place of."""
    text = facts.get("web_servers", "")
    if not text.startswith("["):
        return []
    passed = {CONF, beside(facts), facts.get("nginx_by_hand", ""), *_shipped(facts)}
    return [each for each in map(_server, json.loads(text)) if each.file not in passed and each.sockets]


def beside(facts: Mapping[str, str]) -> str:
    """Where our server stands beside others."""
    return f"{facts.get('web_last', '/etc/nginx/conf.d')}/{LAST}"


def _shipped(facts: Mapping[str, str]) -> set[str]:
    shipped = set(facts.get("web_shipped", "").split())
    return shipped | {DEFAULT} if any(each.endswith("/default") for each in shipped) else shipped


def _server(found: Mapping[str, str | int]) -> Server:
    listens = [each for each in str(found["listens"]).split(",") if each] or ["80"]
    sockets = tuple(filter(None, (_on_port_80(each) for each in listens)))
    names = tuple(each for each in str(found["names"]).split(",") if each)
    place = int(found["line"]), int(found["until"])
    return Server(str(found["file"]), *place, sockets, names, bool(found["both"]), bool(found["ours"]))


def _on_port_80(listen: str) -> str:
    """A socket as `listen` names it, where it is of port 80 (ngx_http_core_module, listen); else nothing."""
    if listen.startswith("unix:"):
        return ""
    address, _, port = listen.rpartition(":") if not listen.endswith("]") else (listen, "", "80")
    if not address:
        return listen if listen == "80" or not listen.isdigit() else ""
    return listen if port == "80" else ""


def sockets(found: Sequence[Server], own: Sequence[str]) -> list[str]:
    """Where our server has to listen: everywhere, and on each more specific socket of theirs and of `own`."""
    taken = dict.fromkeys(each for server in found for each in server.sockets)
    wildcards = ["[::]:80"] if any(server.both for server in found) else ["80", "[::]:80"]
    same = {"80", "*:80", "0.0.0.0:80", "*"}
    more = [each for each in dict.fromkeys((*own, *taken)) if each not in wildcards and each not in same]
    return [*wildcards, *more]


def of_name(found: Sequence[Server], fqdn: str) -> Server | None:
    """The server of theirs that has this very name."""
    return next((each for each in found if fqdn in each.names), None)


@dataclass(frozen=True)
class PassedOn(Part):
    """A server of the admin's own that has the site's name passes the challenges on, by one line put into it."""

    server: Server
    fqdn: str

    @property
    def key(self) -> str:
        """The file that it stands in."""
        return f"challenges in {self.server.file}"

    def probe(self) -> str:
        """The server's own lines, as they bear on this."""
        return f"{SURVEY}\nnginx_servers 2>/dev/null"

    def judge(self, found: Reading) -> Finding:
        """In order when it includes them."""
        try:
            now = [_server(each) for each in json.loads(f"[{found.text}]")]
        except ValueError:
            return self.unknown(StepError(catalogue.NGINX_REFUSES))
        theirs = next((each for each in now if each.file == self.server.file and self.fqdn in each.names), None)
        if theirs is None:
            return self.unknown(f"{self.server.file} has no server for {self.fqdn} any more: run this again")
        if theirs.ours:
            return self.in_order(f"{self.fqdn} is served by {theirs.file}, which passes the challenges on")
        if theirs.until <= theirs.line:
            return self.unknown(
                f"its server for {self.fqdn} is closed in the line that names it; put `{LINE.strip()}` into it by hand"
            )
        return self.absent(self._include(theirs))

    def _include(self, theirs: Server) -> Change:
        real = f'"$(readlink -f -- {quote(theirs.file)})"'
        add = f"awk -v at={theirs.line} -v line={quote(LINE)} '{{ print }} NR == at {{ print line }}'"
        return Change(
            summary=f"put one include line into the server for {self.fqdn} in {theirs.file}",
            save=f"rb_save {real}",
            apply=f'{add} {real} | rb_put {real} "$(stat -c %a {real})" "$(stat -c %U:%G {real})"\nnginx -t -q',
            undo=f"rb_restore {real}",
            diff=f"--- {theirs.file}\n+++ {theirs.file}\n@@ line {theirs.line} @@\n+{LINE}",
        )
