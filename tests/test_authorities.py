"""CA certificates in a host's files: what a root is called, and what a renewal takes away of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from made_pki import issue
from scratch import step

from steps import pki
from steps.certificates import private_ca
from steps.ipsec.authorities import CaCertificates, ca_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from scratch import Scratch


def test_a_root_that_is_made_anew_for_its_key_is_called_the_same_and_another_is_not() -> None:
    key = pki.new_key()
    first, anew, other = (
        pki.split_chain(private_ca.new_ca(each, "example.org"))[0] for each in (key, key, pki.new_key())
    )
    assert first != anew
    assert ca_name(first) == ca_name(anew)
    assert ca_name(first) != ca_name(other)
    root = issue("Root", None)
    one, two = (issue("One", root, key=pki.load_key(key), after=datetime.now(UTC) + timedelta(days=9)) for _ in "12")
    assert ca_name(one.cert) != ca_name(two.cert), "one of two intermediates may be another's, which it has signed"


def test_where_connections_stay_as_they_are_what_they_name_stays(scratch: Callable[[], Scratch]) -> None:
    """Without it charon could not load them any more."""
    host = scratch()
    authorities, connections = host.root / "x509ca", host.root / "conf.d"
    for directory in (authorities, connections):
        directory.mkdir()
    names = {"wanted", "named", "neither"}
    for name in names:
        (authorities / f"ipsec-runbook-{name}.pem").write_bytes(b"old")
    (connections / "net.conf").write_text("cacerts = ipsec-runbook-wanted.pem, ipsec-runbook-named.pem\n")
    wanted = {"ipsec-runbook-wanted.pem": b"new"}

    def left(spared: str) -> set[str]:
        host.apply(step("step", {host.name: [CaCertificates(str(authorities), wanted, spared)]}), spared or "all")
        return {each.stem.removeprefix("ipsec-runbook-") for each in authorities.iterdir()}

    assert left(str(connections)) == {"wanted", "named"}
    assert (authorities / "ipsec-runbook-wanted.pem").read_bytes() == b"new"
    assert left("") == {"wanted"}
