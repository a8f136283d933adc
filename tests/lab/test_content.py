"""What fresh hosts and the lab's user are given, where the kernel has ESP and where it has not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab import content, files, layout

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("userland_esp", [True, False])
def test_the_labs_own_rules_are_there_only_without_esp_in_the_kernel(*, userland_esp: bool) -> None:
    saved = content.firewall(layout.HOME, userland_esp=userland_esp)
    assert all(("ipsec0" in rules) is userland_esp for rules in saved.values())


@pytest.mark.parametrize("userland_esp", [True, False])
def test_sites_yaml_asks_for_encapsulation_only_without_esp_in_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, userland_esp: bool
) -> None:
    monkeypatch.setattr(layout, "LABS", tmp_path)
    (tmp_path / "x").mkdir()
    files.write_sites(layout.Layout("x"), ["home", "vps4", "lan"], userland_esp=userland_esp)
    text = (tmp_path / "x" / "sites.yaml").read_text()
    assert ("encapsulation: always" in text) is userland_esp
    assert ("libcharon-extra-plugins" in text) is userland_esp
    assert "\nsites:\n  home:\n" in text


def test_the_saved_rules_hold_the_articles_lines_commented_out() -> None:
    saved = content.firewall(layout.VPS4, userland_esp=False)
    lines = saved["etc/network/iptables.save"].splitlines()
    at = lines.index("### Web ###")
    assert lines[at + 1] == "# Permit HTTP(S) connections to primary IP"
    assert lines[at + 2] == "#-A in-new -d 203.0.113.20 -p tcp -m multiport --dports 80,443 -j ACCEPT"
    assert "### Let's Encrypt ###" in saved["etc/network/ip6tables.save"]


def test_home_is_its_lans_gateway_without_a_ula_address() -> None:
    text = content.interfaces(layout.HOME)
    assert text.startswith("# The interfaces of this host, see interfaces(5).\nsource /etc/network/interfaces.d/*\n")
    assert "iface eth1 inet static\n    address 192.168.7.1/24\n" in text
    assert "fdd7:" not in text
