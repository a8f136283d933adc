"""The commands of the lab: parse, call."""

from __future__ import annotations

from typing import Annotated

import typer

from runbook.errors import UsageError
from runbook.options import Json

lab_app = typer.Typer(
    help="Throwaway hosts on this machine, to rehearse on.", no_args_is_help=True, rich_markup_mode=None
)
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="Which lab; several can exist at a time.")]
Release = Annotated[
    list[str] | None,
    typer.Option(
        "--release", metavar="HOST=RELEASE", help="A host's Debian, such as home=bookworm; may be given again."
    ),
]


def rehearse(  # noqa: PLR0913, PLR0917 - each is an option of the command
    name: Name = "rehearsal",
    release: Release = None,
    ask: Annotated[bool, typer.Option("--ask", help="Ask before each step, as apply does.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to every step; so it is unless --ask.")] = False,
    json: Json = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the hosts up afterwards.")] = False,
) -> None:
    """Run the whole procedure on throwaway hosts here. Watches the wire between them. Needs root."""
    from runbook.rehearsal import run_rehearsal

    if ask and (yes or json):
        raise UsageError(f"--ask cannot be combined with {'--yes' if yes else '--json'}", hint="give one of the two")
    raise typer.Exit(run_rehearsal(name, _releases(release), ask=ask, json=json, keep=keep))


@lab_app.command("up")
def lab_up(name: Name = "rehearsal", release: Release = None) -> None:
    """Boot the hosts, fresh where there were none."""
    from runbook.rehearsal import lab_up

    lab_up(name, _releases(release))


@lab_app.command("down")
def lab_down(name: Name = "rehearsal") -> None:
    """Remove every trace of a lab; the images that it is made from stay."""
    from runbook.rehearsal import lab_down

    lab_down(name)


@lab_app.command("status")
def lab_status(name: Name = "rehearsal") -> None:
    """Say which hosts are up and how to log in."""
    from runbook.rehearsal import lab_status

    lab_status(name)


def _releases(given: list[str] | None) -> dict[str, str]:
    pairs = [each.partition("=") for each in given or []]
    wrong = [each for each, pair in zip(given or [], pairs, strict=True) if not (pair[0] and pair[2])]
    if wrong:
        raise UsageError(f"--release {wrong[0]} is not HOST=RELEASE", hint="such as --release home=bookworm")
    return {host: release for host, _, release in pairs}
