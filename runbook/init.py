"""`runbook init`: from two SSH targets to a `sites.yaml`, by questions, by flags, or by both."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from runbook.desk import Desk
from runbook.errors import UsageError
from runbook.executor import StoppedError
from runbook.interview import Interview
from runbook.notebook import Notebook
from runbook.review import Review
from runbook.whole import write_whole
from steps.interview.answers import Answers, SiteAnswers
from steps.interview.yaml_text import problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

WELCOME: Final = (
    "This reads your hosts, changes nothing on them, and writes {file}, the description of your private network."
)
HOW_TO_ANSWER: Final = (
    "Enter takes what stands in brackets. Ctrl-C stops; the same command goes on from there, with all answers kept."
)
_NOT_WRITTEN: Final = "free some room there, or see to whose it is; your answers are kept"
_PROPOSED: Final = ("fqdn", "address", "interface", "subnet")
"""What is proposed for each site, and must be given where nobody can agree to it."""


def init(file: Path, sites: Mapping[str, Sequence[str]], others: Mapping[str, str], *, yes: bool) -> None:
    """Write `file` after the interview.

    Args:
        file: Where the description is to be.
        sites: The flags that are about a site, by the answer's name: `NAME=VALUE` each; of `ssh`, `TARGET` will do.
        others: The other flags that were given, by the answer's name.
        yes: Take every proposal, ask only for what there is none for.

    Raises:
        UsageError: A flag is wrong, or answers are missing and there is no terminal to ask at.
        StoppedError: The user has stopped; what was answered is kept.
    """
    interactive = sys.stdin.isatty()
    data = file.parent / ".runbook"
    with Desk(data, sys.stdout, interactive=interactive) as desk:
        notebook = Notebook(data)
        kept = _kept(notebook, desk, file)
        answers = with_flags(kept, sites, others, file)
        if not interactive:
            _refuse_what_is_missing(answers, yes=yes)
        ask = interactive and not yes
        try:
            desk.say(WELCOME.format(file=file))
            if ask:
                desk.say(HOW_TO_ANSWER)
            if kept.sites:
                desk.say(f"Your answers from before are taken up again; to begin anew, remove {notebook.path}.")
            if file.exists() and not yes:
                _ask_to_replace(desk, file)
            interview = Interview(desk, notebook, answers, file, ask=ask)
            interview.run()
            review = Review(interview)
            text = review.wanted()
        except KeyboardInterrupt:
            text = ""
        if not text:
            raise StoppedError("stopped; your answers are kept", hint=_command("init", file))
        _write(desk, file, text)
        _tell_what_comes_next(desk, file, review.to_mend)


def with_flags(kept: Answers, sites: Mapping[str, Sequence[str]], others: Mapping[str, str], file: Path) -> Answers:
    """The answers with those given by flag in their places; raises UsageError for a flag that makes no sense."""
    answers = kept
    if targets := sites.get("ssh"):
        answers = replace(answers, sites=())
        for text in targets:
            name, _, target = text.rpartition("=")
            site = _same_host(kept, name, target) or SiteAnswers(name=name, ssh=target)
            answers = _checked(replace(answers, sites=(*answers.sites, site)), "ssh", text, file)
    for key, texts in sites.items():
        for text in texts if key != "ssh" else ():
            answers = _checked(_with_site_flag(answers, key, text), key, text, file)
    for key, text in others.items():
        answers = _checked(answers.having(key, text), key, text, file)
    return answers


def _same_host(kept: Answers, name: str, target: str) -> SiteAnswers | None:
    """What is known already of the host that a flag names."""
    return next((site for site in kept.sites if site.ssh == target and name in {"", site.name}), None)


def _with_site_flag(answers: Answers, key: str, text: str) -> Answers:
    name, found, value = text.partition("=")
    names = [site.name for site in answers.sites if site.name]
    if not (found and value):
        raise UsageError(
            f"{_flag(key)} {text} is not NAME=VALUE", hint=f"such as {_flag(key)} {(*names, 'home')[0]}=..."
        )
    if name not in names:
        hint = f"the sites are: {', '.join(names)}" if names else "name the sites: --ssh NAME=TARGET for each"
        raise UsageError(f"{_flag(key)} {text}: there is no site {name!r}", hint=hint)
    at = [site.name for site in answers.sites].index(name)
    return answers.having_site(at, replace(answers.sites[at], **{key: value}))


def _checked(answers: Answers, key: str, text: str, file: Path) -> Answers:
    if wrong := problem(answers, file):
        raise UsageError(f"{_flag(key)} {text}: {wrong}")
    return answers


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _kept(notebook: Notebook, desk: Desk, file: Path) -> Answers:
    """The answers of an earlier interview, as long as they make sense."""
    answers = notebook.read()
    if wrong := problem(answers, file):
        desk.complain(f"the answers kept in {notebook.path} do not fit any more, and are not used: {wrong}")
        return Answers()
    return answers


def _refuse_what_is_missing(answers: Answers, *, yes: bool) -> None:
    """Raise UsageError with the flags that are needed where there is nobody to ask."""
    missing = {0: ["--ssh NAME=TARGET for each of two sites"], 1: ["--ssh NAME=TARGET for another site"]}.get(
        len(answers.sites), []
    )
    if not yes:
        for site in answers.sites:
            missing += [f"{_flag(key)} {site.name or 'NAME'}=..." for key in _PROPOSED if not getattr(site, key)]
    wanted = [] if yes else ["prefix", "link_subnet", *(["directory"] if answers.source.SECTION else [])]
    if answers.source.SECTION:
        wanted += [] if answers.directory in {"", "letsencrypt"} else ["trust_anchors"]
        wanted += ["contact", "agree_to_terms"]
    missing += [_flag(key) for key in wanted if not getattr(answers, key)]
    if missing:
        raise UsageError(
            f"there is no terminal to ask at, and these are missing: {', '.join(missing)}",
            hint="give them" if yes else "give them, or --yes for those that can be proposed",
        )


def _ask_to_replace(desk: Desk, file: Path) -> None:
    if not desk.interactive:
        raise UsageError(f"{file} is there already", hint="give --yes to replace it; a copy of it is kept")
    if not desk.questions.agree(f"{file} is there already. Make it anew, and keep a copy of it?", default=False):
        raise StoppedError(f"{file} stays as it is", hint=f"to see what it says: {_command('audit', file)}")


def _write(desk: Desk, file: Path, text: str) -> None:
    """Write the file, whole or not at all; one that is there and says something else is kept under another name."""
    if file.exists():
        if file.read_text(encoding="utf-8", errors="surrogateescape") == text:
            desk.say(f"{file} says so already.")
            return
        copy = _free(file)
        try:
            shutil.copy2(file, copy)
        except OSError as error:
            raise UsageError(f"{copy} cannot be written: {error.strerror}", hint=_NOT_WRITTEN) from error
        desk.say(f"The {file.name} that was there is now {copy}.")
    write_whole(file, text, mode=0o666, hint=_NOT_WRITTEN)
    desk.say(f"{file} is written.")


def _free(file: Path) -> Path:
    number = 1
    while (copy := file.with_name(f"{file.name}.{number}")).exists():
        number += 1
    return copy


def _tell_what_comes_next(desk: Desk, file: Path, to_mend: Sequence[str]) -> None:
    if to_mend:
        desk.say("Mend what is marked with ! above, or the steps that need it will fail.")
    desk.say("Next, see what would be changed on the hosts, and have it changed:")
    for command in ("audit", "apply"):
        desk.terminal.line(f"  {desk.terminal.paint(_command(command, file), 'bold')}")


def _command(name: str, file: Path) -> str:
    """How to call a command for this file."""
    return f"runbook {name}" if str(file) == "sites.yaml" else f"runbook {name} --file {file}"
