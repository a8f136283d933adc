"""The questions of `runbook init`: what is asked, what is proposed for which reason, what a wrong answer is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from runbook.errors import RunbookError, UsageError
from steps.certificates import certificate_sources, key_places
from steps.certificates.certificate_options import DIRECTORIES
from steps.description.words import choices
from steps.interview.answers import DYNAMIC, NONE, Answers, Known, SiteAnswers, behind_nat, complete, fqdns
from steps.interview.reasons import leads
from steps.interview.survey_words import Told
from steps.interview.yaml_text import problem
from steps.ipsec import styles
from steps.ipsec.styles import STYLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from runbook.desk import Desk
    from runbook.notebook import Notebook
    from steps.interview.survey import Survey

HELP: Final[Mapping[str, str]] = {
    "name": "What it is called here, in a word.",
    "fqdn": "Its full name in DNS, which its certificate will be for.",
    "address": f"Its outer addresses, with commas between; `{DYNAMIC}` where they change.",
    "interface": "The interface that carries its address in the link network.",
    "subnet": "Its subnet id, one to four hexadecimal digits; further subnets behind commas.",
    "lan_interface": f"The interface of its LAN, where it is to be that LAN's gateway; else `{NONE}`.",
    "lan_host": f"An SSH target on that LAN, to prove that it is one; else `{NONE}`.",
    "config": f"How its strongSwan is configured: {choices(styles.MEANINGS)}.",
    "prefix": "Your private /48.",
    "link_subnet": "The subnet id of the link network, one to four hexadecimal digits.",
    "directory": "The https URL of the authority's ACME directory.",
    "ca_bundle": f"A file with the CAs that the authority's own HTTPS is trusted by; `{NONE}`: this system's.",
    "trust_anchors": f"Files with the roots of its certificates, with commas between; `{NONE}`: Let's Encrypt's.",
    "keys": f"Where the private keys are: {choices(key_places.MEANINGS)}.",
    "contact": "Your e-mail address: the authority may write to it.",
    "encapsulation": "ESP inside UDP: `auto`, where a NAT is seen; or `always`.",
}
"""What is said before a question, by the answer's name."""
AUTHORITIES: Final[Mapping[str, str]] = {
    "letsencrypt": "Let's Encrypt",
    "letsencrypt-staging": "Let's Encrypt's staging (for a trial: nobody else trusts it)",
    "other": "another authority that speaks ACME",
    **{
        name: f"none that has to be asked over the internet: {source.MEANING}"
        for name, source in certificate_sources.SOURCES.items()
        if not source.SECTION
    },
}
"""Who may issue the certificates: those that speak ACME by their directories, the others by their own names."""
TERMS: Final = "https://letsencrypt.org/repository/"
_ORDINALS: Final = ("first", "second", "third", "fourth", "fifth")
_ENDS: Final = 2
"""How many sites make the smallest network."""


class Interview:
    """Asks what is missing, keeps each answer at once, and checks what can be checked."""

    def __init__(self, desk: Desk, notebook: Notebook, answers: Answers, file: Path, *, ask: bool) -> None:
        """Go on from `answers`; `ask`: put every question, not only those for which there is no proposal."""
        self.answers = answers
        self.known = Known()
        self.desk = desk
        self.file = file
        self.ask = ask
        self._notebook = notebook
        self._leads: dict[str, Told] = {}
        self._ports: list[Told] = []
        self._keep(answers)

    @property
    def plan(self) -> Answers:
        """All answers, the missing ones as proposed."""
        return complete(self.answers, self.known)

    @property
    def to_mend(self) -> list[str]:
        """What was found that has to be mended before the tunnel can be."""
        found = [
            f"{site.name}: {told.what}: {told.text}"
            for site in self.plan.sites
            for told in self.desk.found.get(site.ssh, ())
            if told.wrong and (self.plan.source.OVER_HTTP or told.what != "port 80")
        ]
        found += [
            f"{site.name}: its {' and '.join(survey.connections)} of {STYLES[survey.style].configured_by} would end: "
            f"answer {survey.style} for config"
            for site, survey in ((site, self.known.surveys[site.ssh]) for site in self.plan.sites)
            if survey.style not in {"", site.config}
        ]
        names = [self._leads[site.fqdn] for site in self.plan.sites if site.fqdn in self._leads]
        return [*found, *(f"{told.what} {told.text}" for told in (*names, *self._ports) if told.wrong)]

    def run(self) -> None:
        """Ask from the first question to the last; what is answered already is passed over."""
        for number in range(max(_ENDS, len(self.answers.sites))):
            self.meet(number)
        self._keep(self.answers.having("prefix", self.plan.prefix))  # a random one must stay the same
        self._authority()
        self.desk.terminal.line()
        for number in range(len(self.answers.sites)):
            self.name(number)
        self.try_ports()
        self._account()

    def meet(self, number: int) -> None:
        """Have a site's SSH target, log in there and read the host; a host that cannot be read is asked for again."""
        if number >= len(self.answers.sites):
            self._keep(self.answers.having_site(number, SiteAnswers()))
        while True:
            site = self.answers.sites[number]
            if not site.ssh:
                which = _ORDINALS[number] if number < len(_ORDINALS) else "next"
                self.site(number, "ssh", question=f"The {which} host (user@host, as for `ssh`)")
                site = self.answers.sites[number]
            try:
                survey = self.desk.meet(site.ssh, self._ssh_config())
                self._refuse_a_twin(number, survey)
                self.known.surveys[site.ssh] = survey
            except RunbookError as error:
                if not self.desk.interactive:
                    raise
                error.again = "answer anew"
                self.desk.complain(str(error), error.advice)
                self._keep(self._with(number, ssh=""))
            else:
                self._keep(self._with(number, name=self.plan.sites[number].name))
                return

    def _refuse_a_twin(self, number: int, survey: Survey) -> None:
        """Raise UsageError for a host that is another site's already, by whatever name; known by its network cards."""
        for each in self.answers.sites[:number]:
            other = self.known.surveys.get(each.ssh)
            if other and any(survey.macs.values()) and (survey.macs, survey.own) == (other.macs, other.own):
                raise UsageError(
                    f"{self.answers.sites[number].ssh} is the host of {each.name}, under another name: it has the "
                    "same network cards and addresses",
                    hint="name the other host",
                )

    def name(self, number: int) -> None:
        """Have a site's name in DNS, and see where it leads."""
        site = self.answers.sites[number]
        survey = self.known.surveys[site.ssh]
        if not site.fqdn:
            for each in fqdns(site, survey, self.known):
                self._see(each, survey)
            self.site(number, "fqdn", next(iter(fqdns(site, survey, self.known)), ""))
        while True:
            fqdn = self.answers.sites[number].fqdn
            if fqdn not in self._leads:
                self._see(fqdn, survey)
            if not self._leads[fqdn].wrong or not self.ask:
                return
            match self._after_trouble("another name"):
                case "other":
                    others = [each for each in fqdns(site, survey, self.known) if each != fqdn]
                    self.site(number, "fqdn", next(iter(others), ""))
                case "on":
                    return
                case _:
                    del self._leads[fqdn]

    def _see(self, name: str, survey: Survey) -> None:
        """Look a name up, and say where it leads."""
        found = self.known.names[name] = self.desk.look_up(name)
        strange = not found or not (survey.own & set(found) or behind_nat(survey))
        self._leads[name] = Told(name, leads(found, survey), wrong=strange)
        self.desk.note(f"{name} {self._leads[name].text}", wrong=strange)

    def try_ports(self) -> None:
        """See that port 80 of each name leads to its host, where an authority is going to look there."""
        while self.plan.source.OVER_HTTP:
            self.desk.terminal.line()
            self._ports = self.desk.look_out({site.ssh: site.fqdn for site in self.answers.sites}, self.known)
            if not any(told.wrong for told in self._ports) or not self.ask:
                return
            if self._after_trouble("") == "on":
                return

    def add(self) -> None:
        """Have one more site."""
        self._look_at(len(self.answers.sites))

    def change(self, number: int, key: str) -> None:
        """Have one answer of a site's anew, and look again at what follows from it."""
        if key == "ssh":
            self._keep(self.answers.having_site(number, SiteAnswers()))
            self._look_at(number)
            return
        self.site(number, key, getattr(self.plan.sites[number], key))
        if key == "fqdn":
            self._leads.pop(self.answers.sites[number].fqdn, None)
            self.name(number)
            self.try_ports()

    def _look_at(self, number: int) -> None:
        self.meet(number)
        self.desk.terminal.line()
        self.name(number)
        self.try_ports()

    def site(self, number: int, key: str, proposal: str = "", question: str = "") -> None:
        """Have one answer of a site's: the proposal where nothing is asked, else what is typed."""
        name = self.answers.sites[number].name

        def put(text: str) -> Answers:
            return self._with(number, **{key: text})

        flag = f"--{key.replace('_', '-')} {name}=..." if name else f"--{key} NAME=TARGET"
        self._answer(put, key, (question or f"{name}: {key}", proposal), flag)

    def network(self, key: str, proposal: str = "") -> None:
        """Have one answer that is no site's."""

        def put(text: str) -> Answers:
            return self.answers.having(key, text)

        self._answer(put, key, (key, proposal), f"--{key.replace('_', '-')}")

    def _answer(self, put: Callable[[str], Answers], key: str, asked: tuple[str, str], flag: str) -> None:
        """Keep the proposal or what is typed; `asked` is the question with its proposal, `put` puts in an answer."""
        question, proposal = asked
        if not self.ask and proposal:
            self._keep(put(proposal))
            return
        if not self.desk.interactive:
            raise UsageError(f"there is no terminal to ask at, and no proposal for {flag}", hint=f"give {flag}")
        self.desk.terminal.line()
        if key in HELP:
            self.desk.say(HELP[key])
        while True:
            typed = self.desk.questions.text(f"{question}{f' [{proposal}]' if proposal else ''}:") or proposal
            wrong = problem(put(typed), self.file) if typed else "there is nothing to propose here: an answer is needed"
            if not wrong:
                self._keep(put(typed))
                return
            self.desk.complain(wrong)

    def change_network(self, key: str) -> None:
        """Have one answer anew that is no site's, and what goes with it."""
        if key in {"certificate_authority", "directory"}:
            for each in ("certificate_authority", "directory", "ca_bundle", "trust_anchors", "agree_to_terms"):
                self._keep(self.answers.having(each, ""))
            self._authority()
            self.try_ports()
            self._account()
        else:
            self.network(key, getattr(self.plan, key))

    def _authority(self) -> None:
        """Have where certificates come from."""
        if not self.answers.source.SECTION or self.answers.directory:
            return
        chosen = self._choose("Who is to issue the certificates?", AUTHORITIES) if self.ask else "letsencrypt"
        if chosen in certificate_sources.SOURCES:
            self._keep(self.answers.having("certificate_authority", chosen))
        elif chosen == "other":
            self.network("directory")
        else:
            self._keep(self.answers.having("directory", chosen))

    def _account(self) -> None:
        """Have what the authority wants to know, and what is to be known of it."""
        if not self.plan.source.SECTION:
            return
        if not self.answers.ca_bundle and self.answers.directory not in DIRECTORIES:
            self.network("ca_bundle", NONE)
        if not self.answers.trust_anchors and self.answers.directory != "letsencrypt":
            self.network("trust_anchors")
        if not self.answers.contact:
            self.network("contact")
        if not self.answers.agree_to_terms:
            self._terms()

    def _terms(self) -> None:
        if not self.desk.interactive:
            raise UsageError("the authority's terms of service are not agreed to", hint="give --agree-to-terms")
        self.desk.terminal.line()
        if self.answers.directory in DIRECTORIES:
            self.desk.say(f"Let's Encrypt's terms of service: {TERMS}")
        while not self.desk.questions.agree("Do you agree to the authority's terms of service?", default=False):
            self.desk.complain("it gives certificates only to those who agree; Ctrl-C stops here")
        self._keep(self.answers.having("agree_to_terms", "true"))

    def _choose(self, question: str, choices: Mapping[str, str]) -> str:
        self.desk.terminal.line()
        return self.desk.questions.choose(question, choices)

    def _after_trouble(self, other: str) -> str:
        choices = {"again": "look again", "other": other, "on": "go on, and mend it before `runbook apply`"}
        return self._choose("What now?", {key: text for key, text in choices.items() if text})

    def _with(self, number: int, **values: str) -> Answers:
        return self.answers.having_site(number, replace(self.answers.sites[number], **values))

    def _keep(self, answers: Answers) -> None:
        self.answers = answers
        self._notebook.write(answers)

    def _ssh_config(self) -> Path | None:
        text = self.answers.ssh_config
        return self.file.absolute().parent / text if text else None
