"""What was measured, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass
class Row:
    """One job at one distance: seconds of each run of the product and of the floor, which took turns.

    `rtt` is in milliseconds. `limit` is the ratio that we promise; None where nothing is promised. `channels` and
    `logins` are the product's, by host; `turns` are how often it and the floor waited for the host that needed most.
    """

    job: str
    rtt: int
    limit: float | None
    product: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    channels: Mapping[str, int] = field(default_factory=dict)
    logins: Mapping[str, int] = field(default_factory=dict)
    turns: tuple[int, int] | None = None
    authority: list[float] = field(default_factory=list)
    """Of each of the product's runs, the seconds in which it waited for the certificate authority."""

    @property
    def ratio(self) -> float:
        """The product's median by the floor's, without the wait for the authority, which the floor does not ask."""
        waits = self.authority or [0.0] * len(self.product)
        return median(whole - wait for whole, wait in zip(self.product, waits, strict=True)) / median(self.floor)

    @property
    def kept(self) -> bool:
        """Whether the promise is kept."""
        return self.limit is None or self.ratio <= self.limit

    def cells(self) -> list[str]:
        """The row's cells in the table."""
        turns = f"{self.turns[0]} / {self.turns[1]}" if self.turns else ""
        return [
            self.job,
            f"{self.rtt} ms",
            f"{median(self.product):.2f} ({min(self.product):.2f}-{max(self.product):.2f})",
            f"{median(self.authority):.2f}" if any(self.authority) else "",
            f"{median(self.floor):.2f} ({min(self.floor):.2f}-{max(self.floor):.2f})",
            str(len(self.product)),
            f"{self.ratio:.2f}",
            "" if self.limit is None else f"{self.limit:g}: {'yes' if self.kept else 'NO'}",
            ", ".join(f"{host} {count}" for host, count in self.channels.items() if count),
            ", ".join(f"{host} {count}" for host, count in self.logins.items() if count),
            turns,
        ]


HEAD = (
    "job",
    "round trip",
    "product, s",
    "of it the authority, s",
    "floor, s",
    "runs",
    "ratio",
    "promised",
    "channels",
    "log-ins",
    "turns",
)


def machine() -> dict[str, str]:
    """What it was measured on; `load` is the load average over the last minute."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} CPUs, {memory:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def as_table(rows: Sequence[Row], begun: Mapping[str, str], ended: Mapping[str, str]) -> str:
    """The table in Markdown, under a line that says when and where it was measured."""
    lines = [HEAD, ("---",) * len(HEAD), *(row.cells() for row in rows)]
    where = (
        f"{begun['date']}, {begun['machine']}, Linux {begun['kernel']}, Python {begun['python']}, "
        f"load average {begun['load']} at the beginning and {ended['load']} at the end"
    )
    return "\n".join([where, "", *(f"| {' | '.join(cells)} |" for cells in lines)])


def write_json(path: Path, rows: Sequence[Row], begun: Mapping[str, str], ended: Mapping[str, str]) -> None:
    """Write all of it, each single run too."""
    found = [{**asdict(row), "ratio": round(row.ratio, 3), "kept": row.kept} for row in rows]
    path.write_text(json.dumps({"version": 1, "begun": begun, "ended": ended, "rows": found}, indent=2) + "\n")
