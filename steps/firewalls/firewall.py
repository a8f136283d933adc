"""What the two firewall steps share: who manages a host's firewall, and which module of ours works it.

Another kind of firewall is a module with a `Backend`, and its line in `BACKENDS`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from runbook.resources.nftables import LISTING, SURVEY
from runbook.resources.service import at_work
from runbook.step import Part, Told, Verdict
from steps.firewalls import netfilter_persistent, nftables, saved_iptables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.resources.way_in import WayIn
    from steps.firewalls.openings import Opening
    from steps.inherited import OutdatedRules


class Backend(Protocol):
    """What works one kind of firewall."""

    @property
    def at_work(self) -> str:
        """Shell that succeeds where it is at work now, or will be at the next boot."""

    @property
    def facts(self) -> str:
        """Shell that prints what must be known of a host, as `firewall_NAME=VALUE` lines; run where it is at work."""

    @property
    def stored(self) -> Sequence[str]:
        """The files that it loads at boot, in which rules of ours are marked."""

    @property
    def way_in(self) -> WayIn | None:
        """What a boot does to the admin's way in; None where its rules are of a kind that does not tell."""

    def parts(self, purpose: str, openings: Sequence[Opening], facts: Mapping[str, str]) -> Sequence[Part]:
        """What the host should look like for the openings to be there, now and after a reboot."""

    def retired(self, outdated: Sequence[OutdatedRules], facts: Mapping[str, str]) -> Sequence[Part]:
        """What it should look like without these rules."""


BACKENDS: Final[Mapping[str, Backend]] = MappingProxyType(
    {
        "": saved_iptables.IN_NETWORK,
        "netfilter-persistent": netfilter_persistent.PERSISTENT,
        "nftables": nftables.NFTABLES,
    },
)
"""By the name of the manager at work on the host; with none of those looked for, the rules are the admin's own."""

_OTHERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "firewalld": at_work("firewalld"),
        "ufw": "grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf",
    }
)
"""Those that are known, and not touched: how each shows that it is at work."""
_AT_WORK: Final = "\n".join(
    f'if {shell}; then firewall_managers="$firewall_managers {name}"; fi'
    for name, shell in sorted({**_OTHERS, **{name: each.at_work for name, each in BACKENDS.items()}}.items())
    if name
)

_MANAGERS: Final = f"""\
firewall_managers=
{_AT_WORK}
# nftables, with the files of iptables left behind by it, is one; with their rules in force, there are two
[ "$firewall_managers" != ' nftables' ] || for firewall_each in {" ".join(saved_iptables.IN_NETWORK.files.values())}; do
    firewall_program=${{firewall_each##*/}}
    if [ -f "$firewall_each" ] &&
        "${{firewall_program%.save}}-save" -t filter 2>/dev/null | grep -Eq '^(:INPUT DROP|-A INPUT )'
    then firewall_managers="$firewall_managers $firewall_each"; break; fi
done
firewall_theirs='^ip6?:filter [A-Z]+ '
command -v iptables-save >/dev/null || firewall_theirs='^$'
[ -n "$firewall_managers" ] || ! {LISTING} 2>/dev/null | {SURVEY} | tr ';' '\\n' | grep -E ' 1 [^ ]+$' |
    sed 's/ /:/' | grep -Eqv "$firewall_theirs" || firewall_managers=nft
firewall_managers=${{firewall_managers# }}
printf 'firewall_managers=%s\\n' "$firewall_managers"
"""
"""Who is at work on a firewall now, or will be at the next boot; `nft` where chains drop packets that are nobody's of
these, nor of iptables."""

FACTS: Final = "\n".join(
    [
        f'{_MANAGERS}case "$firewall_managers" in',
        *(f"'{manager}')\n{backend.facts};;" for manager, backend in BACKENDS.items()),
        "esac\n",
    ]
)
"""What has to be known of a host before the openings can be stated there."""


def retired_parts(outdated: Sequence[OutdatedRules], facts: Mapping[str, str]) -> Sequence[Part]:
    """What a host should look like without these rules, where its firewall is one that is worked."""
    backend = BACKENDS.get(facts.get("firewall_managers", ""))
    return backend.retired(outdated, facts) if backend else ()


def closed_parts(purpose: str, facts: Mapping[str, str]) -> Sequence[Part]:
    """What a host should look like with nothing open for a purpose any more: what was opened for it once is gone."""
    backend = BACKENDS.get(facts.get("firewall_managers", ""))
    return [each for each in backend.parts(purpose, (), facts) if not isinstance(each, Told)] if backend else ()


def way_in(facts: Mapping[str, str]) -> WayIn | None:
    """What a boot does to the admin's way in, where the rules that it loads are of a kind that tells."""
    backend = BACKENDS.get(facts.get("firewall_managers", ""))
    return backend.way_in if backend else None


def firewall_parts(purpose: str, openings: Sequence[Opening], facts: Mapping[str, str]) -> Sequence[Part]:
    """What a host should look like so that its firewall lets `openings` through, now and after a reboot."""
    managers = facts.get("firewall_managers", "").split()
    if backend := BACKENDS.get(" ".join(managers)):
        return backend.parts(purpose, openings, facts)
    if managers == ["nft"]:
        why = (
            f"rules of nftables are in force, and nothing is seen that loads them at boot: save them "
            f"(`{{ echo flush ruleset; nft -s list ruleset; }} >{nftables.FILE}`, then `systemctl enable nftables`), "
            "run this again"
        )
    elif len(managers) > 1:
        why = (
            f"{' and '.join(managers)} are both at work on this host's firewall: leave one of them, and run this again"
        )
    else:
        why = (
            f"{managers[0]} manages this host's firewall, and ipsec-runbook does not touch it yet; "
            f"let through by its own means: {'; '.join(map(str, openings))}"
        )
    return [Told(f"firewall for {purpose}", Verdict.UNKNOWN, why)]
