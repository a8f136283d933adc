"""What the documentation says to type can be typed, and where it leads to is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from typer.main import get_command

from runbook.cli import app
from steps.description.sites_yaml import load

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "README.md"])
COMMAND = re.compile(r"^(?: {4})?(runbook [a-z].*?)(?:\s+#.*)?$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_with_its_options_is_one(page: Path) -> None:
    command = get_command(app)
    for line in COMMAND.findall(page.read_text()):
        words = shlex.split(line)[1:]
        context = command.commands[words[0]].make_context(words[0], words[1:], resilient_parsing=True)
        assert not context.args, line
        for option in re.findall(r"--[a-z-]+", line):
            assert any(option in each.opts for each in command.commands[words[0]].params), line


@pytest.mark.parametrize(
    "name", re.findall(r"`((?:steps|runbook|tests)/[a-z_/]+\.py)`", "".join(p.read_text() for p in PAGES))
)
def test_every_file_that_is_named_is_there(name: str) -> None:
    assert (ROOT / name).is_file()


def test_what_the_how_to_has_one_write_into_sites_yaml_is_taken(tmp_path: Path) -> None:
    described = yaml.safe_load((ROOT / "steps/example.yaml").read_text())
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/how-to.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        added = yaml.safe_load(block)
        for name, site in added.pop("sites", {}).items():
            described["sites"].setdefault(name, {}).update(site)
        described |= added
        with (tmp_path / "sites.yaml").open("w") as file:
            yaml.safe_dump(described, file)
        assert load(tmp_path / "sites.yaml").links, block


def test_the_example_step_is_one(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/writing-a-step.md").read_text(), re.DOTALL)[1]
    space: dict[str, object] = {}
    imports = (
        "from typing import ClassVar\nfrom runbook.resources.file import File\nfrom runbook.step import Part\n"
        "from collections.abc import Mapping, Sequence\nfrom steps.section import Section\n"
    )
    exec(imports + code, space)  # noqa: S102 - our own page

    (tmp_path / "sites.yaml").write_text((ROOT / "steps/example.yaml").read_text())
    step = space["Greeting"](load(tmp_path / "sites.yaml"))
    (part,) = step.parts("home", {})
    assert part.content == b"This is home.johncook.co.uk.\n"
    assert step.purpose().startswith("Greet whoever logs in")


def test_help_is_there_for_every_command() -> None:
    for name in get_command(app).commands:
        assert CliRunner().invoke(get_command(app), [name, "--help"]).exit_code == 0
