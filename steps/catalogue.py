"""Every kind of failure that is about certificates, addresses and tunnels (`runbook.errors.Entry`)."""

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
CA_MEANINGS: Final = {
    "caa": "the name's CAA records in DNS allow other authorities only",
    "connection": "port 80 of the name does not answer it, at one address at least",
    "dns": "it finds no address for the name, or no answer from its name servers",
    "rateLimited": "too many orders or failures for this name of late; try letsencrypt-staging until all is in order",
    "unauthorized": "another server than the site's answers for the name",
    "userActionRequired": "its terms have changed since the account was made",
}
"""What a type of problem (the last part of its name in RFC 8555, 6.7) means here, where its name does not say so."""
CA_HINTS: Final = {
    "accountDoesNotExist": "the account key is unknown there: set the kept one aside, and a new account is made",
    "badCSR": "set the certificate request aside and let it be made again",
    "badPublicKey": "the CA does not take this kind of key: choose another CA",
    "caa": "let this CA issue in the name's CAA records, or remove them",
    "connection": "let everybody reach port 80 at every address that the name has, IPv6 too",
    "dns": "check the name's A and AAAA records, and that all its name servers answer",
    "dnssec": "mend DNSSEC for the name, or take its DS record away",
    "externalAccountRequired": "this CA wants an account made by hand beforehand: choose another directory",
    "incorrectResponse": "see that the name leads to this site at every address, and that no other web server answers",
    "invalidContact": "correct the contact in sites.yaml",
    "rateLimited": "wait, then run again; what is done is not done twice",
    "rejectedIdentifier": "the CA issues nothing for this name: use another name or another CA",
    "serverInternal": "the CA is in trouble, not you: look at its status page, and run again later",
    "unauthorized": "see that the name leads to this site at every address, and that no other web server answers",
    "unsupportedContact": "correct the contact in sites.yaml",
    "userActionRequired": "read the CA's terms at the address it gives, agree to them there, and run again",
}
"""What to do about each type of problem."""
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
CA_NOT_ACME: Final = Entry(
    "ca-not-acme",
    "{url} does not answer as an ACME server: {why}",
    "a slip in the address of the directory in sites.yaml, or the CA is in trouble",
    "curl -i {url}",
    "correct `certificates.directory` in sites.yaml, or wait until the CA is well again, then: {again}",
)
CA_SLOW: Final = Entry(
    "ca-slow",
    "the CA at {url} did not finish in time",
    "it is busy, or it is still looking at the name from all the places that it looks from",
    "curl -i {url}",
    "wait some minutes (what has been verified is taken up), then: {again}",
)
NO_HTTP_CHALLENGE: Final = Entry(
    "ca-no-http-challenge",
    "the CA offers no http-01 challenge for {fqdn}",
    "it proves names by DNS only, or such names: a wildcard",
    "curl -i {url}",
    "use a name without a wildcard, or another CA (`certificates.directory` in sites.yaml), then: {again}",
)
ACCOUNT_KEY: Final = Entry(
    "acme-account-key",
    "the ACME account's key is damaged or of another kind than P-256",
    "the file was cut short, edited, or put there by another program",
    "beside sites.yaml: openssl pkey -noout -text_pub -in .runbook/acme/account.key",
    "move .runbook/acme/account.key away, and a new account is made: {again}",
)
CA_BUNDLE: Final = Entry(
    "ca-bundle",
    "the CA bundle {path} {why}",
    "a slip in `certificates.ca_bundle`, or the file is no PEM",
    "ls -l {path}; openssl x509 -noout -subject -in {path}",
    "correct `certificates.ca_bundle` in sites.yaml, then: {again}",
)

# --- web servers, as the CA will meet them ----------------------------------------------------------------------------

WEB_OTHER_ANSWER: Final = Entry(
    "web-other-answer",
    "port {port} of {fqdn} ({address}) answers {path} with {answer}, {wanted}",
    "another web server has that address or name, or the name leads to another machine",
    "getent ahosts {fqdn}; curl -i --connect-to ::{host}: http://{fqdn}{path}; on the host: nginx -T",
    "let the name lead to the site alone, or that server pass the challenges on to it, then: {again}",
)
WEB_NOT_HTTP: Final = Entry(
    "web-not-http",
    "port {port} of {fqdn} ({address}) does not speak HTTP: {why}",
    "something else than a web server listens there",
    "on the host: ss -ltnp 'sport = :{port}'",
    "have it listen on another port, then: {again}",
)
WEB_REFUSED: Final = Entry(
    "web-refused",
    "port {port} of {fqdn} ({address}) does not answer: the connection is refused",
    "nothing listens there, a rule rejects it, or the address is another machine's",
    "on the host: ss -ltnp 'sport = :{port}'; {program} -nvL; ip address",
    "start what should listen (systemctl start nginx), or correct the name's records, then: {again}",
)
WEB_SILENT: Final = Entry(
    "web-silent",
    "port {port} of {fqdn} ({address}) does not answer: nothing came back within {seconds:g} seconds",
    "a firewall drops it: the host's, the provider's, a router's that does not pass port {port} on",
    "on the host: {program} -nvL (does the counter of our rule move?); tcpdump -ni any tcp port {port}",
    "let TCP {port} in there, from everywhere, then: {again}",
)
WEB_NO_WAY: Final = Entry(
    "web-no-way",
    "port {port} of {fqdn} ({address}) does not answer: {why}",
    "the way there is broken, or the address is none of the site's",
    "ping -c 3 {address}; getent ahosts {fqdn}",
    "mend the way there, or correct the name's records, then: {again}",
)
NGINX_OTHER_ANSWER: Final = Entry(
    "nginx-other-answer",
    "{target}: nginx answers {asked} on {address} with {answer}, not {wanted}",
    "another server of its configuration has that address or name, and comes before ours",
    "on {target}: nginx -T | grep -nE '# configuration file|listen|server_name|include'",
    "take that server's claim to the address or name away, then: {again}",
)
NGINX_REFUSES: Final = Entry(
    "nginx-refuses",
    "nginx refuses its configuration as it is on this host, so that it can load nothing new",
    "a slip in one of its files, or one that it includes is gone",
    "on the host: nginx -t",
    "mend what it names, then: {again}",
)
NGINX_MODULES: Final = Entry(
    "nginx-modules",
    "{packages}: built for the nginx that is there, and would go with it when nginx comes from {where}, so nothing is "
    "touched",
    "they are modules of nginx, which one of your sites may use",
    "on the host: apt-cache rdepends --installed {packages}; nginx -T | grep -n load_module",
    "if none of your sites needs them, as root on the host: apt-get remove {packages}; if one does, leave nginx where "
    "it is from (`nginx` in sites.yaml); then: {again}",
)
PORT_TAKEN: Final = Entry(
    "web-port-taken",
    "{program} listens there already; web servers other than nginx are not supported",
    "the host serves sites by another web server",
    "on the host: ss -ltnp 'sport = :80'",
    "stop it there (systemctl disable --now UNIT), or do without a web server, by an authority of your own "
    "(`certificate_authority: private` in sites.yaml), then: {again}",
)

# --- keys and certificates --------------------------------------------------------------------------------------------

KEY_UNUSABLE: Final = Entry(
    "key-unusable",
    "the private key in {path} cannot be used: {why}; it is left alone",
    "the file was cut short or edited, or another one was put in its place",
    "{at}openssl pkey -noout -text_pub -in {path}",
    "put the right key back there, or move it away for a new one, then: {again}",
)
KEY_LOST: Final = Entry(
    "key-lost",
    "{target} has a key in {there}, and its original {original} is lost here",
    "it was removed here, or {target} was set up from another machine, whose .runbook is not here",
    "ls -l {directory}; on {target}: ls -l {there}",
    "put it back (from a backup, or as root from {target}), or move {there} away there for a new key and a new "
    "certificate, then: {again}",
)
KEY_RENAMED: Final = Entry(
    "key-renamed",
    "{target} has in {there} the key that is here as {here}",
    "the site has a new name in sites.yaml, and its files here have the old one",
    "ls -l {directory}/keys; on {target}: ls -l {there}",
    "rename what there is of these in {directory}: {renamed}; then: {again}",
)
AUTHORITY_LOST: Final = Entry(
    "authority-key-lost",
    "your authority's key is lost, and its certificate {certificate} is there",
    "it was removed here, or the authority was made on another machine, whose .runbook is not here",
    "ls -l {directory}",
    "put {key} back from a backup, or move {certificate} away for a new authority and new certificates, then: {again}",
)
AUTHORITY_UNUSABLE: Final = Entry(
    "authority-unusable",
    "your authority's certificate in {path} cannot be used: {why}; it is left alone",
    "the file was cut short or edited, or another one was put in its place",
    "openssl x509 -noout -subject -dates -in {path}",
    "put the right one back there, or move it away for a new one, then: {again}",
)
AUTHORITY_CHANGED: Final = Entry(
    "authority-changed",
    "the certificate for {fqdn} is of another authority than sites.yaml names, and a renewal does not go over: {why}",
    "sites.yaml names another authority than at the last apply, or your own authority is not here any more",
    "runbook audit --step certificate{file}",
    "go over to it by an apply (runbook apply{file}), or put back what was there before; then: {again}",
)
REQUEST_UNUSABLE: Final = Entry(
    "request-unusable",
    "{target}: openssl there has made a request that is not right: {why}",
    "openssl there is not Debian's, or its configuration adds to every request",
    "on {target}: command -v openssl; openssl version -a",
    "mend openssl on {target}, or have the keys made here (`keys: controller` in sites.yaml), then: {again}",
)
CERTIFICATE_UNUSABLE: Final = Entry(
    "certificate-unusable",
    "{why}; {path} is kept",
    "the authority's root is none of those that are trusted: staging and production, or one of your own",
    "openssl x509 -noout -subject -issuer -dates -in {path}",
    "correct `certificates.trust_anchors` in sites.yaml, or have another one issued: runbook renew --force{file}; "
    "then: {again}",
)
TIMER_FAILED: Final = Entry(
    "timer-run-failed",
    "the timer is in place, and its first run has failed: {said}",
    "it has neither your SSH agent nor a terminal: your key has a passphrase, or sudo there wants a password",
    "{journal}",
    "see that the hosts can be reached by a key without a passphrase, and that sudo there wants no password, then: "
    "{again}",
)

# --- tunnels: `{what}`, `{likely}`, `{look}` and `{fix}` are the cause's own, which `steps.diagnosis.diagnose` finds --

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
NOT_SHOWN: Final = Entry(
    "certificate-not-shown",
    "{shown_to} has not been shown the certificate {serial} of {fqdn}; the tunnel goes on by the earlier one: {what}"
    "{quotes}",
    "{likely}",
    "{look}",
    "{fix}; then: {again}",
)
NOT_ANEW: Final = Entry(
    "tunnel-not-anew",
    "{connection} cannot be made anew by the ciphers that both ends can do, and goes on with those it has: {what}"
    "{quotes}",
    "{likely}",
    "{look}",
    "{fix}; then: {again}",
)
NO_OWN_KEYS: Final = Entry(
    "no-own-key-exchange",
    "{target}: {connection} got its new keys without a key exchange of its own ({suite})",
    "{there} has an older connection loaded, which wants none: there is no forward secrecy",
    "runbook audit --step connection{file}; on {target}: {sas}",
    "the tunnel keeps to what it began with: on {target}: {down}; then: {again}",
)
SPOKES_APART: Final = Entry(
    "spokes-apart",
    "ping from {target} was lost: {lost}; both sites have their tunnel to {hub}",
    "{hub} does not forward from the one tunnel to the other: its firewall, or net.ipv6.conf.all.forwarding",
    "on {hub}: sysctl net.ipv6.conf.all.forwarding; ip6tables -nvL FORWARD; ip -6 route show table 220",
    "let the next run put back what is otherwise (runbook audit --step ipsec-firewall{file} shows it), or have "
    "your own rules on {hub} let it through; then: {again}",
)
LAN_HOST_ELSEWHERE: Final = Entry(
    "lan-host-elsewhere",
    "{target} has no address in {subnets}",
    "it is not behind {site}, or it has got no address of that subnet yet (radvd, DHCPv6, by hand)",
    "on {target}: ip -6 address; ip address",
    "give it an address of that subnet, or name another machine as `lan_host` of {site} in sites.yaml, then: {again}",
)
SWANCTL_UNREADABLE: Final = Entry(
    "swanctl-unreadable",
    "what swanctl printed cannot be read: {why}",
    "charon ended meanwhile, or is of a version that prints it otherwise",
    "on the host: systemctl status strongswan; swanctl --list-sas --pretty",
    "systemctl restart strongswan there, then: {again}",
)
ADDRESSES_CLAIMED: Final = Entry(
    "addresses-two-managers",
    "{managers} both manage {interface} of {target}: nothing is touched",
    "the host has gone over from one to the other, and the first still has the interface in its files",
    "on {target}: {listings}; nmcli device",
    "leave {interface} to one of them, then: {again}",
)
ADDRESSES_UNTOUCHED: Final = Entry(
    "addresses-manager-unknown",
    "{manager} manages {interface} of {target}, and ipsec-runbook does not touch it yet",
    "the host was installed with {manager}; what is known here is {known}",
    "on {target}: systemctl status {manager}; ip address show {interface}",
    "leave {interface} to {known}, then: {again}",
)
ADDRESSES_UNKEPT: Final = Entry(
    "addresses-no-manager",
    "nothing that is known gives {interface} of {target} its addresses at boot",
    "no file of {known} has {interface}: it was brought up by hand, or by a program that is not known here",
    "on {target}: {listings}; ip address show {interface}",
    "have {interface} managed by {known}, or name another interface in sites.yaml, then: {again}",
)

ENTRIES: Final = tuple(each for each in list(vars().values()) if isinstance(each, Entry))
"""All of them."""
