"""Opening the firewall for the web, so that the certificate authority can ask."""

from __future__ import annotations

import http.client
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, ClassVar, Final

from runbook.errors import StepError
from runbook.step import Check, Part, Proof
from steps import catalogue
from steps.certificates import web_client
from steps.certificates.certificate_sources import source_of
from steps.certificates.web_client import NoRouteError, addresses_of
from steps.firewalls import firewall
from steps.firewalls.openings import Opening
from steps.nginx import NOBODY_HAS, is_theirs, not_asked
from steps.section import HOST_ADDRESSES, Section, own_addresses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.resources.iptables import Family
    from runbook.target import Target
    from steps.network import Site

PORT: Final = 80


class WebFirewall(Section):
    """Open port 80 to the site's own addresses. The certificate authority looks there whether the name is yours.

    It asks over IPv6 first where the name has such an address, so both families are opened, for the site's static
    addresses; in a family without any, for what arrives by its interface. The rule goes where the admin's own rules
    accept new connections (the chain `in-new` in the article). It is first put in force, under a timer that takes it
    back unless a new login has proved that one is still possible, and then into the file that is loaded at boot: the
    article's, netfilter-persistent's (/etc/iptables/rules.v4, rules.v6), or nftables' own (/etc/nftables.conf).

        nano /etc/network/iptables.save
            ### ipsec-runbook:web ###
            -A in-new -d 185.133.75.14/32 -p tcp -m tcp --dport 80 -m comment --comment "ipsec-runbook:web" -j ACCEPT
        nano /etc/network/ip6tables.save
        iptables-restore --test < /etc/network/iptables.save
        iptables -I in-new 2 -d 185.133.75.14/32 -p tcp --dport 80 -m comment --comment ipsec-runbook:web -j ACCEPT

    To check by hand, from elsewhere: `curl -i http://vps4.johncook.co.uk/` gets an empty reply, and
    `curl -i http://vps4.johncook.co.uk/.well-known/acme-challenge/nonexistant` a 404 (a 307 where another site
    serves the challenges). On the host, `iptables -nvL in-new` counts what each rule has let in.

    With an authority of your own (`certificate_authority: private`) nobody asks, and nothing is opened;
    what was, goes.

    What can go wrong: the provider, or the router in front of the host, has a firewall of its own; nothing loads the
    file at boot; ufw or firewalld manages the rules, or two managers do, and nothing is touched.
    """

    name: ClassVar[str] = "web-firewall"
    title: ClassVar[str] = "Firewall for the web"
    needs: ClassVar[tuple[str, ...]] = ("nginx",)
    facts: ClassVar[str] = HOST_ADDRESSES + firewall.FACTS

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:
        """Port 80 in both families, in force and stored."""
        if not source_of(self.network).OVER_HTTP:
            return [not_asked("firewall for web"), *firewall.closed_parts("web", facts)]
        return firewall.firewall_parts("web", openings(self.site(target), facts), facts)

    def checks(self) -> Sequence[Check]:
        """Ask every site from this machine, as the certificate authority will."""
        if not source_of(self.network).OVER_HTTP:
            return []
        return [
            Check(f"port {PORT} of {site.fqdn} from this machine", (site.name,), self._asks(site))
            for site in self.network.sites.values()
        ]

    def _asks(self, site: Site) -> Proof:
        server = self.network.challenge_site
        elsewhere = self.network.sites[server].fqdn if server and server != site.name else ""

        def run(hosts: Mapping[str, Target]) -> Sequence[str]:
            return ask_site(site.fqdn, elsewhere, closed=not is_theirs(site, hosts[site.name].facts))

        return run


def openings(site: Site, facts: Mapping[str, str]) -> Sequence[Opening]:
    """Port 80 of a site's static addresses that its host has; in a family without any, by its interface."""
    here = own_addresses(site, facts)
    families: tuple[Family, ...] = (4, 6)
    found = []
    for family in families:
        own = [each for each in here if each.version == family]
        found += [Opening(family, "INPUT", "tcp", PORT, destination=str(ip_network(each))) for each in own]
        if not own:
            found.append(Opening(family, "INPUT", "tcp", PORT, interface=site.interface))
    return found


def ask_site(fqdn: str, elsewhere: str = "", port: int = PORT, *, closed: bool = True) -> Sequence[str]:
    """Ask a site's web server by each of its addresses, and return what it answered, a line for each.

    `/` must get no answer where it is `closed`, and a challenge that is not there a 404, or a redirect to the site
    `elsewhere` that serves the challenges. An address of a family in which this machine has no route is passed over;
    one at least must answer.

    Raises:
        StepError: With what is wrong, and where to look.
    """
    try:
        found = addresses_of(fqdn, port)
    except OSError as error:
        raise StepError(catalogue.DNS_UNRESOLVED, fqdn=fqdn, why=error.strerror or error) from error
    evidence, passed = [], []
    for address, _ in found:
        try:
            evidence.append(f"{address}: {_ask_address(fqdn, address, elsewhere, port, closed=closed)}")
        except NoRouteError:
            passed.append(f"{address}: not asked, this machine has no route to it")
        except OSError as error:
            raise _silent(fqdn, address, port, error) from error
    if not evidence:
        faults = f"no address of {fqdn} can be asked from this machine: it has no route to {', '.join(passed)}"
        raise StepError(catalogue.CHALLENGE_UNTRIED, faults=faults, fqdn=fqdn)
    return evidence + passed


def _ask_address(fqdn: str, address: str, elsewhere: str, port: int, *, closed: bool) -> str:
    """Ask one address for both; raises StepError for a wrong answer, OSError where none is to be had."""
    about: dict[str, Any] = {"fqdn": fqdn, "address": address, "port": port, "host": _bracketed(address)}
    root = _get(fqdn, address, "/", port)[0] if closed else 0
    if root:
        instead = "and should close the connection without a word"
        raise StepError(catalogue.WEB_OTHER_ANSWER, path="/", answer=root, wanted=instead, **about)
    status, location = _get(fqdn, address, NOBODY_HAS, port)
    wanted, target = (307, f"http://{elsewhere}{NOBODY_HAS}") if elsewhere else (404, "")
    if (status, location) != (wanted, target):
        answer = f"{status} {location}".strip() if status else "nothing"
        instead = f"not with {wanted} {target}".strip()
        raise StepError(catalogue.WEB_OTHER_ANSWER, path=NOBODY_HAS, answer=answer, wanted=instead, **about)
    return f"{'/ closed without an answer, ' if closed else ''}{NOBODY_HAS} {wanted} {target}".strip()


def _get(fqdn: str, address: str, path: str, port: int) -> tuple[int, str]:
    """The status of an answer and where it sends us; (0, "") where the connection is closed without one."""
    at = fqdn if port == PORT else f"{fqdn}:{port}"
    try:
        answer = web_client.get(f"http://{at}{path}", (address, port))
    except ConnectionResetError:  # closed without a word (http.client.RemoteDisconnected), or reset
        return 0, ""
    except http.client.HTTPException as error:
        raise StepError(catalogue.WEB_NOT_HTTP, fqdn=fqdn, address=address, port=port, why=repr(error)) from error
    return answer.status, answer.location


def _silent(fqdn: str, address: str, port: int, error: OSError) -> StepError:
    """Why an address does not answer, and where to look."""
    program = "ip6tables" if ip_address(address).version == 6 else "iptables"  # noqa: PLR2004 - IPv6
    about: dict[str, Any] = {"fqdn": fqdn, "address": address, "port": port, "program": program}
    if isinstance(error, ConnectionRefusedError):
        return StepError(catalogue.WEB_REFUSED, **about)
    if isinstance(error, TimeoutError):
        return StepError(catalogue.WEB_SILENT, seconds=web_client.TIMEOUT, **about)
    return StepError(catalogue.WEB_NO_WAY, why=error.strerror or error, **about)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
