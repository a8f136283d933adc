"""What an end can do: the algorithms of its daemon, and of whatever encrypts its packets there, kernel or daemon.

A proposal that a daemon has no word for discards its connection, and one that its kernel cannot do is agreed on and
then fails with a message about something else: the article's author lost two and a half days to that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from steps.ipsec.proposals import read_proposal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook.script import Reading

KERNEL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AES_GCM": "rfc4106(gcm(aes))",
        "AES_CCM": "rfc4309(ccm(aes))",
        "AES_CBC": "cbc(aes)",
        "AES_CTR": "rfc3686(ctr(aes))",
        "CAMELLIA_CBC": "cbc(camellia)",
        "CHACHA20_POLY1305": "rfc7539esp(chacha20,poly1305)",
        "3DES_CBC": "cbc(des3_ede)",
        "HMAC_MD5": "hmac(md5)",
        "HMAC_SHA1": "hmac(sha1)",
        "HMAC_SHA2_256": "hmac(sha256)",
        "HMAC_SHA2_384": "hmac(sha384)",
        "HMAC_SHA2_512": "hmac(sha512)",
        "AES_XCBC": "xcbc(aes)",
        "AES_CMAC": "cmac(aes)",
    }
)
"""What the kernel calls what strongSwan lists (kernel_netlink_ipsec.c), without the length of its check value."""

PROBE: Final = f"""\
ability_names=/proc/crypto ability_modules=/lib/modules/$(uname -r)
ability() {{ awk -v name="$1" '$1 == "name" && $3 == name {{ found = 1 }} END {{ exit !found }}' "$ability_names"; }}
if [ ! -r "$ability_names" ] || [ ! -e "$ability_modules/modules.builtin.modinfo" ] || ! command -v modprobe >/dev/null
then echo unknown; exit 0; fi
for each in xfrm-type-2-50 xfrm-type-10-50; do
    modprobe -nq "$each" || {{ echo 'kernel'; exit 0; }}
done
printf kernel
for each in {" ".join(f"'{name}'" for name in KERNEL.values())}; do
    if ! ability "$each"; then
        for part in $(printf %s "$each" | tr '(),' '   '); do
            ability "$part" || modprobe -nq "crypto-$part" || continue 2
        done
    fi
    printf ' %s' "$each"
done
echo"""
"""Shell that says what ESP can be made of in this host's kernel, without having it load anything; `unknown` where that
cannot be told, as in a container, which does not see the modules of its kernel."""

USERLAND: Final = "kernel-libipsec"
"""The plugin by which charon does ESP itself."""
SEVERAL: Final = "MULTIPLE_KEY_EXCHANGES"
"""What a daemon lists, as it were, that knows of `ke1_` and its like, as none before strongSwan 6.0 does."""
_KEYED_BY_AES: Final = frozenset({"PRF_AES128_XCBC", "PRF_AES128_CMAC"})
"""PRFs from which no keys can be derived without this plugin of strongSwan's own, though they are listed: openssl's
knows of hashes only. Before KDF_PRF was an algorithm of its own, there was no need of one."""
_KDF: Final = "kdf"


@dataclass(frozen=True)
class Abilities:
    """The algorithms that an end has, by strongSwan's names; `esp` those of its kernel, None where charon's count."""

    charon: frozenset[str]
    esp: frozenset[str] | None = None

    def lacking(self, proposal: str, *, child: bool) -> str:
        """What a proposal asks for that is not there, in words; nothing where this end can do it.

        Raises:
            ValueError: It is no proposal that `read_proposal` can read.
        """
        plan = read_proposal(proposal)
        ciphers = {_plain(name) for name in plan.encryption} | plan.integrity
        others = plan.key_exchange.union(*plan.further.values()) - {"KE_NONE"}
        kernel = set()
        if child and self.esp is not None:
            kernel = {name for name in ciphers if _in_kernel(name) not in self.esp}
        elif child:
            others |= ciphers
        else:
            others |= ciphers | plan.prf
        strongswan = others - self.charon or ({SEVERAL} if plan.further else set()) - self.charon
        missing = {"kernel": kernel, "strongSwan": strongswan}
        return " and ".join(f"{who} has no {' and no '.join(sorted(what))}" for who, what in missing.items() if what)


def _plain(encryption: str) -> str:
    """An encryption without its keys' length, which no listing tells: every daemon has all of them."""
    return re.sub(r"-\d+$", "", encryption)


def _in_kernel(name: str) -> str:
    """What the kernel calls it, whatever the length of its check value (the end of `AES_GCM_16`)."""
    return next((kernel for known, kernel in KERNEL.items() if name == known or name.startswith(f"{known}_")), name)


def read_abilities(listed: Reading | None) -> Abilities | None:
    """Read what a style's `abilities` prints; None where no daemon answers, or it could not be read.

    The first line has the names of all algorithms, the second those of all plugins, the third is of `PROBE`.
    """
    names, plugins, *kernel = [*(listed.text if listed else "").splitlines(), "", "", ""][:3]
    if not names.strip():
        return None
    charon, found = frozenset(names.split()), kernel[0].split()
    if "KDF_PRF" in charon and _KDF not in plugins.split():
        charon -= _KEYED_BY_AES
    if USERLAND in plugins.split() or found[:1] != ["kernel"]:
        return Abilities(charon)
    return Abilities(charon, frozenset(found[1:]))
