"""How a run becomes root, by real sudo and whatever login shell there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
import pytest
from sshd import (
    CANARY,
    Sshd,
    make_box,  # noqa: F401 - the fixture `box`
    needs_root,
    one_sentence,
    one_sshd,  # noqa: F401 - the fixture `sshd`
    one_stack,  # noqa: F401 - the fixture `stack`
    unix_user,
    visible,
)
from told import told_as

from runbook import catalogue
from runbook.errors import SudoError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sshd import Sudo

    from runbook.errors import Entry
    from runbook.ssh import Exchange, SSHHost

pytestmark = needs_root


def test_sudo_without_a_password_takes_one_channel(box: Callable[..., SSHHost]) -> None:
    with unix_user("free") as user:
        host = box(user)
        assert host.run("id -u; pwd; umask", purpose="try").stdout == "0\n/\n0022\n"
        assert host.channels == 1


def test_sudo_with_a_password_asks_once_and_shows_it_nowhere(box: Callable[..., SSHHost], sshd: Sshd) -> None:
    asked: list[str] = []

    def password(prompt: str) -> str:
        asked.append(prompt)
        return CANARY

    with unix_user("password", password=CANARY) as user:
        told: list[Exchange] = []
        host = box(user, password=password, observe=told.append)
        seen: list[str] = []
        look = host.run("echo >&2; id -u", purpose="try", on_line=lambda _: seen.extend(visible(CANARY, user)))
        assert look.stdout == "0\n"
        assert seen == [user]  # it did look where a password would show
        assert host.channels == 2  # sudo -n was tried first
        again = host.run("cat; set; cat /proc/self/environ", purpose="try")
        assert host.channels == 3
        assert len(asked) == 1
        assert user in asked[0]
        assert CANARY not in again.stdout + again.stderr + look.stderr + sshd.log + repr(host.__dict__["_login"])
        assert CANARY not in repr(told)


def test_the_password_is_not_sent_when_sudo_does_not_ask(
    box: Callable[..., SSHHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    with unix_user("password", password=CANARY) as user:
        host = box(user, password=lambda _: CANARY)
        host.run("true", purpose="try")
        Path(f"/etc/sudoers.d/{user}").write_text(f"{user} ALL=(ALL) NOPASSWD: ALL\n")
        sent: list[bytes] = []
        send = paramiko.Channel.sendall

        def sendall(channel: paramiko.Channel, data: bytes) -> None:
            sent.append(data)
            send(channel, data)

        monkeypatch.setattr(paramiko.Channel, "sendall", sendall)
        answer = host.run("id -u", purpose="try")
        assert (answer.stdout, answer.stderr) == ("0\n", "")
        assert len(sent) == 1
        assert CANARY.encode() not in sent[0]


def test_a_password_may_be_mistyped_twice(box: Callable[..., SSHHost]) -> None:
    words = iter(["wrong-canary", "wrong-canary", CANARY])
    with unix_user("password", password=CANARY) as user:
        host = box(user, password=lambda _: next(words))
        assert host.run("id -u", purpose="try").stdout == "0\n"
        assert host.run("id -u", purpose="try").stdout == "0\n"


def test_a_wrong_password_is_one_sentence(box: Callable[..., SSHHost]) -> None:
    asked: list[str] = []
    with unix_user("password", password=CANARY) as user:
        host = box(user, password=lambda question: asked.append(question) or "wrong-canary")
        with pytest.raises(SudoError, match=f"home: sudo refuses the password of {user}") as error:
            host.run("true", purpose="try")
        assert "canary" not in one_sentence(error)
        told_as(error, catalogue.SUDO_PASSWORD_WRONG)
        assert len(asked) == 3


def test_no_password_given_is_none_sent(box: Callable[..., SSHHost], sshd: Sshd) -> None:
    with unix_user("password", password=CANARY) as user:
        with pytest.raises(SudoError, match="none was given"):
            box(user, password=lambda _: "").run("true", purpose="try")
        assert "authentication failure" not in sshd.log


def test_a_password_and_no_terminal(box: Callable[..., SSHHost]) -> None:
    with unix_user("password", password=CANARY) as user:
        with pytest.raises(SudoError, match="no terminal to ask at") as error:
            box(user).run("true", purpose="try")
        one_sentence(error)
        told_as(error, catalogue.SUDO_PASSWORD_WANTED)
        assert "NOPASSWD" in error.value.hint


def test_a_user_who_may_not_use_sudo(box: Callable[..., SSHHost]) -> None:
    with unix_user("none", password=CANARY) as user:
        with pytest.raises(SudoError, match=f"home: {user} may not use sudo there") as error:
            box(user, password=lambda _: CANARY).run("true", purpose="try")
        one_sentence(error)
        told_as(error, catalogue.SUDO_DENIED)


@pytest.mark.parametrize(
    ("rule", "entry"),
    [
        ("{user} ALL=(ALL) /bin/ls\n", catalogue.SUDO_LIMITED),
        ("Defaults:{user} requiretty\n{user} ALL=(ALL) ALL\n", catalogue.SUDO_FAILED),
    ],
)
def test_a_user_who_may_use_sudo_for_less(box: Callable[..., SSHHost], rule: str, entry: Entry) -> None:
    with unix_user("password", password=CANARY) as user:
        Path(f"/etc/sudoers.d/{user}").write_text(rule.format(user=user))
        with pytest.raises(SudoError) as error:
            box(user, password=lambda _: CANARY).run("true", purpose="try")
        told_as(error, entry)


NOISY = """#!/bin/sh
echo 'Welcome to home'; echo 'last login: never' >&2
exec /bin/sh "$@"
"""


@pytest.mark.parametrize("shell", ["/bin/csh", "/bin/bash", "noisy"])
@pytest.mark.parametrize("sudo", ["free", "password"])
def test_login_shells_that_talk_or_are_not_posix(
    box: Callable[..., SSHHost], sshd: Sshd, shell: str, sudo: Sudo
) -> None:
    if shell == "noisy":
        shell = str(sshd.folder / "noisy")
        Path(shell).write_text(NOISY)
        Path(shell).chmod(0o755)
    if not Path(shell).exists():
        pytest.skip(f"no {shell} here")
    with unix_user(sudo, password=CANARY, shell=shell) as user:
        home = Path(f"/home/{user}")
        (home / ".cshrc").write_text("echo csh banner\n")
        (home / ".bashrc").write_text("echo bash banner; echo more >&2\n")
        host = box(user, password=lambda _: CANARY)
        for _ in range(2):
            answer = host.run("echo out; echo err >&2; exit 3", purpose="try")
            assert (answer.stdout, answer.stderr, answer.code) == ("out\n", "err\n", 3)
