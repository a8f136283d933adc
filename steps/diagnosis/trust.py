"""Rows of the diagnosis table: who is who. Certificates, keys, names, and how one proves oneself."""

from __future__ import annotations

from steps.diagnosis.row import Cause, Row, Stage, put_back

_AUTH = r"received AUTHENTICATION_FAILED notify error"
_CERTIFICATES = "on {there}: {there_certs}; on {here}: {here_log}"
_CONNECTIONS = "on {here}: {here_conns}; on {there}: {there_conns}"
_CREDENTIALS = put_back("credentials")
_CONNECTION = put_back("connection")

_OF_CERTIFICATES = (
    Row(
        12, Stage.IKE_SA, (r"subject certificate invalid \((?P<validity>valid from .+ to .+)\)",),
        Cause(
            "cert-expired",
            "{here} rejects the certificate that {there} sent ({validity})",
            "it has expired, its renewal was not loaded, or a clock is wrong",
            "on both: date; on {there}: {there_certs}",
            "let the next run renew it (runbook audit --step certificate{file} says when), or set the clock",
        ),
        blame="there", also=(r'using certificate "(?P<subject>.*)"', r"no trusted .+ public key found"),
    ),
    Row(
        54, Stage.IKE_SA, (r"issuer certificate invalid \((?P<validity>valid from .+ to .+)\)",),
        Cause(
            "ca-cert-expired",
            "{here} rejects the certificate of the authority that {there} was certified by ({validity})",
            "an intermediate certificate has expired: the authority has another one since, or a clock is wrong",
            "on both: date; on {here}: {here_certs}",
            "let the next run renew it (runbook audit --step certificate{file} says when), or set the clock",
        ),
        blame="there", also=(r'using certificate "(?P<subject>.*)"', r"no trusted .+ public key found"),
    ),
    Row(
        17, Stage.IKE_SA, (r"certificate was revoked on (?P<when>.+), reason: (?P<reason>.+)",),
        Cause(
            "cert-revoked",
            "{here} rejects the certificate of {there}: revoked on {when} ({reason})",
            "its key was stolen or given up, and its owner or the authority said so",
            _CERTIFICATES,
            "move the key of {there} away, for a new key and a new certificate",
        ),
        blame="there",
    ),
    Row(
        15, Stage.IKE_SA,
        (r"constraint check failed: RULE_\w+_VALIDATION is (?P<is>\S+), but requires at least (?P<needs>\S+)",),
        Cause(
            "cert-validation-failed",
            "{here} wants proof that the certificate of {there} is not revoked, and could not get it ({is}, not "
            "{needs})",
            "`revocation = strict` stands there, and the list cannot be fetched: TCP 80 outwards is closed, or the "
            "plugin curl is missing (libstrongswan-extra-plugins)",
            "on {here}: {here_log}; {here_algs}",
            "on {here}: let TCP 80 out, or " + _CONNECTION,
        ),
        also=(r"(?:libcurl request failed|unable to fetch from|crl fetching failed).*",
              r"selected peer config '.+' unacceptable"),
    ),
    Row(
        19, Stage.IKE_SA,
        (r"constraint check failed: (?P<why>peer not authenticated by CA '.+')",
         r"(?P<why>.+ signature scheme \S+ not acceptable)"),
        Cause(
            "peer-ca-mismatch",
            "{here} holds {there} to another CA or signature than its certificate has: {why}",
            "the certificate of {there} is of another authority since, and the connection at {here} is an older one",
            "on {here}: {here_conns}; on {there}: {there_certs}",
            _CONNECTION,
        ),
        also=(r"selected peer config '.+' unacceptable",),
    ),
    Row(
        18, Stage.IKE_SA,
        (r"constraint check failed: .*identity '(?P<wanted>.+?)'.* required(?:, not matched by '(?P<proved>.+?)'.*)?",),
        Cause(
            "peer-identity-mismatch",
            "{here} wants {there} to be {wanted}; it proved to be {proved}",
            "the name of {there} was changed at one end only, or another host answers in its place",
            _CONNECTIONS,
            "see that sites.yaml has the name of {there} as its `fqdn`, and " + _CONNECTION,
        ),
        blame="both",
    ),
    Row(
        20, Stage.IKE_SA, (r"rejecting certificate without digitalSignature or nonRepudiation keyUsage",),
        Cause(
            "cert-key-usage",
            "{here} rejects the certificate of {there}: its key usage does not allow to sign",
            "it was issued for another purpose (encryption), by an authority of your own",
            _CERTIFICATES,
            "move that certificate away, for one that may sign",
        ),
        blame="there",
    ),
    Row(
        21, Stage.IKE_SA,
        (r"found unsupported critical X\.509 extension: (?P<extension>.+)",
         r"critical '(?P<extension>.+)' extension not supported"),
        Cause(
            "cert-critical-extension",
            "{here} cannot use a certificate with the critical extension {extension}",
            "its strongSwan does not know it: the plugin constraints is not loaded there, or the authority is unusual",
            "on {here}: {here_log}; on {there}: {there_certs}",
            "on {here}: load the plugin constraints; or use an authority without that extension",
        ),
        blame="both",
    ),
    Row(
        45, Stage.IKE_SA,
        (r"(?P<why>path length of \d+ violates constraint of \d+)",
         r"(?P<why>subject alternative name .+ does not match any permitted name constraints)"),
        Cause(
            "cert-policy-violation",
            "{here} rejects the chain of {there}: {why}",
            "the authority may not vouch for this name; or a fault of strongSwan below 6.0.6 (CVE-2026-35331)",
            _CERTIFICATES,
            "use an authority whose constraints allow these names, or upgrade strongSwan on {here}",
        ),
        blame="there",
    ),
    Row(
        10, Stage.IKE_SA, (r"no private key found for '(?P<id>.+)'",),
        Cause(
            "local-auth-failed",
            "{here} has no private key that fits its own certificate for {id}, so it cannot prove itself",
            "the key's file was removed, replaced or not loaded, or it is the key of another certificate",
            "on {here}: {here_certs} (its own must have its private key); {here_log}",
            _CREDENTIALS,
        ),
        also=(r"loading '(?P<file_>.+)' failed: parsing .*private key failed",),
    ),
    Row(
        14, Stage.IKE_SA,
        (r'self-signed certificate "(?P<root>.+)" is not trusted', r"reached end of incomplete trust chain"),
        Cause(
            "cert-untrusted-root",
            "{here} does not trust the root of the chain of {there} ({root})",
            "that root is not in {here_cas} there: a file was removed, or one end's certificate is of another "
            "authority (staging and production)",
            "on {here}: ls {here_cas}; on {there}: {there_certs}",
            "both ends' certificates must be of one authority; " + _CREDENTIALS,
        ),
    ),
    Row(
        9, Stage.IKE_SA, (r'no issuer certificate found for "(?P<subject>.+)"',),
        Cause(
            "cert-no-issuer",
            "{here} lacks the certificate of {issuer}, which issued {subject}",
            "strongSwan reads only the first certificate of a file, so that the rest of a chain.pem is lost; or the "
            "file was removed",
            "on {here}: ls {here_cas}; {here_certs}",
            _CREDENTIALS + ", every certificate in a file of its own",
        ),
        also=(r'issuer is "(?P<issuer>.+)"', r"no trusted .+ public key found for '.+'"),
    ),
    Row(
        22, Stage.IKE_SA,
        (r"signature validation failed, looking for another key", r"no common hash algorithm found"),
        Cause(
            "stale-peer-cert",
            "{here} cannot check the signature of {there}",
            "it holds an old certificate of {there} of its own, or the two share no hash",
            "on {here}: {here_certs}; {here_log}",
            "on {here}: remove the certificate of {there} from strongSwan's files, then: systemctl restart {here_unit}",
        ),
    ),
    Row(
        13, Stage.IKE_SA, (r"no trusted .+ public key found for '(?P<id>.+)'",),
        Cause(
            "identity-not-in-cert",
            "{there} calls itself {id}, but no certificate that {here} got from it has that name",
            "the name is not among the certificate's subjectAltNames (a common name does not count): it was changed, "
            "or the certificate is another host's",
            "on {there}: {there_certs}",
            "see that sites.yaml has the right `fqdn` for {there}; " + put_back("certificate"),
        ),
        blame="there", without=r"using certificate",
    ),
)  # fmt: skip

_OF_IDENTITIES = (
    Row(
        52, Stage.IKE_SA, (r"constraint requires (?P<wanted>.+) authentication, but (?P<proved>.+) was used",),
        Cause(
            "auth-method-mismatch",
            "{here} wants {there} to prove itself by {wanted}, and it did by {proved}",
            "one end's connection was written by hand, for another way to prove oneself",
            _CONNECTIONS,
            _CONNECTION,
        ),
        blame="both", also=(r"selected peer config '.+' unacceptable",),
    ),
    Row(
        53, Stage.IKE_SA,
        (r"(?P<why>no shared key found) for '.+' - '.+'",
         r"tried \d+ shared keys? for '.+' - '.+', but (?P<why>MAC mismatched)"),
        Cause(
            "shared-key-mismatch",
            "{here} was to use a pre-shared key with {there}, and that fails ({why})",
            "one end's connection was written by hand for a pre-shared key; here, certificates are used",
            _CONNECTIONS,
            _CONNECTION,
        ),
        blame="both",
    ),
    Row(
        8, Stage.IKE_SA, (r"no matching peer config found",),
        Cause(
            "peer-auth-failed",
            "{here} has no connection for these two names: it was asked for {mine} by {theirs}",
            "a name was changed at one end only, or the connection there is not loaded",
            _CONNECTIONS,
            "compare the names with `fqdn` of both in sites.yaml, and " + _CONNECTION,
        ),
        blame="both", at="responder",
        also=(r"looking for peer configs matching \S+\[(?P<mine>.+?)\]\.\.\.\S+\[(?P<theirs>.+?)\]",), reply=_AUTH,
    ),
)  # fmt: skip

TRUST: tuple[Row, ...] = (*_OF_CERTIFICATES, *_OF_IDENTITIES)
"""Certificates before what is made of them."""
