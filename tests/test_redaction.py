"""No secret in anything that is printed or kept: canaries planted wherever one could come from."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from checkpoints import Checkpoint, Journal, State
from logs import KeyLines, Redactor, RunLog
from logs.redact import MASK
from runbook import cli, complaints, terminal
from runbook.errors import StepError
from runbook.local import LocalHost
from runbook.script import heredoc
from runbook.session import Session
from runbook.target import Target


def pem(form: PrivateFormat, encryption: KeySerializationEncryption | None = None, bits: int = 0) -> str:
    key = rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP384R1())
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()).decode()


KEYS = {
    "PKCS#8": pem(PrivateFormat.PKCS8),
    "SEC1": pem(PrivateFormat.TraditionalOpenSSL),
    "RSA": pem(PrivateFormat.TraditionalOpenSSL, bits=2048),
    "encrypted": pem(PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
    "encrypted, with headers": pem(PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"x")),
    "OpenSSH": pem(PrivateFormat.OpenSSH),
}


def body(key: str) -> list[str]:
    """The lines that must be seen nowhere, nor any good part of one."""
    return [line[:24] for line in key.splitlines() if len(line) > 24 and not line.startswith(("-----", "DEK", "Proc"))]


def shows(text: str, key: str) -> bool:
    return any(line in text for line in body(key))


@pytest.mark.parametrize("kind", KEYS)
def test_a_private_key_is_seen_nowhere(kind: str) -> None:
    key, redact = KEYS[kind], Redactor()
    assert shows(f"{key}", key)
    assert redact(f"before\n{key}after {key}end") == f"before\n{MASK}\nafter {MASK}\nend"
    assert redact(key.replace("\n", "\r\n")).strip() == MASK
    for quoted in (repr(key), json.dumps(key), repr(key.encode()), json.dumps({"a": [key]})):
        assert not shows(redact(quoted), key)
    assert not shows(redact(base64.encodebytes(key.encode()).decode()), base64.encodebytes(key.encode()).decode())


@pytest.mark.parametrize("kind", KEYS)
def test_nor_is_what_is_left_of_one_that_was_cut(kind: str) -> None:
    """As the last lines of what a script complained of, or the first bytes of a file."""
    key, redact = KEYS[kind], Redactor()
    lines = key.splitlines(keepends=True)
    for cut in range(1, len(lines)):
        assert not shows(redact(f"error:\n{''.join(lines[:cut])}"), key)
        if kind != "encrypted, with headers" or cut > 3:
            assert not shows(redact(f"{''.join(lines[cut:])}error: it is broken"), key)
    for cut in range(len(key)):
        assert not shows(redact(key[:cut]), key) or "PRIVATE KEY-----" not in key[:cut]
    assert "error: it is broken" in redact(f"{''.join(lines[2:])}error: it is broken")


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("before", ["", "+", "-", "cat: ", "\x1b[32m+"])
def test_nor_line_by_line(kind: str, before: str) -> None:
    """As a script says it while it is at work, and as a difference is shown."""
    for key in (KEYS[kind], base64.encodebytes(KEYS[kind].encode()).decode()):
        secret = [line for line in key.splitlines() if not line.startswith(("-----", "Proc-", "DEK-", " "))]
        lines = KeyLines()
        said = [lines(f"{before}{line}") for line in ["one", *key.splitlines(), "and this is two"]]
        assert said[0] == f"{before}one"
        assert said[-1] == f"{before}and this is two"
        assert not any(line in "\n".join(said) for line in secret if line.strip())


def test_nor_where_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the line of progress, on a pipe and at a terminal, whoever else says something in between."""
    monkeypatch.setattr(terminal, "PATIENCE", -1.0)
    key = KEYS["PKCS#8"]
    for live in (False, True):
        out = io.StringIO()
        out.isatty = lambda live=live: live  # type: ignore[method-assign]
        told = terminal.Terminal(out, Redactor())
        for host in ("home", "vps4"):
            told.busy(f"key on {host}")
        for line in ["it begins", *key.splitlines(), "it ends"]:
            for host in ("home", "vps4"):
                told.progress(host, line)
            told.line("meanwhile")
            told.show_progress()
        for line in ["@@ -1 +1 @@", *key.splitlines()]:
            told.line(f"    +{line}")
        assert "it begins" in out.getvalue()
        assert "it ends" in out.getvalue()
        assert not shows(out.getvalue(), key)


def test_nor_in_what_a_failed_script_said_last(tmp_path: Path) -> None:
    """Half a key, where its beginning is no more among the lines that are quoted, nor its end."""
    key = "\n".join(KEYS["RSA"].splitlines()[:15]) + "\n"
    target = Target(LocalHost(), str(tmp_path))
    with pytest.raises(StepError) as failed:
        target.run(f"cat >&2 {heredoc(key)}exit 3", purpose="look")
    assert not shows(f"{failed.value}{failed.value.advice}", key)
    assert MASK in str(failed.value)


def test_what_is_public_stays_to_be_read() -> None:
    public = "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIU\n-----END CERTIFICATE-----\nsha256 AAAA=\n"
    assert Redactor()(public) == public


PASSWORDS = st.text(min_size=1, max_size=20).filter(lambda text: text.strip() != "")


@given(PASSWORDS, st.text(max_size=10))
def test_a_learned_password_is_in_no_text_that_quotes_it(password: str, around: str) -> None:
    redact = Redactor()
    redact.learn(password)
    for line in (password, *password.splitlines()):
        for form in (line, repr(line)[1:-1], json.dumps(line)[1:-1]):
            if line.strip() and form not in around * 2 + MASK:
                assert redact(f"{around}{form}{around}").count(MASK) >= 1
                assert form not in redact(f"{around}{form}{around}").replace(MASK, "")
    assert redact(password) == MASK


def test_each_line_of_a_long_secret_counts_and_nothing_else() -> None:
    redact = Redactor()
    redact.learn("first canary\n\n  \nsecond canary\n")
    assert redact("a first canary, a second canary, a third") == f"a {MASK}, a {MASK}, a third"
    assert redact("a  b\n\n  \nc") == "a  b\n\n  \nc"
    redact.learn("")
    assert redact("text") == "text"


def test_a_secret_within_the_mask_is_masked_once() -> None:
    redact = Redactor()
    for secret in ("secret", "e"):
        redact.learn(secret)
    assert redact("the secret, here") == f"th{MASK} {MASK}, h{MASK}r{MASK}"


def test_nothing_nested_in_the_log_or_the_journal_shows_one(tmp_path: Path) -> None:
    redact = Redactor()
    redact.learn('pass"word\\ of\nmine')
    key = KEYS["PKCS#8"]
    log = RunLog(tmp_path / "log.jsonl", redact)
    nested = {"a": [key, ("b", {"c": f"x {key}"})], "d": 'echo pass"word\\ of', "e": [1, None, True]}
    log.write("script", target="vps4", stdout=f"{'x' * 5000}{key}{'y' * 5000}", fields=nested)
    log.close()
    journal = Journal(tmp_path / "journal.jsonl", redact=redact)
    journal.record(Checkpoint("run", "step", "vps4", State.FAILED, "image", f"mine: {key}"))
    for name in ("log.jsonl", "journal.jsonl"):
        text = (tmp_path / name).read_text()
        assert not shows(text, key)
        assert "pass" not in text
        assert "mine" not in text
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    (line,) = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert line["fields"] == {
        "a": [f"{MASK}\n", ["b", {"c": f"x {MASK}\n"}]],
        "d": f"echo {MASK}",
        "e": [1, None, True],
    }


def test_an_error_that_ends_a_run_is_printed_without_what_the_run_has_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(Path(__file__).parent / "data/sites/article.yaml", tmp_path / "sites.yaml")
    key = pem(PrivateFormat.PKCS8)

    def fail(_: list[str]) -> None:
        with Session(tmp_path / "sites.yaml", "audit", yes=True, json=True) as session:
            session.redact.learn("hunter2")
            raise StepError(complaints.SCRIPT_FAILED, target="home", what="apply", said=f"sh: hunter2: not found {key}")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().err
    assert f"home: apply: sh: {MASK}: not found {MASK}" in said
    assert "hunter2" not in said
    assert key.splitlines()[1] not in said
