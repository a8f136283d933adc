"""Where no lab can be had, one sentence says so; and what the lab sends is sound shell."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from lab import Lab, LabError, commands, content, image, layout, snapshot
from lab.rehearse import Rehearsal
from runbook import rehearsal


def test_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="needs root"):
        Lab("x").up()


def test_without_the_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _tool: None)
    with pytest.raises(LabError, match=r"apt-get install apt-utils .* systemd-container"):
        commands.require_machine()


def test_on_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda _path: False)
    with pytest.raises(LabError, match="needs Linux"):
        commands.require_machine()


@pytest.mark.parametrize("name", ["", "../up", "Upper", "with space", "a" * 32, "-x"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(LabError, match="name is made of"):
        Lab(name)


def test_hosts_and_releases_that_are_not() -> None:
    with pytest.raises(LabError, match="a host 'nas'"):
        Lab("x", releases={"nas": "trixie"})
    with pytest.raises(LabError, match="no release 'wheezy'"):
        image.ensure(["wheezy"], print)


def test_a_failing_command_is_told_in_one_sentence() -> None:
    with pytest.raises(LabError, match=r"^`sh -c 'echo first; echo last >&2; exit 3'` failed with status 3: last$"):
        commands.run(["sh", "-c", "echo first; echo last >&2; exit 3"])


def test_machine_names_fit_where_they_go() -> None:
    longest = layout.Layout("a" * 31)
    places = (*layout.HOSTS.values(), layout.CA, layout.ADMIN, layout.ROUTER)
    assert all(len(longest.namespace(place.name)) <= 64 for place in places)
    ports = [port for place in places for port in place.ports]
    assert all(len(name) <= 15 for port in ports for name in (port.name, port.cable))
    assert len({port.cable for port in ports}) == len(ports)


@pytest.mark.parametrize(
    "script",
    [
        image.SETUP,
        image.LAST_TOUCHES,
        image.INDEX,
        content.FIREWALL_HOOK,
        *snapshot.QUESTIONS.values(),
    ],
)
def test_scripts_are_sound(script: str) -> None:
    checked = subprocess.run(
        ["shellcheck", "--shell=sh", "-"], input=script, capture_output=True, text=True, check=False
    )
    assert checked.stdout == ""


@pytest.mark.parametrize("keep", [True, False])
def test_a_rehearsal_that_did_not_pass_says_whether_its_hosts_are_still_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, keep: bool
) -> None:
    stopped = Rehearsal(4, 1.0, {}, {}, [], [], 0, 0)
    monkeypatch.setattr(rehearsal, "rehearse", lambda *_, **__: stopped)
    monkeypatch.setattr(rehearsal, "how_to_go_on", lambda *_: [])
    monkeypatch.setattr(Lab, "down", lambda _: None)
    assert rehearsal.run_rehearsal("none", {}, ask=False, json=False, keep=keep) == 4
    assert ("hosts are removed" in capsys.readouterr().out) is not keep
