"""Firewalls that are iptables and ip6tables rules, in force and in files; the article's are /etc/network/*.save.

A rule that lets new connections in goes to the chain to which the admin's own rules send new connections (`in-new` in
the article), else to INPUT. The live rules and the file are looked at each for itself: they need not be the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runbook.resources.iptables import (
    LOCK_SECONDS,
    PROGRAMS,
    SURVEY,
    Chain,
    LiveRules,
    RetiredRules,
    Rule,
    StoredRules,
    parse_survey,
)
from runbook.resources.retired import RetiredLines
from runbook.resources.way_in import WayIn
from runbook.step import Part, Told, Verdict
from steps.firewalls.openings import SOUGHT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.resources.iptables import Family
    from steps.firewalls.openings import Opening
    from steps.inherited import OutdatedRules


@dataclass(frozen=True)
class SavedRules:
    """Rules in force, and the file of each family from which they come in force at boot."""

    files: Mapping[Family, str]
    loader: str
    """Shell that prints what loads $firewall_file, of $firewall_family, at boot; nothing where nothing does."""
    loading: str
    """What does so, in words, where it is all there."""
    at_work: str = "true"
    """The article's are so wherever nobody else is."""

    @property
    def stored(self) -> Sequence[str]:
        """Both files."""
        return tuple(self.files.values())

    @property
    def way_in(self) -> WayIn:
        """By the files."""
        return WayIn(self.files)

    @property
    def facts(self) -> str:
        """Each family's chains, in force and in its file, whether iptables-restore takes that file, what loads it."""
        return f"""\
firewall_survey() {{ {SOUGHT} {SURVEY}; }}
firewall_loader() {{
{self.loader}
}}
for firewall_family in 4 6; do
    case $firewall_family in
        4) firewall_program={PROGRAMS[4]} firewall_file={self.files[4]} ;;
        *) firewall_program={PROGRAMS[6]} firewall_file={self.files[6]} ;;
    esac
    firewall_rules=
    if firewall_rules=$("$firewall_program-save" 2>/dev/null); then
        firewall_chains=$(printf '%s\\n' "$firewall_rules" | firewall_survey)
        printf 'firewall_live_%s=%s\\n' "$firewall_family" "$firewall_chains"
    fi
    if [ ! -f "$firewall_file" ]; then
        firewall_file=${{firewall_file%.*}}.bak  # as the article has it, too
        [ ! -f "$firewall_file" ] || printf 'firewall_bak_%s=%s\\n' "$firewall_family" "$firewall_file"
        continue
    fi
    printf 'firewall_stored_%s=%s\\n' "$firewall_family" "$(firewall_survey <"$firewall_file")"
    # Without rules in the kernel this test would load its modules: then it is left to the moment of the change.
    [ -z "$firewall_rules" ] ||
        firewall_damage=$("$firewall_program-restore" -w {LOCK_SECONDS} --test <"$firewall_file" 2>&1) ||
        printf 'firewall_damage_%s=%s\\n' "$firewall_family" "$(printf '%s' "$firewall_damage" | head -n 1)"
    printf 'firewall_loader_%s=%s\\n' "$firewall_family" "$(firewall_loader)"
done
"""

    def parts(self, purpose: str, openings: Sequence[Opening], facts: Mapping[str, str]) -> Sequence[Part]:
        """Our rules in force, and in the file, for each family that has a firewall."""
        found: list[Part] = []
        for family in PROGRAMS:
            found += self._family(family, purpose, [each for each in openings if each.family == family], facts)
        in_force = tuple(each.key for each in found if isinstance(each, LiveRules))
        return [*found, WayIn(self.files, in_force)] if in_force else found

    def retired(self, outdated: Sequence[OutdatedRules], facts: Mapping[str, str]) -> Sequence[Part]:
        """They are taken out of those in force, and made remarks in the file."""
        found: list[Part] = []
        for each in outdated:
            family = each.family
            if facts.get(f"firewall_live_{family}"):
                found.append(RetiredRules(family, each.what, (), reasons=each.reasons))
            if facts.get(f"firewall_stored_{family}") and f"firewall_damage_{family}" not in facts:
                pattern = "|".join(pattern for pattern, _ in each.reasons)
                which = f'hit = /{pattern}/ && !/ --comment "?ipsec-runbook:/'  # ours go as ours
                test = f'{PROGRAMS[family]}-restore -w {LOCK_SECONDS} --test <"$new"'
                found.append(RetiredLines(self.files[family], each.what, each.reasons, which, test))
        return found

    def _family(
        self, family: Family, purpose: str, openings: Sequence[Opening], facts: Mapping[str, str]
    ) -> list[Part]:
        """What one family's firewall should look like, or why it is left alone."""
        name = f"firewall IPv{family} for {purpose}"
        program, path = PROGRAMS[family], self.files[family]
        survey, stored = facts.get(f"firewall_live_{family}"), facts.get(f"firewall_stored_{family}")
        if survey is None:
            if stored is None:
                return [Told(name, Verdict.IN_ORDER, f"no {program} on this host: there is nothing to open")]
            return [Told(name, Verdict.UNKNOWN, f"{path} is there, but {program}-save does not work on this host")]
        chains = parse_survey(survey)
        if stored is None and not any(_closed(each, chains) for each in openings):
            why = f"nothing to open: no {program} rule in force drops what this lets through, and there is no {path}"
            return [Told(name, Verdict.IN_ORDER, why)]
        if stored is None:
            kept = facts.get(f"firewall_bak_{family}")
            save = f"Name {kept} so, which is there" if kept else f"Save them (`{program}-save >{path}`)"
            why = (
                f"rules are in force, but there is no {path}: what is opened now would be closed after a reboot. "
                f"{save}, have {self.loading} load them, run this again"
            )
            return [Told(name, Verdict.UNKNOWN, why)]
        return [_live(family, purpose, openings, chains), self._stored(family, purpose, openings, facts)]

    def _stored(self, family: Family, purpose: str, openings: Sequence[Opening], facts: Mapping[str, str]) -> Part:
        path = self.files[family]
        chains = parse_survey(facts[f"firewall_stored_{family}"])
        damage = facts.get(f"firewall_damage_{family}")
        if damage is not None:
            why = f"{PROGRAMS[family]}-restore does not take {path} as it is, so it is left alone: {damage}"
            return Told(f"firewall {path} for {purpose}", Verdict.UNKNOWN, why)
        if not chains:
            why = f"{path} has no chains of the table filter, so it is left alone; put the rules in force into it"
            return Told(f"firewall {path} for {purpose}", Verdict.UNKNOWN, why)
        note = ""
        if not facts.get(f"firewall_loader_{family}"):
            note = f"nothing seen on this host loads {path} at boot: have {self.loading} do it"
        return StoredRules(family, purpose, _rules(openings, chains), note, path=path)


IN_NETWORK: Final = SavedRules(
    {4: "/etc/network/iptables.save", 6: "/etc/network/ip6tables.save"},
    """\
    for firewall_each in /etc/network/if-pre-up.d/* /etc/network/if-up.d/* /etc/network/interfaces \\
        /etc/network/interfaces.d/* /etc/rc.local /etc/systemd/system/*.service; do
        # ifup runs a hook only if it is executable and its name is what run-parts(8) takes.
        case $firewall_each in
            /etc/network/if-*/*[!A-Za-z0-9_-]*) case ${firewall_each##*/} in *[!A-Za-z0-9_-]*) continue ;; esac ;;
        esac
        case $firewall_each in /etc/network/if-*) [ -x "$firewall_each" ] || continue ;; esac
        grep -Eqs "^[^#]*($firewall_file|/etc/network/[^ ]*[$][^ ]*[.]save)" "$firewall_each" || continue
        printf %s "$firewall_each"
        break
    done""",
    "a hook in /etc/network/if-pre-up.d",
)
"""The article's."""


def _live(family: Family, purpose: str, openings: Sequence[Opening], chains: Mapping[str, Chain]) -> Part:
    if not chains:
        why = f"no {PROGRAMS[family]} rules are in force on this host now: there is nothing to open"
        return Told(f"firewall IPv{family} in force for {purpose}", Verdict.IN_ORDER, why)
    return LiveRules(family, purpose, _rules(openings, chains), _open_anyway(openings, chains))


def _closed(opening: Opening, chains: Mapping[str, Chain]) -> bool:
    return opening.direction in chains and chains[opening.direction].closed


def _open_anyway(openings: Sequence[Opening], chains: Mapping[str, Chain]) -> str:
    """What to say where a rule only states what is open without it."""
    names = dict.fromkeys(each.direction for each in openings if not _closed(each, chains) and _stated(each, chains))
    return f"nothing in {' and '.join(names)} drops what this lets through: the rules only say so" if names else ""


def _stated(opening: Opening, chains: Mapping[str, Chain]) -> bool:
    """What leaves needs a rule only where not everything may."""
    return opening.direction != "OUTPUT" or _closed(opening, chains)


def _rules(openings: Sequence[Opening], chains: Mapping[str, Chain]) -> tuple[Rule, ...]:
    return tuple(_rule(each, chains) for each in openings if _stated(each, chains))


def _rule(opening: Opening, chains: Mapping[str, Chain]) -> Rule:
    """An opening as iptables-save prints its rule, in the chain that it belongs to."""
    chain = chains.get(opening.direction)
    name = chain.new if chain and chain.new and not opening.tunnel else opening.direction
    words: list[str] = []
    for option, value in (
        ("-s", opening.source),
        ("-d", opening.destination),
        ("-i", opening.interface),
        ("-p", opening.protocol),
    ):
        words += [option, value] if value else []
    if opening.port:
        words += ["-m", opening.protocol, "--dport", str(opening.port)]
    if opening.tunnel:
        words += ["-m", "policy", "--dir", opening.tunnel, "--pol", "ipsec", "--proto", "esp"]
    return Rule("filter", name, (*words, "-j", "ACCEPT"))
