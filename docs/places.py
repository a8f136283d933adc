"""The files of the runbook, for the reference: whose path stands in the code is taken from there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runbook.images import IMAGES
from runbook.lock import PATH as LOCK
from steps.addressing.address_managers import MANAGERS
from steps.certificates.certificate_sources import SOURCES
from steps.certificates.key_places import PLACES
from steps.certificates.webroot import WEBROOT
from steps.firewalls.firewall import BACKENDS
from steps.ipsec.charon_settings import PATH as SETTINGS
from steps.ipsec.styles import STYLES
from steps.ipsec_firewall import SYSCTL_FILE
from steps.tunnel.tunnel_lesson import example
from steps.vault import Vault
from steps.webserver.nginx_package import KEYRING, PIN, SOURCE
from steps.webserver.nginx_sites import CONF, INCLUDED, LAST

if TYPE_CHECKING:
    from collections.abc import Mapping

_NETWORK = replace(example(), directory=Path())
_SITE = replace(next(iter(_NETWORK.sites.values())), name="SITE", fqdn="FQDN")
_VAULT = Vault(_NETWORK)

CONTROLLER: Final[Mapping[str, str]] = {
    "sites.yaml": "The network's description, all that the commands need.",
    "report.html": "What `runbook report` writes.",
    ".runbook/": "All that follows, for the user alone (0700); ignored by git.",
    ".runbook/checkpoints/journal.jsonl": "What was begun, done, failed and undone.",
    ".runbook/logs/TIME-COMMAND.jsonl": "What was run where, with what result; `runbook log` reads the last.",
    ".runbook/logs/TIME-COMMAND.json": "The JSON document of the same run.",
    ".runbook/images/": "Before-images of what was changed on the controller itself.",
    ".runbook/init.json": "The answers given to `runbook init`.",
    str(_VAULT.key(_SITE)): "A site's private key, PKCS#8 PEM, 0600; not with `keys: host`.",
    str(_VAULT.csr(_SITE)): "The certificate request for it, PEM; beside it the same in DER.",
    str(_VAULT.certificate(_SITE)): "The certificate with its chain, PEM.",
    str(_VAULT.renewal(_SITE)): "What the authority says about when to renew it.",
    **{str(path): what for source in SOURCES.values() for path, what in source.files(_VAULT).items()},
    "/etc/systemd/system/ipsec-runbook-renew-*": (
        "With `runbook renew --install-timer` by root: the timer, and what it starts; another user's are in "
        "`~/.config/systemd/user/`."
    ),
}

HOST: Final[Mapping[str, str]] = {
    IMAGES: "Before-images, for root alone, until they are undone or forgotten.",
    LOCK: "Who is at work on the host; gone when the run is over.",
    **{
        path: f"With `keys: {name}`: {what}."
        for name, place in PLACES.items()
        for path, what in place.files(_SITE).items()
    },
    **{path: f"By {name}: {what}." for name, style in STYLES.items() for path, what in style.files(_SITE).items()},
    SETTINGS: "Of charon: that a tunnel which proves itself anew stands all the while.",
    "/etc/apparmor.d/local/": "What strongSwan's profiles are told to allow, in a marked block.",
    SYSCTL_FILE: "Forwarding, where the host is a gateway.",
    **{path: what for manager in MANAGERS.values() for path, what in manager.files.items()},
    KEYRING: "With `nginx.repository`: the keys that sign it.",
    SOURCE: "The repository, `Signed-By` those keys.",
    PIN: "That nginx is to come from there, and nothing else.",
    CONF: "What answers the certificate authority's challenges.",
    f"/etc/nginx/conf.d/{LAST}": "The same beside servers of yours; or wherever nginx reads its files last.",
    INCLUDED: "The same for the servers that nginx has already, included in each by a marked line.",
    WEBROOT: "The challenges, while a certificate is ordered.",
}


def saved_rules() -> dict[str, str]:
    """The files from which firewalls are loaded: rules of ours are marked there, the admin's stay as they are."""
    files = [path for backend in BACKENDS.values() for path in backend.stored]
    return dict.fromkeys(files, "The firewall's rules for the next boot, where it is this file that is loaded; marked.")
