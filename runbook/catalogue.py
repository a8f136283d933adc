"""Every kind of failure that is not about IPsec, and that no program's words tell: connections, root, scripts, runs.

The words that each is filled with are given where it is raised. `{target}` is the host as the user calls it, `{ssh}`
the ssh(1) command that goes there.
"""

from __future__ import annotations

from typing import Final

from runbook.errors import Entry

# --- logging in -------------------------------------------------------------------------------------------------------

NAME_UNRESOLVED: Final = Entry(
    "ssh-name-unresolved",
    "{at}: the name {host} does not resolve",
    "a slip in the SSH target or in ssh_config's HostName, or this machine's DNS does not answer",
    "getent ahosts {host}",
    "correct the name, or mend this machine's DNS, then: {again}",
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
    "the host is down, or this machine has no way there: its own network is down, or the name leads to IPv6 and there "
    "is none here",
    "getent ahosts {host}; ip route; ip -6 route",
    "see to the host on its console, or mend this machine's network, or name the host by an address that it has a way "
    "to, then: {again}",
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

# --- steps, before-images, runs ---------------------------------------------------------------------------------------

LEFT_ALONE: Final = Entry(
    "left-alone",
    "{target}: {part}: {note}",
    "it is in a state that cannot be told, or in the hands of something else, so nothing is changed there",
    "runbook explain {step}",
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
STILL_AT_WORK: Final = Entry(
    "still-at-work",
    "{targets}: held by a run that is still at work on this machine, process {pid} of {who} since {since}",
    "it waits for an answer at another terminal, or for a host that is slow",
    "ps -o pid,lstart,tty,args -p {pid}",
    "wait for it, or end it by Ctrl-C where it runs, or by: kill -INT {pid}; then: {again}",
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
    "it was edited after it was shown, or beneath another step; what others have changed is not undone unasked",
    "runbook rollback --step {step}{file}",
    "{again}",
)
STOPPED: Final = Entry("stopped", "{what}", "you said so; what is done stays done", "runbook status{file}", "{again}")
NO_LOG_PLACE: Final = Entry(
    "no-log-place",
    "no {what} can be kept in {path}: {why}",
    "the directory is not yours to write, its disk is full, or something else has its name",
    "ls -ld {path} {directory}; df -h {directory}",
    "make {directory} and {path} your own, with room left, or keep sites.yaml where that is so; then: {again}",
)

ENTRIES: Final = tuple(each for each in list(vars().values()) if isinstance(each, Entry))
"""All of them."""
