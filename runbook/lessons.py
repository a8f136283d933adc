"""What `runbook explain` teaches, on the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from runbook.errors import SITES
from runbook.terminal import Terminal
from steps.description.sites_yaml import SECTIONS, load
from steps.tunnel.tunnel_lesson import example, lesson

if TYPE_CHECKING:
    from pathlib import Path

    from runbook.step import Step


def explain_step(step: type[Step]) -> None:
    """A step, by its docstring."""
    _tell(step.title, step.explain())


def explain_tunnel(file: Path) -> None:
    """What a tunnel is, by the network that `file` describes; by the README's where there is no file yet.

    Raises UsageError for a file that was asked for and is not there, or that cannot be followed.
    """
    borrowed = file == SITES and not file.exists()
    network = example() if borrowed else load(file)
    terminal = _terminal()
    text = lesson(network, width=min(terminal.width, 100), unicode=terminal.unicode)
    note = f"There is no {file} here, so this is about the network of the README.\n\n" if borrowed else ""
    _tell(f"The tunnel between {' and '.join(network.links[0].between)}", note + text)


def explain_file() -> None:
    """Every key of `sites.yaml`."""
    terminal = _terminal()
    _tell("The keys of sites.yaml", "Those with a * must be there; `[]` is an item of a list.")
    for title, where, keys in SECTIONS:
        terminal.line()
        terminal.line(terminal.paint(title, "bold"))
        for name, meaning in {**keys.required, **keys.optional}.items():
            terminal.line(f"  {where}{name}{' *' if name in keys.required else ''}")
            terminal.prose(meaning, indent=6)


def _terminal() -> Terminal:
    return Terminal(sys.stdout, lambda text: text)


def _tell(title: str, text: str) -> None:
    terminal = _terminal()
    terminal.line(terminal.paint(title, "bold"))
    terminal.line("=" * len(title))
    terminal.line()
    terminal.prose(text)
