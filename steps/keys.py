"""Key generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from runbook.resources.file import Directory, File
from runbook.step import CONTROLLER, Part
from steps.certificates.key_places import place_of
from steps.section import ControllerSection
from steps.vault import owner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class KeyGeneration(ControllerSection):
    """Make a private key for each site. It is a secret that the site will prove its name with.

    It is made here, on the admin's machine, and copied to the host over SSH; with `keys: host` in sites.yaml it is made
    on the host, and never leaves it: only the request and the certificate travel.

    The key is an elliptic curve one (secp384r1, as strong as RSA with 7,680 bits), in PKCS#8 PEM, readable by you alone
    from the moment that it exists. By hand:

        umask 077; openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp384r1 -out home.key

    To check by hand: `openssl pkey -in home.key -noout -text` names the curve, `ls -l` shows -rw-------.

    A key that is there is never made again, and never destroyed: a rollback sets it aside under another name. It may be
    one of yours: PEM or DER, on the curve P-256, P-384 or P-521, or RSA; it is used as it is. A key that cannot be read
    is left alone and said, since hosts may still be using it.

    What can go wrong: the key is lost here while its host still uses it. Put it back from a backup, or from the host.
    """

    name: ClassVar[str] = "key"
    title: ClassVar[str] = "Key generation"

    def targets(self) -> Sequence[str]:
        """This machine and the sites, wherever the keys are made."""
        return (CONTROLLER, *self.network.sites)

    def parts(self, target: str, facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002 - nothing depends on it
        """The data directory, and a key for each site."""
        keys = place_of(self.network).keys(self.network, self.vault, target)
        if target != CONTROLLER:
            return keys
        directory = self.vault.directory
        return [
            Directory(str(directory), "700", owner()),
            File(str(directory / ".gitignore"), b"*\n", "600", owner()),
            *keys,
        ]
