"""`runbook explain`: each step by the same shape, and the tunnel with the user's own names and addresses in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from screens import Person, same

from steps.ipsec.ipsec_options import Start
from steps.procedure import PROCEDURE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steps.section import Section

RUNBOOK = [sys.executable, "-m", "runbook"]
EXAMPLE = Path(__file__).parent.parent / "steps" / "example.yaml"


def explain(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUNBOOK, "explain", *arguments], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("columns", [80, 60])
def test_the_tunnel_of_the_readme_where_there_is_no_other(
    tmp_path: Path, request: pytest.FixtureRequest, columns: int
) -> None:
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    person = Person([*RUNBOOK, "explain", "tunnel"], columns=columns, cwd=tmp_path, env=env)
    assert person.ends() == 0
    same(request, f"explain-tunnel-{columns}", person.screen)


OTHERS: Sequence[tuple[str, str]] = (
    ("fdd7:5938:e2e6", "fd00:1111:2222"),
    ("home", "office"),
    ("vps4", "cellar"),
    ("185.133.75.14, 2a06:8ec0:1:ec::2da9", "203.0.113.7"),
    ("subnet: 8e71", "subnet: beef"),
    ("johncook.co.uk", "example.org"),
)


def test_the_users_own_tunnel(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    for old, new in OTHERS:
        text = text.replace(old, new)
    (tmp_path / "mine.yaml").write_text(text)
    said = explain("tunnel", "--file", "mine.yaml", cwd=tmp_path).stdout
    assert said.startswith("The tunnel between office and cellar\n")
    assert "README" not in said
    assert not re.search(r"\bhome\b|vps4|johncook|fdd7|8e71|185\.133", said)
    joined = re.sub(r"\s+", " ", said)
    assert "It is called ula-net-cellar on office, and ula-net-office on cellar." in joined
    assert "on office I am office.example.org you must be cellar.example.org" in joined
    assert "the address that office has today -> 203.0.113.7" in said
    mirrored = re.findall(r"(local_ts|remote_ts) +(\S+)\n +(\S+)\n", said)
    here, there = (
        ("fd00:1111:2222:1::/64", "fd00:1111:2222:3::1/128"),
        ("fd00:1111:2222:beef::/64", "fd00:1111:2222:3::beef/128"),
    )
    assert mirrored == [("local_ts", *here), ("remote_ts", *there), ("local_ts", *there), ("remote_ts", *here)]


def test_it_is_seen_by_the_commands_that_its_host_has_and_rises_as_sites_yaml_says(tmp_path: Path) -> None:
    (tmp_path / "sites.yaml").write_text(f"{EXAMPLE.read_text()}\nipsec: {{config: stroke, start: start}}\n")
    said = re.sub(r"\s+", " ", explain("tunnel", cwd=tmp_path).stdout)
    assert "ipsec statusall what this end is prepared for" in said
    assert "ipsec up ula-net-vps4 bring it up from home" in said
    assert "swanctl" not in said
    assert "home is the initiator: it brings the tunnel up as soon as strongSwan runs there" in said
    assert "the first packet" not in said


def test_a_description_in_the_working_directory_is_taken(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path / "sites.yaml")
    assert "README" not in explain("tunnel", cwd=tmp_path).stdout


def test_a_description_that_is_asked_for_and_not_there(tmp_path: Path) -> None:
    done = explain("tunnel", "--file", "mine.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "mine.yaml" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("section", PROCEDURE, ids=lambda section: section.name)
def test_each_step_is_taught_in_one_shape(section: type[Section]) -> None:
    """What it is for in two sentences, today's commands, how to check by hand, what can go wrong."""
    text = section.explain()
    assert len(re.findall(r"\.(?: |$)", section.purpose())) == 2
    assert len(section.purpose()) < 160
    assert re.search(r"^ {4}\S", text, re.MULTILINE)
    assert "To check by hand" in text
    assert "What can go wrong" in text


def test_each_option_of_a_connection_is_explained_beside_what_the_article_has(tmp_path: Path) -> None:
    told = explain("connection", cwd=tmp_path).stdout
    for start in get_args(Start):
        assert re.search(rf"^ *{start}  +.*(up|loaded|told)", told, re.MULTILINE), start
    articles = {"ikelifetime": "60m", "keylife": "20m", "rekeymargin": "3m", "keyingtries": "1", "mobike": "no"}
    for option, value in {**articles, "sendcert": "always", "type": "tunnel"}.items():
        assert re.search(rf"^ *{option}  +{value}\b", told, re.MULTILINE), option
