"""What is kept of a run: whole enough to be of use, and without secrets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from documents import sound

from logs import Redactor, RunLog
from runbook.errors import UsageError
from runbook.logview import as_json, last_log

if TYPE_CHECKING:
    from pathlib import Path

KEY = f"-----BEGIN PRIVATE KEY-----\n{'MIGkAgEBBDCanary' * 300}\n-----END PRIVATE KEY-----\n"


def written(folder: Path, **fields: object) -> str:
    log = RunLog(folder / "logs" / "run.jsonl", secretive())
    log.write("script", **fields)
    log.close()
    return (folder / "logs" / "run.jsonl").read_text()


def secretive() -> Redactor:
    redact = Redactor()
    redact.learn('pass"word\\')
    return redact


@pytest.mark.parametrize("before", [0, 900, 5000])
def test_a_long_text_keeps_its_ends_and_is_cut_only_when_it_is_redacted(tmp_path: Path, before: int) -> None:
    line = written(tmp_path, stdout=f"first{'x' * before}{KEY}{'y' * 5000}last")
    assert "Canary" not in line
    text = json.loads(line)["stdout"]
    assert text.startswith("first")
    assert text.endswith("last")
    assert len(text) < 4100


def test_secrets_are_found_whatever_json_makes_of_them(tmp_path: Path) -> None:
    line = written(tmp_path, stderr='sudo said: pass"word\\', nested={"list": ['a pass"word\\']})
    assert "word" not in line


def test_what_is_not_utf8_is_kept_readable(tmp_path: Path) -> None:
    assert json.loads(written(tmp_path, stdout="caf\udce9"))["stdout"] == "caf\N{REPLACEMENT CHARACTER}"


def test_the_log_is_for_its_owner_alone(tmp_path: Path) -> None:
    written(tmp_path)
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "logs" / "run.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_log_of_one_command_is_read_where_others_ran_since(tmp_path: Path) -> None:
    logs = tmp_path / ".runbook" / "logs"
    logs.mkdir(parents=True)
    for name in ("1-apply", "2-apply", "3-status"):
        (logs / f"{name}.jsonl").write_text("")
    last = [last_log(tmp_path / "sites.yaml", command) for command in ("", "apply")]
    assert last == [logs / "3-status.jsonl", logs / "2-apply.jsonl"]
    with pytest.raises(UsageError, match="no log of `audit`") as none:
        last_log(tmp_path / "sites.yaml", "audit")
    assert none.value.hint == "there are logs of: apply, status"
    with pytest.raises(UsageError, match="there is no log beside"):
        last_log(tmp_path / "elsewhere" / "sites.yaml")


def test_a_log_is_one_document_for_programs(tmp_path: Path) -> None:
    written(tmp_path, purpose="facts", code=0)
    path = tmp_path / "logs" / "run.jsonl"
    with path.open("a") as file:
        file.write('{"at": "2026-11-23T14:')
    told = sound(json.loads(as_json(path)))
    assert (told["command"], told["log"]["file"]) == ("log", str(path))
    script, damaged = told["log"]["entries"]
    assert (script["event"], script["purpose"], script["code"]) == ("script", "facts", 0)
    assert damaged == {"event": "damaged", "line": '{"at": "2026-11-23T14:'}
