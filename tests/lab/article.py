"""Hosts of the lab as the article leaves them: its own files, and certificates of an authority that tests have made.

`plant` makes one such host; `join` makes both, with the article's own tunnel up between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import by_hand
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from made_pki import Entity, issue
from product import picture

from lab.layout import HOSTS, VPS4
from steps import pki

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lab import Lab

INSTALL: Final = """\
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -q update >/dev/null
apt-get -q -y install --no-install-recommends nginx strongswan-charon strongswan-starter libcharon-extra-plugins \\
    libstrongswan-standard-plugins libstrongswan-extra-plugins >/dev/null
rm /etc/nginx/sites-enabled/default
mkdir -p {ssl} /etc/ssl/LetsEncrypt /etc/apparmor.d/local
"""
FINISH: Final = """\
set -e
chown thejc:sudo {ssl}
chmod 775 {ssl}
chmod 400 {ssl}/*.key1
chown root:thejc {ssl}/*.key1
iptables-restore </etc/network/iptables.save
{ip}
systemctl restart nginx strongswan-starter
"""
CONFS: Final = {"home": by_hand.HOME_CONF, "vps4": by_hand.CONF}
LINK_ADDRESSES: Final = {"home": "fdd7:5938:e2e6:3::1", "vps4": "fdd7:5938:e2e6:3::8e71"}
EXPIRED: Final = ("lets-encrypt-x3-cross-signed", "lets-encrypt-x4-cross-signed")
DAY: Final = timedelta(days=1)


def ssl(host: str) -> str:
    return f"/etc/ssl/{HOSTS[host].fqdn}"


def of_the_lab(text: str) -> str:
    """The article's text with the names and addresses of the lab."""
    return text.replace("185.133.75.14", VPS4.ipv4).replace("johncook.co.uk", "example.test")


@dataclass(frozen=True)
class Authority:
    """What the article's authority would be today: a root of its time that is still good, and one between."""

    root: Entity
    middle: Entity


def authority() -> Authority:
    now = datetime.now(UTC)
    root = issue("ISRG Root X1", None, before=now - 1999 * DAY, after=now + 999 * DAY)
    return Authority(root, issue("R3", root, before=now - 99 * DAY, after=now + 999 * DAY))


def plant(lab: Lab, host: str, by: Authority, conf: str = "") -> None:
    """Make a host as the article leaves it, with a certificate by this authority."""
    lab.root(host, INSTALL.format(ssl=ssl(host)))
    disk, place, link = lab.layout.root(host), HOSTS[host], LINK_ADDRESSES[host]
    for path, text in {
        "etc/nginx/sites-enabled/default_server.conf": by_hand.NGINX.replace("185.133.75.14", place.ipv4),
        "etc/ipsec.conf": conf or CONFS[host],
        "etc/ipsec.secrets": by_hand.SECRETS.replace("vps4", host),
        "etc/apparmor.d/local/usr.lib.ipsec.charon": by_hand.APPARMOR.replace("vps4", host),
    }.items():
        (disk / path).write_text(of_the_lab(text))
    rules, interfaces = disk / "etc/network/iptables.save", disk / "etc/network/interfaces"
    rules.write_text(rules.read_text().replace("COMMIT\n", f"{by_hand.IPTABLES}COMMIT\n"))
    eth0 = "iface eth0 inet6 static\n"
    line = by_hand.INTERFACE.replace(LINK_ADDRESSES["vps4"], link)
    interfaces.write_text(interfaces.read_text().replace(eth0, f"{eth0}    {line}"))
    _certify(lab, host, by)
    for name, target in {**by_hand.CA_LINKS, "r3.pem": "/etc/ssl/LetsEncrypt/r3.pem"}.items():
        (disk / "etc/ipsec.d/cacerts" / name).symlink_to(target)
    lab.root(host, FINISH.format(ssl=ssl(host), ip=f"ip addr add {link} dev eth0"))


def _certify(lab: Lab, host: str, by: Authority) -> None:
    """A key of the form that the article gives it, its certificate with the chain, and those of the authorities."""
    now, fqdn, disk = datetime.now(UTC), HOSTS[host].fqdn, lab.layout.root(host)
    key = ec.generate_private_key(ec.SECP384R1())
    leaf = issue(fqdn, by.middle, ca=False, names=[fqdn], key=key, before=now - DAY, after=now + 90 * DAY)
    sec1 = serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    own = disk / ssl(host).lstrip("/")
    (own / f"{host}_johncook_co_uk.key1").write_bytes(key.private_bytes(*sec1))
    (own / f"{host}_johncook_co_uk.chained.pem").write_bytes(pki.to_pem(leaf.cert) + pki.to_pem(by.middle.cert))
    expired = {name: issue(name, None, before=now - 1999 * DAY, after=now - 9 * DAY) for name in EXPIRED}
    for name, each in {"isrgrootx1": by.root, "r3": by.middle, **expired}.items():
        (disk / f"etc/ssl/LetsEncrypt/{name}.pem").write_bytes(pki.to_pem(each.cert))


AS_THE_LAB_NEEDS: Final = "conn %default\n\tforceencaps = yes\n"
"""ESP is charon's own there: strongSwan 5.9's comes in UDP alone."""
INSIDE: Final = {"home": "fdd7:5938:e2e6:1::1/64 dev eth1", "vps4": "fdd7:5938:e2e6:8e71::1/128 dev eth0"}
"""And it wants an address in each subnet that it has; home's is a router's."""
SETTLED: Final = "while ip -6 address show tentative | grep -q .; do sleep 0.1; done"
PING: Final = f"ping -6 -n -c 4 -W 2 {LINK_ADDRESSES['vps4']}"


def join(lab: Lab, confs: Mapping[str, str] = CONFS) -> None:
    """Make both hosts as the article leaves them, its tunnel brought up as it does: by a ping."""
    by = authority()
    for host, conf in confs.items():
        plant(lab, host, by, conf.replace("conn %default\n", AS_THE_LAB_NEEDS))
    for host, inside in INSIDE.items():
        # what is still checked for duplicates cannot be a route's source: the article's tunnel stays down at a boot
        lab.root(host, f"ip address add {inside}; {SETTLED}; systemctl restart strongswan-starter")
    for host in confs:
        lab.root(host, WAITING)
    ping(lab)


WAITING: Final = "timeout 20 sh -c 'until ipsec statusall 2>/dev/null | grep -q ROUTED; do sleep 0.2; done'"


def pictured(lab: Lab, host: str) -> dict[str, str]:
    """A host, but for the link-local address of charon's TUN device: another one after each start."""
    return {key: value for key, value in picture(lab, host).items() if not ("ipsec0" in key and "fe80:" in key)}


def ping(lab: Lab) -> None:
    """The article's own ping: a packet may be lost until the tunnel is up, and no more."""
    lab.root("home", f"{SETTLED}; {PING} | grep -E ' [34] received'")
    assert "AES_GCM_16_128" in lab.root("home", "ipsec statusall ula-net-vps4").stdout
