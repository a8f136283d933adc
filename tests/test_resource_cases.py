"""What files, directories, packages and services do where something is in the way, broken, or not ours."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scratch import step

from runbook.errors import StepError
from runbook.resources.block import Block
from runbook.resources.file import Absent, Directory, File
from runbook.resources.package import Packages
from runbook.resources.service import LINKS_BACK, Masked, Service
from runbook.script import PRELUDE, Reading, quote
from runbook.step import Change, Finding, Part, Verdict
from steps import pki, vault
from steps.certificates import certificate_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from scratch import Scratch

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners are root's to give")


def test_a_directory_with_something_of_the_admins_is_kept_and_named(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    path = host.root / "made" / "ours"
    ours = step("ours", {host.name: [Directory(str(path)), File(str(path / "file"), b"ours")]})
    host.apply(ours, "1")
    (path / "his").write_bytes(b"his")
    with pytest.raises(StepError, match=rf"(?s)could not put back directory {path}.*{path} is not empty: it is kept"):
        host.rollback(ours)
    assert {name for name, each in host.tree().items() if each[0] == "file"} == {"made/ours/his"}
    (path / "his").unlink()
    host.rollback(ours)
    assert host.tree() == {}


ACL = "system.posix_acl_access"
READERS = b"".join([struct.pack("<I", 2), *(struct.pack("<HHI", tag, may, who) for tag, may, who in [
    (0x01, 6, 0xFFFFFFFF), (0x02, 6, 12345), (0x04, 4, 0xFFFFFFFF), (0x10, 6, 0xFFFFFFFF), (0x20, 4, 0xFFFFFFFF),
])])  # fmt: skip
"""user::rw- user:12345:rw- group::r-- mask::rw- other::r-- (linux/posix_acl_xattr.h)"""


def test_an_owner_whose_group_has_a_space_in_its_name_is_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has joined a domain: `domain users` is the primary group of everybody there."""
    owner = "EXAMPLE\\joe:EXAMPLE\\domain users"
    monkeypatch.setattr(vault, "owner", lambda: owner)
    made = Directory("/run/here", "700", owner)
    missing = made.judge(Reading("absent\n")).change
    scripts = {
        "chown() { printf '%s\\n' \"$2\"; }; mkdir() { :; }; chmod() { :; }": missing.apply,
        "rb_put() { printf '%s\\n' \"$3\"; }; mkdir() { :; }": vault.put(Path("/run/here/key"), b"a key", "600"),
    }
    for stubs, script in scripts.items():
        argv = ["/bin/sh", "-c", f"{PRELUDE}{stubs}\n{script}"]
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        assert said == f"{owner}\n"
    assert made.judge(Reading(f"directory 700 {owner}\n")).verdict is Verdict.IN_ORDER
    assert f"from 755 {owner} to 700" in made.judge(Reading(f"directory 755 {owner}\n")).change.summary
    file = File("/run/here/key", b"a key", "600", owner)
    same = f"file 644 {owner} {hashlib.sha256(b'a key').hexdigest()}\n"
    assert file.judge(Reading(same)).change.summary == f"set /run/here/key from 644 {owner} to 600 {owner}"


def test_an_access_list_stays_on_a_file_that_is_replaced_and_comes_back_with_it(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    theirs, ours, key = (host.root / name for name in ("theirs", "ours", "key"))
    for path in (theirs, ours, key):
        path.write_bytes(b"before\n")
        os.setxattr(path, ACL, READERS)
    parts: list[Part] = [
        Block(str(theirs), "line\n"),
        File(str(ours), b"x", "664"),
        File(str(key), b"x", "600", secret=True),
    ]
    changes = step("ours", {host.name: parts})
    host.apply(changes, "1")
    assert {each.verdict for each in host.look(changes)} == {Verdict.IN_ORDER}
    assert os.getxattr(theirs, ACL) == os.getxattr(ours, ACL) == READERS
    mask = READERS.index(struct.pack("<HH", 0x10, 6)) + 2
    assert os.getxattr(key, ACL)[mask : mask + 2] == b"\0\0", "what is for its owner alone is for nobody named besides"
    host.rollback(changes)
    assert [os.getxattr(path, ACL) for path in (theirs, ours, key)] == [READERS] * 3


def test_a_directory_below_a_set_group_id_one_gets_the_mode_wanted(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    host.root.chmod(0o2755)
    ours = step("ours", {host.name: [Directory(str(host.root / "ours"), "700")]})
    host.apply(ours, "1")
    assert {each.verdict for each in host.look(ours)} == {Verdict.IN_ORDER}


def test_content_that_is_cut_short_on_its_way_never_settles(
    scratch: Callable[[], Scratch], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = scratch()
    path = host.root / "file"
    path.write_bytes(b"before")
    ours = step("ours", {host.name: [File(str(path), b"x" * 5000)]})
    shim(host, monkeypatch, "base64", '/usr/bin/base64 "$@" | head -c 3000; kill -9 $$')
    before = host.tree()
    with pytest.raises(StepError, match=f"file {path}"):
        host.apply(ours, "1")
    assert host.tree() == before


def test_a_secret_is_in_no_argument_list_nor_environment(
    scratch: Callable[[], Scratch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any command that takes part in writing, reading or undoing it."""
    host = scratch()
    seen = host.root.parent / "seen"
    for name in ("base64", "cat", "chmod", "chown", "cp", "cut", "mkdir", "mv", "rm", "sha256sum", "stat", "sync"):
        real = shutil.which(name)
        shim(host, monkeypatch, name, f'{{ printf "%s\\n" {name} "$@"; env; }} >>{quote(str(seen))}\nexec {real} "$@"')
    secret = b"canary-8d41c" * 8
    (host.root / "key").write_bytes(secret[::-1])
    ours = step("ours", {host.name: [File(str(host.root / "key"), secret, "400", secret=True)]})
    found = host.apply(ours, "1")
    assert (host.root / "key").read_bytes() == secret
    host.rollback(ours)
    assert (host.root / "key").read_bytes() == secret[::-1]
    told = f"{seen.read_text()}{found}{[each.change.diff for each in found if each.change]}"
    assert "base64\n-d\n" in told
    for each in (secret, secret[::-1], base64.b64encode(secret)):
        assert each.decode()[:24] not in told


def test_a_validators_no_leaves_the_file_as_it_was(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    path = host.root / "a b"
    path.write_bytes(b"before")
    ours = step(
        "ours", {host.name: [File(str(path), b"new", validator='grep -q old "$new" || { echo "not old" >&2; false; }')]}
    )
    before = host.tree()
    with pytest.raises(StepError, match="not old"):
        host.apply(ours, "1")
    assert host.tree() == before
    host.rollback(ours)
    assert host.tree() == before


def test_what_cannot_be_made_says_why_and_leaves_all_as_it_was(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    (host.root / "file").write_bytes(b"in the way")
    ours = step("ours", {host.name: [File(str(host.root / "file" / "below"), b"new")]})
    before = host.tree()
    with pytest.raises(StepError, match=r"file .*/file/below: .*File exists"):
        host.apply(ours, "1")
    assert host.tree() == before
    host.rollback(ours)
    assert host.tree() == before


@pytest.mark.parametrize("before", ["a link", "nothing"])
@pytest.mark.parametrize("status", ["installed", "config-files", ""])
def test_a_packages_file_is_out_of_the_way_and_back(
    scratch: Callable[[], Scratch], monkeypatch: pytest.MonkeyPatch, before: str, status: str
) -> None:
    """Also one that comes with the package, and one that outlived the package and goes with it for good."""
    host = scratch()
    state = host.root.parent / "state"
    shim(host, monkeypatch, "dpkg-query", f"cat {quote(str(state))}")
    state.write_text(status)
    path = host.root / "default"
    if before == "a link":
        path.symlink_to("available")
    tree = host.tree()
    comes = step(
        "ours", {host.name: [Package(str(state), str(path)), Absent(str(path), "it would answer", ("package",))]}
    )
    found = host.apply(comes, "1")
    assert bool(found[1].change) is (before == "a link" or status != "installed")
    assert (host.tree(), state.read_text()) == ({}, "installed")
    assert {each.verdict for each in host.look(comes)} == {Verdict.IN_ORDER}
    if host.images_at.exists():
        host.rollback(comes)
    assert host.tree() == tree


@dataclass(frozen=True)
class Package(Part):
    """A package as Debian's: it brings a link, and its purge removes the link."""

    state: str
    link: str

    @property
    def key(self) -> str:
        return "package"

    def probe(self) -> str:
        return f"grep -x installed {quote(self.state)} || echo none"

    def judge(self, found: Reading) -> Finding:
        if found.text.strip() == "installed":
            return self.in_order()
        state, link = quote(self.state), quote(self.link)
        install = f"printf installed >{state}; [ -L {link} ] || ln -s available {link}"
        return self.absent(Change("install", install, f"printf '' >{state}; rm -f {link}"))


def test_a_diff_can_be_printed_whatever_is_there(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    for name, text in (("latin", b"caf\xe9\n"), ("ends", b"a\r\nb"), ("long", b"x\n" * 40000)):
        (host.root / name).write_bytes(text)
    wanted = {"latin": "caf\u00e9\n".encode(), "ends": b"a\nb\n", "long": b"y\n"}
    parts: list[Part] = [File(str(host.root / name), text) for name, text in wanted.items()]
    latin, ends, long = (each.change.diff for each in host.look(step("ours", {host.name: parts})) if each.change)
    assert latin.encode().decode().splitlines()[-2:] == ["-caf\ufffd", "+caf\u00e9"]
    assert ends.endswith("(only line ends differ)")
    assert long.endswith("(too large to be shown)")


def test_of_what_is_no_text_the_lengths_are_shown(scratch: Callable[[], Scratch]) -> None:
    """Such as a request in DER: a page of noise, and control characters at the user's terminal."""
    host = scratch()
    was, wanted = (certificate_request.csr_der(certificate_request.new_csr(pki.new_key(), each)) for each in "ab")
    (host.root / "changed").write_bytes(was + b"\n")
    parts = [File(str(host.root / name), wanted) for name in ("changed", "new")]
    changed, new = (each.change.diff for each in host.look(step("ours", {host.name: parts})) if each.change)
    assert changed.splitlines()[2:] == [f"(binary, {len(was) + 1} bytes -> {len(wanted)} bytes)"]
    assert new.splitlines()[2:] == [f"(binary, {len(wanted)} bytes)"]


def shell_of(part: Part, printed: str) -> tuple[str, str, str]:
    """Verdict, apply and undo for what a probe may print."""
    finding = part.judge(Reading(printed))
    change = finding.change
    return finding.verdict.value, change.apply if change else "", change.undo if change else ""


SERVICES = {
    "enabled active": ("in order", ""),
    "enabled inactive": ("drift", "systemctl enable --quiet u >&2\nsystemctl stop u >&2"),
    "disabled active": ("drift", "systemctl disable --quiet u >&2\nsystemctl start u >&2"),
    "disabled inactive": ("drift", "systemctl disable --quiet u >&2\nsystemctl stop u >&2"),
    "masked inactive": ("drift", "systemctl mask --quiet u >&2\nsystemctl stop u >&2"),
    "static inactive": ("drift", "systemctl stop u >&2"),
    "not-found inactive": ("absent", f"systemctl disable --quiet --now u 2>/dev/null || true{LINKS_BACK}"),
}


@pytest.mark.parametrize("printed", SERVICES)
def test_a_service_is_judged_and_gets_its_states_back(printed: str) -> None:
    verdict, apply, undo = shell_of(Service("u"), f"{printed}\n")
    assert (verdict, undo) == SERVICES[printed]
    start = "start" if printed.endswith(" active") else "restart"
    assert (f"enable --quiet u >&2\nsystemctl {start} u" in apply) is (verdict != "in order")


@pytest.mark.parametrize("printed", SERVICES)
def test_a_unit_is_masked_unless_it_is_and_gets_its_states_back(printed: str) -> None:
    verdict, apply, undo = shell_of(Masked("u", "it is the old way"), f"{printed}\n")
    assert (verdict == "in order") is (printed == "masked inactive")
    if verdict != "in order":
        expected = "start" if printed == "enabled active" else SERVICES[printed][1]
        assert "systemctl mask" in apply
        assert undo.startswith("systemctl unmask --quiet u >&2\n")
        assert expected in undo


@pytest.mark.parametrize(
    ("enabled", "active", "said"),
    [
        ("enabled", "active", "enabled active"),
        ("enabled", "reloading", "enabled active"),
        ("enabled", "activating", "enabled inactive"),
        ("disabled", "failed", "disabled inactive"),
        ("", "inactive", "not-found inactive"),
    ],
)
def test_what_systemctl_says_is_read_as_what_can_be_had_again(
    scratch: Callable[[], Scratch], monkeypatch: pytest.MonkeyPatch, enabled: str, active: str, said: str
) -> None:
    """A unit that starts over and over does not run; that one failed once cannot be brought back by undoing."""
    host = scratch()
    shim(host, monkeypatch, "systemctl", f"case $1 in is-enabled) echo {enabled} ;; *) echo {active} ;; esac; exit 3")
    assert host.target.run(Service("u").probe(), purpose="try").stdout == f"{said}\n"


def test_packages_are_judged_by_what_is_missing() -> None:
    part = Packages(("one", "two", "three"))
    assert shell_of(part, "")[0] == "in order"
    verdict, apply, _ = shell_of(part, "two\nthree\n")
    assert verdict == "absent"
    assert "-- two three >&2" in apply
    assert " one " not in apply


def shim(host: Scratch, monkeypatch: pytest.MonkeyPatch, name: str, body: str) -> None:
    """A program of the test's, found first."""
    tools = host.root.parent / "bin"
    tools.mkdir(exist_ok=True)
    (tools / name).write_text(f"#!/bin/sh\n{body}\n")
    (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")


def test_directories_made_for_several_files_are_all_gone_again(scratch: Callable[[], Scratch]) -> None:
    """The last made first, whichever file it was made for."""
    host = scratch()
    names = ("a/file", "a/b/file", "a/c/d/file", "a/c/other")
    ours = step("ours", {host.name: [File(str(host.root / name), b"ours") for name in names]})
    host.apply(ours, "1")
    host.rollback(ours)
    assert host.tree() == {}


def test_an_image_half_removed_is_none_and_swept_up_by_the_next(
    scratch: Callable[[], Scratch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power fails while an image is removed, when its manifest would come last."""
    host = scratch()
    ours = step("ours", {host.name: [File(str(host.root / "a"), b"ours")]})
    host.apply(ours, "1")
    path = os.environ["PATH"]
    cut_off = 'for last; do :; done; [ ! -d "$last" ] || { rm -f "$last"/[!m]*; kill -9 0; }'
    shim(host, monkeypatch, "rm", f"PATH={path}; {cut_off}\nexec rm " + '"$@"')
    with pytest.raises(StepError, match="cut short"):
        host.rollback(ours)
    monkeypatch.setenv("PATH", path)
    assert host.tree() == {}
    assert (host.images(), host.images_at.exists()) == ([], True)
    host.apply(ours, "2")
    host.rollback(ours)
    assert not host.images_at.exists()


def test_what_reads_as_before_already_is_not_undone(scratch: Callable[[], Scratch]) -> None:
    """Some undoing, such as setting something aside, must not happen twice."""
    host = scratch()
    state, undone = host.root / "state", host.root / "undone"
    ours = step("ours", {host.name: [Counted(str(state), str(undone))]})
    host.apply(ours, "1")
    state.unlink()
    host.rollback(ours)
    assert host.tree() == {}
    host.apply(ours, "2")
    host.rollback(ours)
    assert set(host.tree()) == {"undone"}


@dataclass(frozen=True)
class Counted(Part):
    """A file whose undoing leaves a trace."""

    path: str
    trace: str

    @property
    def key(self) -> str:
        return "counted"

    def probe(self) -> str:
        return f"rb_state {quote(self.path)}"

    def judge(self, found: Reading) -> Finding:
        if found.text.startswith("file"):
            return self.in_order()
        path = quote(self.path)
        return self.absent(Change("count", f"echo >{path}", f"rm -f {path}\necho >>{quote(self.trace)}"))
