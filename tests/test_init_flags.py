"""The flags of `runbook init`, and the answers that it keeps: which wins, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook.errors import UsageError
from runbook.init import with_flags
from runbook.notebook import Notebook
from steps.interview.answers import Answers, SiteAnswers

FILE = Path("sites.yaml")
HOME = SiteAnswers(ssh="me@home", name="home", fqdn="home.example.org", subnet="1")
KEPT = Answers(sites=(HOME, SiteAnswers(ssh="vps4", name="vps4", subnet="8e71")), prefix="fdd7:5938:e2e6::/48")


def test_a_flag_wins_over_what_was_answered_before() -> None:
    flagged = with_flags(KEPT, {"fqdn": ["home=home.example.net"]}, {"prefix": "fd01:2345:6789::/48"}, FILE)
    assert flagged.sites[0].fqdn == "home.example.net"
    assert flagged.sites[0].subnet == "1"
    assert flagged.prefix == "fd01:2345:6789::/48"


def test_targets_given_say_which_sites_there_are() -> None:
    flagged = with_flags(KEPT, {"ssh": ["home=me@home", "vps5=vps5"], "subnet": ["vps5=5"]}, {}, FILE)
    assert flagged.sites == (HOME, SiteAnswers(ssh="vps5", name="vps5", subnet="5"))


def test_a_site_at_another_target_begins_anew() -> None:
    assert with_flags(KEPT, {"ssh": ["home=me@elsewhere"]}, {}, FILE).sites == (
        SiteAnswers(ssh="me@elsewhere", name="home"),
    )


def test_a_target_without_a_name_keeps_the_name_that_it_had() -> None:
    assert with_flags(KEPT, {"ssh": ["me@home", "other"]}, {}, FILE).sites == (HOME, SiteAnswers(ssh="other"))


@pytest.mark.parametrize(
    ("sites", "others", "words"),
    [
        ({"fqdn": ["hom=home.example.org"]}, {}, "--fqdn hom=home.example.org: there is no site 'hom'"),
        ({"fqdn": ["home.example.org"]}, {}, "--fqdn home.example.org is not NAME=VALUE"),
        ({"fqdn": ["home="]}, {}, "--fqdn home= is not NAME=VALUE"),
        ({"lan_interface": ["home=all"]}, {}, "--lan-interface home=all: `all` is no interface"),
        ({"subnet": ["home=8e71"]}, {}, "--subnet home=8e71: this subnet id is already that of"),
        ({"ssh": ["home=me@home", "vps4=me@home"]}, {}, "--ssh vps4=me@home: this host is already that of"),
        ({"config": ["home=ipsec.conf"]}, {}, "--config home=ipsec.conf: `ipsec.conf` is not known here"),
        ({}, {"keys": "here"}, "--keys here: `here` is not known here; write one of: controller, host"),
        ({}, {"contact": "me"}, "--contact me: `me` is no e-mail address"),
        ({}, {"link_subnet": "x"}, "--link-subnet x: `x` is no subnet id"),
    ],
)
def test_a_wrong_flag_is_named_with_the_reason(sites: dict[str, list[str]], others: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        with_flags(KEPT, sites, others, FILE)
    assert str(refused.value).startswith(words)


def test_what_is_kept_is_read_back_by_the_user_alone(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path)
    notebook.write(KEPT)
    assert notebook.read() == KEPT
    assert notebook.path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["init.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "sites": [1]}', '{"version": 1}'])
def test_what_cannot_be_understood_is_no_answer(tmp_path: Path, text: str) -> None:
    (tmp_path / "init.json").write_text(text)
    assert Notebook(tmp_path).read() == Answers()


def test_an_answer_of_the_wrong_kind_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "init.json").write_text(
        '{"version": 1, "sites": [{"ssh": 5, "name": "home", "more": ""}], "prefix": 7}'
    )
    assert Notebook(tmp_path).read() == Answers(sites=(SiteAnswers(name="home"),))
