"""A site that has a new name in sites.yaml: its files have the old one, and that is what is said."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from told import told_as
from ula_network import ends

from runbook.script import Reading
from runbook.step import Verdict
from steps import catalogue
from steps.certificates.key_on_controller import Counterpart
from steps.vault import Vault

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_that_is_here_under_another_name_is_named_with_the_commands(tmp_path: Path) -> None:
    end, _ = ends()
    site, vault = end.here, Vault(replace(end.network, directory=tmp_path))
    vault.key(site).parent.mkdir(parents=True)
    was = vault.key(site).with_name("house.key")
    was.write_bytes(b"a key")
    digest = sha256(b"a key").hexdigest()
    found = Counterpart(site, vault).judge(Reading(f"file 400 root:root {digest}\n"))
    assert found.verdict is Verdict.UNKNOWN
    assert "here as " in found.note
    assert found.error is not None
    told_as(found.error, catalogue.KEY_RENAMED)
    assert "keys/house.key to home.key, certificates/house.pem to home.pem" in found.error.hint
    another = Counterpart(site, vault).judge(Reading(f"file 400 root:root {sha256(b'other').hexdigest()}\n"))
    assert "is lost here" in another.note
    assert "house" not in another.note
    was.rename(vault.key(site))
    assert Counterpart(site, vault).judge(Reading("file 400 root:root x\n")).verdict is Verdict.IN_ORDER
