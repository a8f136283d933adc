"""The page holds what it is given, for any network, and nothing in it is taken for markup."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import escape
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
from ula_network import ends

from runbook.errors import StepError, UnreachableError
from runbook.events import Plan
from runbook.page import CertificateNow, Page
from runbook.step import Change, Finding, Step, Verdict
from steps import catalogue
from steps.network import Link
from steps.tunnel.live import LiveEnd, LiveLink

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.step import Part
    from steps.network import Network

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOSTILE = "<script>alert('\"&')</script>"


class Nothing(Step):
    """Nothing."""

    name: ClassVar[str] = "nothing"
    title: ClassVar[str] = HOSTILE

    def targets(self) -> Sequence[str]:
        return ("s0", "s1")

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002
        return ()


def mesh(number: int) -> Network:
    """So many sites, each linked to each other."""
    home = ends()[0].here
    names = [f"s{at}" for at in range(number)]
    sites = {name: replace(home, name=name, fqdn=f"{name}.example.org") for name in names}
    links = tuple(Link(pair, pair[0]) for pair in combinations(names, 2))
    return replace(ends()[0].network, sites=sites, links=links)


def page(network: Network, **changes: object) -> str:
    up = [LiveLink(link, tuple(LiveEnd(site, ike="I", esp="E") for site in link.between)) for link in network.links]
    made = Page(network, Path("sites.yaml"), NOW, [], {}, up, [], [])
    return replace(made, **changes).html()


@pytest.mark.parametrize("number", [2, 3, 5, 8])
def test_every_site_and_every_link_is_in_the_picture(number: int) -> None:
    network = mesh(number)
    picture = re.search(r"<svg.*?</svg>", page(network), re.DOTALL)[0]
    assert picture.count("<line") == len(network.links)
    assert re.findall(r'class="name">([^<]+)<', picture) == list(network.sites)
    assert picture.count("up</text>") == len(network.links)


@pytest.mark.parametrize("number", [3, 4, 6])
def test_no_site_hides_another(number: int) -> None:
    picture = re.search(r"<svg.*?</svg>", page(mesh(number)), re.DOTALL)[0]
    boxes = [
        tuple(map(float, box))
        for box in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" rx', picture)
    ]
    assert len(boxes) == number
    for (x, y, width, height), (other_x, other_y, *_) in combinations(boxes, 2):
        assert abs(x - other_x) >= width or abs(y - other_y) >= height
    assert all(x >= 0 and x + width <= 360 for x, _, width, _ in boxes)


def test_what_a_host_said_is_text_never_markup() -> None:
    change = Change(HOSTILE, diff=f"+ {HOSTILE}")
    plan = Plan(Nothing(), {"s0": [Finding(HOSTILE, Verdict.DRIFT, HOSTILE, change)]}, {"s1": HOSTILE}, 1, 1)
    text = page(mesh(2), plans=[plan], failures={"s1": UnreachableError(HOSTILE, hint=HOSTILE)})
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 7


def test_the_state_is_the_worst_that_was_found() -> None:
    network = mesh(2)
    link = network.links[0]
    down = [LiveLink(link, (LiveEnd("s0", "the tunnel is down"), LiveEnd("s1")))]
    todo = [Plan(Nothing(), {"s0": [Finding("a", Verdict.ABSENT, change=Change("make it"))]}, {}, 1, 1)]
    assert "every tunnel is up" in page(network)
    assert "not every tunnel is up" in page(network, links=down)
    assert "1 thing not in order" in page(network, links=down, plans=todo)
    failed = {"s1": UnreachableError("s1 does not answer")}
    assert "Not every host could be read" in page(network, links=down, plans=todo, failures=failed)


def test_a_certificate_near_its_end_is_marked() -> None:
    begins, ends_ = NOW - timedelta(days=70), NOW + timedelta(days=20, hours=1)
    near = CertificateNow("a.example.org", "", "CA", begins, ends_)
    far = replace(near, begins=NOW - timedelta(days=1))
    assert '<p class="todo">~ 20 days left' in page(mesh(2), certificates=[near])
    assert '<p class="good">✓ 20 days left' in page(mesh(2), certificates=[far])


def test_what_helps_is_said_once_where_something_cannot_be_told() -> None:
    why = StepError(catalogue.NGINX_REFUSES)
    found = [Finding(name, Verdict.UNKNOWN, str(why), error=why) for name in ("a site", "a daemon")]
    text = page(mesh(2), plans=[Plan(Nothing(), {"s0": found}, {}, 1, 1)])
    assert text.count(f"<dt>to look</dt><dd>{escape(why.look)}</dd>") == 1
    assert text.count(f"<dd>{escape(why.likely)}</dd>") == 1
