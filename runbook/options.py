"""The options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Option("--file", "-f", metavar="FILE", readable=False, help="The network's description.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to every step.")]
Json = Annotated[bool, typer.Option("--json", help="Report as JSON on standard output.")]
