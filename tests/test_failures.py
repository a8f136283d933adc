"""Failures of scripts, packages and runs: each is caused, and told with its cause and the commands that help."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scratch import Scratch, Witness, carry_out, run, step
from test_executor_parts import Made
from told import told_as

from checkpoints import Journal
from logs import Redactor, RunLog
from runbook import catalogue, complaints
from runbook.errors import RunbookError, StepError, UsageError
from runbook.events import Applying
from runbook.executor import Choice, StoppedError
from runbook.images import Image
from runbook.local import LocalHost
from runbook.resources.file import File
from runbook.resources.package import Packages
from runbook.script import quote
from runbook.session import Session
from runbook.step import Told, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runbook.errors import Entry
    from runbook.events import Plan
    from runbook.step import Part

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a mount needs root")


@pytest.fixture
def host(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path)


def failure(host: Scratch, part: Part, witness: Witness | None = None) -> RunbookError:
    """What a run of a step with this part fails with."""
    executor = carry_out([step("a", {host.name: [part]})], [host], host.images_at.parent, witness)
    return executor.failures[host.name]


SHELL = {
    "an error of its own": ("echo it is jammed >&2; exit 3", complaints.SCRIPT_FAILED),
    "a full disk": ("echo x | tee /dev/full", complaints.DISK_FULL),
    "no effect": (":", catalogue.STILL_OTHERWISE),
    "what root may not do": ("echo x >/proc/sys/kernel/ostype", complaints.DENIED),
    "a file system that is read-only": (
        "unshare --mount sh -c 'mount -t tmpfs -o ro tmpfs /mnt && echo x >/mnt/x'",
        complaints.READ_ONLY,
    ),
}


@needs_root
@pytest.mark.parametrize("case", SHELL)
def test_what_a_script_fails_of(host: Scratch, case: str) -> None:
    shell, entry = SHELL[case]
    error = failure(host, Made(host.root / "it", shell))
    told = told_as(error, entry)
    assert told["error"].startswith("here: made it")


def test_a_script_that_does_not_end() -> None:
    with pytest.raises(StepError) as error:
        LocalHost().run("sleep 60", purpose="try", timeout=0.2)
    assert "within 0.2 s" in told_as(error, catalogue.TIMED_OUT)["error"]


def test_what_is_in_no_known_state_is_left_alone(host: Scratch) -> None:
    told = told_as(failure(host, Told("the door", Verdict.UNKNOWN, "it is locked: open it")), catalogue.LEFT_ALONE)
    assert told["error"] == "here: the door: it is locked: open it"
    assert told["look"] == "runbook explain a"


def test_a_host_that_never_stands_still(host: Scratch) -> None:
    path = host.root / "it"

    def edit(_: Plan) -> Choice:
        with path.open("a") as file:
            file.write("edited\n")
        return Choice.APPLY

    told_as(failure(host, File(str(path), b"ours"), Witness(answer=edit)), catalogue.PLAN_CHANGED)


def test_a_run_that_is_stopped(host: Scratch) -> None:
    with pytest.raises(StoppedError) as error:
        failure(host, Made(host.root / "it", ":"), Witness(answer=lambda _: Choice.STOP))
    assert told_as(error, catalogue.STOPPED)["hint"] == "runbook resume"


def test_a_before_image_that_is_gone(host: Scratch, tmp_path: Path) -> None:
    executor = run([step("a", {host.name: []})], [host], tmp_path)
    executor.rollback("a", {host.name: [Image("20260101T000000-a", "a", ())]})
    told_as(executor.failures[host.name], catalogue.NO_IMAGE)


def test_what_cannot_be_put_back(host: Scratch) -> None:
    path = host.root / "it"
    path.write_text("before")
    ours = step("a", {host.name: [File(str(path), b"ours", owner=f"{path.owner()}:{path.group()}")]})
    host.apply(ours, "1")
    (kept,) = host.images_at.glob("1/kept.*")
    kept.unlink()
    with pytest.raises(StepError) as error:
        host.rollback(ours)
    told_as(error, catalogue.NOT_PUT_BACK)


def test_what_was_edited_after_it_was_shown(host: Scratch) -> None:
    """It was shown as ours; once the later application is undone, it is seen to be another's."""
    path = host.root / "it"
    owner = f"{host.root.owner()}:{host.root.group()}"
    steps = [step("a", {host.name: [File(str(path), text, owner=owner)]}) for text in (b"first", b"second")]
    host.apply(steps[0], "1")
    shown = host.images()
    path.write_text("edited")
    host.apply(steps[1], "2")
    executor = run(steps[:1], [host], host.images_at.parent)
    executor.rollback("a", {host.name: [*host.images()[:1], *shown]})
    told = told_as(executor.failures[host.name], catalogue.CHANGED_UNSEEN)
    assert told["look"] == "runbook rollback --step a"
    assert path.read_text() == "edited"


def test_a_place_where_no_log_can_be_kept(tmp_path: Path) -> None:
    example = Path(__file__).parent / "data/sites/article.yaml"
    shutil.copy(example, tmp_path / "sites.yaml")
    (tmp_path / ".runbook").write_text("a file")
    with pytest.raises(UsageError) as error:
        Session(tmp_path / "sites.yaml", "audit", yes=True, json=True)
    told_as(error, catalogue.NO_LOG_PLACE)


def test_checkpoints_that_cannot_be_read(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "data/sites/article.yaml", tmp_path / "sites.yaml")
    (tmp_path / ".runbook" / "checkpoints" / "journal.jsonl").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"no checkpoints can be kept in .*: Is a directory") as error:
        Session(tmp_path / "sites.yaml", "audit", yes=True, json=True)
    told_as(error, catalogue.NO_LOG_PLACE)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for a few lines."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(b"x" * 512)


@needs_root
def test_a_disk_that_is_full_here_stops_the_step_before_anything_is_changed(host: Scratch, small: Path) -> None:
    journal = Journal(small / "journal.jsonl")
    steps = [step(name, {host.name: [File(str(host.root / name), b"ours")]}) for name in "ab"]
    carry_out(steps[:1], [host], journal)
    kept = journal.path.read_bytes()
    # the next line begins on this page, which is there, and ends on one for which there is no room
    journal.path.write_bytes(kept + b"\n" * (4096 - len(kept) - 40))
    before = journal.path.read_bytes()
    fill(small)
    witness = Witness()
    executor = carry_out(steps, [host], journal, witness)
    assert not [each for each in witness.events if isinstance(each, Applying)]
    told_as(executor.failures[host.name], catalogue.NO_LOG_PLACE)
    assert "No space left on device" in str(executor.failures[host.name])
    assert set(host.tree()) == {"a"}
    assert journal.path.read_bytes() == before, "half a line is none"
    (small / "filler").unlink()
    journal.path.write_bytes(kept)
    host.target.readings.clear()
    again = Journal(journal.path)
    assert not carry_out(steps, [host], again).failures
    assert set(host.tree()) == {"a", "b"}


@needs_root
def test_a_log_that_cannot_be_written_any_more_is_said_once(small: Path) -> None:
    said: list[str] = []
    log = RunLog(small / "run.jsonl", Redactor(), said.append)
    fill(small)
    for _ in range(40):
        log.write("script", text="x" * 1000)
    log.close()
    assert said == ["the log cannot be written any more: No space left on device"]


# --- packages: the real apt, in a place of its own --------------------------------------------------------------------


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of an apt that knows of nothing: no source, no package."""
    root = tmp_path / "apt"
    for name in ("etc/apt/sources.list.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
        (root / name).mkdir(parents=True)
    (root / "var/lib/dpkg/updates").mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "apt.conf").write_text(
        f'Dir "{root}/";\nDir::State::status "{root}/var/lib/dpkg/status";\nDir::Etc "{root}/etc/apt/";\n'
        f'Dpkg::Options {{ "--admindir={root}/var/lib/dpkg"; }};\nAcquire::Retries "0";\n'
        f'APT::Sandbox::User "root";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(root / "apt.conf"))
    return root


def install(host: Scratch) -> RunbookError:
    return failure(host, Packages(("runbook-no-such-package",)))


def source(apt: Path, line: str) -> None:
    (apt / "etc/apt/sources.list").write_text(f"{line}\n")


@needs_root
def test_a_package_that_no_source_has(host: Scratch, apt: Path) -> None:
    source(apt, "")
    told = told_as(install(host), complaints.PACKAGE_UNKNOWN)
    assert "apt-cache policy runbook-no-such-package;" in told["look"]


BROKEN: dict[str, tuple[str, Entry]] = {
    "a mirror whose name leads nowhere": ("deb http://nowhere.invalid/ x main", complaints.APT_UNREACHABLE),
    "a repository without a Release file": ("deb file:{apt} x main", complaints.APT_BROKEN),
    "a line that is none": ("deb what is this", complaints.APT_BROKEN),
}


@needs_root
@pytest.mark.parametrize("case", BROKEN)
def test_a_source_that_is_of_no_use(host: Scratch, apt: Path, case: str) -> None:
    line, entry = BROKEN[case]
    source(apt, line.format(apt=apt))
    told_as(install(host), entry)


@needs_root
def test_another_program_at_work_on_packages(host: Scratch, apt: Path) -> None:
    source(apt, f"deb file:{apt} x main")
    holder = subprocess.Popen(
        ["python3", "-c", HOLD, str(apt / "var/lib/apt/lists/lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        told = told_as(install(host), complaints.APT_LOCKED)
        holder.communicate()
    assert "Could not get lock" in told["error"]


HOLD = """\
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@needs_root
def test_an_installation_that_was_cut_off(host: Scratch, apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where finishing it does not help either."""
    monkeypatch.setattr("runbook.resources.package.CONFIGURE", "echo 'E: dpkg was interrupted' >&2; false")
    (apt / "var/lib/dpkg/updates/0000").write_text("Package: half\n")
    told_as(install(host), complaints.DPKG_INTERRUPTED)


def test_quoting_survives(host: Scratch) -> None:
    """A message with braces of its own is told as it stands."""
    error = failure(host, Made(host.root / "it", f"echo {quote('{again} ${x}')} >&2; exit 1"))
    assert "{again} ${x}" in str(error)
