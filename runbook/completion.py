"""What the shell offers after Tab (`runbook --install-completion`): quick, and silent where something is wrong."""

from __future__ import annotations

import re
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer  # noqa: TC002 - typer reads the annotations

from runbook.errors import SITES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TUNNEL: Final = ("tunnel", "IKE SA, CHILD SA, tunnel mode, traffic selectors")
_FILE: Final = ("sites.yaml", "every key of the network's description")
_IMPORTED: Final = re.compile(r"^from steps\.(\w+) import (\w+)$", re.MULTILINE)
_LISTED: Final = re.compile(r"^    (\w+),$", re.MULTILINE)
_NAMED: Final = re.compile(r'^    name: ClassVar\[str\] = "(.*)"\n    title: ClassVar\[str\] = "(.*)"$', re.MULTILINE)


def step_names(incomplete: str) -> list[tuple[str, str]]:
    """The steps."""
    return _beginning(incomplete, _steps())


def topics(incomplete: str) -> list[tuple[str, str]]:
    """What can be explained."""
    return _beginning(incomplete, [*_steps(), _TUNNEL, _FILE])


def site_names(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The sites of the description that the command line names; none where it cannot be read."""
    found: list[tuple[str, str]] = []
    with suppress(Exception):  # whatever is wrong with it, a command will say; Tab is no place to
        found = list(_sites(Path(ctx.params.get("file") or SITES).expanduser()))
    return _beginning(incomplete, found)


def _beginning(incomplete: str, words: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(word, about) for word, about in words if word.startswith(incomplete)]


def _steps() -> Iterator[tuple[str, str]]:
    """Each step's name and title, in order: read from the source, since to import them loads all that a run needs."""
    procedure = (files("steps") / "procedure.py").read_text(encoding="utf-8")
    modules = {name: module for module, name in _IMPORTED.findall(procedure)}
    for name in _LISTED.findall(procedure):
        source = (files("steps") / f"{modules[name]}.py").read_text(encoding="utf-8")
        yield from _NAMED.findall(source[source.index(f"class {name}(") :])[:1]


def _sites(file: Path) -> Iterator[tuple[str, str]]:
    import yaml  # noqa: PLC0415 - most completions need none

    for name, site in yaml.safe_load(file.read_text(encoding="utf-8"))["sites"].items():
        yield str(name), str(site.get("fqdn", ""))
