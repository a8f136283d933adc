"""Where a site's web server serves the certificate authority's challenges from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from runbook.script import embed, quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook.script import Reading
    from runbook.target import Target

WEBROOT: Final = "/var/lib/acme-challenge"
CHALLENGES: Final = "/.well-known/acme-challenge/"
"""What the authority asks for begins so (RFC 8555, 8.3)."""


@dataclass(frozen=True)
class Webroot:
    """The directory on a host (`steps.certificates.acme_order.Challenges`)."""

    host: Target
    tell: Callable[[str], None] = field(default=lambda _: None, repr=False)
    """Is told what is waited for."""

    def put(self, token: str, body: str) -> None:
        """Serve `body` as the answer to `token`."""
        put = f"{{ {embed(body.encode())}}} | rb_put {self._path(token)} 644 root:root"
        self.tell(f"publishing the authority's challenge on {self.host.name}")
        self.host.run(put, purpose="publish a challenge")

    def remove(self, token: str) -> None:
        """Serve it no more."""
        self.host.run(f"rm -f -- {self._path(token)}", purpose="withdraw a challenge")

    def check(self, fqdn: str, token: str, body: str) -> None:
        """Fetch it as the authority will."""
        from steps.certificates.challenge_fetch import fetch_challenge  # noqa: PLC0415 - a run that orders nothing needs no ACME

        self.tell(f"fetching the challenge from {fqdn}, as the authority will")
        fetch_challenge(fqdn, f"{CHALLENGES}{token}", body)
        self.tell(f"waiting for the authority to look at {fqdn} and to issue")

    def _path(self, token: str) -> str:
        return quote(f"{WEBROOT}{CHALLENGES}{token}")


@dataclass(frozen=True)
class NoChallenges(Part):
    """No challenge is served beyond its order: what is there was left by a run that was cut off."""

    @property
    def key(self) -> str:
        """Where they would be."""
        return f"no challenges left in {WEBROOT}"

    def probe(self) -> str:
        """The paths of challenges, which begin with their own names (RFC 8555, 8.1), and of halves of them."""
        return _CHALLENGES_LEFT

    def judge(self, found: Reading) -> Finding:
        """In order when there is none."""
        left = found.text.splitlines()
        if not left:
            return self.in_order()
        return self.drift(
            Change(
                summary=f"remove {len(left)} of the authority's challenges that a run which was cut off has left",
                apply=f"rm -f -- {' '.join(map(quote, left))}",
                diff="\n".join(f"- {path}" for path in left),
            )
        )


_CHALLENGES_LEFT: Final = f"""\
for path in {WEBROOT}{CHALLENGES}* {WEBROOT}{CHALLENGES}.*.ipsec-runbook-new; do
    [ -f "$path" ] || continue
    case $path in *.ipsec-runbook-new) echo "$path"; continue ;; esac
    case $(head -c 200 -- "$path" | tr -d '\\000') in "${{path##*/}}".*) echo "$path" ;; esac
done"""
