"""Rows of the diagnosis table: what the two ends must agree on. Addresses, proposals, selectors."""

from __future__ import annotations

from steps.diagnosis.row import Cause, Row, Stage, put_back

_NO_PROPOSAL = r"received NO_PROPOSAL_CHOSEN notify error"
_ADDED = r"(?:added|updated|replaced) vici connection|added configuration '"
_CIPHERS = "on {here}: {here_ciphers}; on {there}: {there_ciphers}"
_CONNECTIONS = "on {here}: {here_conns}; on {there}: {there_conns}"
_CONNECTION = put_back("connection")
_CHANGED = "one end's connection was changed by hand, or is an older one; sites.yaml gives both the same"

_CONNECTED = (
    Row(
        2, Stage.CONFIG, (r"no IKE config found for (?P<pair>\S+), sending NO_PROPOSAL_CHOSEN",),
        Cause(
            "no-ike-config",
            "{here} has no connection for these addresses ({pair})",
            "none is loaded there, or the address of {there} is not among those that its connection takes",
            "on {here}: {here_conns}; on {there}: ip address",
            "write the address of {there} in sites.yaml (`dynamic` where it changes), or "
            + _CONNECTION,
        ),
        at="responder", reply=_NO_PROPOSAL, without=_ADDED,
    ),
    Row(
        50, Stage.IKE_SA, (r"no IKE config found for (?P<pair>\S+), sending NO_PROPOSAL_CHOSEN",),
        Cause(
            "no-ike-config",
            "{here} has the connection loaded, but not for these addresses ({pair})",
            "{there} comes from another address than sites.yaml has for it: it has several, or is behind a NAT",
            "on {here}: {here_conns}; on {there}: ip address",
            "write the address of the quoted line as that of {there} in sites.yaml, or `dynamic`",
        ),
        at="responder", also=(_ADDED,), reply=_NO_PROPOSAL,
    ),
    Row(
        44, Stage.NO_ANSWER,
        (r"ignoring IKE_SA setup from (?P<host>\S+), per-IP half-open IKE_SA limit of (?P<limit>\d+) reached",),
        Cause(
            "half-open-limit",
            "{here} ignores {host}: {limit} attempts from there are already under way",
            "earlier attempts were never finished; why, their lines tell, further up",
            "on {here}: {here_log}",
            "mend what those lines name, and wait a minute",
        ),
        blame="both", at="responder",
    ),
    Row(
        42, Stage.IKE_SA, (r"deleting duplicate IKE_SA for peer '(?P<id>.+)' due to uniqueness policy",),
        Cause(
            "unique-replace",
            "both ends bring the tunnel up at once and replace each other's again and again ({id})",
            "both are told to initiate it, or another host shows the same name",
            _CONNECTIONS,
            "let one end only initiate (`initiator` of the link in sites.yaml), and " + _CONNECTION,
        ),
        blame="both", times=3, while_up=True,
    ),
)  # fmt: skip

_PROPOSALS = (
    Row(
        6, Stage.CHILD_SA, (r"CHILD_SA rekeying failed, trying again in (?P<when>\d+ seconds)",),
        Cause(
            "proposal-mismatch-rekey",
            "the tunnel cannot be given new keys: the ends want different key exchanges for ESP",
            _CHANGED + "; the first keys need no key exchange, so it shows only now",
            _CIPHERS,
            "make `esp_proposals` in sites.yaml what both can do, and " + _CONNECTION,
        ),
        blame="both", reply=r"no acceptable proposal found", while_up=True,
    ),
    Row(
        1, Stage.IKE_SA, (r"received proposals unacceptable",),
        Cause(
            "proposal-mismatch-ike",
            "the ends share no IKE proposal: {there} offers {offered}, {here} takes {taken}",
            _CHANGED,
            _CIPHERS,
            "make `ike_proposals` in sites.yaml what both can do, and " + _CONNECTION,
        ),
        blame="both", also=(r"received proposals: (?P<offered>IKE:.+)", r"configured proposals: (?P<taken>IKE:.+)"),
        reply=_NO_PROPOSAL,
    ),
    Row(
        3, Stage.CHILD_SA, (r"no acceptable proposal found",),
        Cause(
            "proposal-mismatch-child",
            "the ends share no ESP proposal: {there} offers {offered}, {here} takes {taken}",
            _CHANGED,
            _CIPHERS,
            "make `esp_proposals` in sites.yaml what both can do, and " + _CONNECTION,
        ),
        blame="both", also=(r"received proposals: (?P<offered>ESP:.+)", r"configured proposals: (?P<taken>ESP:.+)"),
    ),
    Row(
        7, Stage.IKE_SA, (r"requested (?P<group>.+) not contained in any of our proposals",),
        Cause(
            "proposal-mismatch-ike",
            "{there} insists on the key exchange {group}, which {here} does not propose",
            _CHANGED,
            _CIPHERS,
            "make `ike_proposals` in sites.yaml what both can do, and " + _CONNECTION,
        ),
        blame="both",
        also=(r"peer didn't accept (?:key exchange method|DH group) .+",
              r"(?:key exchange method|DH group) .+ unacceptable"),
    ),
    Row(
        39, Stage.IKE_SA,
        (r"negotiated (?:key exchange method|DH group) (?P<what>.+) not supported",
         r"(?P<what>\S+ \S+ \(key size \d+\)) not supported!",
         r"plugin '(?P<what>openssl|gmp|gcrypt|curve25519|gcm|aes|hmac|sha2|ml|x509|pem|pubkey)': failed to load"),
        Cause(
            "algorithm-missing",
            "{here} cannot do {what}",
            "the plugin that does it is not installed, or cannot be loaded",
            "on {here}: {here_algs}; {here_log}",
            put_back("strongswan") + ", or propose something else in sites.yaml",
        ),
    ),
)  # fmt: skip

_SELECTORS = (
    Row(
        23, Stage.CHILD_SA, (r"traffic selectors (?P<asked>.+ === .+) unacceptable",),
        Cause(
            "ts-mismatch",
            "the selectors do not mirror each other: {here} was asked for {asked}, and its connection has others",
            _CHANGED,
            _CONNECTIONS,
            _CONNECTION,
        ),
        blame="both",
    ),
    Row(
        25, Stage.CHILD_SA,
        (r"no acceptable traffic selectors found", r"configuration payload negotiation failed, no CHILD_SA built"),
        Cause(
            "ts-empty",
            "{there} gave {here} nothing to tunnel: its answer holds no selector that was asked for",
            _CHANGED + ", and none asks for a virtual address",
            _CONNECTIONS,
            _CONNECTION,
        ),
        blame="both",
    ),
)  # fmt: skip

AGREEMENT: tuple[Row, ...] = (*_CONNECTED, *_PROPOSALS, *_SELECTORS)
"""In the order in which the ends come to speak of them."""
