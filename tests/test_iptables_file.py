"""Rules of ours in the file from which an admin loads rules, as real iptables-restore takes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netns import MULTI, Namespace, in_order, look, make, needs_root, shellcheck
from rule_sets import ARTICLE, EXAMPLES, bases, chains, families, ipsec, numbers, web
from scratch import unmake

from runbook.errors import StepError
from runbook.resources.iptables import StoredRules
from runbook.script import Reading
from runbook.step import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runbook.resources.iptables import Family
    from runbook.target import Target

pytestmark = needs_root


@pytest.fixture(scope="module", params=sorted(MULTI))
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    with Namespace(tmp_path_factory.mktemp("host"), request.param) as namespace:
        yield namespace


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "an admin's rules"
    path.write_text(ARTICLE)
    path.chmod(0o640)
    return path


def test_the_file_gets_a_marked_block_behind_the_last_rule_of_its_chain(target: Target, stored: Path) -> None:
    assert in_order(make(target, [StoredRules(4, "web", web(4, "in-new"), path=str(stored))], f"i-{next(numbers)}"))
    ours = (
        "### ipsec-runbook:web ###\n"
        '-A in-new -d 192.0.2.10/32 -p tcp -m tcp --dport 80 -m comment --comment "ipsec-runbook:web" -j ACCEPT\n'
    )
    assert stored.read_text() == ARTICLE.replace("### Web ###\n", f"{ours}### Web ###\n")
    assert stored.stat().st_mode & 0o7777 == 0o640


def test_the_block_stands_before_the_rule_that_ends_the_chain_and_its_remark(target: Target, stored: Path) -> None:
    stored.write_text(ARTICLE.replace("COMMIT", "# the rest\n[3:180] -A  in-new -j DROP\nCOMMIT"))
    make(target, [StoredRules(4, "web", web(4, "in-new"), path=str(stored))], f"i-{next(numbers)}")
    lines = stored.read_text().splitlines()
    assert lines.index("### ipsec-runbook:web ###") < lines.index("# the rest")


messes = st.lists(
    st.sampled_from(["", "# remark", "#-A INPUT -j DROP", "#  caf\xe9", "### ipsec-runbook:other ###"]),
    max_size=4,
)


@EXAMPLES
@given(base=bases(), family=families, chain=chains, mess=messes, ended=st.booleans(), data=st.data())
def test_a_file_comes_back_to_the_byte(  # noqa: PLR0913, PLR0917 - what is drawn
    target: Target,
    tmp_path: Path,
    base: str,
    family: Family,
    chain: str,
    mess: list[str],
    *,
    ended: bool,
    data: st.DataObject,
) -> None:
    lines = base.splitlines()
    for line in mess:
        lines.insert(data.draw(st.integers(0, len(lines))), line)
    text = ("\n".join([*lines, "# end"]) + "\n" * ended).encode("latin-1")
    path = tmp_path / "rules"
    path.write_bytes(text)
    parts = [
        StoredRules(family, "web", web(family, chain), path=str(path)),
        StoredRules(family, "ipsec", ipsec(family, chain), path=str(path)),
    ]
    found = look(target, parts)
    assert path.read_bytes() == text
    image = f"image-{next(numbers)}"
    assert in_order(make(target, parts, image))
    once = path.read_bytes()
    for each in found[::-1]:
        assert each.change
        target.run(f"image={tmp_path} index=9\n{each.change.apply}", purpose="once more")
    assert in_order(look(target, parts))
    ours = re.compile(rb'### ipsec-runbook:(web|ipsec) ###|.*--comment "ipsec-runbook:(web|ipsec)" ')
    assert [line for line in path.read_bytes().split(b"\n") if not ours.match(line)] == text.split(b"\n")
    path.write_bytes(once)
    unmake(target, image)
    assert path.read_bytes() == text


def test_what_an_admin_wrote_meanwhile_stays_in_the_file(target: Target, stored: Path) -> None:
    old = '-A INPUT -p esp -m comment --comment "ipsec-runbook:web" -j ACCEPT\n'
    stored.write_text(ARTICLE.replace("### SSH", f"{old}### SSH"))
    image = f"image-{next(numbers)}"
    make(target, [StoredRules(4, "web", web(4, "in-new"), path=str(stored))], image)
    stored.write_text(stored.read_text().replace("# Permit", "# I permit").replace("--dport 22", "--dport 2222"))
    unmake(target, image)
    text = stored.read_text()
    assert old in text
    assert text.replace(old, "").replace("### ipsec-runbook:web ###\n", "") == ARTICLE.replace(
        "# Permit", "# I permit"
    ).replace("--dport 22", "--dport 2222")


def test_a_file_that_iptables_would_not_take_is_not_written(target: Target, stored: Path) -> None:
    text = ARTICLE.replace("COMMIT", "-A in-new -p tcp --dprot 23 -j ACCEPT\nCOMMIT")
    stored.write_text(text)
    with pytest.raises(StepError, match="dprot"):
        make(target, [StoredRules(4, "web", web(4, "in-new"), path=str(stored))], f"image-{next(numbers)}")
    assert stored.read_text() == text
    assert [each.name for each in stored.parent.iterdir()] == [stored.name]


def test_a_file_without_the_table_is_told_when_it_is_looked_at(target: Target, stored: Path) -> None:
    stored.write_text("*nat\nCOMMIT\n")
    (found,) = look(target, [StoredRules(4, "web", web(4), path=str(stored))])
    assert (found.verdict, found.change) == (Verdict.UNKNOWN, None)
    assert "no table filter" in found.note


def test_a_link_stays_a_link_and_a_missing_file_is_said(target: Target, stored: Path) -> None:
    link = stored.with_name("link")
    link.symlink_to(stored.name)
    part = StoredRules(4, "web", web(4, "in-new"), path=str(link))
    assert in_order(make(target, [part], f"image-{next(numbers)}"))
    assert link.is_symlink()
    assert "ipsec-runbook:web" in stored.read_text()
    stored.unlink()
    (found,) = look(target, [part])
    assert found.verdict is Verdict.UNKNOWN
    assert found.note == f"{link} is missing"


def test_every_script_passes_shellcheck() -> None:
    part = StoredRules(4, "web", web(4), path="/etc/network/iptables.save")
    change = part.judge(Reading("")).change
    assert change
    shellcheck(part.probe(), change.save, change.apply, change.undo)
