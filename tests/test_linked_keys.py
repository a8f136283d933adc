"""A private key that an admin keeps elsewhere, on a drive say, with a link where the program looks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from netns import in_order, look, make
from scratch import Scratch, unmake

from runbook.step import Verdict
from steps import pki
from steps.certificates import key_on_host
from steps.certificates.key_on_host import HostKey
from steps.certificates.private_key import PrivateKey
from steps.tunnel.tunnel_lesson import example

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runbook.step import Part


@pytest.fixture(params=["controller", "host"])
def made(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Part]:
    """What judges a key, by where keys are; its link leads to what it is given."""
    monkeypatch.setattr(key_on_host, "DIRECTORY", str(tmp_path))
    site = example().sites["home"]
    link = tmp_path / f"{site.fqdn}.key"

    def linked(to: Path) -> Part:
        link.symlink_to(to)
        return PrivateKey(link) if request.param == "controller" else HostKey(site, made_here=False)

    return linked


def test_it_is_in_order_by_what_the_link_leads_to(tmp_path: Path, made: Callable[[Path], Part]) -> None:
    elsewhere = tmp_path / "drive.pem"
    elsewhere.write_bytes(pki.new_key())
    elsewhere.chmod(0o644)
    part, target = made(elsewhere), Scratch(tmp_path).target
    (found,) = look(target, [part])
    assert found.verdict is Verdict.DRIFT
    assert found.change
    assert "it is 644" in found.change.summary
    assert in_order(make(target, [part], "closed"))
    assert elsewhere.stat().st_mode & 0o777 == 0o600
    assert next(tmp_path.glob("*.key")).is_symlink()
    unmake(target, "closed")
    assert elsewhere.stat().st_mode & 0o777 == 0o644


def test_a_drive_that_is_taken_away_is_no_reason_to_make_another_key(
    tmp_path: Path, made: Callable[[Path], Part]
) -> None:
    (found,) = look(Scratch(tmp_path).target, [made(tmp_path / "gone" / "drive.pem")])
    assert found.verdict is Verdict.UNKNOWN
