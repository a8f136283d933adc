"""Host keys are judged as ssh(1) judges them: it is asked about every case, against the same sshd."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sshd import (
    Sshd,
    needs_root,
    never_asked,
    one_sshd,  # noqa: F401 - the fixture `sshd`
    run,
)
from told import told_as

from runbook import catalogue
from runbook.errors import HostKeyError
from runbook.hostkeys import HostKeys, KnownKey
from runbook.ssh import SSHHost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = needs_root


@pytest.fixture(scope="module")
def other() -> Iterator[Sshd]:
    """Return a server that stands for the wrong one: its keys are not the first one's."""
    server = Sshd()
    yield server
    server.close()


def login(config: Path, ask: Callable[[str], bool] | None = None) -> None:
    host = SSHHost("home", "box", ssh_config=config, ask=ask)
    try:
        host.login()
    finally:
        host.close()


def ours(config: Path) -> bool:
    """Whether we log in without asking anybody."""
    try:
        login(config)
    except HostKeyError:
        return False
    return True


def theirs(config: Path) -> bool:
    """Whether ssh(1) does."""
    command = ["ssh", "-F", str(config), "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "box", "true"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def hashed(line: str, folder: Path) -> str:
    path = folder / "hashed"
    path.write_text(line)
    run("ssh-keygen", "-H", "-f", str(path))
    return path.read_text()


# `{me}` is the name under which the server is looked up; right and wrong are its key and another's.
CASES = {
    "nothing": ("", False),
    "the key": ("{me} {right}", True),
    "the key hashed": ("#hash {me} {right}", True),
    "another key": ("{me} {wrong}", False),
    "another key hashed": ("#hash {me} {wrong}", False),
    "both keys": ("{me} {wrong}\n{me} {right}", True),
    "only its RSA key": ("{me} {rsa}", True),
    "only its ECDSA key": ("{me} {ecdsa}", True),
    "a wrong ed25519 key and its RSA key": ("{me} {wrong}\n{me} {rsa}", None),
    "without the port": ("127.0.0.1 {right}", True),
    "another key without the port": ("127.0.0.1 {wrong}", False),
    "another port": ("[127.0.0.1]:1 {right}", False),
    "among other names": ("vps4,{me},home {right}", True),
    "a pattern": ("[127.0.0.*]:* {right}", True),
    "a question mark": ("[127.0.0.?]:{port} {right}", True),
    "everything": ("* {right}", True),
    "everything but it, which leaves the name without the port": ("*,!{me} {right}", True),
    "everything but it": ("*,!{me},!127.0.0.1 {right}", False),
    "but it, and everything": ("!{me},!127.0.0.1,* {right}", False),
    "revoked": ("@revoked {me} {right}", False),
    "known and revoked": ("{me} {right}\n@revoked * {right}", False),
    "another key revoked": ("{me} {right}\n@revoked * {wrong}", True),
    "a marker that nobody knows": ("@trusted {me} {right}", False),
    "for an authority": ("@cert-authority {me} {right}", False),
    "behind damaged lines": (
        "garbage\n\n# comment\n|1|x|y {wrong}\n{me} ssh-ed25519 !!!\n{me} ssh-future AAAA\n{me} {right}",
        True,
    ),
    "with a comment and tabs": ("{me}\t{right} root@home # mine", True),
    "indented": ("  {me} {right}", True),
    "commented out": ("# {me} {right}", False),
}


@pytest.mark.parametrize("case", CASES)
def test_known_hosts_is_read_as_ssh_reads_it(sshd: Sshd, other: Sshd, case: str) -> None:
    def key(server: Sshd, kind: str) -> str:
        return " ".join(server.line(kind).split()[1:])

    template, expected = CASES[case]
    text = template.removeprefix("#hash ").format(
        me=f"[127.0.0.1]:{sshd.port}",
        port=sshd.port,
        right=key(sshd, "ed25519"),
        rsa=key(sshd, "rsa"),
        ecdsa=key(sshd, "ecdsa"),
        wrong=key(other, "ed25519"),
    )
    text = hashed(text, sshd.folder) if template.startswith("#hash") else text
    config = sshd.config(text and text + "\n")
    assert ours(config) == theirs(config)
    assert expected in (None, ours(config))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ("UserKnownHostsFile {folder}/none {folder}/second", None),
        ('UserKnownHostsFile "{folder}/with space" {folder}/none', None),
        ("UserKnownHostsFile none\n  GlobalKnownHostsFile {folder}/second", None),
        ("HostKeyAlias Home-Of-Mine\n  UserKnownHostsFile {folder}/alias", "home-of-mine"),
    ],
)
def test_ssh_config_says_where_to_look(sshd: Sshd, settings: str, name: str | None) -> None:
    for file in ("second", "with space"):
        (sshd.folder / file).write_text(sshd.line())
    (sshd.folder / "alias").write_text(sshd.line(name=name))
    lines = "Host box\n  " + settings.format(folder=sshd.folder)
    config = sshd.config("", more=lines)
    assert ours(config)
    assert theirs(config)


def test_a_changed_key_is_refused_whatever_the_user_would_say(sshd: Sshd, other: Sshd) -> None:
    name = f"[127.0.0.1]:{sshd.port}"
    config = sshd.config("\n" + other.line(name=name))
    with pytest.raises(HostKeyError) as error:
        login(config, never_asked("a changed key"))
    text = str(error.value)
    assert f"known_hosts_box:2 has ED25519 {other.fingerprint()}" in text
    assert f"shows ED25519 {sshd.fingerprint()}" in text
    assert f"ssh-keygen -R '{name}' -f" in error.value.hint
    assert error.value.exit_code == 5
    told_as(error, catalogue.HOST_KEY_CHANGED)


def test_a_known_host_that_shows_a_key_of_another_kind_has_changed(sshd: Sshd) -> None:
    """An impostor without the known key could else turn "changed" into a mere question."""
    impostor = Sshd(kinds=("rsa",))
    try:
        config = impostor.config(sshd.line(name=f"[127.0.0.1]:{impostor.port}"))
        with pytest.raises(HostKeyError, match="shows RSA"):
            login(config, never_asked("a changed key"))
        assert not theirs(config)
    finally:
        impostor.close()


def test_an_unknown_key_is_asked_for_once_and_then_known_to_ssh_too(sshd: Sshd) -> None:
    asked: list[str] = []

    def ask(question: str) -> bool:
        asked.append(question)
        return True

    before = "vps4 ssh-ed25519 AAAA no line end"
    config = sshd.config(before)
    login(config, ask)
    login(config, ask)
    assert len(asked) == 1
    assert f"ED25519 key fingerprint is {sshd.fingerprint()}." in asked[0]
    assert f"'[127.0.0.1]:{sshd.port}'" in asked[0]
    assert (sshd.folder / "known_hosts_box").read_text() == f"{before}\n{sshd.line()}"
    assert theirs(config)


def test_a_first_key_makes_a_private_file(sshd: Sshd, tmp_path: Path) -> None:
    file = tmp_path / "new" / "known"
    config = sshd.config("", more=f"Host box\n  UserKnownHostsFile {file}")
    login(config, lambda _: True)
    assert file.read_text() == sshd.line()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_an_unknown_key_that_is_not_accepted(sshd: Sshd) -> None:
    config = sshd.config("")
    with pytest.raises(HostKeyError, match="was not accepted"):
        login(config, lambda _: False)
    assert (sshd.folder / "known_hosts_box").read_text() == ""


def test_an_unknown_key_and_no_terminal(sshd: Sshd) -> None:
    config = sshd.config("")
    with pytest.raises(HostKeyError) as error:
        login(config)
    assert sshd.fingerprint() in str(error.value)
    assert "no terminal" in str(error.value)
    told_as(error, catalogue.HOST_KEY_UNKNOWN)
    assert f"log in once by hand, compare the fingerprint and accept it: ssh -F {config} box;" in error.value.hint
    assert (sshd.folder / "known_hosts_box").read_text() == ""


def test_a_revoked_key_and_one_that_cannot_be_kept(sshd: Sshd, tmp_path: Path) -> None:
    with pytest.raises(HostKeyError) as error:
        login(sshd.config(f"@revoked {sshd.line()}"))
    told_as(error, catalogue.HOST_KEY_REVOKED)
    (tmp_path / "file").touch()
    with pytest.raises(HostKeyError) as error:
        login(sshd.config("", more=f"Host box\n  UserKnownHostsFile {tmp_path}/file/known"), lambda _: True)
    told_as(error, catalogue.HOST_KEY_NOT_KEPT)


def test_nobody_logs_in_before_the_key_is_judged(sshd: Sshd, other: Sshd) -> None:
    config = sshd.config(other.line(name=f"[127.0.0.1]:{sshd.port}"))
    before = sshd.log.count("userauth-request")
    assert not ours(config)
    sshd.settle()
    assert sshd.log.count("userauth-request") == before
    login(sshd.config(sshd.line()))
    assert sshd.log.count("userauth-request") > before


@given(
    st.lists(st.sampled_from(["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"]), unique=True),
    st.sets(st.sampled_from(["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])),
)
def test_known_kinds_are_wanted_first_and_none_is_lost(algorithms: list[str], known: set[str]) -> None:
    keys = HostKeys("home", 22, {"userknownhostsfile": "none"}, ask=None, command="ssh home")
    keys._known = [KnownKey("", kind, b"", "file:1") for kind in known]
    ordered = keys.order(algorithms)
    wanted = [("ssh-rsa" if each.startswith("rsa") else each) in known for each in ordered]
    assert sorted(ordered) == sorted(algorithms)
    assert wanted == sorted(wanted, reverse=True)
