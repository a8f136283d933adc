"""What the AppArmor section makes of a kernel's answers, as recorded on Debian 12 and 13 (tests/vm asks real ones)."""

from __future__ import annotations

import pytest
from netns import shellcheck
from ula_network import ends

from runbook.resources.block import BEGIN, END
from runbook.script import Reading
from runbook.step import Verdict
from steps.apparmor import AppArmor

LOCAL = "/etc/apparmor.d/local/usr.sbin.swanctl"
NEEDED = "/etc/swanctl/** r,"
(PART,) = AppArmor(ends()[0].network).parts("home", {})
MAY, MAY_NOT = "0x00000244", "0x00000200"


def answer(mode: str, override: str = "", **denied: str) -> Reading:
    """Every path allowed, but for those that begin with one of `denied`; what is of ours in the override."""
    lines = [f"{MAY_NOT if path.startswith(tuple(denied.values())) else MAY} {path}" for path in PART.paths]
    return Reading("\n".join([mode, *lines, "override:", override]))


def test_what_is_asked_about_is_all_that_swanctl_reads_of_ours() -> None:
    assert PART.paths == (
        "/etc/swanctl/swanctl.conf",
        "/etc/swanctl/private/",
        "/etc/swanctl/x509/",
        "/etc/swanctl/x509ca/",
        "/etc/swanctl/conf.d/",
        "/etc/swanctl/private/home.example.org.key",
        "/etc/swanctl/x509/home.example.org.pem",
        "/etc/swanctl/x509ca/ca.pem",
        "/etc/swanctl/conf.d/ula-net-vps4.conf",
    )


@pytest.mark.parametrize("found", [Reading("absent\n"), Reading("none\n"), answer("enforce")])
def test_in_order_where_nothing_keeps_swanctl_from_reading(found: Reading) -> None:
    finding = PART.judge(found)
    assert (finding.verdict, finding.change) == (Verdict.IN_ORDER, None)
    assert finding.note


@pytest.mark.parametrize("mode", ["complain", "unconfined"])
def test_a_profile_that_is_not_enforced_keeps_nothing_from_swanctl(mode: str) -> None:
    assert PART.judge(answer(mode, everything="/")).verdict is Verdict.IN_ORDER


def test_one_file_that_may_not_be_read_is_named() -> None:
    finding = PART.judge(answer("enforce", key="/etc/swanctl/private/home"))
    assert finding.verdict is Verdict.DRIFT
    assert finding.change is not None
    assert finding.change.summary.startswith("let swanctl read /etc/swanctl/private/home.example.org.key: ")
    assert "+/etc/swanctl/** r," in finding.change.diff


def test_a_line_of_ours_that_was_never_loaded_is_loaded() -> None:
    finding = PART.judge(answer("enforce", f"{BEGIN}\n{NEEDED}\n{END}\n", everything="/"))
    assert finding.verdict is Verdict.DRIFT
    assert finding.change is not None
    assert "change our lines" in finding.change.summary


@pytest.mark.parametrize("override", [f"{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{NEEDED}\n{END}\n", "odd\n"])
def test_an_override_in_which_our_markers_are_no_pair_is_left_to_its_admin(override: str) -> None:
    finding = PART.judge(answer("enforce", override, everything="/"))
    assert (finding.verdict, finding.change) == (Verdict.UNKNOWN, None)
    assert LOCAL in finding.note


NO_ANSWERS = "".join(f" {path}\n" for path in PART.paths)


@pytest.mark.parametrize("text", ["", "enforce\n", f"enforce\n{MAY} {PART.paths[0]}\n", f"enforce\n{NO_ANSWERS}"])
def test_no_answer_is_no_permission_and_no_reason_to_change_anything(text: str) -> None:
    finding = PART.judge(Reading(text))
    assert (finding.verdict, finding.change) == (Verdict.UNKNOWN, None)


def test_every_script_is_as_shellcheck_wants_it() -> None:
    change = PART.judge(answer("enforce", everything="/")).change
    assert change is not None
    shellcheck(PART.probe(), change.save, change.apply, change.undo, change.settle)
