"""What hosts that were set up by hand still have, from the article or from pages like it, and what is wrong with it.

Each section states the parts of its own subject, so that nothing is taken away before there is something better. What
is outdated is made a remark, or goes where it is not read, and rollback has it back:

    nginx            a server that only answers challenges: ours does so, for the same addresses
    ipsec-firewall   rules that ask for source port 500 or 4500: a NAT on the way changes that port
                     policy rules of iptables where tunnels carry IPv6: what comes out passes ip6tables
    credentials      keys that others may read, or a directory (775) into which others may put theirs
                     CA certificates that have expired, or are gone: DST Root X3, Let's Encrypt X3 and X4
    addresses        `up ip addr add`: fails where the address is there; it is still checked as charon starts
    connection       a section of ipsec.conf for a tunnel of ours: two descriptions; a subnet listed twice
                     (steps.ipsec.conf_by_hand)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runbook.resources.modes import Withheld
from runbook.resources.retired import RetiredLines, SetAside
from runbook.script import quote
from runbook.step import Change, Finding, Part, Told, Verdict
from steps.ipsec.conf_by_hand import SECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runbook.resources.iptables import Family
    from runbook.resources.retired import Reasons
    from runbook.script import Reading
    from steps.network import Network, Site

INTERFACES: Final = "/etc/network/interfaces"

NGINX: Final = """\
nginx_others='root|alias|try_files|index|(proxy|fastcgi|uwsgi|scgi|grpc)_pass|ssl_certificate'
for each in /etc/nginx/sites-enabled/* /etc/nginx/conf.d/*.conf; do
    text=$(sed 's/#.*//' "$each" 2>/dev/null) || continue
    case $text in *default_server*acme-challenge*) ;; *) continue ;; esac
    printf '%s\\n' "$text" | grep -Eq 'return[[:space:]]+444[[:space:]]*;' || continue
    # with TLS it is what a name without a server of its own gets there, too: ours has no port 443
    ! printf '%s\\n' "$text" | grep -Eq 'listen[^;]*[[:space:]:](443|ssl)([[:space:];]|$)' || continue
    ! printf '%s\\n' "$text" | grep -Eq "(^|[[:space:]{;])($nginx_others)[[:space:]]" || continue
    printf 'nginx_by_hand=%s\\n' "$each"
done
"""
"""The fact `nginx_by_hand`: the file of a server that answers challenges by a redirect, and nothing else."""


def web_server(facts: Mapping[str, str], ours: str) -> Sequence[SetAside]:
    """The article's server, which has the addresses that ours is to have."""
    path = facts.get("nginx_by_hand", "")
    if path in {"", ours}:
        return ()
    to = path.replace("/sites-enabled/", "/sites-available/") if "/sites-enabled/" in path else f"{path}-orig"
    return [SetAside(path, to, "it answers challenges and nothing else, as the server of this step does instead")]


@dataclass(frozen=True)
class OutdatedRules:
    """Rules of the form of iptables-save."""

    family: Family
    what: str
    reasons: Reasons


_RULE: Final = r"^(\[[0-9]+:[0-9]+\] *)?-A +[^ ]+ +(.* )?{0} +(.* )?-j +ACCEPT *$"
_SOURCE_PORT: Final = (
    _RULE.format("--s(ource-)?ports? +(500|4500)"),
    "rules that ask for source port 500 or 4500: a NAT on the way changes it; this step's ask for the destination port",
)
_POLICY: Final = (
    _RULE.format("-m +policy +(.* )?--pol +ipsec"),
    "policy rules of the wrong family: this host's tunnels carry IPv6, and what comes out of them passes ip6tables",
)

OTHER_TUNNELS: Final = f"""\
{SECTIONS}printf 'other_tunnels=%s\\n' "$({{
    conf_sections | sed 's/.*://'
    for each in /etc/swanctl/conf.d/*.conf; do
        ! [ -s "$each" ] || basename "$each" .conf
    done
    ip -4 xfrm policy 2>/dev/null | grep -E '^[[:space:]]+dir (in|out|fwd) ' | sed 's/.*/a-policy-of-IPv4/'
}} | sort -u | tr '\\n' ' ')"
"""
"""The fact `other_tunnels`: the names of what tunnels there are, ours too; those in the kernel that carry IPv4."""


def rules(network: Network, site: Site, facts: Mapping[str, str]) -> Sequence[OutdatedRules]:
    """The article's rules that do no good; of a tunnel that is not ours nobody here knows what it carries."""
    ours = {end.connection for end in network.ends(site)}
    others = [each for each in facts.get("other_tunnels", "").split() if each not in ours]
    carried = {each.version for end in network.ends(site) for each in end.local_ts}
    what = "outdated rules for IPsec"
    v4 = (_SOURCE_PORT,) if others or 4 in carried else (_SOURCE_PORT, _POLICY)  # noqa: PLR2004 - IPv4
    return [OutdatedRules(4, what, v4), OutdatedRules(6, what, (_SOURCE_PORT,))]


def credentials(site: Site) -> Sequence[Part]:
    """Where the article has the key, and the roots of its time."""
    directory = quote(f"/etc/ssl/{site.fqdn}")
    return [
        Withheld(
            f"/etc/ssl/{site.fqdn}",
            f"{directory} -maxdepth 0 -type d",
            "022",
            "others than its owner can put a key of theirs into it",
        ),
        Withheld(
            f"the keys in /etc/ssl/{site.fqdn}",
            f"{directory} -maxdepth 1 -type f -name '*.key*'",
            "027",
            "a private key is for its owner; others must not read it",
        ),
        OldAuthorities("/etc/ipsec.d/cacerts"),
    ]


def addresses(own: Iterable[str]) -> Part:
    """Lines that add these addresses by hand."""
    why = (
        "it fails where the address is there, and at boot the address is still being checked when charon starts; this "
        "step adds it at boot"
    )
    ip = r"(\/s?bin\/|\/usr\/s?bin\/)?ip[ \t]+(-6[ \t]+)?a(ddr?[a-z]*)?[ \t]+a(dd?)?[ \t]+"
    return RetiredLines(
        INTERFACES,
        "addresses of the private network added by hand",
        (("", why),),
        rf"hit = /^[ \t]*(pre-|post-)?up[ \t]+{ip}({'|'.join(own)})(\/[0-9]+)?[ \t]/",
    )


OTHER_DAEMON: Final = """\
other_ike_daemon=
for each in libreswan openswan racoon; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$each" 2>/dev/null)" != installed ] || other_ike_daemon=$each
done
# one that is no package is known by its process
if [ -z "$other_ike_daemon" ] && grep -qsx pluto /proc/[0-9]*/comm; then other_ike_daemon=libreswan; fi
printf 'other_ike_daemon=%s\\n' "$other_ike_daemon"
"""
"""The fact `other_ike_daemon`: what negotiates IPsec on the host in strongSwan's place."""


def other_daemon(facts: Mapping[str, str]) -> Sequence[Part]:
    """Why strongSwan cannot be installed: it is left to the admin to give up what is there."""
    name = facts.get("other_ike_daemon", "")
    if not name:
        return ()
    why = (
        f"{name} does this on this host already, and the two cannot share UDP ports 500 and 4500: nothing of it is "
        "touched. Remove it, if it is no longer needed, and run this again"
    )
    return [Told(f"no other daemon than strongSwan ({name})", Verdict.UNKNOWN, why)]


@dataclass(frozen=True)
class OldAuthorities(Part):
    """CA certificates of the admin's own that can verify nothing any more: expired, or links to what is gone."""

    directory: str

    @property
    def key(self) -> str:
        """Where they are."""
        return f"outdated CA certificates in {self.directory}"

    def probe(self) -> str:
        """Each one, with what is wrong with it."""
        return f"""\
for file in {quote(self.directory)}/*; do
    if [ -L "$file" ] && [ ! -e "$file" ]; then echo "gone ${{file##*/}}"
    elif [ -f "$file" ] && openssl x509 -noout -in "$file" >/dev/null 2>&1 &&
        ! openssl x509 -noout -checkend 0 -in "$file" >/dev/null 2>&1; then echo "expired ${{file##*/}}"; fi
done"""

    def judge(self, found: Reading) -> Finding:
        """In order when there is none."""
        old = [line.split(" ", 1) for line in found.text.splitlines()]
        if not old:
            return self.in_order()
        paths = {name: quote(f"{self.directory}/{name}") for _, name in old}
        change = Change(
            summary=f"remove from {self.directory}: {', '.join(f'{name} ({why})' for why, name in old)}",
            save='mkdir -- "$image/kept.$index"\n'
            + "\n".join(f'cp -a -- {path} "$image/kept.$index"/' for path in paths.values()),
            apply="\n".join(f"rb_remove {path}" for path in paths.values()),
            undo="\n".join(f'cp -an -- "$image/kept.$index"/{quote(name)} {path}' for name, path in paths.items()),
            diff="\n".join(f"- {self.directory}/{name}" for name in paths),
        )
        return self.drift(change, "they can verify nothing any more")
