"""The commands: parse, call, render."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook import __version__, streams
from runbook.completion import site_names, step_names, topics
from runbook.errors import SITES, RunbookError, UsageError
from runbook.lab_commands import lab_app, rehearse
from runbook.options import File, Json, Yes
from runbook.terminal import PLAIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook.step import Step

app = typer.Typer(
    name="runbook",
    help="Join the private IPv6 networks of your hosts by an encrypted tunnel, step by step.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: quick, and the same when piped
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line; every error a user can meet ends in one clear sentence and its exit code."""
    # whoever needs it may write it anywhere
    arguments = sorted(sys.argv[1:], key=lambda each: each != "--plain")
    streams.open_what_is_closed()
    try:
        app(arguments)
    except RunbookError as error:
        error.again = error.again or shlex.join(["runbook", *sys.argv[1:]])
        typer.echo(error.redact(f"runbook: {error}"), err=True)
        for label, text in error.advice.items():
            typer.echo(error.redact(f"{label}: {text}"), err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # what stood behind standard output, or this machine's disk
        streams.leave(error)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"runbook {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[  # noqa: ARG001 - its callback answers
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help=f"Only lines, one below the other: for a screen reader; or set {PLAIN}.")
    ] = False,
) -> None:
    if plain:
        os.environ[PLAIN] = "1"


def _of_site(what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(metavar="NAME=VALUE", help=what)
    return option


@app.command()
def init(  # noqa: PLR0913, PLR0917 - each is an answer of the interview
    file: File = SITES,
    ssh: Annotated[
        list[str] | None, typer.Option(metavar="[NAME=]TARGET", help="A site's SSH target; once a site.")
    ] = None,
    fqdn: Annotated[list[str] | None, _of_site("Its name in DNS.")] = None,
    address: Annotated[list[str] | None, _of_site("Its outer addresses, commas between; or `dynamic`.")] = None,
    interface: Annotated[list[str] | None, _of_site("The interface for its link address.")] = None,
    subnet: Annotated[list[str] | None, _of_site("Its subnet id, hexadecimal.")] = None,
    lan_interface: Annotated[list[str] | None, _of_site("The interface of its LAN; or `none`.")] = None,
    lan_host: Annotated[list[str] | None, _of_site("An SSH target on its LAN; or `none`.")] = None,
    config: Annotated[
        list[str] | None, _of_site("How its strongSwan is configured; `runbook explain sites.yaml` has the ways.")
    ] = None,
    prefix: Annotated[
        str, typer.Option(metavar="PREFIX", help="Your private /48; a random one where it is not given.")
    ] = "",
    link_subnet: Annotated[str, typer.Option(metavar="ID", help="The subnet id of the link network.")] = "",
    certificate_authority: Annotated[
        str,
        typer.Option(metavar="WHICH", help="Where certificates come from; `runbook explain sites.yaml` has the ways."),
    ] = "",
    directory: Annotated[
        str, typer.Option(metavar="URL", help="letsencrypt, letsencrypt-staging, or an ACME directory's URL.")
    ] = "",
    ca_bundle: Annotated[
        str, typer.Option(metavar="FILE", help="The CAs that its HTTPS is trusted by; or `none`.")
    ] = "",
    trust_anchors: Annotated[
        str, typer.Option(metavar="FILES", help="The roots of its certificates, commas between; or `none`.")
    ] = "",
    keys: Annotated[
        str,
        typer.Option(metavar="WHERE", help="Where the private keys are; `runbook explain sites.yaml` has the ways."),
    ] = "",
    contact: Annotated[str, typer.Option(metavar="ADDRESS", help="Your e-mail address, for the authority.")] = "",
    agree_to_terms: Annotated[bool, typer.Option("--agree-to-terms", help="Agree to the authority's terms.")] = False,
    ssh_config: Annotated[
        str, typer.Option(metavar="FILE", help="Read in place of ~/.ssh/config; relative to the file.")
    ] = "",
    encapsulation: Annotated[
        str, typer.Option(metavar="WHEN", help="auto, or always: ESP inside UDP even where no NAT is seen.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take every proposal.")] = False,
) -> None:
    """Describe your network, and write sites.yaml. Logs in to its hosts, reads them, and proposes everything else."""
    given = {name: value for name, value in locals().items() if value and name not in {"file", "yes"}}
    from runbook.init import init as interview

    sites = {name: value for name, value in given.items() if isinstance(value, list)}
    others = {name: "true" if value is True else value for name, value in given.items() if name not in sites}
    interview(file, sites, others, yes=yes)


@app.command()
def audit(
    file: File = SITES,
    json: Json = False,
    step: Annotated[
        str, typer.Option("--step", autocompletion=step_names, metavar="STEP", help="Report this step alone.")
    ] = "",
    site: Annotated[
        str, typer.Option("--site", autocompletion=site_names, metavar="SITE", help="Look at this site alone.")
    ] = "",
    probe: Annotated[bool, typer.Option("--probe", help="Then use what is in order: HTTP requests, pings.")] = False,
) -> None:
    """Compare every step with the hosts, and change nothing. Exit 0: in order; 3: changes to make; 5: unreachable."""
    from runbook import auditing
    from runbook.session import Session
    from runbook.step import CONTROLLER

    if step:
        _step(step)
    with Session(file, "audit", yes=True, json=json) as session:
        if site:
            session.limit_to(site, CONTROLLER)
        plans = auditing.look(session, step=step, probe=probe)
        if not json:
            for plan in plans:
                session.narrator.plan(plan, advise=True)
        if probe:
            session.executor.probe()
        session.tell_left_behind()
        code = auditing.conclude(session, plans, json=json)
    raise typer.Exit(code)


Upgrade = Annotated[bool, typer.Option("--upgrade", help="Upgrade the hosts' packages, too, without asking.")]
Reboot = Annotated[bool, typer.Option("--reboot", help="Reboot hosts that need it, without asking.")]


@app.command()
def apply(
    file: File = SITES, yes: Yes = False, json: Json = False, upgrade: Upgrade = False, reboot: Reboot = False
) -> None:
    """Bring every step in order, asking before each change. Goes on where an earlier run stopped."""
    raise typer.Exit(_apply("apply", file, yes=yes, json=json, wanted={"--upgrade": upgrade, "--reboot": reboot}))


@app.command()
def resume(
    file: File = SITES, yes: Yes = False, json: Json = False, upgrade: Upgrade = False, reboot: Reboot = False
) -> None:
    """Go on with what an earlier run left unfinished. Says what that is, and verifies what it did."""
    raise typer.Exit(_apply("resume", file, yes=yes, json=json, wanted={"--upgrade": upgrade, "--reboot": reboot}))


def _apply(command: str, file: Path, *, yes: bool, json: bool, wanted: Mapping[str, bool]) -> int:
    from runbook.carrying import carry_out
    from runbook.session import Session, refuse_without_answer

    refuse_without_answer(yes=yes, json=json)
    flags = [flag for flag, given in wanted.items() if given]
    with Session(file, command, yes=yes, json=json, wanted=flags) as session:
        if command == "resume":
            session.tell_unfinished()
        code = carry_out(session, json=json)
        session.tell_left_behind()
        return code


@app.command()
def renew(  # noqa: PLR0913, PLR0917 - each is an option of the command
    file: File = SITES,
    yes: Yes = False,
    json: Json = False,
    site: Annotated[str, typer.Option(metavar="SITE", autocompletion=site_names, help="Renew this one's alone.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Renew at once what is not due, too.")] = False,
    install_timer: Annotated[bool, typer.Option("--install-timer", help="Have systemd do it twice a day.")] = False,
    remove_timer: Annotated[bool, typer.Option("--remove-timer", help="Have systemd do it no more.")] = False,
) -> None:
    """Renew the certificates that are due. The tunnels go on by them without an interruption."""
    from runbook import renewing

    if not (install_timer or remove_timer):
        raise typer.Exit(renewing.renew(file, only=site, yes=yes, json=json, force=force))
    if force or json or site or (install_timer and remove_timer):
        raise UsageError("that cannot be combined", hint="give --install-timer or --remove-timer alone")
    raise typer.Exit(renewing.timer(file, wanted=install_timer, yes=yes))


@app.command()
def rollback(  # noqa: PLR0913, PLR0917 - each is an option of the command
    file: File = SITES,
    yes: Yes = False,
    json: Json = False,
    step: Annotated[
        str, typer.Option("--step", autocompletion=step_names, metavar="STEP", help="Undo this step alone.")
    ] = "",
    to: Annotated[
        str, typer.Option("--to", autocompletion=step_names, metavar="STEP", help="Undo every step after this one.")
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Undo every step.")] = False,
    site: Annotated[
        str, typer.Option("--site", autocompletion=site_names, metavar="SITE", help="On this site's host alone.")
    ] = "",
) -> None:
    """Undo what steps changed, the last first. Shows first what; asks about what others changed since."""
    from runbook.carrying import take_back
    from runbook.session import Session, refuse_without_answer
    from steps.procedure import PROCEDURE

    if sum(map(bool, (step, to, everything))) != 1:
        raise UsageError("say what to undo", hint="give one of --step STEP, --to STEP, --all")
    refuse_without_answer(yes=yes, json=json)
    names = [section.name for section in PROCEDURE]
    if step or to:
        at = names.index(_step(step or to).name)
        names = names[at + 1 :] if to else [step]
    with Session(file, "rollback", yes=yes, json=json) as session:
        if site:
            session.limit_to(site)
        code = take_back(session, names, yes=yes, json=json)
    raise typer.Exit(code)


@app.command()
def status(file: File = SITES, json: Json = False) -> None:
    """Say where each target stands, and what comes next."""
    from runbook import auditing
    from runbook.session import Session
    from runbook.status import failed, room, standing
    from steps.renewing.renewal import standings

    with Session(file, "status", yes=True, json=json) as session:
        session.tell_unfinished()
        plans = auditing.look(session)
        hosts = (*failed(session.executor.failures), *standing(plans))
        for each in (*hosts, *standings(session.network), *room(session.executor.kept())):
            session.terminal.line(str(each))
        code = auditing.conclude(session, plans, json=json)
    raise typer.Exit(code)


@app.command()
def report(
    file: File = SITES,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; report.html beside FILE.")
    ] = None,
) -> None:
    """Write one page for a browser that says it all. Audits, and looks at the tunnels. Exits as audit does."""
    from runbook import auditing
    from runbook import report as pages
    from runbook.session import Session

    to = output or file.absolute().parent / "report.html"
    with Session(file, "report", yes=True, json=False) as session:
        plans = auditing.look(session)
        pages.write(pages.report(session, plans, file), to)
        session.terminal.line(f"written: {to}")
        code = auditing.exit_code(session, plans)
    raise typer.Exit(code)


@app.command()
def unlock(file: File = SITES, yes: Yes = False) -> None:
    """Free hosts that another run holds, after saying who holds them. Do it only when that run is over."""
    from runbook.carrying import failure_code
    from runbook.session import Session, refuse_without_answer
    from runbook.unlock import unlock as free

    refuse_without_answer(yes=yes, json=False)
    with Session(file, "unlock", yes=yes, json=False) as session:
        session.executor.connect()
        free(session, yes=yes)
        code = failure_code(session.executor)
    raise typer.Exit(code)


@app.command()
def forget(
    file: File = SITES,
    yes: Yes = False,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="DAYS", help="Only what was applied so long ago; 0: all.")
    ] = "365",
) -> None:
    """Forget how hosts were before what was applied long ago. Says what first: it cannot be rolled back then."""
    from runbook.carrying import failure_code
    from runbook.forget import days_of
    from runbook.forget import forget as free
    from runbook.lock import Owner
    from runbook.session import Session, refuse_without_answer

    days = days_of(older_than)
    refuse_without_answer(yes=yes, json=False)
    with Session(file, "forget", yes=yes, json=False) as session:
        session.finish_step_on_interrupt(session.again)
        session.executor.connect(Owner.this_process())
        free(session, days, yes=yes)
        code = failure_code(session.executor)
    raise typer.Exit(code)


@app.command()
def log(
    command: Annotated[
        str, typer.Argument(metavar="COMMAND", help="The last run of this command, such as `apply`.")
    ] = "",
    file: File = SITES,
    json: Json = False,
) -> None:
    """Read the last run's log back. It says what was run where, with what result."""
    from runbook.logview import as_json, in_words, last_log

    path = last_log(file, command)
    typer.echo(as_json(path) if json else "\n".join(in_words(path)))


@app.command()
def steps() -> None:
    """List the steps of the procedure, in order."""
    from steps.procedure import PROCEDURE

    for number, section in enumerate(PROCEDURE, 1):
        typer.echo(f"{number:2}  {section.name:15} {section.title}")


@app.command()
def explain(
    topic: Annotated[
        str,
        typer.Argument(
            metavar="TOPIC",
            autocompletion=topics,
            help="A step, as `runbook steps` lists it; `tunnel`; or `sites.yaml`.",
        ),
    ],
    file: File = SITES,
) -> None:
    """Explain a step, your tunnel, or all keys. Of a step: why, its commands, how to check it, what can go wrong."""
    from runbook.lessons import explain_file, explain_step, explain_tunnel

    if topic == "tunnel":
        explain_tunnel(file)
    elif topic == "sites.yaml":
        explain_file()
    else:
        explain_step(_step(topic))


app.command()(rehearse)
app.add_typer(lab_app, name="lab")


def _step(name: str) -> type[Step]:
    from steps.procedure import PROCEDURE

    found = next((section for section in PROCEDURE if section.name == name), None)
    if found is None:
        names = ", ".join(section.name for section in PROCEDURE)
        raise UsageError(f"there is no step {name!r}", hint=f"the steps are: {names}")
    return found
