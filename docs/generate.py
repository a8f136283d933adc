"""Writes the reference and the manual pages out of the code: `./dev docs`.

What is said of a command stands beside it in `runbook.cli`, of a key of sites.yaml beside its reader, of an exit code
in `runbook.errors`, of JSON in its schema, of a file of ours in `places`. A test fails where the pages are behind.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import places
import typer
from typer.core import TyperGroup
from typer.main import get_command

from checkpoints import journal
from logs import runlog
from runbook import __version__, images
from runbook.cli import app
from runbook.errors import EXIT_CODES
from runbook.terminal import PLAIN
from steps.description.sites_yaml import SECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from typer import Context

ROOT: Final = Path(__file__).parent.parent
SCHEMAS: Final = {
    "audit, apply, resume, renew, rollback, status, log": ROOT / "runbook/document.schema.json",
    "rehearse": ROOT / "lab/rehearsal.schema.json",
}
ENVIRONMENT: Final = {
    PLAIN: "Set to anything: only lines, one below the other, as by `--plain`; for a screen reader.",
    "NO_COLOR": "Set to anything: no colours.",
    "SSH_AUTH_SOCK": "The agent whose keys are used for logins, as by `ssh`.",
}
_DATE: Final = "2026-11-24"
"""That of the manual pages, which must not change by themselves: of the last change to how they are made."""


@dataclass(frozen=True)
class Chapter:
    """A piece of a page: paragraphs, then terms with their meaning; `example` is text that is kept as it is."""

    title: str
    text: Sequence[str] = ()
    terms: Sequence[tuple[str, str]] = ()
    example: str = ""
    chapters: Sequence[Chapter] = ()


def commands() -> Iterator[Chapter]:
    """Each command with its options, as its own `--help` says."""
    yield from _commands(typer.Context(get_command(app), info_name="runbook"))


def _commands(context: Context) -> Iterator[Chapter]:
    yield _command(context)
    if isinstance(context.command, TyperGroup):
        for name, command in context.command.commands.items():
            yield from _commands(typer.Context(command, context, name))


def _command(context: Context) -> Chapter:
    found = [_parameter(each, context) for each in context.command.get_params(context) if each.name != "help"]
    return Chapter(f"`{context.command_path}`", [inspect.cleandoc(context.command.help or "")], found)


def _parameter(parameter: Any, context: Context) -> tuple[str, str]:  # noqa: ANN401 - whichever library's Typer uses
    """An option, or an argument, with what it is; the words are ours, the library's own are about its types."""
    term, _ = parameter.get_help_record(context)
    if parameter.param_type_name == "argument":
        term = parameter.metavar if parameter.required else f"[{parameter.metavar}]"
    told = parameter.default and not isinstance(parameter.default, bool)
    default = f" (default: `{parameter.default}`)" if told else ""
    return f"`{term}`", f"{parameter.help.rstrip('.')}{default}."


def keys() -> Iterator[Chapter]:
    """Each key of sites.yaml; what must be there is marked."""
    for title, where, found in SECTIONS:
        named = {**found.required, **found.optional}
        terms = [(f"`{where}{name}`{' *' * (name in found.required)}", meaning) for name, meaning in named.items()]
        yield Chapter(title, terms=terms)


def fields(
    schema: Mapping[str, Any], where: str = "", root: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, str]]:
    """Each field of a JSON document, with what it is."""
    root = root or schema
    if "anyOf" in schema:
        schema = next(each for each in schema["anyOf"] if "$ref" in each)
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    for name, each in schema.get("properties", {}).items():
        path = f"{where}.{name}" if where else name
        yield f"`{path}`", _meaning(each)
        yield from fields(each, path, root)
    if "items" in schema:
        yield from fields(schema["items"], f"{where}[]", root)


def _meaning(field: Mapping[str, Any]) -> str:
    values = field.get("enum") or ([field["const"]] if "const" in field else [])
    said = f" One of: {', '.join(f'`{each}`' for each in values)}." if values else ""
    kind = field.get("type", "")
    return f"{field.get('description', '')}{said}{f' ({kind})' * bool(kind)}".strip()


def documents() -> Iterator[Chapter]:
    """The JSON of each command that has `--json`."""
    for who, path in SCHEMAS.items():
        schema = json.loads(path.read_text())
        where = f"The schema is `{path.relative_to(ROOT)}`. {schema['description']}"
        yield Chapter(f"{schema['title']} ({who})", [where], list(fields(schema)))


def files() -> Iterator[Chapter]:
    """The files on this machine, and on the hosts."""
    yield Chapter("On the controller", ["Relative to where `sites.yaml` lies."], _terms(places.CONTROLLER))
    yield Chapter("On a host", ["Each only where it is needed."], _terms({**places.HOST, **places.saved_rules()}))


def exit_codes() -> Chapter:
    """What a command ends with."""
    return Chapter("Exit codes", terms=_terms({str(code): meaning for code, meaning in EXIT_CODES.items()}))


def _terms(meanings: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(f"`{term}`", meaning) for term, meaning in meanings.items()]


def _formats() -> Iterator[Chapter]:
    """The files that others may want to read, as the modules that write them tell."""
    for title, module in (("Checkpoints", journal), ("Before-images", images), ("Logs", runlog)):
        yield Chapter(title, [inspect.cleandoc(module.__doc__ or "")])


def reference() -> str:
    """The page with all of it."""
    marked = [
        "What is marked with a * must be there; `[]` is an item of a list. `runbook explain sites.yaml` has the same."
    ]
    chapters = (
        Chapter("Commands", chapters=list(commands())),
        exit_codes(),
        Chapter("Environment", terms=_terms(ENVIRONMENT)),
        Chapter("sites.yaml", marked, chapters=list(keys())),
        Chapter("JSON", chapters=list(documents())),
        Chapter("Files", chapters=list(files())),
        Chapter("Formats", chapters=list(_formats())),
    )
    head = "# Reference\n\n<!-- written by `./dev docs` out of the code: change it there -->\n"
    return head + "".join(_markdown(each, 2) for each in chapters)


def _markdown(chapter: Chapter, level: int) -> str:
    parts = [f"\n{'#' * level} {chapter.title}\n", *(f"\n{each}\n" for each in chapter.text)]
    if chapter.terms:
        rows = "".join(f"| {_cell(term)} | {_cell(meaning)} |\n" for term, meaning in chapter.terms)
        parts.append(f"\n| | |\n|---|---|\n{rows}")
    return "".join([*parts, *(_markdown(each, level + 1) for each in chapter.chapters)])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def command_page() -> str:
    """runbook(1)."""
    group, *others = commands()
    return _manual(
        ("runbook", 1, "join the private IPv6 networks of hosts by a tunnel"),
        Chapter("Synopsis", ["`runbook` [options] command [options]"]),
        Chapter(
            "Description",
            [
                (
                    "The private IPv6 networks of two or more Debian hosts are joined by an encrypted tunnel: "
                    "strongSwan IKEv2 in tunnel mode, with certificates. The network is described in `sites.yaml`, by "
                    "hand or by `runbook init`. Each step of the procedure says what a host should look like, shows "
                    "what it would change, changes it over SSH, proves it, and can take it back."
                ),
            ],
        ),
        Chapter("Options", terms=group.terms),
        Chapter("Commands", chapters=others),
        Chapter("Environment", terms=_terms(ENVIRONMENT)),
        Chapter("Files", ["On the controller, relative to where `sites.yaml` lies:"], _terms(places.CONTROLLER)),
        Chapter("", ["On a host:"], _terms({**places.HOST, **places.saved_rules()})),
        Chapter("Exit status", terms=exit_codes().terms),
        Chapter("Examples", example="runbook init\nrunbook audit\nrunbook apply\n"),
        Chapter("See also", ["`sites.yaml`(5), `swanctl`(8), `ipsec.conf`(5), `ssh_config`(5)"]),
    )


def file_page() -> str:
    """sites.yaml(5)."""
    example = (ROOT / "steps/example.yaml").read_text()
    return _manual(
        ("sites.yaml", 5, "the networks that runbook joins"),
        Chapter(
            "Description",
            [
                (
                    "One file in YAML says all that `runbook`(1) needs to know. Everything else is derived from it: "
                    "each end's traffic selectors mirror the other's, and are never typed twice. Values are taken as "
                    "they are typed. Anchors, aliases and tags are refused."
                ),
                "What is marked with a * must be there; `[]` is an item of a list.",
            ],
        ),
        *keys(),
        Chapter("Examples", example=example),
        Chapter("See also", ["`runbook`(1)"]),
    )


def _manual(name: tuple[str, int, str], *chapters: Chapter) -> str:
    title, section, what = name
    head = [
        '.\\" written by "./dev docs" out of the code: change it there',
        f'.TH {title.upper()} {section} {_DATE} "ipsec-runbook {__version__}"',
        ".SH NAME",
        f"{_roff(title)} \\- {_roff(what)}",
    ]
    return "\n".join([*head, *(line for each in chapters for line in _man(each, "SH"))]) + "\n"


def _man(chapter: Chapter, macro: str) -> Iterator[str]:
    if chapter.title:
        title = chapter.title.strip("`")
        yield f".{macro} {_roff(title.upper() if macro == 'SH' else title)}"
    for number, paragraph in enumerate(chapter.text):
        if number or not chapter.title:
            yield ".PP"
        yield from _lines(paragraph)
    for term, meaning in chapter.terms:
        yield from (".TP", *_lines(term), *_lines(meaning))
    if chapter.example:
        yield ".nf"
        yield from (_roff(line) or ".sp" for line in chapter.example.splitlines())
        yield ".fi"
    for each in chapter.chapters:
        yield from _man(each, "SS")


def _roff(text: str) -> str:
    """Put a text in roff's words; what is between backticks is bold (groff_char(7), man(7))."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("^", "\\(ha").replace("~", "\\(ti")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _lines(text: str) -> Iterator[str]:
    """A paragraph or a term; lines are short, and none is a request, whatever it begins with."""
    kept = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    for line in wrap(kept, 60, break_long_words=False, break_on_hyphens=False):
        yield _roff(line.replace("\N{NO-BREAK SPACE}", " "))


def pages() -> dict[Path, str]:
    """What each page should be, by its path."""
    return {
        ROOT / "docs/reference.md": reference(),
        ROOT / "docs/man/runbook.1": command_page(),
        ROOT / "docs/man/sites.yaml.5": file_page(),
    }


def main() -> None:
    """Write the pages; with `--check`, say which are behind the code."""
    if "--check" in sys.argv:
        behind = [str(path) for path, text in pages().items() if not path.is_file() or path.read_text() != text]
        sys.exit(f"behind the code: {', '.join(behind)}; run ./dev docs" if behind else 0)
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
