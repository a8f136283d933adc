"""Reads `sites.yaml`, the one description of the network, and refuses what makes no sense before a host is spoken to.

Each section has its module, `steps.yaml_...`; its values are those of `steps.network` and the `..._options`.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Final

from steps.certificates import certificate_sources, key_places
from steps.certificates.certificate_sources import SOURCES
from steps.certificates.key_places import PLACES
from steps.description.certificates import CERTIFICATES, read_certificates
from steps.description.ipsec import IPSEC, read_ipsec
from steps.description.links import PAIR, STAR, read_links
from steps.description.marked_yaml import Keys, read
from steps.description.nginx import NGINX, read_nginx
from steps.description.plan import random_prefix
from steps.description.sites import SITE, read_sites
from steps.description.words import choices, ip_or_none, read_choice, read_file, read_subnet_id
from steps.ipsec.ipsec_options import Ipsec
from steps.network import Network
from steps.webserver.nginx_options import DEBIANS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from steps.description.marked_yaml import Value

_FREE: Final = " or ".join(f"`{name}`" for name, source in SOURCES.items() if not source.SECTION)
TOP: Final = Keys(
    {
        "ula_prefix": "Your private /48 (RFC 4193), in which all subnets lie.",
        "link_subnet": (
            "The subnet in which every site has one address, hexadecimal: `3` is `fdd7:5938:e2e6:3::/64` there."
        ),
        "sites": "The hosts, by the names that they have here: two or more.",
        "links": "Which sites are joined: a list.",
    },
    {
        "ssh_config": "Read in place of `~/.ssh/config`; the path is relative to the file.",
        "certificate_authority": f"Where certificates come from: {choices(certificate_sources.MEANINGS)}.",
        "certificates": f"What the authority has to be told; needed unless `certificate_authority` is {_FREE}.",
        "keys": f"Where the sites' keys are: {choices(key_places.MEANINGS)}.",
        "nginx": "Where the web server comes from that the authority asks; Debian's, unless this says otherwise.",
        "ipsec": "How the tunnels are made.",
    },
)
SECTIONS: Final[Sequence[tuple[str, str, Keys]]] = (
    ("The network", "", TOP),
    ("Each site", "sites.NAME.", SITE),
    ("Each link", "links[].", PAIR),
    ("Or links that meet at one site", "links[].", STAR),
    ("Where certificates come from", "certificates.", CERTIFICATES),
    ("Where nginx comes from", "nginx.", NGINX),
    ("How the tunnels are made", "ipsec.", IPSEC),
)
"""All that `sites.yaml` may hold: what a section is, where it stands, its keys."""

_ULA = IPv6Network("fd00::/8")
_RESERVED_ULA = IPv6Network("fc00::/8")


def load(path: Path) -> Network:
    """Return the network that a `sites.yaml` describes, checked as far as it can be without asking a host.

    Paths in it are relative to the file.

    Raises:
        UsageError: It makes no sense; the message begins `FILE:LINE: key.path: ` and says what to write instead.
    """
    return network(read(path), path.absolute().parent)


def network(tree: Value, directory: Path) -> Network:
    """Return the network that a tree describes as if it stood in a file in `directory`; raises UsageError as `load`."""
    top = tree.keys(TOP)
    prefix = _prefix(top["ula_prefix"])
    ipsec = read_ipsec(top["ipsec"]) if "ipsec" in top else Ipsec()
    sites = read_sites(top["sites"], prefix, top["link_subnet"], ipsec)
    return Network(
        prefix=prefix,
        link_subnet_id=read_subnet_id(top["link_subnet"]),
        ssh_config=read_file(top["ssh_config"], directory) if "ssh_config" in top else None,
        certificates=read_certificates(top["certificates"], directory, sites) if "certificates" in top else None,
        ipsec=ipsec,
        sites=sites,
        links=read_links(top["links"], top["sites"].entries(), sites),
        directory=directory,
        certificate_authority=_authority(tree, top),
        keys=read_choice(top["keys"], PLACES) if "keys" in top else key_places.DEFAULT,
        nginx=read_nginx(top["nginx"]) if "nginx" in top else DEBIANS,
    )


def _authority(tree: Value, top: Mapping[str, Value]) -> str:
    """Read where certificates come from; what it needs to be told must be there."""
    key = "certificate_authority"
    name = read_choice(top[key], SOURCES) if key in top else certificate_sources.DEFAULT
    needed = SOURCES[name].SECTION
    if needed and needed not in top:
        free = next(other for other, source in SOURCES.items() if not source.SECTION)
        raise tree.missing(needed, f"add this key, or `certificate_authority: {free}` for one of your own")
    return name


def _prefix(value: Value) -> IPv6Network:
    text = value.text()
    address, _, length = text.partition("/")
    base = ip_or_none(address)
    if not isinstance(base, IPv6Address):
        raise value.wrong(f"`{text}` is no IPv6 prefix; write yours, such as {random_prefix()}")
    if base in _RESERVED_ULA:
        raise value.wrong(f"`{text}` is in fc00::/8, which is reserved; write one that begins with fd (RFC 4193, 3.1)")
    if base not in _ULA:
        raise value.wrong(f"`{text}` is no unique local prefix; write one that begins with fd, as {random_prefix()}")
    prefix = IPv6Network((base, 48), strict=False)
    if length != "48":
        raise value.wrong(f"`{text}` must be a /48, from which each site gets a /64; write {prefix} if that is yours")
    if base != prefix.network_address:
        raise value.wrong(f"`{text}` has bits set behind the first 48; write {prefix}")
    if len(set(base.packed[1:6])) == 1:
        raise value.wrong(
            f"`{text}` has no random global id, so that it will collide with others' (RFC 4193, 3.2); "
            f"write a random one, such as {random_prefix()}, which was made just now",
        )
    return prefix
