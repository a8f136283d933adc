"""Rows of the diagnosis table: what one host alone lacks, its kernel's part and what its daemon could not load."""

from __future__ import annotations

from steps.diagnosis.row import Cause, Row, Stage, put_back

_CREDENTIALS = put_back("credentials")

_KERNEL = (
    Row(
        4, Stage.CHILD_SA,
        (r"unable to install .*IPsec SA \(SAD\) in kernel", r"unable to add SAD entry with SPI",
         r"algorithm .+ not supported by kernel!"),
        Cause(
            "install-child-sa-failed",
            "the kernel of {here} cannot install the tunnel ({error}); the proposals agree, whatever {there} was told",
            "it lacks ESP or the cipher: the module is not there, or {here} is a container without it",
            "on {here}: modprobe -a esp4 esp6; grep -i gcm /proc/crypto; {here_log}",
            "on {here}: modprobe -a esp4 esp6; if the kernel has none, install libcharon-extra-plugins "
            "(`extra_packages` in sites.yaml) and load kernel-libipsec, or boot another kernel",
        ),
        also=(r": (?P<error>[^:]+ \(\d+\))$",),
    ),
    Row(
        46, Stage.CHILD_SA, (r"error installing route with policy (?P<policy>.+)",),
        Cause(
            "install-child-policy-failed",
            "{here} has no address of its own inside its selectors ({policy})",
            "its address in the private network is missing, or still in duplicate address detection; userland ESP "
            "(libipsec) wants one in every subnet",
            "on {here}: ip -6 address; {here_log}",
            put_back("addresses"),
        ),
    ),
    Row(
        5, Stage.CHILD_SA,
        (r"unable to install IPsec policies \(SPD\) in kernel", r"unable to (?:add|update|install) policy",
         r"policy already exists, try to update it"),
        Cause(
            "install-child-policy-failed",
            "the kernel of {here} refuses the tunnel's policies",
            "another connection, a policy set by hand, or a leftover of another daemon holds the same ones",
            "on {here}: ip xfrm policy; {here_sas}",
            "on {here}: end the connection that holds them, or systemctl restart {here_unit}",
        ),
    ),
)  # fmt: skip

_LOADED = (
    Row(
        36, Stage.CONFIG,
        (r"connecting to '.*' failed: (?P<why>.+)", r"Error: connecting to '.*' URI failed: ?(?P<why>.*)"),
        Cause(
            "daemon-unreachable",
            "charon on {here} cannot be spoken to ({why})",
            "it does not run, or it is the other one: strongswan-starter's, without the vici plugin",
            "on {here}: systemctl status {here_unit}; {here_log}",
            "on {here}: systemctl start {here_unit}",
        ),
    ),
    Row(
        38, Stage.CONFIG,
        (r"unable to bind socket: (?P<why>.+)", r"could not open socket: (?P<why>.+)", r"could not create any sockets"),
        Cause(
            "port-in-use",
            "charon on {here} has no socket for UDP 500 and 4500 ({why})",
            "another IKE daemon holds them: strongSwan's other one, libreswan, racoon",
            "on {here}: ss -ulpn 'sport = :500 or sport = :4500'",
            "on {here}: systemctl disable --now the unit that it names, then systemctl restart {here_unit}",
        ),
    ),
    Row(
        37, Stage.CONFIG,
        (r"opening '(?P<file_>.+)' failed: Permission denied", r'apparmor="DENIED".* name="(?P<file_>[^"]+)"'),
        Cause(
            "file-access-denied",
            "on {here}, reading {file_} is denied",
            "it lies outside what AppArmor lets strongSwan read, or is a link to such a place",
            "on {here}: journalctl -k -g DENIED -n 10; aa-status",
            "on {here}: keep the file itself, not a link, in {here_conf} or {here_cas}; or "
            + put_back("apparmor"),
        ),
    ),
    Row(
        35, Stage.CONFIG,
        (r"loading \S+ certificate '(?P<file_>.+)' failed: (?P<why>.+)",
         r"loading '(?P<file_>.+)' failed: (?P<why>parsing X509 certificate failed)",
         r"(?P<why>loading certificate) from '(?P<file_>.+)' failed"),
        Cause(
            "credential-not-loaded",
            "{here} cannot load the certificate {file_} ({why}), so the connection is not loaded",
            "the file was removed or damaged; or the plugin for elliptic curves is missing "
            "(libstrongswan-standard-plugins)",
            "on {here}: openssl x509 -noout -subject -in {file_}; {here_log}",
            _CREDENTIALS,
        ),
    ),
    Row(
        34, Stage.CONFIG,
        (r"loading connection '.+' failed: (?P<why>.+: (?P<key>\S+)), config discarded",
         r"invalid config file '(?P<key>.+)'", r"(?P<why>skipped invalid proposal string): (?P<key>.+)",
         r"# ignored conn '(?P<key>.+)' due to (?P<why>.+)"),
        Cause(
            "config-rejected",
            "{here} refuses the connection's configuration ({why})",
            "a slip in a file there ({key}), or a keyword that its version of strongSwan does not know",
            "on {here}: {here_load}; grep -rn {here_conn} {here_conf}",
            "mend {key} in {here_conf} there, or " + put_back("connection"),
        ),
        also=(r"(?P<why>syntax error, .+)",),
    ),
    Row(
        31, Stage.CONFIG, (r"installing trap failed(?P<why>.*)",),
        Cause(
            "trap-not-installed",
            "{here} could not set the trap that brings the tunnel up{why}, and nothing tries again",
            "the name of {there} did not resolve there when the connection was loaded, or {there} has no fixed address",
            "on {here}: getent ahosts {there_fqdn}; {here_traps}",
            "mend the DNS of {here}, or write the address of {there} in sites.yaml; on {here}: {here_load}",
        ),
    ),
    Row(
        30, Stage.NO_ANSWER,
        (r"unable to resolve (?P<name>\S+), (?:initiate aborted|retrying in)", r"resolving '(?P<name>.+)' failed"),
        Cause(
            "peer-addr-failed",
            "{here} cannot resolve the other end's name {name}, so nothing was sent",
            "the name has no address record, or the DNS of {here} does not answer",
            "on {here}: getent ahosts {name}; cat /etc/resolv.conf",
            "mend the DNS, or write the address of {there} in sites.yaml",
        ),
    ),
    Row(
        47, Stage.CONFIG,
        (r"CHILD_SA config '(?P<name>.+)' not found", r"no config named '(?P<name>.+)'"),
        Cause(
            "not-loaded",
            "{here} has not loaded the connection {name}",
            "its file was removed, or loading it failed, which is told only where it is loaded",
            "on {here}: {here_load}; {here_conns}",
            put_back("connection"),
        ),
    ),
)  # fmt: skip

SETUP: tuple[Row, ...] = (*_KERNEL, *_LOADED)
"""The kernel's before the daemon's."""
