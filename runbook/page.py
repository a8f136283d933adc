"""A network on one page: state, topology, tunnels, certificates, audit, runs. It fetches nothing to be viewed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from math import cos, pi, sin
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, StrictUndefined

from runbook.status import is_in_order, standing
from runbook.step import CONTROLLER, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runbook.errors import RunbookError
    from runbook.events import Plan
    from runbook.step import Finding
    from runbook.timeline import Past
    from steps.network import Network
    from steps.tunnel.live import LiveLink

SOON: Final = 1 / 3
"""Of a certificate's life; with less left, it is marked."""
WIDTH: Final = 360
"""Of the picture, in its own units: about a phone's in CSS pixels, so that its letters are of a readable size there."""
PAIR: Final = 2
EPOCH: Final = datetime.fromtimestamp(0, UTC)

_MARKS: Final = {
    Verdict.IN_ORDER: ("✓", "good"),
    Verdict.ABSENT: ("+", "todo"),
    Verdict.DRIFT: ("~", "todo"),
    Verdict.LATER: ("…", "todo"),
}


@dataclass(frozen=True)
class CertificateNow:
    """A site's certificate, or what is wrong with it; `begins` and `ends` are what it says of its own life."""

    name: str
    problem: str
    issuer: str = ""
    begins: datetime = EPOCH
    ends: datetime = EPOCH

    def days(self, at: datetime) -> int:
        """Days left."""
        return (self.ends - at).days

    def share(self, at: datetime) -> float:
        """Of its life, what is left."""
        return (self.ends - at) / (self.ends - self.begins)


@dataclass(frozen=True)
class Page:
    """What the page tells."""

    network: Network
    file: Path
    """The `sites.yaml` that the commands on the page name."""
    made: datetime
    plans: Sequence[Plan]
    failures: Mapping[str, RunbookError]
    links: Sequence[LiveLink]
    certificates: Sequence[CertificateNow]
    runs: Sequence[Past]

    def html(self) -> str:
        """The page; every value is escaped in it."""
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.filters.update(when=_when, size=_size)
        text = files("runbook").joinpath("pages/report.html").read_text(encoding="utf-8")
        return environment.from_string(text).render(
            page=self,
            title=" and ".join(self.network.sites) if self._is_pair else f"{len(self.network.sites)} sites",
            soon=SOON,
            picture=self._picture(),
            hosts=[self._host(name) for name in (*self.network.sites, CONTROLLER)],
            next=[each for each in standing(self.plans) if each.next],
            open=self._open(),
            all_up=all(link.up for link in self.links),
        )

    @property
    def _is_pair(self) -> bool:
        return len(self.network.sites) == PAIR

    def _open(self) -> int:
        """How many things are not in order."""
        found = [each for plan in self.plans for parts in plan.findings.values() for each in parts]
        return sum(each.verdict is not Verdict.IN_ORDER for each in found)

    def _host(self, name: str) -> dict[str, Any]:
        """One host's audit, step by step."""
        plans = [plan for plan in self.plans if name in plan.findings]
        advised: list[Mapping[str, str]] = []
        steps = [_step(plan, name, advised) for plan in plans]
        done = sum(step["done"] for step in steps)
        return {"name": name, "error": self.failures.get(name), "steps": steps, "done": done, "of": len(steps)}

    def _picture(self) -> dict[str, Any]:
        """Where the sites and the lines between them are drawn: two below each other, more of them on an ellipse."""
        sites = list(self.network.sites.values())
        if self._is_pair:
            height = 330.0
            places = [(WIDTH / 2, 58.0), (WIDTH / 2, height - 58.0)]
        else:
            height = max(WIDTH, 90.0 * len(sites))
            turns = [2 * pi * at / len(sites) - pi / 2 for at in range(len(sites))]
            places = [(WIDTH / 2 + 112 * cos(turn), height / 2 + (height / 2 - 40) * sin(turn)) for turn in turns]
        at = {site.name: (round(x, 1), round(y, 1)) for site, (x, y) in zip(sites, places, strict=True)}
        lines = [(*(at[name] for name in link.link.between), link) for link in self.links]
        return {"width": WIDTH, "height": height, "pair": self._is_pair, "at": at, "sites": sites, "lines": lines}


def _step(plan: Plan, host: str, advised: list[Mapping[str, str]]) -> dict[str, Any]:
    """One step's audit; `advised` is what has been said by now of how to mend something, and is not said again."""
    return {
        "name": plan.step.name,
        "title": plan.step.title,
        "done": is_in_order(plan, host),
        "waits": plan.blocked.get(host, ""),
        "parts": [_part(each, advised) for each in plan.findings.get(host, ())],
    }


def _part(finding: Finding, advised: list[Mapping[str, str]]) -> dict[str, Any]:
    mark, kind = _MARKS.get(finding.verdict, ("?", "bad"))
    change = finding.change
    advice = finding.error.advice if finding.error else {}
    new = {} if advice in advised else advice
    advised.append(advice)
    return {
        "mark": mark,
        "kind": kind,
        "verdict": finding.verdict.value,
        "what": change.summary if change else finding.key,
        "note": finding.note,
        "diff": change.diff if change else "",
        "advice": new,
    }


def _when(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _size(count: int) -> str:
    """A number of bytes, to three figures."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:  # noqa: PLR2004 - SI's step
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"
