"""Keys were made on their hosts, and sites.yaml has them made on the controller from now on."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

from ula_network import ends

from runbook.script import PRELUDE, Reading
from runbook.step import Verdict
from steps import pki
from steps.certificates import key_on_host
from steps.certificates.key_on_controller import Counterpart
from steps.ipsec.styles import style_of
from steps.vault import Vault

if TYPE_CHECKING:
    from pathlib import Path


def test_only_what_has_its_original_on_the_host_is_no_loss_here(tmp_path: Path) -> None:
    end, _ = ends()
    site, vault = end.here, Vault(replace(end.network, directory=tmp_path))
    key = pki.as_pkcs8(pki.new_key())
    paths = [key_on_host.original(site), style_of(site).key_path(site)]
    original, copy = (tmp_path / "host" / each.lstrip("/") for each in paths)
    part, script = Counterpart(site, vault), PRELUDE + Counterpart(site, vault).probe()
    for each, place in zip(paths, (original, copy), strict=True):
        place.parent.mkdir(parents=True)
        script = script.replace(each, str(place))

    def verdict() -> Verdict:
        said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
        return part.judge(Reading(said)).verdict

    assert verdict() is Verdict.IN_ORDER
    copy.write_bytes(key)
    assert verdict() is Verdict.UNKNOWN
    original.write_bytes(key)
    assert verdict() is Verdict.IN_ORDER
    original.write_bytes(pki.new_key())
    assert verdict() is Verdict.UNKNOWN
