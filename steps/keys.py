"""Key generation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from runbook.errors import RunbookError, StepError
from runbook.resources.file import Directory, File
from runbook.script import quote
from runbook.step import CONTROLLER, Change, Finding, Part
from steps import pki
from steps.section import ControllerSection
from steps.styles import style_of
from steps.vault import owner, put, set_aside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runbook.script import Reading
    from runbook.target import Target
    from steps.network import Site
    from steps.vault import Vault


class KeyGeneration(ControllerSection):
    """Make a private key for each site, here, on the admin's machine. It is what the site will prove its name with.

    The key is an elliptic curve one (secp384r1, as strong as RSA with 7,680 bits), in PKCS#8 PEM, readable by you alone
    from the moment that it exists. By hand:

        umask 077; openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp384r1 -out home.key

    To check by hand: `openssl pkey -in home.key -noout -text` names the curve, `ls -l` shows -rw-------.

    A key that is there is never made again, and never destroyed: a rollback sets it aside under another name. A key
    that cannot be read is left alone and said, since hosts may still be using it.
    """

    name: ClassVar[str] = "key"
    title: ClassVar[str] = "Key generation"

    def targets(self) -> Sequence[str]:
        """This machine; and the sites, to see that none has a key whose original is lost here."""
        return (CONTROLLER, *self.network.sites)

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - nothing depends on it
        """The data directory, and a key for each site."""
        if target != CONTROLLER:
            return [Counterpart(self.network.sites[target], self.vault)]
        directory = self.vault.directory
        keys = [PrivateKey(self.vault.key(site), site, serves=(site.name,)) for site in self.network.sites.values()]
        return [
            Directory(str(directory), "700", owner()),
            File(str(directory / ".gitignore"), b"*\n", "600", owner()),
            *keys,
        ]


@dataclass(frozen=True)
class PrivateKey(Part):
    """A private key: made once, judged by loading it, never shown."""

    path: Path
    site: Site
    serves: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The key's file."""
        return f"private key {self.path}"

    def probe(self) -> str:
        """One line of state."""
        return f"rb_state {quote(str(self.path))}"

    def judge(self, found: Reading) -> Finding:
        """In order when it loads and is for its owner's eyes only."""
        path = quote(str(self.path))
        if found.text.strip() == "absent":
            change = Change(
                summary=f"make a secp384r1 key in {self.path}",
                obtain=self._make,
                undo=set_aside(self.path),
                diff=f"+ private key {self.path} (never shown)",
            )
            return self.absent(change)
        try:
            pki.load_key(self.path.read_bytes())
        except (RunbookError, OSError) as error:
            return self.unknown(f"{error}; it is left alone: put the right key back, or move it away for a new one")
        kind, mode, *_ = found.text.split()
        if (kind, mode) == ("file", "600"):
            return self.in_order()
        was = f"chmod {quote(mode)} -- {path}"
        return self.drift(Change(f"make {self.path} readable by you alone (it is {mode})", f"chmod 600 -- {path}", was))

    def _make(self, hosts: Mapping[str, Target]) -> None:
        there = hosts[self.site.name].run(f"rb_state {quote(_on_host(self.site))}", purpose="look for a key").stdout
        if there.strip() != "absent":
            raise StepError(f"{self.site.name} {_lost(self.path, self.site)}")
        hosts[CONTROLLER].run(put(self.path, pki.new_key(), "600"), purpose="write a private key")


@dataclass(frozen=True)
class Counterpart(Part):
    """A host's key has its original here; a host whose key is lost here must not be given another in silence."""

    site: Site
    vault: Vault = field(repr=False)

    @property
    def key(self) -> str:
        """The key on the host."""
        return f"original of {_on_host(self.site)}"

    def probe(self) -> str:
        """Whether the host has a key."""
        return f"if [ -e {quote(_on_host(self.site))} ]; then echo there; else echo absent; fi"

    def judge(self, found: Reading) -> Finding:
        """In order unless the host has a key, and there is none here."""
        original = self.vault.key(self.site)
        if found.text.strip() == "absent" or original.exists():
            return self.in_order()
        return self.unknown(_lost(original, self.site))


def _on_host(site: Site) -> str:
    return style_of(site).key_path(site)


def _lost(original: Path, site: Site) -> str:
    there = _on_host(site)
    return (
        f"has a key in {there}, and its original {original} is lost here: put it back (from a backup, or as root from "
        f"the host), or move {there} away there for a new key and a new certificate"
    )
