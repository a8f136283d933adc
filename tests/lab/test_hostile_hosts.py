"""Hosts, logins and command lines that are not as one would like them: each is coped with, or told in one sentence."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest
from product import RUNBOOK, Product, Run
from strangers import another_user, at_a_terminal, plain, rest, type_secret, write_network

from lab import Lab
from lab.layout import ADMIN_USER, VPS4

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from _pytest.mark import ParameterSet

PASSWORD = "hostile-Kx41"  # noqa: S105 - of users in the lab
NOPASSWD = f"echo '{ADMIN_USER} ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/{ADMIN_USER}"
WITH_PASSWORD = (
    f"echo '{ADMIN_USER} ALL=(ALL:ALL) ALL' >/etc/sudoers.d/{ADMIN_USER}; echo '{ADMIN_USER}:{PASSWORD}' | chpasswd"
)


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    lab = Lab(f"strangers-hosts-{os.getpid()}")
    lab.down()
    lab.up(print)
    yield Product(lab)
    lab.down()


def failures(run: Run) -> dict[str, str]:
    """What was said of each target that failed; each has failed once, and no Python shows."""
    assert "Traceback" not in run.out + run.err
    said = [(each["target"], each["error"]) for each in run.document["failures"]]
    assert len(dict(said)) == len(said), said
    assert all("\n" not in error and "Error(" not in error for _, error in said)
    return dict(said)


def cases(named: Mapping[str, object], slow: Sequence[str]) -> list[ParameterSet]:
    """The names of cases, of which some take long."""
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in named]


def audited(run: Run) -> set[str]:
    """The targets of which the audit tells something."""
    return {part["target"] for step in run.document["steps"] for part in step["parts"]}


def fingerprint(lab: Lab, host: str) -> str:
    key = lab.layout.host_directory(host) / "keys/etc/ssh/ssh_host_ed25519_key.pub"
    return subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True).stdout.split()[1]


@pytest.fixture
def stranger(product: Product, tmp_path: Path) -> Path:
    """A user who has never met the hosts."""
    sites = another_user(product.lab, tmp_path / "stranger")
    (sites.parent / "known_hosts").write_text("")
    return sites


@pytest.mark.lab
def test_an_unknown_key_without_a_terminal_names_the_command_that_makes_it_known(
    product: Product, stranger: Path
) -> None:
    unknown = product.run("audit", "--json", file=str(stranger))
    assert unknown.code == 5
    assert set(failures(unknown)) == {"home", "vps4"}
    for failure in unknown.document["failures"]:
        assert fingerprint(product.lab, failure["target"]) in failure["error"]
        by_hand = re.search(r"accept it: (.*); then", failure["hint"])[1].split()
        child = pexpect.spawn("ip", product.lab.admin_argv([*by_hand, "true"])[1:], encoding="utf-8", timeout=60)
        child.expect_exact("(yes/no/[fingerprint])?")
        child.sendline("yes")
        assert rest(child)[0] == 0
    assert product.run("audit", file=str(stranger)).code == 3


@pytest.mark.lab
@pytest.mark.parametrize("piped", [pytest.param("", marks=pytest.mark.slow), " | cat"])
def test_an_unknown_key_at_a_terminal_is_asked_for_by_its_fingerprint_and_then_known(
    product: Product, stranger: Path, piped: str
) -> None:
    shell = ["bash", "-o", "pipefail", "-c", f'"$@"{piped}', "-"]
    child = at_a_terminal(product.lab, "audit", "--file", str(stranger), before=shell)
    asked = accept_each(child)
    code, said = rest(child)
    assert code == 3, said
    shown = {re.search(r"SHA256:\S+?(?=\.\s)", each)[0] for each in asked}
    assert shown == {fingerprint(product.lab, host) for host in ("home", "vps4")}
    assert len((stranger.parent / "known_hosts").read_text().splitlines()) == 2
    assert product.run("audit", file=str(stranger)).code == 3


def accept_each(child: object) -> list[str]:
    """Say yes to the keys of home and vps4, in whatever order they are shown, one at a time; what was asked."""
    asked = []
    for _ in range(2):
        child.expect_exact("Are you sure you want to continue connecting?")
        asked.append(plain(child.before).rpartition("The ")[2])
        assert asked[-1].count("authenticity") == 1
        child.send("yes\r")  # as to ssh
        child.expect_exact("Yes")
    return asked


@pytest.mark.lab
def test_a_key_that_the_user_does_not_accept_is_not_talked_to(product: Product, stranger: Path) -> None:
    child = at_a_terminal(product.lab, "audit", "--file", str(stranger))
    for _ in range(2):
        child.expect_exact("Are you sure you want to continue connecting?")
        child.send("no\r")
        child.expect_exact("No")
    code, said = rest(child)
    assert code == 5
    assert "was not accepted" in said
    assert (stranger.parent / "known_hosts").read_text() == ""


@pytest.mark.lab
def test_a_changed_key_is_refused_and_never_asked_about(product: Product, tmp_path: Path) -> None:
    sites = another_user(product.lab, tmp_path)
    known = sites.parent / "known_hosts"
    other = (product.lab.layout.host_directory("vps4") / "keys/etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[1]
    rest_of_it = [line for line in known.read_text().splitlines() if not line.startswith(("home", "lan"))]
    before = "\n".join([f"home ssh-ed25519 {other}", *rest_of_it, ""])
    known.write_text(before)
    run = product.run("audit", "--json", file=str(sites))
    assert run.code == 5
    assert "is not the one known" in failures(run)["home"]
    assert audited(run) == {"controller", "vps4"}
    child = at_a_terminal(product.lab, "apply", "--yes", "--file", str(sites))
    child.expect("is not the one known")
    child.close(force=True)
    assert known.read_text() == before


UNREACHABLE = {
    "another user": ({"User": "nobody-here"}, r"refused the log-in of nobody-here; keys tried: \S+id_ed25519"),
    "no such name": ({"HostName": "nowhere.example.test"}, "the name nowhere.example.test does not resolve"),
    "closed": ({"HostName": "203.0.113.1", "Port": "23"}, "203.0.113.1 port 23 refuses connections"),
    "filtered": ({"HostName": "203.0.113.10", "Port": "2222"}, r"port 2222 did not answer within \d+ s"),
    "nobody there": ({"HostName": "203.0.113.99"}, "cannot be reached: No route to host|did not answer within"),
}


@pytest.mark.lab
@pytest.mark.parametrize("case", cases(UNREACHABLE, slow=("filtered", "nobody there")))
def test_a_host_that_cannot_be_had_is_told_and_the_other_is_audited_all_the_same(
    product: Product, tmp_path: Path, case: str
) -> None:
    settings, words = UNREACHABLE[case]
    run = product.run("audit", "--json", file=str(another_user(product.lab, tmp_path, **settings)))
    assert run.code == 5
    assert set(failures(run)) == {"home"}
    assert re.search(words, failures(run)["home"])
    assert audited(run) == {"controller", "vps4"}
    assert run.not_in_order  # there are changes to make, too, and it is not 3


@pytest.mark.lab
def test_what_could_not_be_read_is_not_said_to_be_in_order(product: Product, tmp_path: Path) -> None:
    run = product.run("audit", file=str(another_user(product.lab, tmp_path, HostName="nowhere.example.test")))
    nginx = run.out.partition("(nginx)")[2].partition("[")[0]
    assert "home: could not be read" in nginx
    assert not re.search(r"\((?!key|csr)[a-z-]+\) in order", run.out), run.out


@contextlib.contextmanager
def changed(lab: Lab, script: str, back: str, *hosts: str) -> Iterator[None]:
    """Run a script on hosts for a while."""
    try:
        for host in hosts:
            lab.root(host, script)
        yield
    finally:
        for host in hosts:
            lab.root(host, back)


@pytest.mark.lab
def test_a_sudo_password_without_a_terminal_is_one_failure_a_host(product: Product) -> None:
    with changed(product.lab, WITH_PASSWORD, NOPASSWD, "home", "vps4"):
        run = product.audit()
    assert run.code == 5
    assert set(failures(run)) == {"home", "vps4"}
    assert all("there is no terminal to ask at" in error for error in failures(run).values())
    assert "NOPASSWD" in run.document["failures"][0]["hint"]


@pytest.mark.lab
def test_a_sudo_password_may_be_mistyped_and_is_then_known_for_the_run(product: Product) -> None:
    with changed(product.lab, WITH_PASSWORD, NOPASSWD, "home"):
        child = at_a_terminal(product.lab, "audit", "--file", product.sites)
        for before, word in (("", "mistyped"), ("Sorry, try again: ", PASSWORD)):
            type_secret(child, f"{before}[sudo] password for {ADMIN_USER} on home:", word)
        code, said = rest(child)
    assert code == 3
    assert "password" not in said


@pytest.mark.lab
def test_a_wrong_sudo_password_is_refused_once_for_all_steps(product: Product) -> None:
    with changed(product.lab, WITH_PASSWORD, NOPASSWD, "home"):
        child = at_a_terminal(product.lab, "audit", "--file", product.sites)
        for _ in range(3):
            type_secret(child, f"[sudo] password for {ADMIN_USER} on home:", "mistyped")
        code, said = rest(child)
    assert code == 5
    assert said.count(f"sudo refuses the password of {ADMIN_USER}") == 1
    assert "vps4: + install nginx" in said


NO_ROOT = {
    "not in sudoers": (f"rm /etc/sudoers.d/{ADMIN_USER}; deluser -q {ADMIN_USER} sudo", "may not use sudo there"),
    "one command": (
        f"echo '{ADMIN_USER} ALL=(ALL) NOPASSWD: /bin/ls' >/etc/sudoers.d/{ADMIN_USER}; deluser -q {ADMIN_USER} sudo",
        f"sudo does not let {ADMIN_USER} run every command",
    ),
    "only at a terminal": ("echo 'Defaults requiretty' >/etc/sudoers.d/tty", "root cannot be had by sudo"),
}


@pytest.mark.lab
@pytest.mark.parametrize("case", cases(NO_ROOT, slow=("only at a terminal",)))
def test_a_user_who_cannot_become_root_is_told_so(product: Product, case: str) -> None:
    script, words = NO_ROOT[case]
    back = f"{NOPASSWD}; adduser -q {ADMIN_USER} sudo; rm -f /etc/sudoers.d/tty"
    with changed(product.lab, f"{script}; echo '{ADMIN_USER}:{PASSWORD}' | chpasswd", back, "home"):
        child = at_a_terminal(product.lab, "audit", "--file", product.sites)
        question = f"[sudo] password for {ADMIN_USER} on home:"
        if child.expect_exact([question, "FAILED home"]) == 0:
            child.send(PASSWORD + "\r")
            child.expect_exact("FAILED home")
        code, said = rest(child)
    assert code == 5, said
    assert re.search(words, said), said
    assert said.count("FAILED") == 0  # no more than the one
    assert "vps4: + install nginx" in said


@pytest.mark.lab
def test_the_users_own_ssh_config_and_agent(product: Product, tmp_path: Path, agent: Callable[[Path], None]) -> None:
    sites = another_user(product.lab, tmp_path / "network")
    (tmp_path / ".ssh").mkdir(mode=0o700)
    config = re.sub(r"^ *Identit.*\n", "", (sites.parent / "ssh_config").read_text(), flags=re.MULTILINE)
    (tmp_path / ".ssh" / "config").write_text(config)
    (sites.parent / "ssh_config").unlink()
    sites.write_text(sites.read_text().replace("ssh_config: ssh_config\n", ""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        without = product.run("audit", "--json", file=str(sites))
        assert all("there is no key to try" in error for error in failures(without).values())
        agent(product.lab.directory / "id_ed25519")
        run = product.run("audit", "--json", file=str(sites))
    assert (run.code, failures(run)) == (3, {})
    assert audited(run) == {"controller", "home", "vps4"}


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """What puts a key into an agent of the test's own."""
    words = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    for name, value in re.findall(r"(SSH_\w+)=([^;]+);", words):
        monkeypatch.setenv(name, value)
    yield lambda path: (subprocess.run(["ssh-add", "-q", path], check=True), None)[1]
    os.kill(int(os.environ["SSH_AGENT_PID"]), signal.SIGTERM)


HOSTILE = f"""set -e
echo 'umask 077' >>/etc/profile
sed -i 's/^UMASK.*/UMASK 077/' /etc/login.defs
echo 'session optional pam_umask.so umask=0077' >>/etc/pam.d/common-session
echo 'session optional pam_umask.so umask=0077' >>/etc/pam.d/sudo
printf 'LANG=de_DE.UTF-8\\nLC_ALL=de_DE.UTF-8\\n' | tee /etc/default/locale >>/etc/environment
mount -t tmpfs -o noexec,nosuid tmpfs /tmp
cat >/usr/local/bin/chatty <<'END'
#!/bin/sh
echo 'Willkommen auf diesem Rechner'; echo 'Letzte Anmeldung: nie' >&2; umask 077
exec /bin/bash "$@"
END
chmod 755 /usr/local/bin/chatty
for home in /home/{ADMIN_USER} /root; do
    {{ echo 'umask 077; echo bash says hello; echo and more >&2; cd /tmp'; }} >$home/.new
    cat $home/.bashrc >>$home/.new 2>/dev/null || true
    mv $home/.new $home/.bashrc; chmod 644 $home/.bashrc
    echo 'umask 077; echo csh says hello; setenv LC_ALL de_DE.UTF-8' >$home/.cshrc
done
"""


def make_hostile(lab: Lab, host: str, shell: str) -> None:
    """Give a host what gets in the way: a talking login shell, umask 077, German, a /tmp that nothing runs in."""
    root = lab.layout.root(host)
    locales = root / "usr/lib/locale"
    german = ["localedef", "-i", "de_DE", "-f", "UTF-8", "--no-archive", str(locales / "de_DE.utf8")]
    subprocess.run(german, check=True, capture_output=True)
    for library in re.findall(
        r"=> (\S+)", subprocess.run(["ldd", "/bin/csh"], capture_output=True, text=True, check=True).stdout
    ):
        if not (root / library.lstrip("/")).exists():
            (root / library.lstrip("/")).write_bytes(Path(library).read_bytes())
    (root / "usr/bin/csh").write_bytes(Path("/bin/csh").read_bytes())
    lab.root(host, f"{HOSTILE}\nchmod 755 /usr/bin/csh; usermod --shell {shell} {ADMIN_USER}")
    shown = lab.ssh(host, "umask; id -u; ls /nonexistent")
    assert re.search(r"^0*77$", shown.stdout, re.MULTILINE), shown  # it is as hostile as was wanted
    assert re.search(r"hello|Willkommen", shown.stdout)
    assert "nicht möglich" in shown.stderr


@pytest.mark.lab
def test_a_whole_apply_on_hosts_that_talk_german_csh_and_umask_077(product: Product) -> None:
    lab = product.lab
    make_hostile(lab, "home", "/usr/bin/csh")
    make_hostile(lab, VPS4.name, "/usr/local/bin/chatty")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LC_ALL", "de_DE.UTF-8")
        mask = os.umask(0o077)
        try:
            run = product.apply()
        finally:
            os.umask(mask)
    assert (run.code, failures(run)) == (0, {}), run.err
    assert product.audit().code == 0
    for host in ("home", "vps4"):
        modes = lab.root(
            host,
            "cd /etc; stat -c '%a %n' nginx/conf.d/ipsec-runbook.conf network/iptables.save "
            "sysctl.d/60-ipsec-runbook.conf swanctl/x509/*.pem swanctl/private/*.key "
            "/var/lib/acme-challenge/.well-known /var/lib/acme-challenge",
        ).stdout
        assert {line.split()[0] for line in modes.splitlines() if "private" not in line} == {"644", "755"}, modes
        assert f"400 swanctl/private/{host}.example.test.key" in modes
        locked = lab.root(host, "find /etc/nginx /usr/share/nginx /usr/sbin/nginx /etc/network ! -perm -o=r ! -type l")
        assert locked.stdout == ""


WRONG = {
    "no such step": (["audit", "--step", "nothing"], "there is no step 'nothing'"),
    "no such step to explain": (["explain", "nothing"], "the steps are: key, csr"),
    "no such command": (["nothing"], "No such command 'nothing'"),
    "no such flag": (["apply", "--nothing"], "No such option: --nothing"),
    "nothing to undo said": (["rollback"], "give one of --step STEP, --to STEP, --all"),
    "two things to undo said": (["rollback", "--all", "--step", "nginx"], "give one of"),
    "no terminal for apply": (["apply"], "give --yes"),
    "no terminal for resume": (["resume"], "give --yes"),
    "no terminal for rollback": (["rollback", "--all"], "give --yes"),
    "no file": (["audit", "--file", "nowhere.yaml"], "nowhere.yaml: cannot be read: No such file"),
    "a directory": (["audit", "--file", "."], "Is a directory"),
    "bad YAML": (["audit", "--file", "bad.yaml"], r"bad.yaml:\d+: this is no YAML"),
    "not UTF-8": (["audit", "--file", "bytes.yaml"], "not UTF-8"),
    "another file": (["audit", "--file", "list.yaml"], "list.yaml"),
    "no site": (["audit", "--site", "nowhere", "--file", "{sites}"], "there is no site 'nowhere'"),
    "no log yet": (["log", "--file", "bad.yaml"], "there is no log"),
    "no place for a log": (["audit", "--file", "taken/sites.yaml"], "no log can be kept in"),
    "no ssh_config": (["audit", "--file", "unread/sites.yaml"], "ssh_config"),
    "no release": (["rehearse", "--release", "home"], "--release home is not HOST=RELEASE"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_is_exit_code_2_and_says_what_to_do(tmp_path: Path, case: str) -> None:
    arguments, words = WRONG[case]
    (tmp_path / "bad.yaml").write_text("sites: [\n")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    for name in ("", "taken", "unread"):
        write_network(tmp_path / name)
    (tmp_path / "taken" / ".runbook").write_text("a file")
    (tmp_path / "unread" / "ssh_config").unlink()
    argv = [*RUNBOOK, *(each.format(sites="sites.yaml") for each in arguments)]
    done = subprocess.run(argv, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert re.search(words, done.stderr), done.stderr
    assert "Traceback" not in done.stderr + done.stdout
