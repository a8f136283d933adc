"""What charon's and swanctl's lines mean: one row a cause, in the order in which they are to be believed.

A row's line is what its cause alone makes a daemon say; what merely follows from it ("received AUTHENTICATION_FAILED")
has seven causes and decides nothing. So rows come in the order kernel, what is loaded, certificates, identities,
proposals, selectors, network: the earlier ones make the later ones' lines appear. The texts are those of strongSwan
5.9.1 to 6.0.6; where two versions differ, the pattern takes both. `number` is the row of the project's own list.
"""

from __future__ import annotations

from steps.diagnosis_row import Row, Stage

_AUTH = r"received AUTHENTICATION_FAILED notify error"
_LOAD = "then `swanctl --load-all` there"
_LOAD_BOTH = "then `swanctl --load-all` on both ends"
_NO_PROPOSAL = r"received NO_PROPOSAL_CHOSEN notify error"
_ADDED = r"(?:added|updated|replaced) vici connection|added configuration '"
_UP = r"IKE_SA \S+ established between"

_KERNEL = (
    Row(
        4, "install-child-sa-failed", Stage.CHILD_SA,
        (r"unable to install .*IPsec SA \(SAD\) in kernel", r"unable to add SAD entry with SPI",
         r"algorithm .+ not supported by kernel!"),
        "The kernel of {here} cannot install the tunnel ({error}): it lacks ESP or the cipher. The proposals agree, "
        "whatever {there} was told.",
        "On {here}: `modprobe -a esp4 esp6`, and see `grep -i gcm /proc/crypto`. If the kernel has none: "
        "`extra_packages: [libcharon-extra-plugins]` with kernel-libipsec loaded, or another kernel.",
        also=(r": (?P<error>[^:]+ \(\d+\))$",),
    ),
    Row(
        46, "install-child-policy-failed", Stage.CHILD_SA, (r"error installing route with policy (?P<policy>.+)",),
        "{here} has no address of its own inside its selectors ({policy}), and userland ESP (libipsec) wants one.",
        "On {here}: give it an address inside its subnet (`ip -6 addr`), then `swanctl --load-all`.",
    ),
    Row(
        5, "install-child-policy-failed", Stage.CHILD_SA,
        (r"unable to install IPsec policies \(SPD\) in kernel", r"unable to (?:add|update|install) policy",
         r"policy already exists, try to update it"),
        "The kernel of {here} refuses the tunnel's policies: another connection, or a leftover, holds the same ones.",
        "On {here}: `ip xfrm policy` shows which; end the other connection, or `systemctl restart strongswan`.",
    ),
)  # fmt: skip

_LOADED = (
    Row(
        36, "daemon-unreachable", Stage.CONFIG,
        (r"connecting to '.*' failed: (?P<why>.+)", r"Error: connecting to '.*' URI failed: ?(?P<why>.*)"),
        "charon on {here} cannot be spoken to ({why}): it does not run, or runs without its vici plugin.",
        "On {here}: `systemctl status strongswan`, `systemctl start strongswan`; the legacy strongswan-starter must "
        "be masked.",
    ),
    Row(
        38, "port-in-use", Stage.CONFIG,
        (r"unable to bind socket: (?P<why>.+)", r"could not open socket: (?P<why>.+)", r"could not create any sockets"),
        "charon on {here} has no socket for UDP 500 and 4500: another IKE daemon holds them.",
        "On {here}: `ss -ulpn 'sport = 500'` names it; `systemctl disable --now` that one, then "
        "`systemctl restart strongswan`.",
    ),
    Row(
        37, "file-access-denied", Stage.CONFIG,
        (r"opening '(?P<file>.+)' failed: Permission denied", r'apparmor="DENIED".* name="(?P<file>[^"]+)"'),
        "On {here}, reading {file} is denied: it lies outside what AppArmor lets strongSwan read, or root cannot.",
        "On {here}: keep the file itself, not a link, below /etc/swanctl; `journalctl -k -g DENIED` shows the profile.",
    ),
    Row(
        35, "credential-not-loaded", Stage.CONFIG,
        (r"loading \S+ certificate '(?P<file>.+)' failed: (?P<why>.+)",
         r"loading '(?P<file>.+)' failed: (?P<why>parsing X509 certificate failed)",
         r"(?P<why>loading certificate) from '(?P<file>.+)' failed"),
        "{here} cannot load the certificate {file} ({why}), so the connection is not loaded.",
        "On {here}: `openssl x509 -noout -subject -in {file}`; put the certificate back, or install the package "
        "libstrongswan-standard-plugins for ECDSA, " + _LOAD + ".",
    ),
    Row(
        34, "config-rejected", Stage.CONFIG,
        (r"loading connection '.+' failed: (?P<why>.+: (?P<key>\S+)), config discarded",
         r"invalid config file '(?P<key>.+)'", r"(?P<why>skipped invalid proposal string): (?P<key>.+)",
         r"# ignored conn '(?P<key>.+)' due to (?P<why>.+)"),
        "{here} refuses the connection's configuration ({why}): a slip, or a keyword that it does not know.",
        "On {here}: mend {key} (below /etc/swanctl; `swanctl --version` tells which keywords it knows), "
        + _LOAD + ".",
        also=(r"(?P<why>syntax error, .+)",),
    ),
    Row(
        31, "trap-not-installed", Stage.CONFIG, (r"installing trap failed(?P<why>.*)",),
        "{here} could not set the trap that brings the tunnel up{why}: the other end's name did not resolve when the "
        "connection was loaded, or it has no address at all. Nothing tries again.",
        "On {here}: `getent ahosts` the name in remote_addrs, then `swanctl --load-all`; `swanctl --list-pols` must "
        "show the trap.",
    ),
    Row(
        30, "peer-addr-failed", Stage.NO_ANSWER,
        (r"unable to resolve (?P<name>\S+), (?:initiate aborted|retrying in)", r"resolving '(?P<name>.+)' failed"),
        "{here} cannot resolve the other end's name {name}, so nothing was sent.",
        "On {here}: `getent ahosts {name}`; mend the DNS, or write the address in sites.yaml.",
    ),
    Row(
        47, "not-loaded", Stage.CONFIG,
        (r"CHILD_SA config '(?P<name>.+)' not found", r"no config named '(?P<name>.+)'"),
        "{here} has not loaded the connection {name}.",
        "On {here}: `swanctl --load-all`, and read what it says.",
    ),
)  # fmt: skip

_CERTIFICATES = (
    Row(
        12, "cert-expired", Stage.IKE_SA,
        (r"(?P<which>subject|issuer) certificate invalid \((?P<validity>valid from .+ to .+)\)",),
        "{here} rejects the {which} certificate that {there} sent ({validity}): it expired, its renewal was not "
        "loaded, or a clock is wrong.",
        "On {there}: `swanctl --list-certs`, renew, `swanctl --load-all` (--load-creds is not enough); `date` on both.",
        blame="there", also=(r'using certificate "(?P<subject>.*)"', r"no trusted .+ public key found"),
    ),
    Row(
        17, "cert-revoked", Stage.IKE_SA, (r"certificate was revoked on (?P<when>.+), reason: (?P<reason>.+)",),
        "{here} rejects the certificate of {there}: revoked on {when} ({reason}).",
        "On {there}: have a new certificate issued for a new key, " + _LOAD + ".",
        blame="there",
    ),
    Row(
        15, "cert-validation-failed", Stage.IKE_SA,
        (r"constraint check failed: RULE_\w+_VALIDATION is (?P<is>\S+), but requires at least (?P<needs>\S+)",),
        "{here} wants proof that the certificate of {there} is not revoked, and could not get it "
        "({is}, not {needs}).",
        "On {here}: `revocation = relaxed` for the remote, or let it fetch CRLs (TCP 80 outwards, package "
        "libstrongswan-extra-plugins).",
        also=(r"(?:libcurl request failed|unable to fetch from|crl fetching failed).*",
              r"selected peer config '.+' unacceptable"),
    ),
    Row(
        19, "peer-ca-mismatch", Stage.IKE_SA,
        (r"constraint check failed: (?P<why>peer not authenticated by CA '.+')",
         r"(?P<why>.+ signature scheme \S+ not acceptable)"),
        "{here} holds {there} to another CA or signature than its certificate has: {why}.",
        "On {here}: make cacerts and auth of the remote allow the whole chain (X1 signs with RSA), " + _LOAD + ".",
        also=(r"selected peer config '.+' unacceptable",),
    ),
    Row(
        18, "peer-identity-mismatch", Stage.IKE_SA,
        (r"constraint check failed: .*identity '(?P<wanted>.+?)'.* required(?:, not matched by '(?P<proved>.+?)'.*)?",),
        "{here} wants {there} to be {wanted}; it proved to be {proved}.",
        "Make remote.id on {here} the local.id of {there}: the FQDN in sites.yaml, " + _LOAD_BOTH + ".",
        blame="both",
    ),
    Row(
        20, "cert-key-usage", Stage.IKE_SA,
        (r"rejecting certificate without digitalSignature or nonRepudiation keyUsage",),
        "{here} rejects the certificate of {there}: its key usage does not allow to sign.",
        "On {there}: have a certificate issued with the key usage digitalSignature, " + _LOAD + ".",
        blame="there",
    ),
    Row(
        21, "cert-critical-extension", Stage.IKE_SA,
        (r"found unsupported critical X\.509 extension: (?P<extension>.+)",
         r"critical '(?P<extension>.+)' extension not supported"),
        "{here} cannot use a certificate with the critical extension {extension}, which its strongSwan does not know.",
        "Use a CA without that extension, or load the plugin constraints on {here}.",
        blame="both",
    ),
    Row(
        45, "cert-policy-violation", Stage.IKE_SA,
        (r"(?P<why>path length of \d+ violates constraint of \d+)",
         r"(?P<why>subject alternative name .+ does not match any permitted name constraints)"),
        "{here} rejects the chain of {there}: {why}.",
        "Use a CA whose constraints allow these names; strongSwan below 6.0.6 has a fault there (CVE-2026-35331).",
        blame="there",
    ),
    Row(
        10, "local-auth-failed", Stage.IKE_SA, (r"no private key found for '(?P<id>.+)'",),
        "{here} has no private key that fits its own certificate for {id}, so it cannot prove itself.",
        "On {here}: put the key into /etc/swanctl/private, `swanctl --load-creds`, then `swanctl --list-certs` must "
        "say 'has private key'.",
        also=(r"loading '(?P<file>.+)' failed: parsing .*private key failed",),
    ),
    Row(
        14, "cert-untrusted-root", Stage.IKE_SA,
        (r'self-signed certificate "(?P<root>.+)" is not trusted', r"reached end of incomplete trust chain"),
        "{here} does not trust the root of the chain of {there} ({root}): not in x509ca, or staging meets production.",
        "On {here}: put that root into /etc/swanctl/x509ca, " + _LOAD + "; both ends' certificates must be of one CA.",
    ),
    Row(
        9, "cert-no-issuer", Stage.IKE_SA, (r'no issuer certificate found for "(?P<subject>.+)"',),
        "{here} lacks the certificate of {issuer}, which issued {subject}: strongSwan reads only the first "
        "certificate of a file, the rest of a chain.pem is lost.",
        "On {here}: put every certificate of the chain, and the root, into a file of its own in /etc/swanctl/x509ca, "
        + _LOAD + ".",
        also=(r'issuer is "(?P<issuer>.+)"', r"no trusted .+ public key found for '.+'"),
    ),
    Row(
        22, "stale-peer-cert", Stage.IKE_SA,
        (r"signature validation failed, looking for another key", r"no common hash algorithm found"),
        "{here} cannot check the signature of {there}: it holds an old certificate of it, or they share no hash.",
        "On {here}: remove the other end's certificate from /etc/swanctl/x509, "
        "`swanctl --load-creds --clear` and `swanctl --load-all`.",
    ),
    Row(
        13, "identity-not-in-cert", Stage.IKE_SA, (r"no trusted .+ public key found for '(?P<id>.+)'",),
        "{there} calls itself {id}, but no certificate that {here} got from it has that name as a dNSName (a CN does "
        "not count).",
        "On {there}: `openssl x509 -noout -ext subjectAltName` its certificate; local.id must be one of the names.",
        blame="there", without=r"using certificate",
    ),
)  # fmt: skip

_IKE = (
    Row(
        8, "peer-auth-failed", Stage.IKE_SA, (r"no matching peer config found",),
        "{here} has no connection for these two names: it was asked for {mine} by {theirs}.",
        "Compare local.id and remote.id of both ends with the names in the quoted line, " + _LOAD_BOTH + ".",
        blame="both", at="responder",
        also=(r"looking for peer configs matching \S+\[(?P<mine>.+?)\]\.\.\.\S+\[(?P<theirs>.+?)\]",), reply=_AUTH,
    ),
    Row(
        2, "no-ike-config", Stage.CONFIG, (r"no IKE config found for (?P<pair>\S+), sending NO_PROPOSAL_CHOSEN",),
        "{here} has no connection for these addresses ({pair}): none is loaded, or the address of {there} is not among "
        "its remote_addrs.",
        "On {here}: `swanctl --list-conns`; `swanctl --load-all` if the connection is missing, else add the address "
        "or %any to remote_addrs.",
        at="responder", reply=_NO_PROPOSAL, without=_ADDED,
    ),
    Row(
        50, "no-ike-config", Stage.IKE_SA, (r"no IKE config found for (?P<pair>\S+), sending NO_PROPOSAL_CHOSEN",),
        "{here} has the connection loaded, but not for these addresses ({pair}): that of {there} is not among its "
        "remote_addrs.",
        "On {here}: compare remote_addrs with the address in the quoted line; for one that changes add %any, "
        + _LOAD + ".",
        at="responder", also=(_ADDED,), reply=_NO_PROPOSAL,
    ),
    Row(
        44, "half-open-limit", Stage.NO_ANSWER,
        (r"ignoring IKE_SA setup from (?P<host>\S+), per-IP half-open IKE_SA limit of (?P<limit>\d+) reached",),
        "{here} ignores {host}: {limit} attempts from there are already under way.",
        "Find out why earlier attempts were never finished (their lines stand further up), then wait a minute.",
        blame="both", at="responder",
    ),
    Row(
        42, "unique-replace", Stage.IKE_SA,
        (r"deleting duplicate IKE_SA for peer '(?P<id>.+)' due to uniqueness policy",),
        "Both ends bring the tunnel up at once and replace each other's again and again ({id}).",
        "Let one end only initiate: start_action = trap at one, none at the other.",
        blame="both", times=3, while_up=True,
    ),
)  # fmt: skip

_PROPOSALS = (
    Row(
        6, "proposal-mismatch-rekey", Stage.CHILD_SA,
        (r"CHILD_SA rekeying failed, trying again in (?P<when>\d+ seconds)",),
        "The tunnel cannot be given new keys: the ends want different key exchanges for ESP, which shows only at "
        "rekeying.",
        "Make esp_proposals the same at both ends, " + _LOAD_BOTH + ", then `swanctl --rekey --child {conn}`.",
        blame="both", reply=r"no acceptable proposal found", while_up=True,
    ),
    Row(
        1, "proposal-mismatch-ike", Stage.IKE_SA, (r"received proposals unacceptable",),
        "The ends share no IKE proposal: {there} offers {offered}, {here} takes {taken}.",
        "Make `proposals` the same at both ends (ike_proposals in sites.yaml), " + _LOAD_BOTH + ".",
        blame="both", also=(r"received proposals: (?P<offered>IKE:.+)", r"configured proposals: (?P<taken>IKE:.+)"),
        reply=_NO_PROPOSAL,
    ),
    Row(
        3, "proposal-mismatch-child", Stage.CHILD_SA, (r"no acceptable proposal found",),
        "The ends share no ESP proposal: {there} offers {offered}, {here} takes {taken}.",
        "Make `esp_proposals` the same at both ends (in sites.yaml), " + _LOAD_BOTH + ".",
        blame="both", also=(r"received proposals: (?P<offered>ESP:.+)", r"configured proposals: (?P<taken>ESP:.+)"),
    ),
    Row(
        7, "proposal-mismatch-ike", Stage.IKE_SA, (r"requested (?P<group>.+) not contained in any of our proposals",),
        "{there} insists on the key exchange {group}, which {here} does not propose.",
        "Make `proposals` the same at both ends (ike_proposals in sites.yaml), " + _LOAD_BOTH + ".",
        blame="both",
        also=(r"peer didn't accept (?:key exchange method|DH group) .+",
              r"(?:key exchange method|DH group) .+ unacceptable"),
    ),
    Row(
        39, "algorithm-missing", Stage.IKE_SA,
        (r"negotiated (?:key exchange method|DH group) (?P<what>.+) not supported",
         r"(?P<what>\S+ \S+ \(key size \d+\)) not supported!",
         r"plugin '(?P<what>openssl|gmp|gcrypt|curve25519|gcm|aes|hmac|sha2|ml|x509|pem|pubkey)': failed to load"),
        "{here} cannot do {what}: the plugin that does is not there.",
        "On {here}: install libstrongswan-standard-plugins and libstrongswan-extra-plugins, see "
        "`swanctl --list-algs`, or propose something else.",
    ),
)  # fmt: skip

_SELECTORS = (
    Row(
        23, "ts-mismatch", Stage.CHILD_SA, (r"traffic selectors (?P<asked>.+ === .+) unacceptable",),
        "The selectors do not mirror each other: {here} was asked for {asked}, and its connection has others.",
        "Make local_ts of each end the remote_ts of the other, " + _LOAD_BOTH + ".",
        blame="both",
    ),
    Row(
        25, "ts-empty", Stage.CHILD_SA,
        (r"no acceptable traffic selectors found", r"configuration payload negotiation failed, no CHILD_SA built"),
        "{there} gave {here} nothing to tunnel: its answer holds no selector that was asked for.",
        "Compare local_ts and remote_ts of both ends, and ask for no virtual address (vips).",
        blame="both",
    ),
)  # fmt: skip

_HEARD_INIT = r"parsed IKE_SA_INIT request|is initiating an IKE_SA"
_HEARD_AUTH = r"parsed IKE_AUTH request"

_NETWORK = (
    Row(
        16, "revocation-fetch-failed", Stage.IKE_SA,
        (r"unable to fetch from (?P<what>\S+), no capable fetcher found",
         r"libcurl request failed \[\d+\]: (?P<what>.+)", r"fetching (?:crl|ocsp status) from '?(?P<what>[^' ]+)",
         r"crl fetching failed", r"certificate status is not available"),
        "{here} is still looking for a revocation list ({what}) before it goes on, and cannot get it.",
        "On {here}: install libstrongswan-extra-plugins, let TCP 80 out, and see that names resolve.",
        at_last=True,
    ),
    Row(
        41, "parse-error-body", Stage.IKE_SA,
        (r"could not decrypt payloads", r"integrity check failed", r"message parsing failed"),
        "{here} cannot decrypt what {there} sends: one of them restarted and the other still holds the old IKE SA.",
        "On both: `swanctl --terminate --ike {conn}`, then initiate again.",
        blame="both",
    ),
    Row(
        26, "peer-init-unreachable", Stage.NO_ANSWER,
        (r"retransmit \d+ of request with message ID 0",
         r"(?:establishing IKE_SA failed, )?peer not responding(?:, trying again.*)?$"),
        "{here} gets no answer, and {there} has heard nothing: UDP 500 is blocked between them, the address is wrong, "
        "or charon is down there.",
        "On {there}: `ss -ulpn 'sport = 500'`, and let UDP 500 and 4500 in by destination port; on {here}: compare "
        "remote_addrs with its outer address.",
        blame="there", also=(r"initiating IKE_SA \S+ to (?P<to>\S+)", r"giving up after \d+ retransmits"),
        without=r"parsed IKE_SA_INIT response", silent=_HEARD_INIT,
    ),
    Row(
        48, "peer-init-unreachable", Stage.NO_ANSWER, (r"retransmit \d+ of request with message ID 0",),
        "{there} hears {here} and answers, but its answers do not arrive.",
        "On {here}: let UDP 500 and 4500 in by destination port; on {there}: let them out.",
        also=(r"giving up after \d+ retransmits",), reply=_HEARD_INIT, without=r"parsed IKE_SA_INIT response",
    ),
    Row(
        27, "retransmit-send-timeout", Stage.NO_ANSWER, (r"retransmit \d+ of request with message ID 1$",),
        "UDP 500 passes but UDP 4500 does not: {there} answered the first message of {here} and never got the second.",
        "On {there}: let UDP 4500 in by destination port. If it is open, large packets are lost: keep "
        "fragmentation = yes.",
        blame="there", also=(r"giving up after \d+ retransmits",), silent=_HEARD_AUTH,
        without=_UP,
    ),
    Row(
        49, "retransmit-send-timeout", Stage.NO_ANSWER, (r"retransmit \d+ of request with message ID 1$",),
        "{there} got the second message of {here}, but its answer over UDP 4500 does not arrive.",
        "On {here}: let UDP 4500 in by destination port; if it is open, large packets are lost: keep "
        "fragmentation = yes.",
        also=(r"giving up after \d+ retransmits",), reply=_HEARD_AUTH, without=_UP,
    ),
    Row(
        51, "retransmit-send-timeout", Stage.NO_ANSWER, (r"retransmit \d+ of request with message ID [1-9]\d*$",),
        "{there} has fallen silent: it answered {here} before and does so no longer.",
        "On {there}: `systemctl status strongswan`, `ip addr`; then between them: UDP 4500, the line itself.",
        blame="there", also=(r"giving up after \d+ retransmits",),
    ),
    Row(
        43, "half-open-timeout", Stage.NO_ANSWER, (r"deleting half open IKE_SA with (?P<host>\S+) after timeout",),
        "{here} answered {host} but never got its second message: UDP 4500 is blocked, or large packets are lost.",
        "On {here}: let UDP 4500 in by destination port, and keep fragmentation = yes.",
        at="responder",
    ),
    Row(
        33, "attempt-pending", Stage.NO_ANSWER, (r"ignoring acquire .*connection attempt pending",),
        "{here} is still busy with an earlier attempt, which gives up only after 165 seconds.",
        "On {here}: `swanctl --terminate --ike {conn}`, then try again.",
    ),
    Row(
        40, "updown-failed", Stage.TRAFFIC, (r"updown: (?P<why>.+)",),
        "The tunnel stands, but the script that opens the firewall for it failed on {here}: {why}.",
        "On {here}: install what it misses (iptables), or leave updown out and keep rules by policy match.",
        while_up=True,
    ),
)  # fmt: skip

ROWS: tuple[Row, ...] = (*_KERNEL, *_LOADED, *_CERTIFICATES, *_IKE, *_PROPOSALS, *_SELECTORS, *_NETWORK)
"""All causes that a line decides, the most telling first. 24, 28, 29 and 32 show in no line: see `steps.diagnosis`."""
