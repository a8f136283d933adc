"""Answers as the text of a `sites.yaml`, with the reason of each as a comment; and as the network that it describes.

That the text is right is judged by the reader of `sites.yaml` itself, so that a wrong answer is refused in its words.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import combinations
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from runbook.errors import UsageError
from steps.certificates import certificate_sources, key_places
from steps.description.marked_yaml import parse
from steps.description.sites_yaml import network
from steps.interview.answers import DYNAMIC, LIBIPSEC_PACKAGE, NONE, Answers, Known, SiteAnswers, items
from steps.interview.reasons import network_reasons, site_reasons
from steps.ipsec.ipsec_options import Ipsec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steps.network import Network

_PLAIN: Final = re.compile(r"[A-Za-z0-9/][A-Za-z0-9@:/._+%=-]*(?<!:)")
"""What YAML takes as it stands, outside of lists and as an item of one."""
_COMMENT_AT: Final = 40
_WIDTH: Final = 118
_STAND_IN: Final = Answers(
    prefix="fd6e:4a1d:9c03::/48",
    link_subnet="fffe",
    certificate_authority=certificate_sources.DEFAULT,
    directory="letsencrypt",
    contact="nobody@nowhere.example",
    agree_to_terms="true",
    encapsulation="auto",
)
"""What stands for an answer that is still to be given, while others are judged."""


def text(answers: Answers, known: Known) -> str:
    """The file; all answers must be there."""
    why = network_reasons(answers, known)
    unusual_keys = answers.keys not in {"", key_places.DEFAULT}
    lines = [
        "# The private network that `runbook` makes: written by `runbook init`, and yours to change.",
        "# `runbook audit` shows what a change would mean; `runbook explain sites.yaml` tells every key.",
        "",
        f"# {why['prefix']}",
        _line("ula_prefix", _scalar(answers.prefix)),
        _line("link_subnet", _scalar(answers.link_subnet), why["link_subnet"]),
        *([_line("ssh_config", _scalar(answers.ssh_config))] if answers.ssh_config else []),
        "",
        *_certificates(answers, why),
        *([_line("keys", _scalar(answers.keys), why.get("keys", ""))] if unusual_keys else []),
        "",
        *_ipsec(answers, why),
        "sites:",
    ]
    for site in answers.sites:
        lines += _site(answers, site, known)
    lines += ["links:", *(_link(one, other) for one, other in _pairs(answers))]
    return "\n".join(lines) + "\n"


def _certificates(answers: Answers, why: dict[str, str]) -> Iterator[str]:
    if answers.certificate_authority != certificate_sources.DEFAULT:
        yield _line(
            "certificate_authority", _scalar(answers.certificate_authority), why.get("certificate_authority", "")
        )
    if not answers.source.SECTION:
        return
    yield "certificates:"
    yield _line("  directory", _scalar(answers.directory), why.get("directory", ""))
    if answers.ca_bundle not in {"", NONE}:
        yield _line("  ca_bundle", _scalar(answers.ca_bundle), "what its own HTTPS is trusted by")
    if answers.trust_anchors not in {"", NONE}:
        yield _line("  trust_anchors", _list(answers.trust_anchors), "what the sites' certificates must chain to")
    yield _line("  contact", _scalar(answers.contact))
    yield _line("  agree_to_terms", _scalar(answers.agree_to_terms))


def _ipsec(answers: Answers, why: dict[str, str]) -> list[str]:
    if answers.encapsulation in {"", "auto"}:
        return []
    lines = ["ipsec:", _line("  encapsulation", _scalar(answers.encapsulation), why.get("encapsulation", ""))]
    if "encapsulation" in why:
        lines.append(_line("  extra_packages", f"[{LIBIPSEC_PACKAGE}]", "where strongSwan has ESP of its own"))
    return [*lines, ""]


def _site(answers: Answers, site: SiteAnswers, known: Known) -> Iterator[str]:
    why = site_reasons(answers, site, known)
    survey = known.surveys.get(site.ssh)
    if survey and survey.release:
        yield f"  # {survey.release}"
    yield f"  {_scalar(site.name)}:"
    yield _line("    ssh", _scalar(site.ssh))
    yield from _said("    fqdn", _scalar(site.fqdn), why.get("fqdn", ""))
    yield from _said("    address", _one_or_more(site.address), why.get("address", ""))
    yield from _said("    subnet", _one_or_more(site.subnet), why.get("subnet", ""))
    yield from _said("    interface", _scalar(site.interface), why.get("interface", ""))
    if site.lan_interface not in {"", NONE}:
        yield from _said("    lan_interface", _scalar(site.lan_interface), why.get("lan_interface", ""))
        if site.lan_host not in {"", NONE}:
            yield from _said("    lan_host", _scalar(site.lan_host), "a machine there, to prove it")
    if site.config not in {"", Ipsec.config}:
        yield from _said("    config", _scalar(site.config), why.get("config", ""))
    yield ""


def _pairs(answers: Answers) -> Iterator[tuple[SiteAnswers, SiteAnswers]]:
    """Every two sites that can find each other; of two sites alone, those, so that the reader can say why not."""
    for one, other in combinations(answers.sites, 2):
        if len(answers.sites) == 2 or {one.address, other.address} != {DYNAMIC}:  # noqa: PLR2004 - a pair
            yield one, other


def _link(one: SiteAnswers, other: SiteAnswers) -> str:
    first, found = (other, one) if other.address == DYNAMIC else (one, other)
    return _line(
        "  - between",
        f"[{_scalar(one.name)}, {_scalar(other.name)}]",
        f"{first.name} begins, since it always finds {found.name}",
    )


def _said(key: str, value: str, comment: str) -> Iterator[str]:
    """A line with its comment behind it, or above where it is long."""
    line = _line(key, value, comment)
    if len(line) > _WIDTH:
        yield from (f"    # {each}" for each in wrap(comment, _WIDTH - 6))
        line = _line(key, value)
    yield line


def _line(key: str, value: str, comment: str = "") -> str:
    line = f"{key}: {value}"
    return f"{line:{_COMMENT_AT}} # {comment}" if comment else line


def _one_or_more(answer: str) -> str:
    return _list(answer) if len(items(answer)) > 1 else _scalar(answer)


def _list(answer: str) -> str:
    return f"[{', '.join(_scalar(each) for each in items(answer))}]"


def _scalar(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def described(answers: Answers, known: Known, file: Path) -> Network:
    """The network that the answers describe, as if it were read from `file`.

    Raises:
        UsageError: They make no sense; said as for the file, without file and line.
    """
    try:
        return network(parse(file, text(answers, known)), file.absolute().parent)
    except UsageError as error:
        problem = str(error).removeprefix(f"{file}:").partition(": ")[2]
        raise UsageError(re.sub(r" in line \d+", "", problem)) from None


def problem(answers: Answers, file: Path) -> str:
    """What is wrong with the answers so far, whatever is still missing; empty where nothing is."""
    names = ("stand-in-for-one", "stand-in-for-another")
    sites = [
        SiteAnswers(
            ssh=site.ssh or f"{name}.example",
            name=site.name or name,
            fqdn=site.fqdn or f"{name}.example",
            address=site.address or f"198.51.100.{number}",
            interface=site.interface or "eth0",
            subnet=site.subnet or f"fff{number}",
            lan_interface=site.lan_interface,
            lan_host=site.lan_host,
            config=site.config,
        )
        for number, (site, name) in enumerate(_at_least_two(answers, names), 1)
    ]
    given = {
        name: value for name in _STAND_IN.__dataclass_fields__ if name != "sites" and (value := getattr(answers, name))
    }
    try:
        described(replace(_STAND_IN, sites=tuple(sites), **given), Known(), file)
    except UsageError as error:
        return re.sub(r"^[\w.\[\]-]+: ", "", str(error))
    return ""


def _at_least_two(answers: Answers, names: tuple[str, str]) -> list[tuple[SiteAnswers, str]]:
    missing = max(0, len(names) - len(answers.sites))
    sites = [*answers.sites, *(SiteAnswers() for _ in range(missing))]
    return [(site, f"{names[0]}-{number}") for number, site in enumerate(sites)]
