"""What an end offers of the proposals: what its daemon and whatever encrypts there can do, and nothing else."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from scratch import Scratch, step

from runbook.resources.file import File
from runbook.script import Reading
from runbook.step import Finding, Verdict
from steps.ipsec.abilities import KERNEL, PROBE, SEVERAL, Abilities, read_abilities
from steps.ipsec.ciphers import ByAbility, offer
from steps.ipsec.ipsec_options import Ipsec
from steps.ipsec.swanctl_style import Swanctl

DATA = Path(__file__).parent / "data" / "swanctl"
ALGORITHMS = {"5.9.8": "swanctl-list-algs.pretty.txt", "6.1.0": "6.1.0-list-algs.pretty.txt"}
"""Recorded on Debian 12, and on the Debian after 13, whose strongSwan is the first with ML-KEM."""
HYBRIDS = ("aes256gcm16-prfsha384-ecp384-ke1_mlkem768", "aes256gcm16-ecp384-ke1_mlkem768")
GCM, CBC = "rfc4106(gcm(aes))", "cbc(aes) hmac(sha256) hmac(sha384)"


def listed(version: str, *, plugins: str = "openssl kernel-netlink", kernel: str = "unknown") -> str:
    """What a host says of itself."""
    text = (DATA / ALGORITHMS[version]).read_text().replace("\n  ke {\n", f"\n    {SEVERAL} = \n")
    names = re.findall(r"^    ([A-Z0-9_]+) = ", text, re.MULTILINE)
    return f"{' '.join(names)} \n{plugins}\n{kernel}\n"


def offered(said: str, wanted: Ipsec | None = None) -> tuple[Ipsec, str]:
    abilities = read_abilities(Reading(said))
    assert abilities
    return offer(wanted or Ipsec(), abilities)


def test_a_hybrid_is_offered_first_where_strongswan_has_ml_kem_and_nowhere_else() -> None:
    old, _ = offered(listed("5.9.8"))
    new, _ = offered(listed("6.1.0"))
    assert (new.ike_proposals[0], new.esp_proposals[0]) == HYBRIDS
    assert (new.ike_proposals[1:], new.esp_proposals[1:]) == (old.ike_proposals, old.esp_proposals)
    assert (old.ike_proposals[0], old.esp_proposals[0]) == ("aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384")
    assert not any("mlkem" in each for each in (*old.ike_proposals, *old.esp_proposals))


@pytest.mark.parametrize("version", ALGORITHMS)
def test_a_kernel_without_gcm_is_offered_what_it_can_do_and_that_is_said(version: str) -> None:
    left, said = offered(listed(version, kernel=f"kernel {CBC}"))
    assert left.esp_proposals == ("aes256-sha384-ecp384",)
    assert "aes256gcm16-prfsha384-ecp384" in left.ike_proposals, "the daemon's own is as before"
    assert "ESP without aes256gcm16-ecp384: this host's kernel has no AES_GCM_16" in said


@pytest.mark.parametrize(
    "host",
    [
        {"kernel": f"kernel {GCM} {CBC}"},
        {"kernel": "unknown"},
        {"plugins": "openssl kernel-libipsec kernel-netlink", "kernel": "kernel"},
    ],
    ids=["a kernel with all", "a container", "charon does ESP itself"],
)
def test_where_all_can_be_done_or_nothing_can_be_told_all_is_offered_and_nothing_said(host: dict[str, str]) -> None:
    left, said = offered(listed("5.9.8", **host))
    assert left.esp_proposals == Ipsec().esp_proposals[1:]
    assert said == ""


def test_what_is_asked_for_by_name_and_cannot_be_done_is_named() -> None:
    held = Ipsec(ike_proposals=(HYBRIDS[0], "aes256gcm16-prfsha384-ecp384"), esp_proposals=("aes256gcm16-ecp384",))
    left, said = offered(listed("5.9.8"), held)
    assert left == replace(held, ike_proposals=("aes256gcm16-prfsha384-ecp384",))
    assert said == f"IKE without {HYBRIDS[0]}: this host's strongSwan has no ML_KEM_768"


@pytest.mark.parametrize(
    ("proposal", "child", "missing"),
    [
        ("aes256gcm16-ecp384", True, ""),
        ("aes256gcm16", True, ""),
        ("aes256gcm8-ecp384", True, ""),
        ("chacha20poly1305-x25519", True, "kernel has no CHACHA20_POLY1305"),
        ("chacha20poly1305-prfsha256-x25519", False, ""),
        ("aes256-sha512-modp2048", True, "kernel has no HMAC_SHA2_512_256"),
        ("aes256-sha256-ecp384-ke1_none", True, "strongSwan has no MULTIPLE_KEY_EXCHANGES"),
        ("aes256gcm16-prfsha384-ecp384-ke1_ecp521", False, "strongSwan has no MULTIPLE_KEY_EXCHANGES"),
        ("aes256-aesxcbc-ecp384", False, "strongSwan has no PRF_AES128_XCBC"),
        ("aes256-aesxcbc-prfsha384-ecp384", False, ""),
        ("aes256-aesxcbc-ecp384", True, "kernel has no AES_XCBC_96"),
        (
            "chacha20poly1305-ecp384-ke1_mlkem768",
            True,
            "kernel has no CHACHA20_POLY1305 and strongSwan has no ML_KEM_768",
        ),
        (
            "aes256gcm16-prfsha384-ecp384-ke1_mlkem768-ke2_mlkem1024",
            False,
            "strongSwan has no ML_KEM_1024 and no ML_KEM_768",
        ),
    ],
)
def test_what_a_proposal_lacks(proposal: str, *, child: bool, missing: str) -> None:
    abilities = read_abilities(Reading(listed("5.9.8", kernel=f"kernel {GCM} {CBC}")))
    assert abilities
    assert abilities.lacking(proposal, child=child) == missing


def test_what_only_some_of_those_that_list_it_can_do() -> None:
    for version, plugins, second, by_aes in (
        ("5.9.8", "openssl kernel-netlink", False, False),
        ("6.1.0", "openssl kernel-netlink", True, False),
        ("6.1.0", "openssl kdf kernel-netlink", True, True),
    ):
        abilities = read_abilities(Reading(listed(version, plugins=plugins)))
        assert abilities
        for proposal, can in (
            ("aes256gcm16-prfsha384-ecp384-ke1_ecp521", second),
            ("aes256gcm16-prfsha384-ecp384-ke1_none", second),
            ("aes256-sha384-prfaesxcbc-ecp384", by_aes),
            ("aes256-sha384-prfaescmac-ecp384", by_aes),
        ):
            assert (abilities.lacking(proposal, child=False) == "") is can, (version, plugins, proposal)


# --- the part ---------------------------------------------------------------------------------------------------------


def text(ipsec: Ipsec) -> str:
    return f"proposals = {','.join(ipsec.ike_proposals)}\nesp_proposals = {','.join(ipsec.esp_proposals)}\n"


PART = ByAbility(Ipsec(), lambda ipsec: File("/etc/x.conf", text(ipsec).encode(), "640"), (("here", "true"),))


def judged(said: str | None, content: str | None) -> Finding:
    """Of a host that says this of itself, and has this in the file."""
    state = "absent\n" if content is None else f"{File('/etc/x.conf', content.encode(), '640').state}\n{content}"
    return PART.judge_beside(Reading(state), [None if said is None else Reading(said)])


def test_the_part_is_the_file_for_this_host() -> None:
    assert PART.key == "file /etc/x.conf"
    old, new = (offered(listed(version))[0] for version in ALGORITHMS)
    assert judged(listed("5.9.8"), text(old)).verdict is Verdict.IN_ORDER
    upgraded = judged(listed("6.1.0"), text(old))
    assert upgraded.verdict is Verdict.DRIFT
    assert upgraded.change
    assert "+proposals = aes256gcm16-prfsha384-ecp384-ke1_mlkem768," in upgraded.change.diff
    assert judged(listed("6.1.0"), text(new)).verdict is Verdict.IN_ORDER


def test_without_a_daemon_what_it_was_told_before_stands_if_it_is_wanted() -> None:
    for silent, version in product(("\n\nunknown\n", None), ALGORITHMS):
        assert judged(silent, text(offered(listed(version))[0])).verdict is Verdict.IN_ORDER
    weaker = text(replace(Ipsec(), ike_proposals=("aes128-sha1-modp1024",), esp_proposals=("aes128-sha1",)))
    for before in (None, weaker):
        finding = judged("\n\nunknown\n", before)
        assert finding.change
        assert "mlkem" not in finding.change.diff, "no word that a daemon may not know"
        assert "+esp_proposals = aes256gcm16-ecp384,aes256-sha384-ecp384" in finding.change.diff


def test_where_nothing_is_left_the_file_is_not_touched() -> None:
    finding = judged(listed("5.9.8", kernel="kernel"), None)
    assert (finding.verdict, finding.change) == (Verdict.UNKNOWN, None)
    assert "this host's kernel has no AES_GCM_16" in finding.note


def test_a_daemon_begun_anew_changes_nothing_of_what_is_to_be_undone(tmp_path: Path) -> None:
    """It lists other algorithms then, or none while it is stopped: that is nobody's change of the file."""
    host, says = Scratch(tmp_path), tmp_path / "says"
    path = host.root / "x.conf"
    can = ((host.name, f"cat {says}"),)
    part = ByAbility(Ipsec(), lambda ipsec: File(str(path), text(ipsec).encode(), "640"), can)
    ours = step("a", {host.name: [part]})
    says.write_text(listed("6.1.0"))
    host.apply(ours, "image")
    for said in (listed("5.9.8"), "\n\n"):
        says.write_text(said)
        assert [each.status for image in host.images() for each in image.changes] == ["as we left it"]
    host.rollback(ours)
    assert not path.exists()


# --- the shell --------------------------------------------------------------------------------------------------------


def test_what_vici_lists_is_made_one_line_of_names_and_one_of_plugins(tmp_path: Path) -> None:
    program = tmp_path / "swanctl"
    program.write_text(
        f"#!/bin/sh\ncase $1 in --list-algs) cat {DATA / ALGORITHMS['6.1.0']} ;; *) "
        "printf 'uptime: 1 second\\nloaded plugins: openssl kernel-libipsec\\n' ;; esac\n"
    )
    program.chmod(0o755)
    said = shell(Swanctl().algorithms, tmp_path)
    names, plugins = said.splitlines()
    assert names.split() == listed("6.1.0").splitlines()[0].split()
    assert plugins == "openssl kernel-libipsec"
    program.write_text("#!/bin/sh\nexit 1\n")
    assert read_abilities(Reading(f"{shell(Swanctl().algorithms, tmp_path)}unknown\n")) is None


def shell(script: str, tools: Path) -> str:
    environment = {"PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=True, env=environment)
    return done.stdout


MODPROBE = """\
#!/bin/sh
[ "$1" = -nq ] || exit 9
case " $(cat "$(dirname "$0")/modules") " in *" $2 "*) exit 0 ;; esac
exit 1
"""
ESP = "xfrm-type-2-50 xfrm-type-10-50"


@pytest.mark.parametrize(
    ("names", "modules", "says"),
    [
        ("", f"{ESP} crypto-rfc4106 crypto-gcm crypto-aes crypto-cbc", f"kernel {GCM} cbc(aes)"),
        ("name : aes\nname : rfc4106(gcm(aes))\n", f"{ESP} crypto-cbc", f"kernel {GCM} cbc(aes)"),
        ("name : aes\n", f"{ESP} crypto-cbc crypto-hmac crypto-sha384", "kernel cbc(aes) hmac(sha384)"),
        (f"name : {GCM}\n", "xfrm-type-2-50", "kernel"),
        (f"name : {GCM}\n", "", "kernel"),
    ],
    ids=["by modules", "by what is loaded", "without GCM", "without ESP for IPv6", "without ESP"],
)
def test_what_a_kernel_can_do_is_told_without_loading_a_module(
    tmp_path: Path, names: str, modules: str, says: str
) -> None:
    (tmp_path / "modprobe").write_text(MODPROBE)
    (tmp_path / "modprobe").chmod(0o755)
    (tmp_path / "modules").write_text(modules)
    (tmp_path / "crypto").write_text(names)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "modules.builtin.modinfo").touch()
    script = PROBE.replace("/proc/crypto", str(tmp_path / "crypto"))
    script = script.replace("/lib/modules/$(uname -r)", str(tmp_path / "lib"))
    assert shell(script, tmp_path) == f"{says}\n"
    found = read_abilities(Reading(f"AES_GCM_16\nkernel-netlink\n{says}\n"))
    assert found == Abilities(frozenset({"AES_GCM_16"}), frozenset(says.split()[1:]))
    assert found.esp is not None
    assert found.esp <= {*KERNEL.values()}


def test_a_host_that_does_not_see_its_kernels_modules_says_so(tmp_path: Path) -> None:
    script = PROBE.replace("/lib/modules/$(uname -r)", str(tmp_path))
    assert shell(script, tmp_path) == "unknown\n"
