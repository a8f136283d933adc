"""What each recorded run under `data/transcripts` is: real charons, most of them with one thing wrong."""

from __future__ import annotations

from steps.diagnosis.diagnose import Stage

CASES: dict[str, tuple[Stage, str, str, str, str, str]] = {
    "chain-bundle-in-one-file": (
        Stage.IKE_SA, "cert-no-issuer", "responder", "received AUTHENTICATION_FAILED",
        """no issuer certificate found for "C=US, O=Let's Encrypt, CN=YE1\"""",
        "vps4 lacks the certificate of C=US, O=ISRG, CN=Root YE",
    ),
    "conf-syntax-error": (
        Stage.CONFIG, "config-rejected", "initiator", "invalid value for: version, config discarded", "",
        "home refuses the connection's configuration (invalid value for: version)",
    ),
    "dns-unresolvable": (
        Stage.NO_ANSWER, "peer-addr-failed", "initiator", "unable to resolve nonexistent.invalid, initiate aborted", "",
        "home cannot resolve the other end's name nonexistent.invalid",
    ),
    "esp-proposal-mismatch": (
        Stage.CHILD_SA, "proposal-mismatch-child", "both", "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built",
        "configured proposals: ESP:AES_GCM_16_128/ECP_256/NO_EXT_SEQ",
        "home offers ESP:AES_GCM_16_256/NO_EXT_SEQ, vps4 takes ESP:AES_GCM_16_128/ECP_256/NO_EXT_SEQ",
    ),
    "expired-peer-cert": (
        Stage.IKE_SA, "cert-expired", "responder", "subject certificate invalid", "received DELETE for IKE_SA",
        "home rejects the certificate that vps4 sent (valid from Nov 23 06:28:00 2026 to Nov 23 06:42:24 2026)",
    ),
    "ike-proposal-mismatch": (
        Stage.IKE_SA, "proposal-mismatch-ike", "both", "received NO_PROPOSAL_CHOSEN notify error",
        "configured proposals: IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256",
        "home offers IKE:AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384, vps4 takes IKE:AES_GCM_16_128",
    ),
    "kernel-without-esp": (
        Stage.CHILD_SA, "install-child-sa-failed", "responder", "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built",
        "received netlink error: Function not implemented (38)",
        "the kernel of vps4 cannot install the tunnel (Function not implemented (38))",
    ),
    "missing-cert-file": (
        Stage.CONFIG, "credential-not-loaded", "initiator", "/etc/swanctl/x509/home.pem' failed: No such file", "",
        "home cannot load the certificate /etc/swanctl/x509/home.pem (No such file or directory)",
    ),
    "no-private-key-responder": (
        Stage.IKE_SA, "local-auth-failed", "responder", "received AUTHENTICATION_FAILED",
        "no private key found for 'vps4.example.org'", "vps4 has no private key",
    ),
    "ok-classic-splitchain": (
        Stage.OK, "ok", "both", "CHILD_SA ula-net-vps4{1} established", "CHILD_SA ula-net-home{1} established",
        "the tunnel stands at both ends",
    ),
    "remote-id-mismatch-responder": (
        Stage.IKE_SA, "peer-auth-failed", "both", "received AUTHENTICATION_FAILED", "no matching peer config found",
        "it was asked for vps4.example.org by home.example.org",
    ),
    "ts-mismatch": (
        Stage.CHILD_SA, "ts-mismatch", "both", "received TS_UNACCEPTABLE notify, no CHILD_SA built",
        "=== fdd7:5938:e2e6:1::/64 fdd7:5938:e2e6:3::1/128 unacceptable", "vps4 was asked for fdd7:5938:e2e6:8e71::/64",
    ),
    "udp4500-dropped": (
        Stage.NO_ANSWER, "retransmit-send-timeout", "responder", "retransmit 2 of request with message ID 1", "",
        "UDP 4500 does not",
    ),
    "udp500-dropped": (
        Stage.NO_ANSWER, "peer-init-unreachable", "responder", "peer not responding", "", "vps4 has heard nothing",
    ),
    # strongSwan 6.0.1 at both ends
    "6.0.1-ok": (
        Stage.OK, "ok", "both", "CHILD_SA ula-net-vps4{1} established", "ula-net-home{1} established", "stands",
    ),
    "6.0.1-bad-key": (
        Stage.IKE_SA, "local-auth-failed", "initiator", "parsing ANY private key failed", "", "home has no private key",
    ),
    "6.0.1-daemon-down": (
        Stage.NO_ANSWER, "peer-init-unreachable", "responder", "message ID 0", "SIGTERM received", "vps4 has heard",
    ),
    "6.0.1-esp-proposal-mismatch": (
        Stage.CHILD_SA, "proposal-mismatch-child", "both", "no CHILD_SA built", "no acceptable proposal", "home offers",
    ),
    "6.0.1-expired": (
        Stage.IKE_SA, "cert-expired", "responder", "subject certificate invalid", "received DELETE", "that vps4 sent",
    ),
    "6.0.1-garbage-cert": (
        Stage.CONFIG, "credential-not-loaded", "initiator", "parsing X509 certificate failed", "", "own.pem",
    ),
    "6.0.1-ike-proposal-mismatch": (
        Stage.IKE_SA, "proposal-mismatch-ike", "both", "NO_PROPOSAL_CHOSEN", "proposals unacceptable", "home offers",
    ),
    "6.0.1-mlkem": (
        Stage.IKE_SA, "algorithm-missing", "initiator", "ML_KEM_768 not supported", "", "home cannot do ML_KEM_768",
    ),
    "6.0.1-no-esp": (  # all the initiator says of it is "IDr payload missing"
        Stage.CHILD_SA, "install-child-sa-failed", "responder", "IDr payload missing", "unable to install inbound and",
        "the kernel of vps4 cannot install the tunnel (Requested AEAD algorithm not found (38))",
    ),
    "6.0.1-no-esp-both-initiator": (
        Stage.CHILD_SA, "install-child-sa-failed", "initiator", "unable to install inbound and outbound", "",
        "the kernel of home",
    ),
    "6.0.1-no-key": (
        Stage.IKE_SA, "local-auth-failed", "responder", "AUTHENTICATION_FAILED", "no private key found", "vps4 has no",
    ),
    "6.0.1-not-loaded": (
        Stage.CONFIG, "no-ike-config", "responder", "NO_PROPOSAL_CHOSEN", "no IKE config found", "none is loaded there",
    ),
    "6.0.1-other-anchor": (
        Stage.IKE_SA, "peer-ca-mismatch", "responder", "AUTHENTICATION_FAILED", "by CA 'CN=Other'", "vps4",
    ),
    "6.0.1-pfs-mismatch": (
        Stage.CHILD_SA, "proposal-mismatch-rekey", "both", "rekeying failed", "no acceptable proposal found", "ESP",
    ),
    "6.0.1-revocation": (
        Stage.IKE_SA, "cert-validation-failed", "responder", "AUTHENTICATION_FAILED", "RULE_CRL_VALIDATION is SKIPPED",
        "(SKIPPED, not GOOD)",
    ),
    "6.0.1-san-mismatch": (
        Stage.IKE_SA, "identity-not-in-cert", "initiator", "AUTHENTICATION_FAILED", "no trusted ECDSA public key found",
        "home calls itself home.example.org",
    ),
    "6.0.1-third-name": (  # a valid certificate of the same CA, for a name that is not the peer's
        Stage.IKE_SA, "peer-auth-failed", "both", "AUTHENTICATION_FAILED", "[third.example", "by third.example.org",
    ),
    "6.0.1-ts-mismatch": (
        Stage.CHILD_SA, "ts-mismatch", "both", "TS_UNACCEPTABLE", "unacceptable", "vps4 was asked for",
    ),
    "6.0.1-typo": (
        Stage.CONFIG, "config-rejected", "initiator", "unknown option: mobikee", "", "unknown option: mobikee",
    ),
    "6.0.1-udp4500": (
        Stage.NO_ANSWER, "retransmit-send-timeout", "responder", "message ID 1", "", "UDP 4500 does not",
    ),
    "6.0.1-untrusted-root": (
        Stage.IKE_SA, "cert-no-issuer", "responder", "AUTHENTICATION_FAILED", "issuer is", "CN=Root YE, which issued",
    ),
    "6.0.1-wrong-source": (
        Stage.IKE_SA, "no-ike-config", "responder", "NO_PROPOSAL_CHOSEN", "no IKE config found for",
        "vps4 has the connection loaded, but not for these addresses (192.0.2.1...192.0.2.2)",
    ),
}  # fmt: skip
"""Stage, cause, the end to mend, words of the initiator's quotes, of the responder's, and of the sentence, by name."""
