"""strongSwan's names for algorithms: the keywords of its proposals, and what `--list-sas` calls what was agreed.

The keywords and their meaning are those of proposal_keywords_static.txt in strongSwan 6.0, which has all of 5.9's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Proposal:
    """What one proposal lets the ends agree on: the listed names, by kind; an empty kind is not part of it.

    `further` are the additional key exchanges (RFC 9370) by their number, with KE_NONE where one may be left out.
    """

    text: str
    encryption: frozenset[str] = frozenset()
    integrity: frozenset[str] = frozenset()
    prf: frozenset[str] = frozenset()
    key_exchange: frozenset[str] = frozenset()
    further: Mapping[int, frozenset[str]] = field(default_factory=dict)

    @property
    def listed(self) -> str:
        """How the listing writes it, alternatives joined by `|`: `AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384`."""
        kinds = (self.encryption, self.integrity, self.prf, self.key_exchange)
        more = [f"KE{number}_{'|'.join(sorted(names))}" for number, names in sorted(self.further.items())]
        return "/".join(["|".join(sorted(names)) for names in kinds if names] + more)


def read_proposal(text: str) -> Proposal:
    """Read one proposal as it stands in swanctl.conf: `aes256gcm16-prfsha384-ecp384`.

    Raises:
        ValueError: It holds a keyword that strongSwan's table does not, or no encryption; names the keyword.
    """
    kinds: dict[str, set[str]] = {"encryption": set(), "integrity": set(), "prf": set(), "key_exchange": set()}
    further: dict[int, set[str]] = {}
    for word in text.split("-"):
        if word in {"esn", "noesn"}:  # the length of sequence numbers, no algorithm
            continue
        match = re.fullmatch(r"(?:ke([1-7])_)?(.+)", word)
        kind, name = _meaning(match[2]) if match else (None, "")
        if match and match[1] and kind == "key_exchange":
            further.setdefault(int(match[1]), set()).add(name)
        elif match and not match[1] and kind is not None:
            kinds[kind].add(name)
        else:
            raise ValueError(f"{word!r} in the proposal {text!r} is no keyword of strongSwan's")
    if not kinds["encryption"] - {""}:
        raise ValueError(f"the proposal {text!r} names no encryption")
    # Without a PRF of its own a proposal uses the integrity's; combined ciphers take no integrity (proposal.c).
    kinds["prf"] = kinds["prf"] or {_PRF_OF[name] for name in kinds["integrity"] if name in _PRF_OF}
    if any(_COMBINED.search(name) for name in kinds["encryption"]):
        kinds["integrity"] = set()
    sets = {kind: frozenset(names) for kind, names in kinds.items()}
    return Proposal(text, **sets, further={number: frozenset(names) for number, names in further.items()})


def flaw(plan: Proposal, *, child: bool) -> str:
    """Why strongSwan would discard a connection for a proposal whose keywords it knows, or what it would not protect.

    A combined cipher does without integrity, ESP without a key exchange (it has no forward secrecy then).
    """
    combined = {name for name in plan.encryption if _COMBINED.search(name)}
    if "NULL" in plan.encryption:
        return "a null cipher encrypts nothing"
    if combined and combined != plan.encryption:
        return "what is a cipher and its integrity in one, as gcm is, cannot stand beside another; write two proposals"
    if not combined and not plan.integrity:
        return "it names no integrity, such as sha384"
    if not child and not plan.prf:
        return "it names no PRF, such as prfsha384"
    if (plan.further or not child) and not plan.key_exchange - {"KE_NONE"}:
        return "it names no key exchange, such as ecp384"
    return ""


def _meaning(keyword: str) -> tuple[str | None, str]:
    """Kind and listed name of a keyword; no kind when it has no meaning for us."""
    if keyword in _KEY_EXCHANGE:
        return "key_exchange", _KEY_EXCHANGE[keyword]
    if keyword in _INTEGRITY:
        return "integrity", _INTEGRITY[keyword]
    if keyword.startswith("prf") and keyword[3:] in _PRF:
        return "prf", _PRF[keyword[3:]]
    if keyword in _FIXED_CIPHER:
        return "encryption", _FIXED_CIPHER[keyword]
    if match := re.fullmatch(r"(aes|camellia)(128|192|256)?(ctr|ccm|gcm)?(\d+)?", keyword):
        return _block_cipher(*match.groups(default=""))
    return None, ""


def _block_cipher(family: str, bits: str, mode: str, tag: str) -> tuple[str | None, str]:
    """AES and Camellia: `aes256gcm16` has its tag in bytes, `aes256gcm128` in bits, `aes256gcm` the longest."""
    length = {"": "16", "8": "8", "64": "8", "12": "12", "96": "12", "16": "16", "128": "16"}.get(tag)
    combined = mode in {"ccm", "gcm"}
    camellia = family == "camellia" and (mode == "gcm" or (mode == "ccm" and not tag))
    if length is None or (tag and not combined) or (mode and not bits) or camellia:
        return None, ""
    suffix = f"{mode.upper()}_{length}" if combined else mode.upper() or "CBC"
    return "encryption", f"{family.upper()}_{suffix}-{bits or '128'}"


_COMBINED = re.compile("GCM|CCM|POLY1305")
_FIXED_CIPHER = {"null": "NULL", "3des": "3DES_CBC", "chacha20poly1305": "CHACHA20_POLY1305"}
_INTEGRITY = {
    "md5": "HMAC_MD5_96",
    "sha": "HMAC_SHA1_96",
    "sha1": "HMAC_SHA1_96",
    "sha1_160": "HMAC_SHA1_160",
    "sha256": "HMAC_SHA2_256_128",
    "sha2_256": "HMAC_SHA2_256_128",
    "sha256_96": "HMAC_SHA2_256_96",
    "sha2_256_96": "HMAC_SHA2_256_96",
    "sha384": "HMAC_SHA2_384_192",
    "sha2_384": "HMAC_SHA2_384_192",
    "sha512": "HMAC_SHA2_512_256",
    "sha2_512": "HMAC_SHA2_512_256",
    "aesxcbc": "AES_XCBC_96",
    "aescmac": "AES_CMAC_96",
}
_PRF = {
    "md5": "PRF_HMAC_MD5",
    "sha1": "PRF_HMAC_SHA1",
    "sha256": "PRF_HMAC_SHA2_256",
    "sha384": "PRF_HMAC_SHA2_384",
    "sha512": "PRF_HMAC_SHA2_512",
    "aesxcbc": "PRF_AES128_XCBC",
    "aescmac": "PRF_AES128_CMAC",
}
_PRF_OF = {
    "HMAC_MD5_96": "PRF_HMAC_MD5",
    "HMAC_SHA1_96": "PRF_HMAC_SHA1",
    "HMAC_SHA1_160": "PRF_HMAC_SHA1",
    "HMAC_SHA2_256_128": "PRF_HMAC_SHA2_256",
    "HMAC_SHA2_256_96": "PRF_HMAC_SHA2_256",
    "HMAC_SHA2_384_192": "PRF_HMAC_SHA2_384",
    "HMAC_SHA2_512_256": "PRF_HMAC_SHA2_512",
    "AES_XCBC_96": "PRF_AES128_XCBC",
    "AES_CMAC_96": "PRF_AES128_CMAC",
}
_KEY_EXCHANGE = {
    "none": "KE_NONE",
    "modpnone": "KE_NONE",
    **{f"modp{bits}": f"MODP_{bits}" for bits in (768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)},
    "modp1024s160": "MODP_1024_160",
    "modp2048s224": "MODP_2048_224",
    "modp2048s256": "MODP_2048_256",
    **{f"ecp{bits}": f"ECP_{bits}" for bits in (192, 224, 256, 384, 521)},
    **{f"ecp{bits}bp": f"ECP_{bits}_BP" for bits in (224, 256, 384, 512)},
    "x25519": "CURVE_25519",
    "curve25519": "CURVE_25519",
    "x448": "CURVE_448",
    "curve448": "CURVE_448",
    **{f"mlkem{size}": f"ML_KEM_{size}" for size in (512, 768, 1024)},
}
