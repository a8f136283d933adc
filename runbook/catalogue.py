"""Every kind of failure that is not about IPsec: connections, root, scripts, packages, runs.

The words that each is filled with are given where it is raised. `{target}` is the host as the user calls it, `{ssh}`
the ssh(1) command that goes there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from runbook.errors import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

# --- logging in -------------------------------------------------------------------------------------------------------

NAME_UNRESOLVED: Final = Entry(
    "ssh-name-unresolved",
    "{at}: the name {host} does not resolve",
    "a slip in the SSH target or in ssh_config's HostName, or this machine's DNS does not answer",
    "getent ahosts {host}",
    "correct the name, then: {again}",
)
PORT_REFUSED: Final = Entry(
    "ssh-port-refused",
    "{at}: {where} refuses connections",
    "sshd does not run there, or listens on another port",
    "{ssh} -v",
    "start sshd there, or write its port (host:port) in the SSH target, then: {again}",
)
SSH_SILENT: Final = Entry(
    "ssh-silent",
    "{at}: {where} did not answer within {seconds:g} s",
    "the host is down, the address is another's, or a firewall on the way drops the connection",
    "ping -c 3 {host}; {ssh} -v",
    "let this machine in there (the host's firewall, the provider's), then: {again}",
)
NO_ROUTE: Final = Entry(
    "ssh-no-route",
    "{at}: {where} cannot be reached: {why}",
    "this machine has no way there: its own network is down, or the name leads to IPv6 and there is none here",
    "getent ahosts {host}; ip route; ip -6 route",
    "mend this machine's network, or name the host by an address that it has a way to, then: {again}",
)
NOT_SSH: Final = Entry(
    "ssh-not-ssh",
    "{at}: no SSH connection to {where}: {why}",
    "something else than sshd listens on that port, or it shares no algorithm with us",
    "{ssh} -v",
    "write sshd's port (host:port) in the SSH target, then: {again}",
)
NO_GREETING: Final = Entry(
    "ssh-no-greeting",
    "{at}: {where} accepted the connection but did not greet as SSH within {seconds:g} s",
    "the host is overloaded, or something else than sshd listens on that port",
    "{ssh} -v",
    "see to the host on its console, or write sshd's port (host:port) in the SSH target, then: {again}",
)
HUNG_UP: Final = Entry(
    "ssh-hung-up",
    "{at}: {where} closed the connection before the log-in",
    "sshd has too many log-ins at once (MaxStartups), or something there has banned this address (fail2ban)",
    "{ssh} -v",
    "wait some minutes, or lift the ban on the host's console (fail2ban-client unban ADDRESS), then: {again}",
)
JUMP_FAILED: Final = Entry(
    "ssh-jump-failed",
    "{at}: the jump host before it cannot reach {where} ({why})",
    "the target is down, or its name or port is another one as seen from the jump host",
    "{ssh} -v",
    "correct the target's HostName or Port in ssh_config, then: {again}",
)
LOGIN_REFUSED: Final = Entry(
    "ssh-login-refused",
    "{at}: {host} refused the log-in of {user}; keys tried: {keys}",
    "none of these keys stands in authorized_keys of {user} there, or it is another user who may log in",
    "{ssh} -v",
    "put your public key there (ssh-copy-id), or correct the user in the SSH target, then: {again}",
)
NO_KEY: Final = Entry(
    "ssh-no-key",
    "{at}: {user} cannot log in to {host}: there is no key to try, in the agent or in files",
    "no key was ever made here, or ssh_config allows only keys (IdentitiesOnly) that are not here",
    "ssh-add -l; ls ~/.ssh; {ssh} -v",
    "make a key (ssh-keygen) and put it on the host (ssh-copy-id), or load yours (ssh-add), then: {again}",
)
SSH_CONFIG: Final = Entry(
    "ssh-config-unreadable",
    "the ssh configuration {path} cannot be read: {why}",
    "the file is not there, is not yours to read, or holds a line that is no ssh_config(5)",
    "ssh -G -F {path} nowhere",
    "mend it, or correct `ssh_config` in sites.yaml, then: {again}",
)
HOST_KEY_UNKNOWN: Final = Entry(
    "host-key-unknown",
    "the host key of {name} is not known ({key}) {why}",
    "nobody has logged in to it from here before, so that nothing proves that it is your host",
    "on the console of {name}: ssh-keygen -l -f /etc/ssh/ssh_host_{kind}_key.pub",
    "log in once by hand, compare the fingerprint and accept it: {ssh}; then: {again}",
)
HOST_KEY_CHANGED: Final = Entry(
    "host-key-changed",
    "the host key of {name} is not the one known: {where} has {known}, the host shows {key}",
    "the host was installed anew, or the name leads elsewhere now, or someone stands between",
    "on the console of {name}: ssh-keygen -l -f /etc/ssh/ssh_host_{kind}_key.pub",
    "only if you know why it changed: {forget}; then: {again}",
)
HOST_KEY_REVOKED: Final = Entry(
    "host-key-revoked",
    "the host key of {name} is revoked ({where})",
    "that key was stolen or given up, and somebody marked it so that nobody trusts it any more",
    "ssh-keygen -F {name} -f {path}",
    "have a new host key made on the host (ssh-keygen -A) and made known here, then: {again}",
)
HOST_KEY_NOT_KEPT: Final = Entry(
    "host-key-not-kept",
    "the host key of {name} could not be kept in {path}: {why}",
    "the file or its directory is not yours to write, or the disk is full",
    "ls -ld {path} {directory}; df -h {directory}",
    "make it yours to write, then: {again}",
)

# --- becoming root ----------------------------------------------------------------------------------------------------

SUDO_DENIED: Final = Entry(
    "sudo-denied",
    "{target}: {user} may not use sudo there",
    "that user is not in the group sudo, or has joined it after the log-in that is still open",
    "{ssh} -t sudo -l",
    "as root on {target}: adduser {user} sudo; then: {again}",
)
SUDO_LIMITED: Final = Entry(
    "sudo-limited",
    "{target}: sudo does not let {user} run every command as root",
    "sudoers allows that user some commands only",
    "{ssh} -t sudo -l",
    "as root on {target}: write `{user} ALL=(ALL:ALL) ALL` in a file by visudo -f /etc/sudoers.d/{user}; then: {again}",
)
SUDO_MISSING: Final = Entry(
    "sudo-missing",
    "{target}: {user} is not root there, and sudo is not installed",
    "the host was installed with a password for root, and Debian's installer then leaves sudo out",
    "{ssh} command -v sudo",
    "as root on {target}: apt-get install sudo; adduser {user} sudo; then: {again}",
)
SUDO_FAILED: Final = Entry(
    "sudo-failed",
    "{target}: root cannot be had by sudo as {user}{said}",
    "sudoers has a rule that is not met, such as one that wants a terminal (requiretty), or is damaged",
    "{ssh} sudo -n true",
    "mend sudoers on {target} (visudo -c names the line), then: {again}",
)
SUDO_PASSWORD_WRONG: Final = Entry(
    "sudo-password-wrong",
    "{target}: sudo refuses the password of {user}",
    "mistyped (another keyboard layout, Caps Lock); it is the password of {user} on {target}, not root's",
    "{ssh} -t sudo -v",
    "{again}",
)
SUDO_PASSWORD_WANTED: Final = Entry(
    "sudo-password-wanted",
    "{target}: sudo wants the password of {user}, and {why}",
    "nobody could type it: the run has no terminal, or the question was left without an answer",
    "{ssh} -t sudo -v",
    "run it at a terminal, or as root on {target} let {user} do without a password (`{user} ALL=(ALL:ALL) NOPASSWD: "
    "ALL` by visudo -f /etc/sudoers.d/{user}); then: {again}",
)

# --- scripts on their way and at work ---------------------------------------------------------------------------------

NO_SESSION: Final = Entry(
    "ssh-no-session",
    "{target}: the host opens no session for {purpose}, so nothing was run: {why}",
    "sshd there grants no more sessions (MaxSessions), or the host has no process to spare",
    "{ssh} true; on {target}'s console: journalctl -u ssh -n 20",
    "raise MaxSessions in /etc/ssh/sshd_config there, or end what fills the host, then: {again}",
)
LINE_DROPPED: Final = Entry(
    "line-dropped",
    "{target}: the line dropped during {purpose}; whether it ended is not known",
    "the network between failed for a while, or the host went down",
    "{ssh} uptime",
    "on the host it ends by itself within {seconds:g} s; then: {again}",
)
SHELL_REFUSED: Final = Entry(
    "shell-refused",
    "{target}: the host's shell does not take the script of {purpose}{said}",
    "the log-in is bound to one command (authorized_keys, ForceCommand), or its shell is none (nologin)",
    "{ssh} /bin/sh -c true",
    "log in as a user with a shell, then: {again}",
)
TIMED_OUT: Final = Entry(
    "timed-out",
    "{target}: {purpose} did not end within {seconds:g} s {ended}",
    "the host or its line is very slow, or a program there waits for something: a mirror, a lock, an answer",
    "on {target}: ps -eo pid,etime,args --sort=-etime | head -n 30",
    "end what hangs there, then: {again}",
)
KILLED: Final = Entry(
    "killed",
    "{target}: {purpose} was cut short{said}",
    "the memory of {target} was used up, or somebody ended the script",
    "on {target}: free -m; journalctl -k -g 'out of memory' -n 5",
    "free some memory there, then: {again}",
)
SCRIPT_FAILED: Final = Entry(
    "script-failed",
    "{target}: {what}: {said}",
    "{target} is not as was expected; the program's own words above say in what",
    "runbook log{file}",
    "mend what they name on {target}, then: {again}",
)

# --- what programs on a host complain of ------------------------------------------------------------------------------

DISK_FULL: Final = Entry(
    "disk-full",
    "{target}: {what}: {said}",
    "a disk of {target} is full, or has no inode left",
    "on {target}: df -h; df -i",
    "as root on {target} make room (apt-get clean; journalctl --vacuum-size=100M), then: {again}",
    (r"No space left on device", r"Disk quota exceeded", r"You don't have enough free space"),
)
READ_ONLY: Final = Entry(
    "read-only",
    "{target}: {what}: {said}",
    "a file system of {target} is mounted read-only: by its administrator, in a container, or after a disk's fault",
    "on {target}: findmnt -O ro; journalctl -k -p err -n 20",
    "as root on {target}: mount -o remount,rw / (check the disk first), then: {again}",
    (r"Read-only file system",),
)
APT_LOCKED: Final = Entry(
    "apt-locked",
    "{target}: {what}: {said}",
    "another program installs packages on {target}, perhaps the daily upgrade (unattended-upgrades)",
    "on {target}: ps -eo pid,etime,args | grep -E '[a]pt|[d]pkg|[u]nattended'",
    "wait until it is done, then: {again}",
    (r"Could not get lock \S*/(?:dpkg|apt)/", r"Unable to (?:acquire|lock)", r"dpkg frontend lock"),
)
DPKG_INTERRUPTED: Final = Entry(
    "dpkg-broken",
    "{target}: {what}: {said}",
    "an installation was cut off or failed there before, and packages are left half installed",
    "on {target}: dpkg --audit",
    "as root on {target}: dpkg --configure -a && apt-get --fix-broken install; then: {again}",
    (r"dpkg was interrupted", r"Sub-process \S*dpkg returned an error", r"unmet dependencies", r"held broken packages"),
)
PACKAGE_UNKNOWN: Final = Entry(
    "package-not-found",
    "{target}: {what}: {said}",
    "a slip in the name, or the package sources of {target} lack the release or the section that {package} is in",
    "on {target}: apt-cache policy {package}; cat /etc/apt/sources.list /etc/apt/sources.list.d/*",
    "as root on {target}: add Debian's `main` to the sources, apt-get update; or correct the name; then: {again}",
    (r"Unable to locate package (?P<package>\S+)", r"Package '?(?P<package>[^' ]+)'? has no installation candidate"),
)
KEY_UNEXPECTED: Final = Entry(
    "signing-key-unexpected",
    "{target}: the signing key that {url} gives has the fingerprint {fingerprint}, which is not one that it should have",
    "the repository has a new key, the address in sites.yaml is another's, or something on the way changes what is sent",
    "curl -s {url} | gpg --show-keys --with-fingerprint",
    "if its owner says elsewhere that it is theirs, add it to the fingerprints in sites.yaml; then: {again}",
    (r"the signing key of (?P<url>\S+) has the fingerprint (?P<fingerprint>\S+), which is not expected",),
)
NO_SIGNING_KEY: Final = Entry(
    "signing-key-none",
    "{target}: what {url} gives is no OpenPGP key",
    "the address in sites.yaml is that of something else, or something on the way answers in its place",
    "on {target}: /usr/lib/apt/apt-helper download-file {url} /tmp/key; head -n 3 /tmp/key",
    "correct the address of the signing key in sites.yaml, then: {again}",
    (r"what (?P<url>\S+) gives is no signing key",),
)
NOT_SIGNED: Final = Entry(
    "repository-not-signed",
    "{target}: the repository {url} is not signed by a key that is expected of it, so nothing is taken from it",
    "it is another's than the keys are, it has a new key, or something on the way changes what is sent",
    "curl -s {url}/dists/{suite}/InRelease | gpg --verify",
    "correct the repository or its fingerprints in sites.yaml, then: {again}",
    (r"the repository (?P<url>\S+) (?P<suite>\S+) is not signed by a key that is expected of it",),
)
APT_UNREACHABLE: Final = Entry(
    "apt-unreachable",
    "{target}: {what}: {said}",
    "{target} has no way to its package mirror: its DNS, its route, or a firewall for what goes out",
    "on {target}: getent ahosts deb.debian.org; apt-get update",
    "mend the network of {target}, or name another mirror in /etc/apt/sources.list, then: {again}",
    (
        r"Temporary failure resolving", r"Could not resolve '", r"Could not connect to \S+", r"Unable to connect to",
        r"Cannot initiate the connection to", r"Could not handshake",
    ),
)  # fmt: skip
APT_BROKEN: Final = Entry(
    "apt-repository-broken",
    "{target}: {what}: {said}",
    "a package source of {target} is gone, is not signed by a key that is trusted there, or is out of date",
    "on {target}: apt-get update; cat /etc/apt/sources.list /etc/apt/sources.list.d/*",
    "as root on {target}: mend or remove the source that is named, then: {again}",
    (
        r"does not have a Release file", r"NO_PUBKEY", r"is not signed", r"(?:no longer|not yet) valid",
        r"(?:Release|InRelease)'? .*is (?:expired|not valid)", r"Malformed (?:entry|line|stanza)",
        r"Failed to fetch", r"list of sources could not be read", r"Hash Sum mismatch",
    ),
)  # fmt: skip
SERVICE_FAILED: Final = Entry(
    "service-failed",
    "{target}: {what}: {said}",
    "{unit} does not start: its configuration is wrong, or something that it needs is taken or missing",
    "on {target}: systemctl status {unit}; journalctl -u {unit} -n 30",
    "mend what they name, then: {again}",
    (r"Job for (?P<unit>\S+) failed", r"Failed to (?:re)?start (?P<unit>\S+?):"),
)
DENIED: Final = Entry(
    "denied",
    "{target}: {what}: {said}",
    "{target} keeps even root from it: AppArmor, the limits of a container, or a file made immutable (chattr +i)",
    "on {target}: journalctl -k -g DENIED -n 10; systemd-detect-virt; lsattr PATH",
    "allow it there, then: {again}",
    (r"Operation not permitted", r"[Pp]ermission denied"),
)

BY_WORDS: Final = (
    DISK_FULL, READ_ONLY, KEY_UNEXPECTED, NO_SIGNING_KEY, NOT_SIGNED,
    APT_LOCKED, DPKG_INTERRUPTED, APT_UNREACHABLE, APT_BROKEN, PACKAGE_UNKNOWN, SERVICE_FAILED,
    DENIED,
)  # fmt: skip
"""Those that a program's words give away, the cause before what merely follows from it."""


def by_words(said: str) -> tuple[Entry, Mapping[str, str]]:
    """The entry that a failed script's standard error gives away, and the words that it tells."""
    for entry in BY_WORDS:
        for pattern in entry.said:
            if match := re.search(pattern, said):
                return entry, match.groupdict()
    return SCRIPT_FAILED, {}


# --- steps, before-images, runs ---------------------------------------------------------------------------------------

LEFT_ALONE: Final = Entry(
    "left-alone",
    "{target}: {part}: {note}",
    "it is in a state that cannot be told, or in the hands of something else, so nothing was changed there",
    "runbook audit --step {step}{file}",
    "do what the sentence asks for, then: {again}",
)
STILL_OTHERWISE: Final = Entry(
    "still-otherwise",
    "{target}: {part} is still not in order: {why}",
    "the change was made and had no effect: something on {target} sets it back, or does not take it",
    "runbook audit --step {step}{file}; on {target}: journalctl -n 50",
    "find what sets it back, then: {again}",
)
PLAN_CHANGED: Final = Entry(
    "plan-changed",
    "{target}: {part} changed after the plan was made",
    "somebody else, or a program, is at work on {target} just now; nothing was done there",
    "on {target}: who; journalctl -n 50",
    "{again}",
)
NOT_BACK: Final = Entry(
    "not-back",
    "{target} was told to reboot, and is not back after {minutes} minutes{why}",
    "it checks its disks, waits for something at its console, or came up without its network",
    "the console of {target}; runbook audit{file}",
    "see to it there, and when it is back: {again}",
)
LOCKED: Final = Entry(
    "locked",
    "another run holds {target}: {holder}",
    "somebody else runs ipsec-runbook on this host now, or did so from a machine that went down",
    "on {target}: cat /run/ipsec-runbook.lock",
    "wait for it, or if it is over: runbook unlock{file}; then: {again}",
)
WAY_IN_CLOSED: Final = Entry(
    "way-in-closed",
    "the rules in force turn away a new log-in from {source} to port {port} ({rule}), "
    "so that no change of them could be proved",
    "what let this connection in is gone since: a knock on ports, an edit, a ban",
    "on the host: {program}-save",
    "by a rule of your own let {source} in to port {port} there, then: {again}",
)
LOGIN_LOST: Final = Entry(
    "login-lost",
    "{target}: no new login is possible after this change, so {target} undoes it by itself within {seconds} seconds "
    "({why})",
    "your firewall has a rule before ours that the change made to count, or the line failed at the same time",
    "on {target}, in a minute: iptables-save; ip6tables-save; ls /var/lib/ipsec-runbook/images/{image}",
    "mend the rules there, then: {again}",
)
NO_IMAGE: Final = Entry(
    "no-before-image",
    "{target}: there is no before-image {image}",
    "another run has taken it back already, or somebody has removed it",
    "on {target}: ls /var/lib/ipsec-runbook/images",
    "runbook status{file}",
)
NOT_PUT_BACK: Final = Entry(
    "not-put-back",
    "{target}: could not put back {parts}: {said}",
    "{target} has changed since in a way that keeps the old state out; its before-image is kept",
    "on {target}: ls -l {path}",
    "mend what the sentence names, then: {again}",
)
CHANGED_UNSEEN: Final = Entry(
    "changed-unseen",
    "{target}: {part} was changed since, which could not be seen before: ask again",
    "it was edited while a later step still covered it; what others have changed is not undone unasked",
    "runbook rollback --step {step}{file}",
    "{again}",
)
STOPPED: Final = Entry("stopped", "{what}", "you said so; what is done stays done", "runbook status{file}", "{again}")
NO_LOG_PLACE: Final = Entry(
    "no-log-place",
    "no {what} can be kept in {path}: {why}",
    "the directory is not yours to write, its disk is full, or something else has its name",
    "ls -ld {path} {directory}; df -h {directory}",
    "make {directory} and {path} your own, or keep sites.yaml in a directory that is; then: {again}",
)

ENTRIES: Final = tuple(each for each in list(vars().values()) if isinstance(each, Entry))
"""All of them."""
