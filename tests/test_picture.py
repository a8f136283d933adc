"""A network drawn for a terminal: whatever its width, nothing is cut, nothing runs over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from screens import same

from steps.description.sites_yaml import load
from steps.tunnel.picture import picture

ARTICLE = load(Path(__file__).parent / "data" / "sites" / "article.yaml")


@pytest.mark.parametrize("width", [100, 80, 60, 36])
def test_the_articles_network(width: int, request: pytest.FixtureRequest) -> None:
    same(request, f"picture-{width}", "\n".join(picture(ARTICLE, width)))


def test_in_ascii(request: pytest.FixtureRequest) -> None:
    drawn = "\n".join(picture(ARTICLE, 80, unicode=False))
    assert drawn.isascii()
    same(request, "picture-ascii", drawn)


def test_three_sites(request: pytest.FixtureRequest) -> None:
    vps4 = ARTICLE.sites["vps4"]
    vps5 = replace(vps4, name="vps5", fqdn="vps5.johncook.co.uk", subnet_id=0x6C8D, lan_interface="eth1")
    link = ARTICLE.links[0]
    links = (link, replace(link, between=("home", "vps5")), replace(link, between=("vps4", "vps5"), initiator="vps4"))
    network = replace(ARTICLE, sites={**ARTICLE.sites, "vps5": vps5}, links=links)
    same(request, "picture-three", "\n".join(picture(network, 80)))


@pytest.mark.parametrize("width", range(36, 130))
@pytest.mark.parametrize("unicode", [True, False])
def test_it_fits_and_says_all(width: int, *, unicode: bool) -> None:
    drawn = picture(ARTICLE, width, unicode=unicode)
    assert max(map(len, drawn)) <= width
    said = "".join("".join(drawn).split())
    for each in ("vps4", "dynamic", "185.133.75.14", "2a06:8ec0:1:ec::2da9"):
        assert each in said
