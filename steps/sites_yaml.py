"""Reads `sites.yaml`, the one description of the network, and refuses what makes no sense before anything is connected.

Many of these values reach configuration files and shells, so that each has a narrow alphabet here.
"""

from __future__ import annotations

import os
import re
import secrets
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import urlsplit

import yaml

from steps.marked_yaml import Value, meant, read
from steps.network import DIRECTORIES, Certificates, Ipsec, Link, Network, Site
from steps.proposals import read_proposal

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

T = TypeVar("T")
Address = IPv4Address | IPv6Address

_LABEL_RULE = "write lower-case letters, digits and inner hyphens, at most 63 in a label"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123, section 2.1
_SITE = re.compile(_LABEL)
_FQDN = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}")
_SSH = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9._+-]*@)?"
    r"(?:(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*)|\[(?P<ipv6>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_INTERFACE = re.compile(r"(?!(?:lo|all|default)\Z)[A-Za-z0-9_][A-Za-z0-9._-]{0,14}")  # all, default: sysctl's own
_SUBNET_ID = re.compile(r"[0-9A-Fa-f]{1,4}")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")  # Debian Policy, section 5.6.1
_PROPOSAL = re.compile(r"(?!default|null)[a-z0-9]+(?:[-_][a-z0-9]+)*")
_CONTACT = re.compile(r"[A-Za-z0-9_+'=~-]+(?:\.[A-Za-z0-9_+'=~-]+)*@(?P<domain>.+)")
_URL = re.compile(r"https://[A-Za-z0-9._~:/?@%&=+,\[\]-]+")

_ULA = IPv6Network("fd00::/8")
_RESERVED_ULA = IPv6Network("fc00::/8")
_THIS_NETWORK = IPv4Network("0.0.0.0/8")  # RFC 1122, section 3.2.1.3
_SSH_PORT = 22
_LAST_PORT = 65535


def load(path: Path) -> Network:
    """Return the network that a `sites.yaml` describes, checked as far as it can be without asking a host.

    Paths in it are relative to the file.

    Raises:
        UsageError: It makes no sense; the message begins `FILE:LINE: key.path: ` and says what to write instead.
    """
    top = read(path).keys(("ula_prefix", "link_subnet", "certificates", "sites", "links"), ("ssh_config", "ipsec"))
    directory = path.absolute().parent
    prefix = _prefix(top["ula_prefix"])
    sites = _sites(top["sites"], prefix, top["link_subnet"])
    return Network(
        prefix=prefix,
        link_subnet_id=_subnet_id(top["link_subnet"]),
        ssh_config=_file(top["ssh_config"], directory) if "ssh_config" in top else None,
        certificates=_certificates(top["certificates"], directory, sites),
        ipsec=_ipsec(top["ipsec"]) if "ipsec" in top else Ipsec(),
        sites=sites,
        links=_links(top["links"], top["sites"].entries(), sites),
        directory=directory,
    )


def _prefix(value: Value) -> IPv6Network:
    text = value.text()
    address, _, length = text.partition("/")
    base = _ip(address)
    if not isinstance(base, IPv6Address):
        raise value.wrong(f"`{text}` is no IPv6 prefix; write yours, such as {_random_prefix()}")
    if base in _RESERVED_ULA:
        raise value.wrong(f"`{text}` is in fc00::/8, which is reserved; write one that begins with fd (RFC 4193, 3.1)")
    if base not in _ULA:
        raise value.wrong(f"`{text}` is no unique local prefix; write one that begins with fd, as {_random_prefix()}")
    prefix = IPv6Network((base, 48), strict=False)
    if length != "48":
        raise value.wrong(f"`{text}` must be a /48, from which each site gets a /64; write {prefix} if that is yours")
    if base != prefix.network_address:
        raise value.wrong(f"`{text}` has bits set behind the first 48; write {prefix}")
    if len(set(base.packed[1:6])) == 1:
        raise value.wrong(
            f"`{text}` has no random global id, so that it will collide with others' (RFC 4193, 3.2); "
            f"write a random one, such as {_random_prefix()}, which was made just now",
        )
    return prefix


def _random_prefix() -> IPv6Network:
    """Make a ULA prefix to suggest (RFC 4193, section 3.2.2, with a better source of randomness)."""
    return IPv6Network((b"\xfd" + secrets.token_bytes(5) + bytes(10), 48))


def _subnet_id(value: Value) -> int:
    problem = "is no subnet id; write one to four hexadecimal digits and nothing else, such as 8e71 or 10 for ::10"
    return int(value.matching(_SUBNET_ID, problem), 16)


class _Taken:
    """What may be had only once in a network, by kind."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, Hashable], Value] = {}

    def claim(self, value: Value, kind: str, key: Hashable) -> None:
        """Take it for `value`, or say who has it already."""
        first = self._first.setdefault((kind, key), value)
        if first is not value:
            raise value.wrong(f"this {kind} is already that of {first.path} in line {first.line}; write another")


def _sites(value: Value, prefix: IPv6Network, link_subnet: Value) -> Mapping[str, Site]:
    entries = value.entries()
    if len(entries) <= 1:
        raise value.wrong("there must be at least two sites; describe both ends of a link")
    taken = _Taken()
    taken.claim(link_subnet, "subnet id", _subnet_id(link_subnet))
    return {name: _site(name, entry, prefix, taken) for name, entry in entries.items()}


def _site(name: str, value: Value, prefix: IPv6Network, taken: _Taken) -> Site:
    if not _SITE.fullmatch(name):
        raise value.wrong(f"`{name}` is no DNS label; {_LABEL_RULE}")
    keys = value.keys(("ssh", "fqdn", "address", "subnet", "interface"), ("lan_interface", "lan_host"))
    return Site(
        name=name,
        ssh=_ssh(keys["ssh"], taken),
        fqdn=_fqdn(keys["fqdn"], taken),
        addresses=_addresses(keys["address"], prefix, taken),
        subnet_id=_site_subnet_id(keys["subnet"], taken),
        interface=_interface(keys["interface"]),
        lan_interface=_interface(keys["lan_interface"]) if "lan_interface" in keys else None,
        lan_host=_ssh(keys["lan_host"], taken) if "lan_host" in keys else None,
    )


def _ssh(value: Value, taken: _Taken) -> str:
    """Read an SSH target; no two may be one machine, and a site's LAN host proves nothing if it is a site."""
    text = value.text()
    match = _SSH.fullmatch(text)
    port = int(match["port"] or _SSH_PORT) if match else 0
    host = (match["name"] or _ip(match["ipv6"])) if match else None
    if not host or port > _LAST_PORT:
        raise value.wrong(f"`{text}` is no SSH target; write [user@]host[:port], with an IPv6 address in brackets")
    taken.claim(value, "host", (str(host).lower(), port))
    return text


def _fqdn(value: Value, taken: _Taken) -> str:
    text = value.text()
    if problem := _name_problem(text):
        raise value.wrong(f"`{text}` {problem}")
    taken.claim(value, "name", text)
    return text


def _name_problem(text: str) -> str | None:
    """Say what keeps a text from being a fully qualified domain name; None where nothing does."""
    if _FQDN.fullmatch(text):
        return None
    if not text.isascii():
        return "is not in ASCII; write an international name in punycode (xn--...)"
    if text.endswith("."):
        return "ends in a dot; write it without"
    if _SITE.fullmatch(text):
        return "is a single label; write the full name, with its domain, that the certificate is for"
    return f"is no domain name; write labels with dots between, at most 253 characters in all. Of labels, {_LABEL_RULE}"


def _addresses(value: Value, prefix: IPv6Network, taken: _Taken) -> tuple[Address, ...]:
    if isinstance(value.node, yaml.ScalarNode):
        if value.text() == "dynamic":
            return ()
        values = [value]
    else:
        values = value.items()
    addresses = []
    for each in values:
        address = _ip(each.text())
        if address is None:
            raise each.wrong(f"`{each.text()}` is no IP address; write dynamic, or an address, or a list of addresses")
        if problem := _unreachable(address, prefix):
            raise each.wrong(f"`{each.text()}` is {problem}; write the address that the other sites reach this one at")
        taken.claim(each, "address", address)
        addresses.append(address)
    return tuple(addresses)


def _unreachable(address: Address, prefix: IPv6Network) -> str | None:
    """Say why no peer could reach a host at this outer address; None where it could."""
    kinds = {
        "unspecified": address.is_unspecified,
        "a loopback address": address.is_loopback,
        "an IPv4 address written as IPv6": isinstance(address, IPv6Address) and address.ipv4_mapped is not None,
        "a multicast address": address.is_multicast,
        "a link-local address": address.is_link_local,
        "a reserved address": address.is_reserved or address in _THIS_NETWORK,
        f"inside the network to be tunnelled, {prefix}": address in prefix,
    }
    return next((kind for kind, applies in kinds.items() if applies), None)


def _site_subnet_id(value: Value, taken: _Taken) -> int:
    subnet_id = _subnet_id(value)
    if subnet_id == 0:
        # RFC 4291, section 2.6.1: an address that ends in zeros only is any router's of its subnet
        raise value.wrong(
            "0 is reserved: the site's link address would be the routers' anycast address; write 1 to ffff"
        )
    taken.claim(value, "subnet id", subnet_id)
    return subnet_id


def _interface(value: Value) -> str:
    problem = "is no interface that can carry an address; write its name, at most 15 characters, such as eth0"
    return value.matching(_INTERFACE, problem)


def _links(value: Value, entries: Mapping[str, Value], sites: Mapping[str, Site]) -> tuple[Link, ...]:
    taken = _Taken()
    links = tuple(_link(each, sites, taken) for each in value.items())
    linked = {name for link in links for name in link.between}
    for name, entry in entries.items():
        if name not in linked:
            raise entry.wrong("no link joins this site to another; add one under `links`, or take the site out")
    return links


def _link(value: Value, sites: Mapping[str, Site], taken: _Taken) -> Link:
    keys = value.keys(("between",), ("initiator",))
    between = keys["between"]
    ends = between.items()
    if len(ends) != 2:  # noqa: PLR2004 - a link has two ends
        raise between.wrong(f"a link has two ends, not {len(ends)}; write [one site, the other]")
    here, there = (_site_of(end, sites) for end in ends)
    if here == there:
        raise between.wrong(f"joins {here.name} to itself; name another site")
    taken.claim(between, "pair of sites", frozenset((here, there)))
    link = Link((here.name, there.name), _initiator(keys, here, there))
    taken.claim(between, "name of a link", link.name)  # sites `a-b` and `c`, `a` and `b-c`
    if here.dynamic and there.dynamic:
        raise between.wrong("both sites are dynamic, so that neither could find the other; give one an address")
    if not here.dynamic and not there.dynamic and not _families(here) & _families(there):
        raise between.wrong("one site has only IPv4 and the other only IPv6 addresses; add one that both have")
    return link


def _site_of(value: Value, sites: Mapping[str, Site]) -> Site:
    name = value.text()
    if name not in sites:
        raise value.wrong(f"there is no site `{name}`; {meant(name, sites)}")
    return sites[name]


def _families(site: Site) -> set[int]:
    return {address.version for address in site.addresses}


def _initiator(keys: Mapping[str, Value], here: Site, there: Site) -> str:
    """Return who brings a link up: whoever is named, else the one that cannot be found, else the first."""
    if "initiator" in keys:
        name = keys["initiator"].text()
        if name not in {here.name, there.name}:
            raise keys["initiator"].wrong(f"`{name}` is not an end of this link; write {here.name} or {there.name}")
        return name
    return there.name if there.dynamic else here.name


def _certificates(value: Value, directory: Path, sites: Mapping[str, Site]) -> Certificates:
    keys = value.keys(("directory", "contact", "agree_to_terms"), ("ca_bundle", "trust_anchors", "challenge_site"))
    if keys["agree_to_terms"].text() != "true":
        raise keys["agree_to_terms"].wrong(
            "the CA gives certificates only to those who agree to its terms of service; read them, and write true",
        )
    return Certificates(
        directory=_acme_directory(keys["directory"]),
        contact=_contact(keys["contact"]),
        agree_to_terms=True,
        ca_bundle=_file(keys["ca_bundle"], directory) if "ca_bundle" in keys else None,
        trust_anchors=_each(keys, "trust_anchors", lambda item: _file(item, directory)),
        challenge_site=_site_of(keys["challenge_site"], sites).name if "challenge_site" in keys else None,
    )


def _acme_directory(value: Value) -> str:
    text = value.text()
    if text in DIRECTORIES:
        return text
    if "://" not in text:
        raise value.wrong(f"`{text}` is no ACME directory; {meant(text, (*DIRECTORIES, 'its https:// URL'))}")
    if not text.startswith("https://"):
        raise value.wrong(f"`{text}` is not https, as ACME requires (RFC 8555, 6.1); write its https:// URL")
    try:
        url = urlsplit(text)
        sound = url.hostname and url.port != 0 and url.username is None
    except ValueError:  # a port that is none, brackets around no IPv6 address
        sound = False
    if not sound or not _URL.fullmatch(text):
        raise value.wrong(f"`{text}` is no URL of an ACME directory; write one such as {DIRECTORIES['letsencrypt']}")
    return text


def _contact(value: Value) -> str:
    text = value.text()
    match = _CONTACT.fullmatch(text)
    if not match or not _FQDN.fullmatch(match["domain"].lower()):
        raise value.wrong(f"`{text}` is no e-mail address; write one that the CA may write to: name@example.org")
    return text


def _ipsec(value: Value) -> Ipsec:
    keys = value.keys((), ("encapsulation", "extra_packages", "ike_proposals", "esp_proposals"))
    default = Ipsec()
    return Ipsec(
        encapsulation=_encapsulation(keys["encapsulation"]) if "encapsulation" in keys else default.encapsulation,
        extra_packages=_each(keys, "extra_packages", _package),
        ike_proposals=_each(keys, "ike_proposals", _proposal) or default.ike_proposals,
        esp_proposals=_each(keys, "esp_proposals", _proposal) or default.esp_proposals,
    )


def _encapsulation(value: Value) -> Literal["auto", "always"]:
    match value.text():
        case "auto":
            return "auto"
        case "always":
            return "always"
        case text:
            raise value.wrong(f"`{text}` is no way to encapsulate; write auto or always")


def _package(value: Value) -> str:
    return value.matching(_PACKAGE, "is no Debian package; write its name, such as libcharon-extra-plugins")


def _proposal(value: Value) -> str:
    problem = (
        "is no proposal that can be held to: write all algorithms of one, lower case, such as "
        "aes256gcm16-prfsha384-ecp384; neither `default` nor a null cipher"
    )
    text = value.matching(_PROPOSAL, problem)
    try:
        read_proposal(text)
    except ValueError as error:
        raise value.wrong(f"cannot be held to: {error}") from error
    return text


def _each(keys: Mapping[str, Value], name: str, read_item: Callable[[Value], T]) -> tuple[T, ...]:
    """Return the items of an optional list; none where the key is not there."""
    return tuple(read_item(item) for item in keys[name].items()) if name in keys else ()


def _file(value: Value, directory: Path) -> Path:
    """Read a path, relative to the file it is in, of a file that must be there."""
    text = value.text()
    try:
        path = directory / Path(text).expanduser()
        readable = path.is_file() and os.access(path, os.R_OK)
    except (OSError, RuntimeError) as error:  # a name too long, the home of nobody
        raise value.wrong(f"`{text}` cannot be read ({error}); write the path of a file") from None
    if not readable:
        raise value.wrong(f"there is no file {path} that can be read; write the path of one, relative to {directory}")
    return path


def _ip(text: str) -> Address | None:
    """Return an address without a zone; None where the text is none."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None
