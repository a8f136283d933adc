"""How much is tried: enough for every day by default, everything with --all."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from scratch import Scratch

from runbook.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from netns import Namespace

# No deadline: a busy machine is no failure.
settings.register_profile("daily", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("all", settings.get_profile("daily"), max_examples=2000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also what takes long: every crash point, many more examples")
    parser.addoption("--update-screens", action="store_true", help="take what is seen now for what is to be seen")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes; runs with --all")
    settings.load_profile("all" if config.getoption("--all") else "daily")


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    if not config.getoption("--all"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes: --all"))


@pytest.fixture(scope="module")
def directories() -> Iterator[Path]:
    memory = Path("/dev/shm")  # noqa: S108 - a disk may take its time over each fsync, for whatever else writes to it
    with TemporaryDirectory(prefix="laws ", dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def scratch() -> Iterator[Callable[[], Scratch]]:
    """Makes a scratch root anew, as often as asked."""
    memory = Path("/dev/shm")  # noqa: S108 - a disk may take its time over each fsync, for whatever else writes to it
    with TemporaryDirectory(prefix="laws ", dir=memory if memory.is_dir() else None) as directory:
        numbers = count()
        yield lambda: Scratch(Path(directory) / str(next(numbers)))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where `target` has its before-images."""
    return str(tmp_path_factory.mktemp("images"))


@pytest.fixture
def target(host: Namespace, images: str) -> Target:
    """The module's `host` as a target of which nothing has been read yet."""
    return Target(host, images)
