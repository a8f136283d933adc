"""Ways to break a real tunnel, and what is then to be said of it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab import Lab

CONF = {"home": "/etc/swanctl/conf.d/ula-net-vps4.conf", "vps4": "/etc/swanctl/conf.d/ula-net-home.conf"}
LOAD = "swanctl --load-all --clear --noprompt >/dev/null 2>&1"
OLD_CIPHERS = "s/ esp_proposals = .*/ esp_proposals = aes128-sha256-modp2048/"
PSK = "/local {/,/}/s/auth = pubkey/auth = psk/; s/^connections/secrets { ike-x { secret = abc } }\\nconnections/"
DROP = "PREROUTING -p udp --dport 4500 -j DROP"
HOLD = "perl -MIO::Socket -e 'IO::Socket::INET->new(Proto => q(udp), LocalPort => 500) and sleep 600'"


@dataclass(frozen=True)
class Break:
    """What is done at which end, and what takes it back; what is said happened, and where it is to be mended."""

    at: str
    broken: str
    mended: str
    what: str
    look: str
    silent: bool = False


def edited(at: str, expression: str, what: str, look: str = "swanctl --list-conns") -> Break:
    """A connection changed by hand, and loaded."""
    conf = CONF[at]
    broken = f"cp {conf} /root/good; sed -i '{expression}' {conf}; {LOAD}"
    return Break(at, broken, f"cp /root/good {conf}; rm /root/good; {LOAD}", what, look)


KEY = "/etc/swanctl/private/vps4.example.test.key"
BREAKS = {
    "another name": edited(
        "vps4",
        "s/id = fqdn:home.*/id = fqdn:office.example.test/",
        "vps4 has no connection for these two names: it was asked for vps4.example.test by home.example.test",
    ),
    "other ciphers for IKE": edited(
        "vps4",
        "s/^    proposals = .*/    proposals = aes128-sha256-modp2048/",
        "the ends share no IKE proposal",
        "grep -rn proposals /etc/swanctl/conf.d",
    ),
    "other ciphers for ESP": edited(
        "vps4", OLD_CIPHERS, "the ends share no ESP proposal", "grep -rn proposals /etc/swanctl/conf.d"
    ),
    "other networks": edited(
        "vps4",
        "s/ local_ts = .*/ local_ts = fd00:1::\\/64/",
        "the selectors do not mirror each other: vps4 was asked for",
    ),
    "a pre-shared key": edited("home", PSK, "vps4 was to use a pre-shared key with home, and that fails"),
    "another way to prove oneself": edited(
        "vps4",
        "/remote {/,/}/{s/auth = pubkey/auth = psk/;/cacerts/d}",
        "vps4 wants home to prove itself by pre-shared key, and it did by public key",
    ),
    "no key": Break(
        "vps4",
        f"mv {KEY} /root/key; {LOAD}",
        f"mv /root/key {KEY}; {LOAD}",
        "vps4 has no private key that fits its own certificate for vps4.example.test",
        "swanctl --list-certs",
    ),
    "no connection": Break(
        "vps4",
        f"mv {CONF['vps4']} /root/good; {LOAD}",
        f"mv /root/good {CONF['vps4']}; {LOAD}",
        "vps4 has no connection for these addresses",
        "swanctl --list-conns",
    ),
    "no daemon": Break(
        "vps4",
        "systemctl stop strongswan",
        "systemctl start strongswan",
        "charon does not run on vps4",
        "systemctl status strongswan",
        silent=True,
    ),
    "another daemon": Break(
        "vps4",
        f"systemctl stop strongswan; systemd-run -q --unit=holder {HOLD}; systemctl start strongswan",
        "systemctl stop holder; systemctl restart strongswan",
        "on vps4, perl holds UDP 500",
        "ss -ulpn",
        silent=True,
    ),
    "UDP 4500 closed": Break(
        "vps4",
        f"iptables -t raw -I {DROP}",
        f"iptables -t raw -D {DROP}",
        "vps4 answered the first message of home and never got the second",
        "on vps4: tcpdump",
        silent=True,
    ),
    "UDP 4500 closed on the way back": Break(
        "home",
        "iptables -t raw -I PREROUTING -p udp --sport 4500 -j DROP",
        "iptables -t raw -D PREROUTING -p udp --sport 4500 -j DROP",
        "vps4 got the second message of home, but its answer over UDP 4500 does not arrive",
        "on home: tcpdump",
        silent=True,
    ),
    "UDP 500 closed on the way back": Break(
        "home",
        "iptables -t raw -I PREROUTING -p udp --sport 500 -j DROP",
        "iptables -t raw -D PREROUTING -p udp --sport 500 -j DROP",
        "vps4 hears home and answers, but its answers do not arrive",
        "on home: tcpdump",
        silent=True,
    ),
}

EXPLAIN = """
import json, sys
from pathlib import Path
from runbook.session import Session
from steps.tunnel.both_ends import explained, listen
from steps.ipsec.styles import style_of

with Session(Path(sys.argv[1]), "audit", yes=True, json=True) as session:
    network, targets = session.network, session.targets
    end = next(each for each in network.link_ends(network.links[0]) if each.initiates)
    for each in (end.here, end.there):
        targets[each.name].host.login()
    style = style_of(end.here)
    targets[end.here.name].run(f"{style.down(end.connection)} >/dev/null 2>&1 || true", purpose="take it down")
    before = listen(end, targets)
    up = f"timeout {sys.argv[2]} {style.initiate(end.connection)} 2>&1 || true"
    said = targets[end.here.name].run(up, purpose="try").stdout
    error = explained(end, targets, before, said=said.splitlines())
    told = {"id": error.id, "error": str(error), "likely": error.likely, "look": error.look, "hint": error.hint}
    print(json.dumps(told))
"""
"""Tries to bring the tunnel up for some seconds and says why it does not come, as the ping step does in a minute."""


def explain(lab: Lab, seconds: int) -> dict[str, str]:
    """What is told of the lab's tunnel."""
    argv = [sys.executable, "-c", EXPLAIN, str(lab.directory / "sites.yaml"), str(seconds)]
    said = lab.admin(argv)
    assert said.returncode == 0, said.stderr
    told: dict[str, str] = json.loads(said.stdout)
    return told
