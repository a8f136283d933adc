"""What `runbook init` is told and what it proposes: the answers of which `sites.yaml` is made, each with its reason.

An answer is a text, as typed or given by flag; what was not answered is empty, and `complete` proposes it from what was
read of the hosts. What is said in favour of a value depends on the value alone, not on who chose it: the same answers
make the same file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from runbook.step import CONTROLLER
from steps.certificates import certificate_sources, key_places
from steps.certificates.certificate_sources import SOURCES
from steps.description.plan import FIRST_LINK_SUBNET, SubnetId, next_free, random_prefix, subnet_from_mac
from steps.description.words import FQDN, LABEL
from steps.interview.plan_there import plan_there
from steps.ipsec.ipsec_options import Ipsec

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from steps.certificates.certificate_sources import Source
    from steps.interview.plan_there import PlanThere
    from steps.interview.survey import Address, Survey

NONE: Final = "none"
"""The answer that there is none, where an empty one is no answer."""
DYNAMIC: Final = "dynamic"
TUNNELS_NOW: Final = "as the tunnels that are there have it"
LIBIPSEC_PACKAGE: Final = "libcharon-extra-plugins"
_INNER_DOMAINS: Final = (".local", ".localdomain", ".lan", ".home", ".internal", ".home.arpa", ".localhost")
"""Domains that no certificate authority of the internet vouches for (RFC 6761, 6762, 8375; ICANN's .internal)."""


@dataclass(frozen=True)
class SiteAnswers:
    """What is known of one site; the fields are those of `sites.yaml`."""

    ssh: str = ""
    name: str = ""
    fqdn: str = ""
    address: str = ""
    interface: str = ""
    subnet: str = ""
    lan_interface: str = ""
    lan_host: str = ""
    config: str = ""


@dataclass(frozen=True)
class Answers:
    """What is known of the network; lists are separated by commas."""

    sites: Sequence[SiteAnswers] = ()
    prefix: str = ""
    link_subnet: str = ""
    certificate_authority: str = ""
    directory: str = ""
    ca_bundle: str = ""
    trust_anchors: str = ""
    contact: str = ""
    agree_to_terms: str = ""
    keys: str = ""
    ssh_config: str = ""
    encapsulation: str = ""

    @property
    def source(self) -> Source:
        """Where the certificates come from."""
        return SOURCES.get(self.certificate_authority, SOURCES[certificate_sources.DEFAULT])

    def having(self, key: str, text: str) -> Answers:
        """The same with another answer that is no site's."""
        values: dict[str, Any] = {key: text}
        return replace(self, **values)

    def having_site(self, number: int, site: SiteAnswers) -> Answers:
        """The same with another site in that place, or behind the last."""
        return replace(self, sites=(*self.sites[:number], site, *self.sites[number + 1 :]))


@dataclass(frozen=True)
class Known:
    """What was found out: of each host by its SSH target, and in DNS by name (None: the name has no address)."""

    surveys: dict[str, Survey] = field(default_factory=dict)
    names: dict[str, Sequence[Address] | None] = field(default_factory=dict)


def items(text: str) -> list[str]:
    """The items of an answer that is a list."""
    return [each.strip() for each in text.split(",") if each.strip()]


def complete(answers: Answers, known: Known) -> Answers:
    """The answers with a proposal for each that is missing, where there is one; what is given stays."""
    sites: list[SiteAnswers] = []
    for site in answers.sites:
        sites.append(_complete_site(site, sites, known))
    there = plan_there(known.surveys)
    answers = replace(answers, sites=tuple(sites), prefix=answers.prefix or there.prefix or str(random_prefix()))
    ids = subnet_ids(answers, known)
    sites = [replace(site, subnet=site.subnet or f"{found.value:x}") for site, found in zip(sites, ids, strict=True)]
    taken = {found for each in sites if (found := first_id(each.subnet))}
    without_esp = any(survey.kernel_esp is False for survey in known.surveys.values())
    return replace(
        answers,
        sites=tuple(sites),
        link_subnet=answers.link_subnet or _link_subnet(answers.prefix, there, taken),
        certificate_authority=answers.certificate_authority or certificate_sources.DEFAULT,
        directory=answers.directory or ("letsencrypt" if answers.source.SECTION else ""),
        keys=answers.keys or key_places.DEFAULT,
        encapsulation=answers.encapsulation or ("always" if without_esp else "auto"),
    )


def _link_subnet(prefix: str, there: PlanThere, taken: Collection[int]) -> str:
    """That of the links that are there, else the first that is free."""
    kept = there.link_subnet if prefix == there.prefix else ""
    return kept if kept and int(kept, 16) not in taken else f"{next_free(FIRST_LINK_SUBNET, taken):x}"


def _complete_site(site: SiteAnswers, others: Sequence[SiteAnswers], known: Known) -> SiteAnswers:
    survey = known.surveys.get(site.ssh)
    if survey is None:
        return site
    fqdn = site.fqdn or next(iter(fqdns(site, survey, known)), "")
    site = replace(site, fqdn=fqdn, interface=site.interface or survey.uplink)
    return replace(
        site,
        name=site.name or _free_name(site, survey, others),
        address=site.address or propose_address(survey, known.names.get(fqdn) or ()),
        lan_interface=site.lan_interface or _lan_interface(survey),
        lan_host=site.lan_host or NONE,
        config=site.config or survey.style or Ipsec.config,
    )


def _lan_interface(survey: Survey) -> str:
    """Where its tunnel's own network is now; else of a host that forwards."""
    for name, found in survey.lans.items():
        if any(each.address in network for each in found for network in survey.carried):
            return name
    return next(iter(survey.lans), NONE) if survey.forwards else NONE


def fqdns(site: SiteAnswers, survey: Survey, known: Known) -> list[str]:
    """Names that the site may have, the likeliest first: one that leads to it, then one that leads anywhere."""
    typed = site.ssh.rpartition("@")[2].partition(":")[0].lower()
    found = [
        each
        for each in dict.fromkeys((survey.full_name, typed, survey.hostname))
        if FQDN.fullmatch(each) and not each.endswith(_INNER_DOMAINS)
    ]

    def leads_here(name: str) -> int:
        addresses = known.names.get(name) or ()
        return 2 if survey.own & set(addresses) else 1 if addresses else 0

    return sorted(found, key=leads_here, reverse=True)


def _free_name(site: SiteAnswers, survey: Survey, others: Sequence[SiteAnswers]) -> str:
    taken = {each.name for each in others}
    labels = [each.partition(".")[0] for each in (survey.hostname, site.fqdn)]
    sound = [each for each in labels if LABEL.fullmatch(each) and each not in {"localhost", CONTROLLER}] or ["site"]
    numbered = [f"{sound[0]}-{number}" for number in range(2, len(taken) + 3)]
    return next(each for each in (*sound, *numbered) if each not in taken)


def propose_address(survey: Survey, named: Sequence[Address]) -> str:
    """The addresses that other sites can be told, else `dynamic`.

    Those that the name leads to, where the host has some of them itself; else what it has. A host that is behind a NAT
    in one of the families has a line of the kind whose addresses change.
    """
    if not survey.public or behind_nat(survey):
        return DYNAMIC
    both = [each for each in survey.public if each.address in named]
    return ", ".join(str(each.address) for each in both or survey.public)


def behind_nat(survey: Survey) -> bool:
    """Whether its IPv4 address, or all that it has, is private: others reach it at another, if at all."""
    return any(not each.public for each in survey.outer if each.address.version == 4) or (  # noqa: PLR2004 - IP's versions
        bool(survey.outer) and not survey.public
    )


def subnet_ids(answers: Answers, known: Known) -> list[SubnetId]:
    """What is proposed as each site's subnet id, given the ids that others were given already."""
    taken = {found: site.name or site.ssh for site in answers.sites if (found := first_id(site.subnet))}
    if links := first_id(answers.link_subnet):
        taken.setdefault(links, "the links")
    there = plan_there(known.surveys)
    kept = there.subnets if answers.prefix == there.prefix else {}
    proposals = []
    for site in answers.sites:
        survey = known.surveys.get(site.ssh)
        mine = first_id(site.subnet)
        mac = survey.macs.get(site.interface, "") if survey else ""
        others = {number: name for number, name in taken.items() if number != mine}
        proposed = subnet_from_mac(site.interface, mac, others)
        if (has := kept.get(site.ssh)) and has not in others:
            proposed = SubnetId(has, TUNNELS_NOW)
        taken.setdefault(proposed.value if mine is None else mine, site.name or site.ssh)
        proposals.append(proposed)
    return proposals


def first_id(subnet: str) -> int | None:
    """The id of a site's own /64, which comes first of its subnets; None where there is none yet."""
    try:
        found = int(items(subnet)[0], 16)
    except (IndexError, ValueError):
        return None
    return found if 0 < found <= 0xFFFF else None  # noqa: PLR2004 - sixteen bits
