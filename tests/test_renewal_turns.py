"""Whose turn it is to be renewed, by the authority's word or by the user's; and what is noted of a renewal."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from made_pki import issue
from told import told_as
from ula_network import ends

from runbook.errors import StepError, UsageError
from runbook.local import LocalHost
from runbook.resources.file import File
from runbook.script import Reading
from runbook.step import CONTROLLER, Verdict
from runbook.target import Target
from steps import catalogue, pki
from steps.certificates import acme_source, certificate_request, private_ca, private_source
from steps.certificates.acme_order import AcmeError
from steps.certificates.certificate_options import Certificates
from steps.certificates.private_key import PrivateKey
from steps.certificates.renewals import Renewal, Suggestion, is_due, renewal_of
from steps.certificates.site_certificate import SiteCertificate, settled_chain, verified_chain
from steps.ipsec.authorities import CaCertificates
from steps.renewing.certificates_in_use import CertificatesInUse
from steps.renewing.renewal import ask_authorities, renewal, standings
from steps.renewing.renewal_timer import RenewalTimer
from steps.vault import Vault

if TYPE_CHECKING:
    from pathlib import Path

    from steps.network import Network, Site

NOW: Final = datetime.now(UTC)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    """Two sites with certificates of which a third of the lifetime is over."""
    root = issue("Root", None, before=NOW - timedelta(days=30), after=NOW + timedelta(days=900))
    anchor = tmp_path / "root.pem"
    anchor.write_bytes(pki.to_pem(root.cert))
    made = replace(
        ends()[0].network,
        directory=tmp_path,
        certificates=Certificates("letsencrypt", "", agree_to_terms=True, trust_anchors=(anchor,)),
    )
    vault = Vault(made)
    for path in (vault.key, vault.certificate):
        path(made.sites["home"]).parent.mkdir(parents=True)
    for site in made.sites.values():
        key, lasts = pki.new_key(), {"before": NOW - timedelta(days=30), "after": NOW + timedelta(days=60)}
        leaf = issue(site.fqdn, root, ca=False, names=[site.fqdn], key=pki.load_key(key), **lasts)
        vault.key(site).write_bytes(key)
        vault.certificate(site).write_bytes(pki.to_pem(leaf.cert))
    return made


@pytest.fixture
def controller(tmp_path: Path) -> Target:
    return Target(LocalHost(CONTROLLER), str(tmp_path / "images"))


def known(network: Network, site: Site) -> Renewal:
    chain = verified_chain(network, site, Vault(network))
    assert chain
    return renewal_of(Vault(network), site, chain.leaf)


def due(network: Network) -> set[str]:
    vault = Vault(network)
    chains = {name: verified_chain(network, site, vault) for name, site in network.sites.items()}
    return {name for name, each in chains.items() if each and is_due(each.leaf, known(network, network.sites[name]))}


def test_by_the_authority_s_word_which_is_asked_for_once_in_a_while(
    network: Network, controller: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def says(*_: object) -> Suggestion:
        asked.append(1)
        return Suggestion(NOW - timedelta(hours=1), NOW + timedelta(hours=6)) if len(asked) == 1 else later

    later = Suggestion(NOW + timedelta(days=2), NOW + timedelta(hours=6))
    monkeypatch.setattr(acme_source, "suggestion", says)
    for _ in range(2):
        assert list(ask_authorities(network, controller, only="", force=False)) == []
    assert len(asked) == 2, "once for each site"
    assert due(network) == {"home"}
    home, vps4 = standings(network)
    assert "home.example.org: 59 days left, renewal due since" in home
    assert f"renewal due on {NOW + timedelta(days=2):%Y-%m-%d} (by its authority's word)" in vps4


def test_an_authority_that_cannot_be_asked_is_told_and_no_failure(
    network: Network, controller: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise AcmeError("it does not answer")

    monkeypatch.setattr(acme_source, "suggestion", fails)
    told = list(ask_authorities(network, controller, only="", force=False))
    assert [line.partition(";")[0] for line in told] == ["home: it does not answer", "vps4: it does not answer"]
    assert due(network) == set()


def test_by_the_user_s_word_for_one_site_alone(network: Network, controller: Target) -> None:
    assert list(ask_authorities(network, controller, only="vps4", force=True)) == []
    assert due(network) == {"vps4"}
    first = renewal(network, only="vps4", force=True)[0]
    assert [part.key for part in first.parts(CONTROLLER, {})] == ["certificate vps4.example.org"]


def test_what_is_due_of_a_site_whose_turn_it_is_not_stays_what_the_hosts_are_to_have(
    network: Network, controller: Target
) -> None:
    list(ask_authorities(network, controller, only="", force=True))
    assert due(network) == {"home", "vps4"}
    vault = renewal(network, only="vps4", force=False)[0].vault
    assert settled_chain(network, network.sites["home"], vault)
    assert settled_chain(network, network.sites["vps4"], vault) is None


def test_a_renewal_does_not_go_over_to_another_authority(network: Network, controller: Target) -> None:
    """To one of one's own that is not made yet, nor to one that has been made."""
    other = replace(network, certificate_authority="private")
    for made in (False, True):
        if made:
            key, ca = Vault(other).ca_key, Vault(other).ca_certificate
            key.parent.mkdir()
            key.write_bytes(pki.new_key())
            ca.write_bytes(private_ca.new_ca(key.read_bytes(), "example.org"))
        assert list(ask_authorities(other, controller, only="", force=False)) == []
        parts = renewal(other, only="", force=False)[0].parts(CONTROLLER, {})
        assert [part.key for part in parts if not isinstance(part, SiteCertificate)] == (
            [f"private key {key}", f"certificate authority {ca}"] if made else []
        )
        found = [part.judge(Reading("")) for part in parts if isinstance(part, SiteCertificate)]
        assert len(found) == len(network.sites)
        for each in found:
            assert each.verdict is Verdict.UNKNOWN
            assert each.error
            assert (
                "is of another authority than sites.yaml names"
                in told_as(each.error, catalogue.AUTHORITY_CHANGED)["error"]
            )


def test_an_authority_of_one_s_own_is_renewed_too_and_what_follows_of_it_is_known_later(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(network, certificate_authority="private")
    vault = Vault(own)
    vault.ca_key.parent.mkdir()
    vault.ca_key.write_bytes(pki.new_key())
    vault.ca_certificate.write_bytes(private_ca.new_ca(vault.ca_key.read_bytes(), "example.org"))
    (root,) = pki.split_chain(vault.ca_certificate.read_bytes())
    for site in own.sites.values():
        request = certificate_request.new_csr(vault.key(site).read_bytes(), site.fqdn)
        vault.certificate(site).write_bytes(private_ca.sign(request, site.fqdn, root, vault.ca_key.read_bytes()))

    def found() -> dict[str, Verdict]:
        steps = renewal(own, only="", force=False)
        parts = [*steps[0].parts(CONTROLLER, {}), *steps[1].parts("home", {})]
        made = [part for part in parts if not isinstance(part, (PrivateKey, File, CaCertificates))]
        return {part.key.partition(" /")[0]: part.judge(Reading("")).verdict for part in made}

    assert set(found().values()) == {Verdict.IN_ORDER}
    monkeypatch.setattr(private_ca, "due_at", lambda _: NOW)
    assert found()["certificate authority"] is Verdict.DRIFT
    assert found()["certificate home.example.org"] is Verdict.IN_ORDER
    assert found()["CA certificates in"] is Verdict.LATER
    *_, authority = standings(own)
    assert authority.startswith("your own authority: 3652 days left, made anew from ")


def test_a_site_that_is_not_there_and_one_without_a_certificate_are_said_to_be_so(network: Network) -> None:
    with pytest.raises(UsageError, match="there is no site 'vps5'"):
        renewal(network, only="vps5", force=False)
    Vault(network).certificate(network.sites["home"]).unlink()
    with pytest.raises(UsageError, match="there is no certificate yet"):
        renewal(network, only="home", force=False)
    assert renewal(network, only="vps4", force=False)


def test_an_authority_of_ones_own_whose_key_is_not_here_is_told_and_the_certificate_stays(
    network: Network, controller: Target
) -> None:
    """Kept elsewhere, as a careful admin may: a renewal says where it belongs, and is no traceback."""
    own = replace(network, certificates=None, certificate_authority="private")
    vault = Vault(own)
    vault.ca_certificate.parent.mkdir()
    key = pki.new_key()
    vault.ca_certificate.write_bytes(private_ca.new_ca(key, "example.org"))
    ca = pki.split_chain(vault.ca_certificate.read_bytes())[0]
    for site in own.sites.values():
        vault.csr(site).parent.mkdir(exist_ok=True)
        vault.csr(site).write_bytes(certificate_request.new_csr(vault.key(site).read_bytes(), site.fqdn))
        vault.certificate(site).write_bytes(private_ca.sign(vault.csr(site).read_bytes(), site.fqdn, ca, key))
    list(ask_authorities(own, controller, only="", force=True))
    step = renewal(own, only="home", force=True)[0]
    (part,) = [each for each in step.parts(CONTROLLER, {}) if isinstance(each, SiteCertificate)]
    before = part.path.read_bytes()
    change = part.judge(None).change  # type: ignore[arg-type] # it reads nothing
    change.obtain({CONTROLLER: controller})
    assert part.path.read_bytes() == before
    told = renewal_of(vault, own.sites["home"], pki.split_chain(before)[0]).why
    assert f"your authority's key is lost, and its certificate {vault.ca_certificate} is there" in told
    assert f"put {vault.ca_key} back from a backup" in told
    vault.ca_certificate.unlink()
    with pytest.raises(StepError, match="it is not there, and a renewal makes none"):
        private_source.issue(own, vault, own.sites["home"], {}, None)


TALKING: Final = """\
#!/bin/sh
case $* in
    *start*) exit 1 ;;
    *list-timers*) echo 'Sat 2026-11-28 21:00:00 UTC 12h - -' ;;
    *journalctl*) ;;
    *) echo 'vps4: the next line ends in two dashes'; echo 'usage: curl --' ;;
esac
"""


def test_what_the_timers_first_run_complains_of_is_told_whatever_it_is(
    tmp_path: Path, controller: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("systemctl", "journalctl", "loginctl"):
        (tmp_path / name).write_text(TALKING)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (check,) = RenewalTimer(tmp_path / "sites.yaml", wanted=True).checks()
    with pytest.raises(StepError) as failed:
        check.run({CONTROLLER: controller})
    assert "usage: curl --" in told_as(failed, catalogue.TIMER_FAILED)["error"]


def test_without_a_systemd_it_is_said_that_there_is_none(tmp_path: Path) -> None:
    (part,) = RenewalTimer(tmp_path / "sites.yaml", wanted=True).parts(CONTROLLER, {})
    assert part.judge(None).verdict is Verdict.UNKNOWN  # type: ignore[arg-type] # it reads nothing
    assert "no systemd runs on this machine" in part.judge(None).note  # type: ignore[arg-type]


def test_a_renewed_certificate_is_to_be_shown_until_it_is_noted_that_it_was(
    network: Network, controller: Target
) -> None:
    vault, site = Vault(network), network.sites["vps4"]
    part = CertificatesInUse(network.link_ends(network.links[0])[0], vault)
    assert part.judge(None).change is None  # type: ignore[arg-type] # it reads nothing
    replace(known(network, site), to_show=("home-vps4",)).keep(vault, site, controller)
    change = part.judge(None).change  # type: ignore[arg-type]
    assert change
    assert "the renewed certificate of vps4" in change.summary
    known(network, site).shown("home-vps4").keep(vault, site, controller)
    assert part.judge(None).change is None  # type: ignore[arg-type]
