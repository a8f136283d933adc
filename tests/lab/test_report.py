"""The report of real hosts, before and after, with a tunnel cut, seen in a real browser."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from browser import measured, picture_of
from product import Product

from lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"report-{os.getpid()}")
    lab.down()
    lab.up(print)
    yield Product(lab)
    lab.down()


def report(product: Product, to: Path) -> tuple[int, str]:
    done = product.run("report", "--output", str(to))
    return done.code, to.read_text() if to.exists() else done.err


@pytest.fixture(scope="module")
def before(product: Product, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str]:
    return report(product, tmp_path_factory.mktemp("before") / "report.html")


@pytest.fixture(scope="module")
def page(product: Product, before: tuple[int, str], tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001 - after it
    assert product.apply().code == 0
    path = tmp_path_factory.mktemp("after") / "report.html"
    assert report(product, path)[0] == 0
    return path


def test_before_anything_is_done_it_says_what_to_do(before: tuple[int, str]) -> None:
    code, text = before
    assert code == 3
    assert re.search(r"\d+ things not in order", text)
    assert "tunnel down" in text
    assert "charon does not answer" in text
    assert "none yet" in text
    assert "runbook apply --file" in text


def test_afterwards_it_says_what_runs(page: Path) -> None:
    text = page.read_text()
    assert "Everything is in order, every tunnel is up" in text
    assert text.count("up, as planned") == 2
    assert text.count("AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384") == 2
    assert len(re.findall(r"\d+ days left", text)) >= 2
    assert re.search(r"<strong>apply</strong>.*?\d+ changes", text, re.DOTALL)
    assert "audit --probe" in text


def test_it_is_for_its_owner_alone_and_fetches_nothing(page: Path, product: Product) -> None:
    text = page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600
    assert not re.search(r"""(src|href)=|url\(|@import|<script|<link|<iframe""", text)
    keys = list((product.lab.directory / ".runbook" / "keys").glob("*.key"))
    assert keys
    for key in keys:
        for line in key.read_text().splitlines()[1:-1]:
            assert line not in text


@pytest.mark.parametrize("width", [1200, 390])
def test_a_browser_shows_it_without_scrolling_sideways(page: Path, width: int) -> None:
    shown = measured(page, width)
    assert shown["inner"] == width
    assert shown["content"] <= width
    assert shown["errors"] == []


def test_a_browser_shows_it_light_and_dark(page: Path) -> None:
    light, dark = picture_of(page, 1200, dark=False), picture_of(page, 1200, dark=True)
    assert light.getpixel((5, 5)) > 200
    assert dark.getpixel((5, 5)) < 80
    for picture in (light, dark):
        lowest, highest = picture.getextrema()
        assert highest - lowest > 150, "nothing can be read on it"


def test_a_tunnel_that_is_cut_is_seen_from_both_ends(product: Product, page: Path, tmp_path: Path) -> None:
    assert page.exists()
    product.lab.root("vps4", "systemctl stop strongswan.service")
    try:
        code, text = report(product, tmp_path / "report.html")
    finally:
        product.lab.root("vps4", "systemctl start strongswan.service")
    assert code == 3
    assert "tunnel down" in text
    assert "charon does not answer" in text
    assert "up, as planned" not in text


def test_a_host_that_does_not_answer_is_said_and_the_page_is_written(
    product: Product, page: Path, tmp_path: Path
) -> None:
    assert page.exists()
    product.lab.root("vps4", "systemctl stop ssh.socket ssh.service; pkill -x sshd", check=False)
    try:
        code, text = report(product, tmp_path / "report.html")
    finally:
        product.lab.root("vps4", "systemctl start ssh.service")
    assert code == 5
    assert "Not every host could be read" in text
    assert "the host could not be reached" in text


def test_a_place_that_cannot_be_written_is_told_in_a_sentence(product: Product) -> None:
    done = product.run("report", "--output", "/proc/report.html")
    assert done.code == 2
    assert "/proc/report.html cannot be written" in done.err
    assert "Traceback" not in done.err
