"""Signing keys of repositories: told by their fingerprints, and trusted once the repository is signed by them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from scratch import Scratch, carry_out, step
from told import told_as

from runbook import complaints
from runbook.resources.signing_key import FINGERPRINTS, SigningKey, judged_source
from runbook.step import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runbook.errors import Entry, RunbookError

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="apt's lists are root's"),
    pytest.mark.skipif(not shutil.which("gpg"), reason="gpg makes the keys"),
]
KINDS = {"right": "rsa2048", "wrong": "rsa2048", "other": "ed25519"}


class Repository:
    """A signed repository of nothing, and the keys to sign it with."""

    def __init__(self, root: Path) -> None:
        root.chmod(0o755)
        self.root = root
        self.home = root / "gnupg"
        self.home.mkdir(mode=0o700)
        for name, kind in KINDS.items():
            self.gpg("--quick-generate-key", name, kind, "sign", "never")
        self.keys = {name: self.fingerprint(name) for name in KINDS}
        (root / "dists/x/nginx/binary-all").mkdir(parents=True)
        (root / "dists/x/nginx/binary-all/Packages").touch()
        names = ("Architectures=all", "Components=nginx", "Suite=x", "Codename=x")
        options = [f"-oAPT::FTPArchive::Release::{each}" for each in names]
        self.release = self.run("apt-ftparchive", *options, "release", str(root / "dists/x"))
        self.sign("right")

    @staticmethod
    def run(*argv: str) -> bytes:
        return subprocess.run(argv, check=True, capture_output=True).stdout

    def gpg(self, *arguments: str) -> bytes:
        return self.run("gpg", "--homedir", str(self.home), "--batch", "--quiet", "--passphrase", "", *arguments)

    def fingerprint(self, name: str) -> str:
        lines = self.gpg("--list-keys", "--with-colons", name).decode().splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr"))

    def sign(self, name: str) -> None:
        suite = self.root / "dists/x"
        (suite / "Release").write_bytes(self.release)
        (suite / "InRelease").unlink(missing_ok=True)
        self.gpg("--local-user", name, "--clearsign", "--output", str(suite / "InRelease"), str(suite / "Release"))

    def source(self, keyring: str) -> str:
        return f"Types: deb\nURIs: file:{self.root}\nSuites: x\nComponents: nginx\nSigned-By: {keyring}\n"

    def part(self, keyring: str, *names: str) -> SigningKey:
        expected = tuple(self.keys[name] for name in names)
        return SigningKey(keyring, f"file:{self.root}/key", expected, self.source(keyring))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def host(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path)


@pytest.fixture
def place_of_all() -> Iterator[Path]:
    """A directory that apt's own user can read, too."""
    with TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def armored(repository: Repository, *names: str) -> bytes:
    return repository.gpg("--armor", "--export", *names)


PUBLISHED: dict[str, Callable[[Repository], bytes]] = {
    "armored": lambda each: armored(each, "right"),
    "binary": lambda each: each.gpg("--export", "right"),
    "two in one": lambda each: armored(each, "right", "other"),
    "two, one after the other": lambda each: armored(each, "other") + armored(each, "right"),
    "lines that end as elsewhere": lambda each: armored(each, "right").replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("form", PUBLISHED)
def test_keys_that_are_expected_are_had_in_every_form(repository: Repository, host: Scratch, form: str) -> None:
    (repository.root / "key").write_bytes(PUBLISHED[form](repository))
    keyring = host.root / "etc/keyrings/it.gpg"
    ours = step("a", {host.name: [repository.part(str(keyring), "right", "other")]})
    before = host.tree()
    host.apply(ours, "1")
    assert [each.verdict for each in host.look(ours)] == [Verdict.IN_ORDER]
    assert repository.keys["right"] in repository.gpg("--show-keys", "--with-colons", str(keyring)).decode()
    host.rollback(ours)
    assert host.tree() == before


def refused(repository: Repository, host: Scratch, *names: str) -> RunbookError:
    """Why the keys are not had; nothing is left of the attempt."""
    part = repository.part(str(host.root / "etc/keyrings/it.gpg"), *names)
    before = host.tree(), sorted(Path("/tmp").glob("tmp.*"))  # noqa: S108 - mktemp's own
    executor = carry_out([step("a", {host.name: [part]})], [host], host.images_at.parent)
    assert (host.tree(), sorted(Path("/tmp").glob("tmp.*"))) == before  # noqa: S108
    return executor.failures[host.name]


REFUSED: dict[str, tuple[Callable[[Repository], bytes], Entry]] = {
    "another's key": (lambda each: armored(each, "wrong"), complaints.KEY_UNEXPECTED),
    "another's beside the right one": (lambda each: armored(each, "right", "wrong"), complaints.KEY_UNEXPECTED),
    "another's in a second block": (
        lambda each: armored(each, "right") + armored(each, "wrong"),
        complaints.KEY_UNEXPECTED,
    ),
    "a page": (lambda _: b"<html>Log in to go on</html>\n", complaints.NO_SIGNING_KEY),
    "nothing": (lambda _: b"", complaints.NO_SIGNING_KEY),
    "half a key": (lambda each: each.gpg("--export", "right")[:200], complaints.NO_SIGNING_KEY),
    "a secret key": (lambda each: each.gpg("--export-secret-keys", "right"), complaints.NO_SIGNING_KEY),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_expected_is_trusted_by_nobody(repository: Repository, host: Scratch, case: str) -> None:
    published, entry = REFUSED[case]
    (repository.root / "key").write_bytes(published(repository))
    told = told_as(refused(repository, host, "right"), entry)
    assert f"file:{repository.root}/key" in told["error"]
    if entry is complaints.KEY_UNEXPECTED:
        assert repository.keys["wrong"] in told["error"]


def test_a_repository_that_another_key_has_signed(repository: Repository, host: Scratch) -> None:
    (repository.root / "key").write_bytes(armored(repository, "right"))
    repository.sign("wrong")
    try:
        told = told_as(refused(repository, host, "right"), complaints.NOT_SIGNED)
    finally:
        repository.sign("right")
    assert told["error"].startswith(f"here: the repository file:{repository.root} is not signed")
    assert f"{repository.root}/dists/x/InRelease" in told["look"]


def test_a_keyring_that_holds_more_than_is_expected_is_replaced(repository: Repository, host: Scratch) -> None:
    (repository.root / "key").write_bytes(armored(repository, "right"))
    keyring = host.root / "it.gpg"
    keyring.write_bytes(repository.gpg("--export", "right", "wrong"))
    keyring.chmod(0o644)
    before = host.tree()
    ours = step("a", {host.name: [repository.part(str(keyring), "right")]})
    assert [each.verdict for each in host.apply(ours, "1")] == [Verdict.DRIFT]
    assert keyring.read_bytes() == repository.gpg("--export", "right")
    host.rollback(ours)
    assert host.tree() == before


def test_a_source_is_judged_before_it_is_written(repository: Repository, place_of_all: Path) -> None:
    keyring, new = place_of_all / "it.gpg", place_of_all / "new"
    new.write_text(repository.source(str(keyring)))
    judge = f"new={new}\n{judged_source(str(keyring), '/etc/apt/sources.list.d/it.sources')}"
    for name, code in (("right", 0), ("wrong", 1)):
        keyring.write_bytes(repository.gpg("--export", name))
        done = subprocess.run(["sh", "-c", judge], check=False, capture_output=True, text=True)
        assert done.returncode == code, done.stderr


def test_debians_own_keys_are_told_as_gpg_tells_them(repository: Repository) -> None:
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    ours = subprocess.run(["sh", "-c", f"{FINGERPRINTS}\nfingerprints {keyring}"], check=True, capture_output=True)
    told = repository.gpg("--show-keys", "--with-colons", keyring).decode().split("pub:")[1:]
    assert sorted(ours.stdout.decode().split()) == sorted(re.search("fpr:+([0-9A-F]+)", each)[1] for each in told)
