"""What the README promises is there."""

import re
from pathlib import Path

from runbook.cli import app
from steps.description.sites_yaml import load
from steps.procedure import PROCEDURE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_example_is_the_articles_network_and_is_read(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)[1]
    assert example.strip() == (ROOT / "steps/example.yaml").read_text().strip()
    (tmp_path / "sites.yaml").write_text(example)
    network = load(tmp_path / "sites.yaml")
    assert [end.connection for end in network.ends(network.sites["home"])] == ["ula-net-vps4"]


def test_every_command_and_option_that_it_names_is_there() -> None:
    from typer.main import get_command  # noqa: PLC0415 - only here

    command = get_command(app)
    names = set(re.findall(r"(?:`|^    )runbook ([a-z]+)", README, re.MULTILINE))
    assert names <= set(command.commands), names - set(command.commands)
    options = {
        option
        for each in (command, *command.commands.values())
        for parameter in each.params
        for option in parameter.opts
    }
    named = set(re.findall(r"`[a-z ]*(--[a-z-]+)", README))
    assert named <= options | {"--all"}, named - options


def test_it_tells_as_many_steps_as_there_are() -> None:
    words = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
    ]
    assert f"a runbook of {words[len(PROCEDURE)]}\nsteps" in README


def test_its_two_commands_are_those_of_dev() -> None:
    dev = (ROOT / "dev").read_text()
    for command in re.findall(r"\./dev ([a-z]+)", README):
        assert re.search(rf"^(\w+ \| )?{command}( \| \w+)?\)$", dev, re.MULTILINE), command
