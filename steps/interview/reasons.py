"""Why each answer is as it is, in a few words: shown beside the proposal, and as a comment in `sites.yaml`."""

from __future__ import annotations

from ipaddress import IPv6Network
from typing import TYPE_CHECKING

from steps.certificates import certificate_sources, key_places
from steps.certificates.certificate_options import DIRECTORIES
from steps.interview.answers import DYNAMIC, NONE, TUNNELS_NOW, behind_nat, first_id, items, subnet_ids
from steps.interview.plan_there import plan_there
from steps.ipsec.ipsec_options import Ipsec
from steps.ipsec.styles import STYLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steps.interview.answers import Answers, Known, SiteAnswers
    from steps.interview.survey import Address, Survey


def network_reasons(answers: Answers, known: Known) -> dict[str, str]:
    """Of what belongs to no site, by the answer's name; those without a reason are missing."""
    kept = answers.prefix == plan_there(known.surveys).prefix
    reasons = {
        "prefix": TUNNELS_NOW
        if kept
        else "a private network of your own (RFC 4193); its 40 random digits keep it apart from all others",
        "link_subnet": f"one address for each site in {subnet(answers, answers.link_subnet)}",
        "certificate_authority": _unusual(certificate_sources.MEANINGS, answers.certificate_authority),
        "directory": DIRECTORIES.get(answers.directory, ""),
        "keys": _unusual(key_places.MEANINGS, answers.keys),
    }
    without = [site.name for site in answers.sites if (survey := known.surveys.get(site.ssh)) and not survey.kernel_esp]
    if answers.encapsulation == "always" and without:
        reasons["encapsulation"] = f"the kernel of {' and '.join(without)} has no ESP: strongSwan does it, inside UDP"
    return {key: text for key, text in reasons.items() if text}


def _unusual(meanings: Mapping[str, str], chosen: str) -> str:
    """What one that is not the default means."""
    return "" if chosen == next(iter(meanings)) else meanings.get(chosen, "")


def site_reasons(answers: Answers, site: SiteAnswers, known: Known) -> dict[str, str]:
    """Of one site's answers, by their names; those without a reason are missing."""
    survey = known.surveys.get(site.ssh)
    if survey is None:
        return {}
    reasons = {
        "fqdn": leads(known.names.get(site.fqdn), survey),
        "address": _address(site, survey, known.names.get(site.fqdn) or ()),
        "interface": "carries its default route" if site.interface == survey.uplink else "",
        "subnet": _subnet(answers, site, known),
        "lan_interface": _lan(site, survey),
        "config": _config(site, survey),
    }
    return {key: text for key, text in reasons.items() if text}


def _config(site: SiteAnswers, survey: Survey) -> str:
    if site.config != survey.style or site.config == Ipsec.config:
        return ""
    are = "is" if len(survey.connections) == 1 else "are"
    return f"by {STYLES[site.config].configured_by}, where {_and(survey.connections)} {are} now"


def leads(addresses: Sequence[Address] | None, survey: Survey) -> str:
    """Where a name leads, seen from one host."""
    if addresses is None:
        return "has no address in DNS"
    own = [each for each in addresses if each in survey.own]
    others = [each for each in addresses if each not in survey.own]
    here = f"leads to {_and(own)} of this host" if own else ""
    if not others:
        return here
    elsewhere = f"{_and(others)}, which this host does not have itself"
    return f"{here}, but also to {elsewhere}" if here else f"leads to {elsewhere}"


def _address(site: SiteAnswers, survey: Survey, named: Sequence[Address]) -> str:
    if site.address == DYNAMIC:
        if behind_nat(survey):
            return f"behind a NAT: its own address is {survey.outer[0].address}"
        return "it is found by its name" if survey.public else "it has no public address"
    chosen = set(items(site.address))
    found = [each for each in survey.outer if str(each.address) in chosen]
    if len(found) < len(chosen):
        return ""
    lent = "; lent to it (DHCP): write dynamic if it changes" if any(each.lent for each in found) else ""
    why = f"it has {'it' if len(found) == 1 else 'them'} itself"
    return f"{why}, and its name leads there{lent}" if all(each.address in named for each in found) else why + lent


def _subnet(answers: Answers, site: SiteAnswers, known: Known) -> str:
    proposed = subnet_ids(answers, known)[list(answers.sites).index(site)]
    own = str(subnet(answers, items(site.subnet)[0]))
    return f"{own}; {proposed.reason}" if proposed.value == first_id(site.subnet) else own


def _lan(site: SiteAnswers, survey: Survey) -> str:
    if site.lan_interface in survey.lans:
        found = [each.address for each in survey.lans[site.lan_interface]]
        return f"{_and(found)} {'is' if len(found) == 1 else 'are'} there" + (
            ", and this host forwards" if survey.forwards else ""
        )
    if site.lan_interface == NONE and survey.lans:
        names = _and(list(survey.lans))
        return f"{names} may lead to a LAN; with none, the tunnel is for this host alone"
    return ""


def subnet(answers: Answers, subnet_id: str) -> IPv6Network | str:
    """The /64 that an id stands for; the id itself where prefix or id make no sense."""
    try:
        return IPv6Network((int(IPv6Network(answers.prefix).network_address) | int(subnet_id, 16) << 64, 64))
    except ValueError:
        return subnet_id


def _and(values: Sequence[object]) -> str:
    texts = [str(each) for each in values]
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)
