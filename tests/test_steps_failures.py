"""Failures about keys, certificates, web servers and pings: each is caused, and told with what helps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from firewalled import network
from made_pki import issue
from told import told_as

from runbook.errors import RunbookError, StepError
from runbook.script import Reading
from runbook.step import Verdict
from steps import catalogue, pki
from steps.certificates import certificate_request, key_on_controller
from steps.certificates.key_on_host import HostKey, HostRequest
from steps.certificates.private_key import PrivateKey
from steps.certificates.private_source import CaCertificate
from steps.certificates.site_certificate import SiteCertificate
from steps.csr import CsrGeneration
from steps.description.sites_yaml import load
from steps.nginx import NginxForAcme
from steps.ping import through
from steps.renewing import certificates_in_use
from steps.renewing.renewal_timer import RenewalTimer
from steps.tunnel import new_keys, pings
from steps.vault import Vault
from steps.webserver.nginx_daemon import NginxLoaded
from steps.x509_reading import serial_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook.errors import Entry
    from runbook.step import Part
    from steps.network import Network

TRANSCRIPTS = Path(__file__).parent / "data/transcripts"


def refused(part: Part, found: str, entry: Entry) -> dict[str, str]:
    """What is told of a part that is left alone."""
    finding = part.judge(Reading(found))
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.error is not None
    return told_as(finding.error, entry)


def answering(*names: str, said: Callable[[str], str] | str) -> dict[str, Any]:
    """Hosts on which every script prints the same, or what is made of it."""

    def run(script: str, **_: object) -> SimpleNamespace:
        return SimpleNamespace(stdout=said if isinstance(said, str) else said(script))

    return {name: SimpleNamespace(run=run, facts={}) for name in names}


@pytest.fixture
def planned(tmp_path: Path) -> Network:
    return network(tmp_path)


# --- web servers ------------------------------------------------------------------------------------------------------


def test_a_web_server_of_another_kind(planned: Network) -> None:
    [part] = NginxForAcme(planned, Vault(planned)).parts("vps4", {"web_programs": "apache2(apache2.service)"})
    told = refused(part, "", catalogue.PORT_TAKEN)
    assert "apache2 (apache2.service) listens there already" in told["error"]
    assert "certificate_authority: private" in told["hint"]


def test_an_nginx_that_refuses_its_own_configuration() -> None:
    assert (
        refused(NginxLoaded((), ()), "invalid configuration", catalogue.NGINX_REFUSES)["look"]
        == "on the host: nginx -t"
    )


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        (
            "HTTP/1.1 200 OK\n\nwelcome\n--\nHTTP/1.1 404 Not Found",
            "/ on 127.0.0.1 with 'HTTP/1.1 200 OK', not with nothing",
        ),
        ("\n--\nHTTP/1.1 404 Not Found", "a challenge on 127.0.0.1 with '404', not 200 and what is put there"),
    ],
)
def test_an_nginx_where_another_server_answers(planned: Network, answers: str, asked: str) -> None:
    check = next(each for each in NginxForAcme(planned, Vault(planned)).checks() if each.on == ("vps4",))
    with pytest.raises(StepError) as error:
        check.run(answering("vps4", said="\n==\n".join([answers] * 2)))
    assert asked in told_as(error, catalogue.NGINX_OTHER_ANSWER)["error"]


# --- keys and certificates --------------------------------------------------------------------------------------------


def test_a_key_that_is_damaged(tmp_path: Path, planned: Network) -> None:
    path = tmp_path / "home.key"
    path.write_bytes(pki.new_key()[:100])
    told = refused(PrivateKey(path), "file 600 root:root x", catalogue.KEY_UNUSABLE)
    assert "the private key is damaged" in told["error"]
    assert told["look"].startswith("openssl pkey"), "it is here"
    told = refused(
        HostKey(planned.sites["vps4"], made_here=False), "file 600 root:root\nno key", catalogue.KEY_UNUSABLE
    )
    assert told["look"].startswith("on vps4: openssl pkey")


def test_what_a_damaged_key_is_for_waits_for_it(planned: Network) -> None:
    """It is told once, by the step that it is of."""
    vault = Vault(planned)
    for site in planned.sites.values():
        vault.key(site).parent.mkdir(parents=True, exist_ok=True)
        vault.key(site).write_bytes(pki.new_key()[:100])
        assert key_on_controller.installed(vault, site, "/x") is None
    waiting = CsrGeneration(planned, vault).parts("controller", {})
    assert {part.judge(Reading("")).verdict for part in waiting} == {Verdict.LATER}


def test_an_authority_whose_certificate_is_none(planned: Network) -> None:
    vault = Vault(planned)
    vault.ca_certificate.parent.mkdir(parents=True)
    vault.ca_certificate.write_text("hello")
    vault.ca_key.write_bytes(pki.new_key())
    told = refused(CaCertificate(vault, ()), "", catalogue.AUTHORITY_UNUSABLE)
    assert str(vault.ca_certificate) in told["look"]
    vault.ca_key.unlink()
    refused(CaCertificate(vault, ()), "", catalogue.AUTHORITY_LOST)


def test_a_host_that_makes_another_request_than_it_was_asked_for(planned: Network) -> None:
    """Such as one whose openssl.cnf adds a name to each."""
    pem = certificate_request.new_csr(pki.new_key(), "other.example.org").decode()
    part = HostRequest(planned.sites["vps4"], Vault(planned))
    change = part.judge(Reading("0" * 64)).change
    assert change is not None
    assert change.obtain is not None
    with pytest.raises(StepError) as error:
        change.obtain(answering("vps4", "controller", said=pem))
    assert "a request that is not right" in told_as(error, catalogue.REQUEST_UNUSABLE)["error"]


def test_a_certificate_that_leads_to_no_root_that_is_trusted(tmp_path: Path) -> None:
    now, day = datetime.now(UTC), timedelta(days=1)
    dates: dict[str, Any] = {"before": now - day, "after": now + 60 * day}
    trusted, other = (issue(name, None, **dates) for name in ("Trusted Root", "Staging Root"))
    (tmp_path / "root.pem").write_bytes(pki.to_pem(trusted.cert))
    network(tmp_path, ", trust_anchors: [root.pem]")
    planned = load(tmp_path / "sites.yaml")
    vault, site = Vault(planned), planned.sites["vps4"]
    key = pki.new_key()
    leaf = issue("", other, ca=False, names=[site.fqdn], key=pki.load_key(key), **dates)
    for path, content in ((vault.key(site), key), (vault.certificate(site), pki.to_pem(leaf.cert))):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    told = refused(SiteCertificate(planned, site, vault), "", catalogue.CERTIFICATE_UNUSABLE)
    assert "cannot be trusted: its chain ends in" in told["error"]
    assert f"{vault.certificate(site)} is kept" in told["error"]


# --- tunnels and pings ------------------------------------------------------------------------------------------------


def test_new_keys_without_a_key_exchange(planned: Network) -> None:
    """What the ends agreed on first of all has none: as if it were what the tunnel got when it was given new keys."""
    end = planned.link_ends(planned.links[0])[0]
    listed = (TRANSCRIPTS / "6.0.1-ok/home.list-sas.pretty.txt").read_text()
    with pytest.raises(StepError) as error:
        new_keys.got(end, {}, "", listed)
    told = told_as(error, catalogue.NO_OWN_KEYS)
    assert "swanctl --terminate --ike ula-net-vps4" in told["hint"]


def test_a_certificate_that_an_end_is_not_shown(planned: Network) -> None:
    """The other end goes on by the one that it knows, whatever it is asked: here it says nothing at all."""
    end = next(each for each in planned.link_ends(planned.links[0]) if each.initiates)
    leaf = issue("", None, ca=False, names=[end.here.fqdn]).cert

    def said(script: str) -> str:
        if "exit 0" in script:
            return "unseen"
        return "--\n--\n--\nactive\n--\n--\n0" if "is-active" in script else "--\n"

    with pytest.raises(StepError) as error:
        certificates_in_use._show(end, leaf, answering("home", "vps4", said=said))
    told = told_as(error, catalogue.NOT_SHOWN)
    assert f"has not been shown the certificate {serial_of(leaf)} of {end.here.fqdn}" in told["error"]


def test_a_timer_whose_first_run_fails(tmp_path: Path) -> None:
    timer = RenewalTimer(tmp_path / "sites.yaml", wanted=True)
    [check] = timer.checks()
    said = "home: Permission denied\n--\nnever\n--\nyes\n"
    with pytest.raises(StepError) as error:
        check.run(answering("controller", said=said))
    told = told_as(error, catalogue.TIMER_FAILED)
    assert "home: Permission denied" in told["error"]
    assert told["look"].startswith("journalctl ")


def test_spokes_whose_hub_does_not_forward(planned: Network) -> None:
    home, vps4 = planned.sites.values()
    lost = "fd00::1 -> fd00::2: 4 packets transmitted, 0 received, 100% packet loss\n"
    with pytest.raises(StepError) as error:
        through(home, (home, vps4), planned)(answering("home", "vps4", said=lost))
    assert told_as(error, catalogue.SPOKES_APART)["look"].startswith("on home: sysctl")


def test_a_machine_that_is_not_behind_its_site(tmp_path: Path) -> None:
    network(tmp_path)
    text = (tmp_path / "sites.yaml").read_text()
    for name in ("printer", "nas"):
        text = text.replace("eth0}", f"eth0, lan_interface: eth1, lan_host: {name}}}", 1)
    (tmp_path / "sites.yaml").write_text(text)
    planned = load(tmp_path / "sites.yaml")
    home, vps4 = planned.sites.values()
    names = ["home", "vps4", "home's LAN host", "vps4's LAN host"]
    with pytest.raises(StepError) as error:
        pings.scripts(planned, (home, vps4), answering(*names, said="192.168.1.7\n"))
    assert "lan_host" in told_as(error, catalogue.LAN_HOST_ELSEWHERE)["hint"]


def test_small_packets_that_pass_are_no_reason_to_overlook_large_ones() -> None:
    good = "a -> b: 4 packets transmitted, 4 received, 0% packet loss"
    large = f"a -> b: {pings.LARGE} are lost, small ones are not"
    none = "a -> c: 4 packets transmitted, 0 received, 100% packet loss"
    assert pings.lost(good) == ""
    assert pings.lost(f"{good}\n{large}") == large
    assert pings.lost(f"{good}\n{large}\n{none}") == none, "what is lost altogether says more"


def test_a_listing_that_breaks_off(planned: Network) -> None:
    end = planned.link_ends(planned.links[0])[0]
    listed = (TRANSCRIPTS / "6.0.1-ok/home.list-sas.pretty.txt").read_text()
    with pytest.raises(RunbookError) as error:
        new_keys.got(end, {}, "", listed[: len(listed) // 2])
    told_as(error, catalogue.SWANCTL_UNREADABLE)
