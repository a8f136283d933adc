"""A host that is in sites.yaml no more, and on which what was applied is still there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scratch import Scratch, carry_out, run, step

from runbook.resources.file import File

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runbook.step import Step


def writes(hosts: Sequence[Scratch]) -> list[Step]:
    return [step("a", {host.name: [File(str(host.root / "a"), b"ours")] for host in hosts})]


def test_it_is_known_by_the_checkpoints_until_it_is_taken_back(tmp_path: Path) -> None:
    one, two = hosts = [Scratch(tmp_path, name) for name in ("one", "two")]
    untouched = Scratch(tmp_path, "three")
    (untouched.root / "a").write_bytes(b"ours")
    carry_out(writes([*hosts, untouched]), [*hosts, untouched], tmp_path)
    assert run(writes(hosts), hosts, tmp_path).left_behind() == []

    present = run(writes([one]), [one], tmp_path)
    assert present.left_behind() == ["two"]
    earlier = run(writes(hosts), hosts, tmp_path)
    earlier.limit_to({"two"})
    assert earlier.left_behind() == []
    images = earlier.images()
    assert set(images) == {"two"}
    earlier.rollback("a", images)
    assert two.tree() == {}
    assert (one.root / "a").exists()
    assert run(writes([one]), [one], tmp_path).left_behind() == []


def test_one_that_is_there_under_another_name_is_not_left_behind(tmp_path: Path) -> None:
    one, two = hosts = [Scratch(tmp_path, name) for name in ("one", "two")]
    carry_out(writes(hosts), hosts, tmp_path)
    two.name = two.target.name = "office"
    renamed = run(writes([one, two]), [one, two], tmp_path)
    assert renamed.left_behind() == []
    renamed.rollback("a", renamed.images())
    assert run(writes([one, two]), [one, two], tmp_path).left_behind() == [], "nor is it, once all is taken back there"
