"""Whatever happens in the middle of a run, one command goes on to its end, and one goes back."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from faults import STEPS
from product import RUNBOOK
from survival import Ordeal, apply_until_the_power_fails

from lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.lab

SEED = int(os.environ.get("RUNBOOK_TEST_SEED") or datetime.now(UTC).toordinal())
"""Another sample each day; a failure names its own."""
INSTANTS = 6
KILLED_ROLLBACKS = 2
MANY = 50


@pytest.fixture(scope="module")
def ordeal() -> Iterator[Ordeal]:
    trial = Ordeal(Lab(f"survive-runs-{os.getpid()}"))
    yield trial
    trial.lab.down()


@pytest.fixture(autouse=True)
def _seed_is_told() -> None:
    print(f"RUNBOOK_TEST_SEED={SEED}")  # noqa: T201 - shown with a failure


def killed_at(ordeal: Ordeal, points: list[tuple[str, str, str, str]], instants: Sequence[float] = ()) -> None:
    """Kill one run after another beside these checkpoints, each resuming what the one before it left.

    Between them, kill runs so many seconds after their start.
    """
    waiting = list(instants)
    for point in points:
        run = ordeal.run("resume", fault={"kill": point})
        assert run.code == -signal.SIGKILL, f"at {point}: {run.out}{run.err}"
        if waiting:
            assert killed_after(ordeal, ("resume",), waiting.pop()) == -signal.SIGKILL
    print(f"killed beside {len(points)} checkpoints and at {len(instants)} instants")  # noqa: T201 - how much was tried
    ordeal.resume()
    ordeal.is_after()


def killed_after(ordeal: Ordeal, command: tuple[str, ...], seconds: float) -> int:
    """Start a command and kill it after so long, wherever it is; its exit code where it was quicker."""
    argv = [*RUNBOOK, *command, "--file", ordeal.product.sites, "--yes"]
    process = ordeal.lab.admin_popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    return process.wait()


def test_killed_beside_a_checkpoint_of_each_step(ordeal: Ordeal) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a sample, no secret
    ordeal.start()
    by_step = [[point for point in ordeal.points if point[0] == step] for step in STEPS]
    points = [(*chance.choice(mine), chance.choice(["before", "after"])) for mine in by_step if mine]
    killed_at(ordeal, points, [chance.uniform(0, 4) for _ in range(INSTANTS)])
    killed = 0
    while killed < KILLED_ROLLBACKS and killed_after(ordeal, ("rollback", "--all"), chance.uniform(1, ordeal.seconds)):
        killed += 1
    print(f"killed at {killed} instants of a rollback")  # noqa: T201 - how much was tried
    ordeal.goes_back()


@pytest.mark.slow
def test_a_line_cut_at_every_exec(ordeal: Ordeal, request: pytest.FixtureRequest) -> None:
    """The first two execs of a run find out what there is, the third and fourth change it: so each run goes a little
    further, cut where no script has arrived yet, where one runs to its end unheard, or where the line was dead before.
    """
    ordeal.start()
    chance = random.Random(SEED)  # noqa: S311 - a sample, no secret
    ways = ["sent", "begun"]
    everything = request.config.getoption("--all")
    later = [(nth, when) for _ in STEPS for nth in (3, 4) for when in (ways if everything else [chance.choice(ways)])]
    turns = [(1, "sent"), (2, "begun"), *later]
    cuts = 0
    for number, (nth, when) in enumerate(turns):
        other = [3, "before"] if number % 4 == 3 else [nth, when]
        run = ordeal.run("resume", fault={"cut": {"home": [nth, when], "vps4": other}})
        assert "Traceback" not in run.out + run.err
        assert run.code in {0, 1, 5}, run.out + run.err
        if run.code == 0:
            break
        cuts += 2
    print(f"cut {cuts} lines")  # noqa: T201 - how much was tried
    ordeal.resume()
    ordeal.is_after()
    ordeal.goes_back()


@pytest.mark.slow
def test_power_cut_while_packages_are_installed(ordeal: Ordeal) -> None:
    ordeal.start()
    code, out = apply_until_the_power_fails(ordeal.lab, ordeal.product.sites)
    assert code == 5, out
    assert "FAILED nginx on home: the line dropped" in out
    ordeal.resume()
    ordeal.is_after()
    ordeal.goes_back()


@pytest.mark.slow
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("site", ["home", "vps4"])
def test_killed_beside_every_checkpoint(ordeal: Ordeal, site: str, side: str) -> None:
    ordeal.start()
    killed_at(ordeal, [(*point, side) for point in ordeal.points if point[1] in {site, "controller"}])
    ordeal.goes_back()


@pytest.mark.slow
def test_killed_at_any_instant_it_goes_on(ordeal: Ordeal) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a sample, no secret
    killed = 0
    while killed < MANY:
        ordeal.start()
        for _ in range(INSTANTS):
            code = killed_after(ordeal, ("resume",), chance.uniform(0, 2 * ordeal.seconds / INSTANTS + 3))
            assert code in {0, -signal.SIGKILL}
            killed += code != 0
        ordeal.resume()
        ordeal.is_after()
        ordeal.goes_back()
    print(f"killed at {killed} instants")  # noqa: T201 - how much was tried


@pytest.mark.slow
def test_killed_at_any_instant_it_goes_back(ordeal: Ordeal) -> None:
    chance = random.Random(SEED + 1)  # noqa: S311 - same
    killed = 0
    while killed < MANY:
        ordeal.start()
        code = killed_after(ordeal, ("apply",), chance.uniform(0, ordeal.seconds))
        killed += code != 0
        while killed_after(ordeal, ("rollback", "--all"), chance.uniform(1, ordeal.seconds / 2)):
            killed += 1
        ordeal.is_before()
    print(f"killed at {killed} instants")  # noqa: T201 - how much was tried
