"""The program and what stands behind its streams: nobody, a full disk, a reader who has gone, a user who stops it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

RUNBOOK = f"{sys.executable} -m runbook"


def shell(command: str, where: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], cwd=where, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("command", ["steps", "explain ping", "audit", "init"])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_one_that_nobody_reads(tmp_path: Path, command: str, closed: str) -> None:
    done = shell(f"{RUNBOOK} {command} {closed}", tmp_path)
    assert done.returncode == (2 if command in {"audit", "init"} else 0)
    assert "Traceback" not in done.stderr


def test_a_full_disk_behind_the_output_is_one_sentence(tmp_path: Path) -> None:
    done = shell(f"{RUNBOOK} steps >/dev/full", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("runbook: on this machine: No space left on device")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["steps", "explain tunnel", "--help"])
def test_a_reader_who_has_gone_hears_no_more(tmp_path: Path, command: str) -> None:
    done = shell(f"{RUNBOOK} {command} | head -n 1", tmp_path)
    assert done.stdout.count("\n") == 1
    assert not done.stderr


SITES = """\
ula_prefix: fdd7:5938:e2e6::/48
link_subnet: 3
certificate_authority: private
sites:
  home: {{ssh: "127.0.0.1:{port}", fqdn: home.example.test, address: dynamic, subnet: 1, interface: eth0}}
  vps4: {{ssh: "127.0.0.2:{port}", fqdn: vps4.example.test, address: 203.0.113.20, subnet: 2, interface: eth0}}
links: [{{between: [home, vps4]}}]
"""


@pytest.mark.parametrize("command", ["audit", "status", "report"])
def test_ctrl_c_ends_what_changes_nothing_and_blames_no_host(tmp_path: Path, command: str) -> None:
    with socket.create_server(("", 0)) as silent:
        (tmp_path / "sites.yaml").write_text(SITES.format(port=silent.getsockname()[1]))
        argv = [sys.executable, "-m", "runbook", command]
        with subprocess.Popen(
            argv, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as run:
            held = [silent.accept(), silent.accept()]
            run.send_signal(signal.SIGINT)
            said, _ = run.communicate(timeout=60)
        for connection, _ in held:
            connection.close()
    assert run.returncode == 130
    assert f"stopped; to begin anew: runbook {command}\n" in said
    assert "FAILED" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("group", ["", "lab"])
def test_the_list_of_commands_says_whole_sentences(tmp_path: Path, group: str) -> None:
    said = shell(f"COLUMNS=80 {RUNBOOK} {group} --help", tmp_path).stdout
    assert "..." not in said.partition("Commands:")[2]
