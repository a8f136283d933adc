"""Transferring the private key and the certificates."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from runbook.resources.file import File
from runbook.script import embed, quote
from runbook.step import Change, Finding, Later, Part
from steps import pki
from steps.certificate import trust_anchors, verified_chain
from steps.paths import CA_DIRECTORY, OUR_CA_FILES, key_path, leaf_path
from steps.section import Section
from steps.vault import read_if_there

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography import x509

    from runbook.script import Reading
    from steps.network import Network, Site
    from steps.vault import Vault


class Credentials(Section):
    """Put each site's private key and certificate where strongSwan looks for them, for root's eyes only.

    The certificate goes alone into one file and each CA certificate into one of its own, since strongSwan reads only
    the first certificate of a file: the chain in one piece, as every CA hands it out, ends in `no issuer certificate
    found`. CA files of an earlier chain are removed, or they would go on being trusted.

        scp home.key root@home:/etc/swanctl/private/      (0400 from the start)
        scp home.pem root@home:/etc/swanctl/x509/
        scp root.pem intermediate-1.pem root@home:/etc/swanctl/x509ca/

    To check by hand: `swanctl --load-creds` names each file that it loads, or why not.
    """

    name: ClassVar[str] = "credentials"
    title: ClassVar[str] = "Private key and certificates on the host"
    needs: ClassVar[tuple[str, ...]] = ("certificate", "strongswan")

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - the same everywhere
        """The key, the leaf, the CA certificates of both ends."""
        site = self.site(target)
        key, chain = read_if_there(self.vault.key(site)), verified_chain(self.network, site, self.vault)
        authorities = ca_files(self.network, site, self.vault)
        later = {path: Later("file", path, "certificate") for path in (key_path(site), leaf_path(site))}
        return [
            File(key_path(site), key, "400", secret=True) if key and chain else later[key_path(site)],
            File(leaf_path(site), pki.to_pem(chain.leaf)) if chain else later[leaf_path(site)],
            CaCertificates(authorities) if authorities else Later("CA certificates in", CA_DIRECTORY, "certificate"),
        ]


def ca_name(certificate: x509.Certificate) -> str:
    """The file name of a CA certificate: what it says it is, and what it is."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    common = str(names[0].value) if names else "ca"
    words = re.sub(r"[^a-z0-9]+", "-", common.lower()).strip("-")[:40]
    return f"ipsec-runbook-{words}-{certificate.fingerprint(hashes.SHA256()).hex()[:8]}.pem"


def ca_files(network: Network, site: Site, vault: Vault) -> Mapping[str, bytes]:
    """Each CA certificate needed to verify the site and its peers, PEM by file name; none while one is not known."""
    peers = [site, *(end.there for end in network.ends(site))]
    chains = [verified_chain(network, each, vault) for each in peers]
    wanted = trust_anchors(network)
    for chain in chains:
        if chain is None:
            return {}
        wanted = [*wanted, *chain.intermediates]
    return {ca_name(each): pki.to_pem(each) for each in wanted}


@dataclass(frozen=True)
class CaCertificates(Part):
    """The files of ours in swanctl's directory of CA certificates: these and no others."""

    wanted: Mapping[str, bytes] = field(repr=False)

    @property
    def key(self) -> str:
        """The directory."""
        return f"CA certificates in {CA_DIRECTORY}"

    def probe(self) -> str:
        """Name and state of each file of ours."""
        return (
            f"for file in {OUR_CA_FILES}; do\n"
            '    [ ! -e "$file" ] || printf \'%s %s\\n\' "${file##*/}" "$(rb_state "$file")"\ndone'
        )

    def judge(self, found: Reading) -> Finding:
        """In order when each is there with its content, and no other."""
        there = dict(line.split(" ", 1) for line in found.text.splitlines())
        files = {name: File(f"{CA_DIRECTORY}/{name}", pem) for name, pem in self.wanted.items()}
        put = [name for name, file in files.items() if there.get(name) != file.state]
        stale = [name for name in there if name not in files]
        if not put and not stale:
            return self.in_order()
        summary = ", ".join([f"{len(put)} to write"] * bool(put) + [f"{len(stale)} stale to remove"] * bool(stale))
        change = Change(
            summary=f"CA certificates, one a file: {summary}",
            save=(
                f'mkdir "$image/kept.$index"\n'
                f'for file in {OUR_CA_FILES}; do [ ! -e "$file" ] || cp -a -- "$file" "$image/kept.$index"/; done'
            ),
            apply="\n".join(
                [
                    f"mkdir -p -- {CA_DIRECTORY}",
                    *(f"{{ {embed(files[n].content)}}} | rb_put {quote(files[n].path)} 644 root:root" for n in put),
                    *(f"rb_remove {quote(f'{CA_DIRECTORY}/{name}')}" for name in stale),
                ]
            ),
            undo=(
                f"rm -f -- {OUR_CA_FILES}\n"
                f'for file in "$image/kept.$index"/*; do [ ! -e "$file" ] || cp -a -- "$file" {CA_DIRECTORY}/; done'
            ),
            diff="\n".join([*(f"+ {CA_DIRECTORY}/{n}" for n in put), *(f"- {CA_DIRECTORY}/{n}" for n in stale)]),
        )
        return self.drift(change) if there else self.absent(change)
