"""What a host has of a name that its site had before: ours goes, all else stays, and rollback is exact."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from scratch import run, step, unmake
from ula_network import ends

from runbook.resources.block import Block
from runbook.resources.file import File
from runbook.resources.made import made, made_facts
from runbook.step import Later
from steps.certificates.earlier_names import EarlierName, of_earlier_names
from steps.certificates.key_on_host import original
from steps.connection import Connection
from steps.ipsec.styles import STYLES
from steps.ipsec.swanctl import MANAGED
from steps.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scratch import Scratch

    from runbook.step import Part, Step

SECRET = b"-----BEGIN PRIVATE KEY-----\nhunter2\n"


def credentials(host: Scratch, *names: str) -> Step:
    """As with ipsec.conf: a directory for each name, with a key and a certificate."""
    parts: list[Part] = []
    for name in names:
        above = host.root / "ssl" / name
        key = File(str(above / f"{name}.key"), SECRET, "400", secret=True)
        parts += [key, File(str(above / f"{name}.pem"), name.encode())]
    return step("credentials", {host.name: parts})


def known(host: Scratch) -> list[str]:
    """What the before-images tell to be ours there."""
    host.target.learn(made_facts("found", ("credentials",), ("connection",), ("file /",), str(host.images_at)))
    return made(host.target.facts, "found")


def going(host: Scratch, but: str) -> Step:
    """Nothing of any name but this; what the admin's daemons read is in `conf.d`."""
    told = [
        replace(EarlierName.of(each), strongswan=(str(host.root / "conf.d"),), elsewhere=str(host.root / "conf.d"))
        for each in known(host)
    ]
    return step("connection", {host.name: [each for each in told if but not in each.path]})


def test_what_is_ours_of_an_earlier_name_goes_and_comes_back_as_it_was(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    fresh = host.tree()
    first, second = credentials(host, "old.example.org"), credentials(host, "new.example.org")
    host.apply(first, "1-credentials")
    described = step("connection", {host.name: [File(str(host.root / "net.conf"), b"whoever made it\n")]})
    host.apply(described, "1-connection")
    before = host.tree()
    host.apply(second, "2-credentials")
    both = host.tree()
    connection = going(host, "new.example.org")
    found = host.apply(connection, "3-connection")
    assert not any(SECRET.decode() in f"{each.change}{each.found}" for each in found)
    assert {path for path in host.tree() if "old" in path} == set()
    assert {path for path in host.tree() if "new" in path} == {path for path in both if "new" in path}
    assert not any(each.change for each in host.look(connection)), "applied twice is applied once"
    assert not any("old" in each for each in known(host)), "nor does the next run know of it"
    (host.root / "ssl" / "old.example.org").mkdir()
    key = host.root / "ssl" / "old.example.org" / "old.example.org.key"
    key.write_bytes(SECRET)
    key.chmod(0o400)
    assert not any("old" in each for each in known(host)), "what is put there again is not ours"
    shutil.rmtree(key.parent)

    stand = {change.status for image in host.images() for change in image.changes}
    assert stand == {"as we left it"}, "what we have taken away ourselves nobody else has changed"
    executor = run([connection, first], [host], host.images_at.parent)
    newest, middle, *oldest = host.images()
    executor.rollback("connection", {host.name: [newest]})
    assert host.tree() == both
    executor.rollback("credentials", {host.name: [middle]})
    assert host.tree() == before
    for image in oldest:
        executor.rollback(image.step, {host.name: [image]})
    assert not executor.failures
    assert host.tree() == fresh


def test_what_was_cut_off_is_known_for_ours(scratch: Callable[[], Scratch]) -> None:
    """Be it the making, or the taking away, of which some may have been done."""
    host = scratch()
    host.apply(credentials(host, "old.example.org"), "1-credentials")
    ours = known(host)
    before = host.tree()
    host.apply(going(host, "new.example.org"), "2-connection")
    key = host.root / "ssl" / "old.example.org" / "old.example.org.key"
    key.parent.mkdir()
    key.write_bytes(SECRET)
    key.chmod(0o400)
    for after in (host.images_at / "2-connection").glob("after.*"):
        after.unlink()
    assert known(host) == [f"file {key}"]
    host.apply(going(host, "new.example.org"), "3-connection")
    assert not key.exists()

    for image in ("3-connection", "2-connection"):
        unmake(host.target, image)
    assert host.tree() == before
    for after in (host.images_at / "1-credentials").glob("after.*"):
        after.unlink()
    assert known(host) == ours


def test_what_was_there_before_or_was_changed_since_is_the_admins(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    above = host.root / "ssl" / "old.example.org"
    above.mkdir(parents=True)
    (above / "old.example.org.key").write_bytes(b"theirs")
    first = credentials(host, "old.example.org", "older.example.org")
    host.apply(first, "1-credentials")
    ours = [str(host.root / "ssl" / each) for each in ("old.example.org/old.example.org.pem",)]
    older = host.root / "ssl" / "older.example.org"
    ours.append(str(older / "older.example.org.key"))
    (older / "older.example.org.pem").write_bytes(b"another's")
    assert known(host) == [f"file {each}" for each in ours]
    host.apply(going(host, "new.example.org"), "2-connection")
    assert sorted(each.name for each in (host.root / "ssl").rglob("*.*.*.*")) == [
        "old.example.org.key",
        "older.example.org.pem",
    ]


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("local {\n    certs = old.example.org.pem\n}\n", True),
        ("local {\n    id = old.example.org\n}\n", True),
        ("# certs = old.example.org.pem\n", False),
        (f"{MANAGED}made from sites.yaml\ncerts = old.example.org.pem\n", False),
        ("", False),
    ],
)
def test_what_a_file_of_the_admins_names_stays_and_that_is_said(
    scratch: Callable[[], Scratch], text: str, *, stays: bool
) -> None:
    host = scratch()
    host.apply(credentials(host, "old.example.org"), "1-credentials")
    directory = host.root / "conf.d"
    directory.mkdir()
    named = directory / "theirs.conf"
    named.write_text(text)
    if not text:
        ours = Block(str(named), "leftcert = /etc/ssl/old.example.org/old.example.org.pem\n")
        host.apply(step("other", {host.name: [ours]}), "2-other")
    for finding in host.look(going(host, "new.example.org")):
        assert (finding.change is None) is stays, "a key is found by strongSwan without being named"
        assert (str(named) in finding.note) is stays


def test_what_another_program_is_told_of_by_its_file_stays_alone(scratch: Callable[[], Scratch]) -> None:
    host = scratch()
    host.apply(credentials(host, "old.example.org"), "1-credentials")
    (host.root / "postfix").mkdir()
    (host.root / "elsewhere").write_text("smtpd_tls_cert_file = /etc/ssl/old.example.org/old.example.org.pem\n")
    (host.root / "postfix" / "main.cf").symlink_to(host.root / "elsewhere")
    nowhere, theirs = str(host.root / "swanctl"), str(host.root / "postfix")
    told = [replace(EarlierName.of(each), strongswan=(nowhere,), elsewhere=theirs) for each in known(host)]
    key, leaf = host.look(step("connection", {host.name: told}))
    assert key.change
    assert leaf.change is None
    assert "main.cf names it" in leaf.note


def test_only_what_no_present_site_needs_is_of_an_earlier_name() -> None:
    site = ends()[0].here
    earlier = replace(site, fqdn="old.example.org")

    def told(which: object) -> str:
        paths = [path for style in STYLES.values() for path in (style.key_path(which), style.leaf_path(which))]
        return ";".join([*(f"file {path}" for path in paths), f"private key {original(which)}"])

    facts = {"credentials_made": f"{told(site)};{told(earlier)};"}
    assert ";".join(each.key for each in of_earlier_names(site, facts)) == told(earlier)


def test_it_stays_while_a_connection_cannot_be_described_anew(tmp_path: Path) -> None:
    """Without it charon could not load what is described there, as after a reboot."""
    network = replace(ends()[0].network, directory=tmp_path)
    site = next(iter(network.sites.values()))
    facts = {"credentials_made": "file /etc/swanctl/private/old.example.org.key;"}
    parts = Connection(network, Vault(network)).parts(site.name, facts)
    assert Later("file", "/etc/swanctl/private/old.example.org.key", "certificate") in parts
