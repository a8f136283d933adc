"""Every kind of failure that is about certificates and tunnels (`runbook.errors.Entry`)."""

from __future__ import annotations

from typing import Final

from runbook.errors import Entry

CA_REFUSED: Final = Entry(
    "ca-refused",
    "the CA refused ({kind}): {said}",
    "what the CA says is meant: {meaning}",
    "runbook audit --step web-firewall --probe{file}",
    "{todo}; then: {again}",
)
CA_UNREACHABLE: Final = Entry(
    "ca-unreachable",
    "{url} cannot be reached: {why}",
    "a slip in the address in sites.yaml, or this machine has no way to the internet",
    "curl -v {url}",
    "check the address in sites.yaml and this machine's way to the internet, then: {again}",
)
CA_SILENT: Final = Entry(
    "ca-silent",
    "{url} did not answer within {seconds} seconds",
    "the CA is overloaded, or a firewall on the way drops the connection",
    "curl -v {url}",
    "check the address in sites.yaml and this machine's way to the internet, then: {again}",
)
CA_UNTRUSTED: Final = Entry(
    "ca-https-untrusted",
    "the HTTPS certificate of {url} is not trusted by this machine: {why}",
    "the CA is your own, or something between here and there shows a certificate of its own",
    "curl -v {url}",
    "if the CA is your own, name its CA file as ca_bundle in sites.yaml; then: {again}",
)
DNS_UNRESOLVED: Final = Entry(
    "dns-no-address",
    "the name {fqdn} has no address: {why}",
    "its A or AAAA record is missing, or too new to be known everywhere",
    "getent ahosts {fqdn}",
    "let its A or AAAA record lead to the site, then: {again}",
)
CHALLENGE_UNSERVED: Final = Entry(
    "challenge-not-served",
    "the CA would refuse: {faults} ({url})",
    "port 80 is closed on one of its addresses, often the IPv6 one, or the name leads to another machine",
    "getent ahosts {fqdn}; curl -i {url}",
    "every address of the name has to serve it, on port 80, to everybody; then: {again}",
)
CHALLENGE_UNTRIED: Final = Entry(
    "challenge-not-tried",
    "{faults}",
    "the name has addresses of a family only (IPv6) that this machine has no way to",
    "getent ahosts {fqdn}; ip -6 route",
    "run this where the site can be reached: {again}",
)

# --- tunnels: `{what}`, `{likely}`, `{look}` and `{fix}` are the cause's own, which `steps.diagnosis` finds -----------

TUNNEL_DOWN: Final = Entry(
    "tunnel-down",
    "{connection} fails at stage {stage}: {what}{quotes}",
    "{likely}",
    "{look}",
    "{fix}; then: {again}",
)
PING_LOST: Final = Entry(
    "ping-lost",
    "ping from {target} was lost: {lost}; {connection} fails at stage {stage}: {what}{quotes}",
    "{likely}",
    "{look}",
    "{fix}; then: {again}",
)
NO_NEW_KEYS: Final = Entry(
    "no-new-keys",
    "the tunnel carries traffic, but cannot be given new keys: {what}{quotes}",
    "{likely}",
    "{look}",
    "{fix}; a tunnel that is up keeps to what it began with: on {initiator}: {down}; then: {again}",
)

ENTRIES: Final = tuple(each for each in list(vars().values()) if isinstance(each, Entry))
"""All of them."""
