"""`runbook report`: what is to be known of a network, gathered for one page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runbook.page import CertificateNow, Page
from runbook.timeline import timeline
from runbook.whole import write_whole
from steps.certificates.site_certificate import verified_chain
from steps.tunnel.live import live_links
from steps.vault import Vault, read_if_there
from steps.x509_reading import common_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runbook.events import Plan
    from runbook.session import Session
    from steps.network import Network, Site


def report(session: Session, plans: Sequence[Plan], file: Path) -> str:
    """The page about what `plans` found, the tunnels and certificates now, and the runs so far; without secrets."""
    network, failures = session.network, session.executor.failures
    reached = {name: target for name, target in session.targets.items() if name not in failures}
    page = Page(
        network=network,
        file=file,
        made=datetime.now(UTC),
        plans=plans,
        failures=failures,
        links=live_links(network, reached),
        certificates=[_certificate(network, site) for site in network.sites.values()],
        runs=timeline(session.log_path.parent, without=session.log_path),
    )
    return session.redact(page.html())


def write(page: str, to: Path) -> None:
    """Write the page for its owner's eyes only, whole or not at all; raises UsageError where that cannot be."""
    write_whole(to, page, hint="give another place with --output")


def _certificate(network: Network, site: Site) -> CertificateNow:
    chain = verified_chain(network, site, Vault(network))
    if chain is None:
        there = read_if_there(Vault(network).certificate(site)) is not None
        return CertificateNow(site.fqdn, "not valid now: the audit says why" if there else "none yet")
    leaf = chain.leaf
    return CertificateNow(site.fqdn, "", common_name(leaf.issuer), leaf.not_valid_before_utc, leaf.not_valid_after_utc)
