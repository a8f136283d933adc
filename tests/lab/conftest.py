from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lab import Lab

pytest.register_assert_rewrite("laws")

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """One lab for all these tests; one that is up already can be lent by its name, and then stays."""
    lent = os.environ.get("RUNBOOK_TEST_LAB")
    shared = Lab(lent or f"test-{os.getpid()}")
    shared.up(print)
    yield shared
    if not lent:
        shared.down()
