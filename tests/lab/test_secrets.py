"""No secret is seen anywhere while the product works: not by processes, not on screens, not in what is kept."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from product import Product
from strangers import Watch, at_a_terminal, births, plain, rest, type_secret

from lab import Lab, machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.lab

SUDO, PASSPHRASE = "canary-sudo-8Zq3", 'canary"pass\\phrase-5Vt'
HOSTS = ("home", "vps4", "lan")


def traces_of_key(pem: bytes) -> list[bytes]:
    """What a private key looks like wherever it may turn up: raw, in hexadecimal, as PEM, as PEM in base64."""
    key = serialization.load_pem_private_key(pem, None)
    scalar = key.private_numbers().private_value
    raw = scalar.to_bytes((scalar.bit_length() + 7) // 8, "big")
    body = [line for line in pem.splitlines() if not line.startswith(b"--")]
    return [raw, raw.hex().encode(), *body, *base64.encodebytes(pem).splitlines()[1:-1]]


def found(secrets: Mapping[str, list[bytes]], data: bytes) -> list[str]:
    return [name for name, traces in secrets.items() if any(trace in data for trace in traces)]


def found_in_files(secrets: Mapping[str, list[bytes]], *roots: Path) -> dict[str, list[str]]:
    hits = {}
    for file in [file for root in roots for file in root.rglob("*")]:
        if not file.is_symlink() and file.is_file():
            names = found(secrets, file.read_bytes())
            if names:
                hits[str(file)] = names
    return hits


@dataclass(frozen=True)
class Applied:
    """A whole apply where sudo wants a password and the user's key a passphrase, watched throughout."""

    product: Product
    code: int
    said: str
    watch: Watch
    trace: str

    @property
    def data(self) -> Path:
        return self.product.lab.directory / ".runbook"

    @property
    def keys(self) -> dict[str, Path]:
        keys = {f"key of {path.stem}": path for path in (self.data / "keys").glob("*.key")}
        return {**keys, "account key": self.data / "acme" / "account.key"}

    @property
    def secrets(self) -> dict[str, list[bytes]]:
        traces = {name: traces_of_key(path.read_bytes()) for name, path in self.keys.items()}
        typed = {"sudo password": SUDO, "passphrase": PASSPHRASE}
        for name, text in typed.items():
            traces[name] = [text.encode(), json.dumps(text)[1:-1].encode(), base64.b64encode(text.encode())]
        return traces


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    own = Lab(f"strangers-secrets-{os.getpid()}")
    own.down()
    own.up(print)
    yield own
    own.down()


@pytest.fixture(scope="module")
def applied(lab: Lab) -> Applied:
    for host in HOSTS:
        lab.root(host, f"echo 'thejc ALL=(ALL:ALL) ALL' >/etc/sudoers.d/thejc; echo 'thejc:{SUDO}' | chpasswd")
    key = lab.directory / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", PASSPHRASE, "-f", key], check=True)
    trace = lab.directory / "trace"
    calls = "trace=openat,open,creat,umask,clone,clone3,fork,vfork"
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-s", "4096", "-e", calls, "-o", str(trace)]
    with Watch() as watch:
        child = at_a_terminal(lab, "apply", "--yes", "--file", str(lab.directory / "sites.yaml"), before=strace)
        child.timeout = 180
        said = answer_all(child, f"Passphrase for {key}:")
        code, more = rest(child)
        lab.root("home", "/bin/true seen-in-argv; SEEN=seen-in-environ /bin/true")
    return Applied(Product(lab), code, said + more, watch, trace.read_text())


def answer_all(child: object, passphrase: str) -> str:
    """Give the passphrase, then sudo's password once for each host, in whatever order they ask; what was said."""
    said = ""
    questions = {passphrase: PASSPHRASE, **{f"[sudo] password for thejc on {each}:": SUDO for each in ASKED}}
    while questions:
        child.expect([re.escape(question) for question in questions])
        said += plain(child.before)
        question = child.after
        type_secret(child, "", questions.pop(question))
        child.expect_exact(question)
    return said


ASKED = ("home", "vps4", "home's LAN host")


def test_the_procedure_goes_through_and_asks_for_each_secret_once(applied: Applied) -> None:
    assert applied.code == 0, applied.said[-2000:]
    assert "every step is in order" in applied.said


def test_no_process_was_shown_a_secret(applied: Applied) -> None:
    everything = b"\0".join(applied.watch.seen)
    assert b"seen-in-argv" in everything  # such as would be found
    assert b"SEEN=seen-in-environ" in everything
    assert everything.count(b"\0base64\0-d") > 0  # which is given the keys
    assert b"sudo\0-S\0-p" in everything
    assert found(applied.secrets, everything) == []


def test_no_secret_was_shown_at_the_terminal(applied: Applied) -> None:
    assert "*" * len(SUDO) in applied.said
    assert found(applied.secrets, applied.said.encode()) == []


def test_nothing_kept_here_holds_a_secret_but_the_keys_themselves(applied: Applied) -> None:
    hits = found_in_files(applied.secrets, applied.data)
    assert hits == {str(path): [name] for name, path in applied.keys.items()}


def test_nothing_on_the_hosts_holds_a_secret_but_the_key(applied: Applied) -> None:
    lab = applied.product.lab
    for host in HOSTS:
        process = machine.leader(lab.layout, host)
        running = [Path(f"/proc/{process}/root/{place}") for place in ("run", "tmp", "dev/shm")]
        disk = lab.layout.host_directory(host) / "upper"
        key = disk / f"etc/swanctl/private/{host}.example.test.key"
        assert found_in_files(applied.secrets, disk, *running) == (
            {str(key): [f"key of {host}"]} if host != "lan" else {}
        )
        assert (disk / "var/log/journal").exists() or "thejc" in lab.root(host, "journalctl").stdout
        assert found(applied.secrets, lab.root(host, "journalctl -o export").stdout.encode()) == []


def test_keys_are_for_their_owner_alone_from_the_moment_that_they_exist(applied: Applied) -> None:
    modes = births(applied.trace)
    keys = {path: mode for path, mode in modes.items() if ".key" in path and str(applied.data) in path}
    assert {Path(path).name.split(".")[1] for path in keys} == {"home", "vps4", "account"}
    assert set(keys.values()) == {0o600}
    ours = {path: mode for path, mode in modes.items() if path.startswith(str(applied.data / "logs"))}
    assert len(ours) == 2
    assert set(ours.values()) == {0o600}


def test_modes_here_and_on_the_hosts(applied: Applied) -> None:
    private = ("", "keys", "acme", "logs", "checkpoints", "images")
    assert {stat.S_IMODE((applied.data / each).stat().st_mode) for each in private} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in applied.keys.values()} == {0o600}
    for host in ("home", "vps4"):
        state = applied.product.lab.root(host, f"stat -c '%a %U:%G' /etc/swanctl/private/{host}.example.test.key")
        assert state.stdout == "400 root:root\n"
        images = applied.product.lab.root(host, "stat -c %a /var/lib/ipsec-runbook/images/*; id -u")
        assert set(images.stdout.split()) == {"700", "0"}


def test_the_log_says_what_each_script_was_for_and_did_and_no_secret(applied: Applied) -> None:
    log = max((applied.data / "logs").glob("*-apply.jsonl"))
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    scripts = [entry for entry in entries if entry["event"] == "script"]
    for entry in scripts:
        assert set(entry) == {"at", "event", "purpose", "target", "start", "seconds", "code", "stdout", "stderr"}
        assert entry["purpose"]
        assert all(len(entry[stream]) < 4200 for stream in ("stdout", "stderr"))
    assert {entry["target"] for entry in scripts} == {"controller", *ASKED}
    assert any("4 received" in entry["stdout"] for entry in scripts)
    told = applied.product.run("log")
    assert found(applied.secrets, told.out.encode()) == []
    assert re.search(r"^\d\d:\d\d:\d\d  home: apply \S+-nginx \(\d+\.\d\d s, exit 0\)$", told.out, re.MULTILINE)
    assert len(told.out.splitlines()) >= len(entries)


def test_births_are_told_from_a_trace(tmp_path: Path) -> None:
    script = "cd $0; umask 022; (umask 077; : >private); : >public; umask 027; cat </dev/null >own"
    trace = tmp_path / "trace"
    subprocess.run(["strace", "-f", "-qq", "-o", trace, "sh", "-c", script, tmp_path], check=True)
    made = {Path(path).name: mode for path, mode in births(trace.read_text()).items() if path[0] != "/"}
    assert made == {"private": 0o600, "public": 0o644, "own": 0o640}
