"""The keys that a package repository signs with: fetched, and judged by their fingerprints before anything trusts them.

apt has a program that fetches and one that verifies, and a host need have no other: what is in between, which is to
tell whose keys were fetched, is done here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from runbook.script import heredoc, quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from runbook.script import Reading

_PACKETS: Final = r"""
{ for (field = 1; field <= NF; field++) byte[++size] = $field }
END {
    for (at = 1; at <= size; at = start + length_) {
        head = byte[at]; next_ = byte[at + 1]
        if (head >= 192) {
            tag = head - 192
            if (next_ < 192) { length_ = next_; start = at + 2 }
            else if (next_ < 224) { length_ = (next_ - 192) * 256 + byte[at + 2] + 192; start = at + 3 }
            else exit 1
        } else {
            tag = int((head - 128) / 4); octets = 2 ^ (head % 4); length_ = 0; start = at + 1 + octets
            if (head < 128 || octets > 4) exit 1
            for (octet = 1; octet <= octets; octet++) length_ = length_ * 256 + byte[at + octet]
        }
        if (start + length_ - 1 > size || tag !~ /^(2|6|13|14|17)$/ || (at == 1 && tag != 6)) exit 1
        if (tag == 6 && (byte[start] != 4 || length_ > 65535)) exit 1
        if (tag == 6) print start, length_
    }
}
"""
"""Where the primary keys of a keyring are, each with its length; fails where there is anything but v4 keys with what
belongs to them. Packets: RFC 9580, section 4.2."""

FINGERPRINTS: Final = f"""\
fingerprints() {{ # FILE: the fingerprint of each key in a binary keyring (of version 4: RFC 9580, 5.5.4.2)
    packets=$(od -An -v -tu1 -- "$1" | awk '{_PACKETS}') && [ -n "$packets" ] || return 1
    printf '%s\\n' "$packets" | while read -r start length; do
        {{ printf '\\231'
          # shellcheck disable=SC2059 # two octets, as escapes
          printf "$(printf '\\\\%03o\\\\%03o' "$((length / 256))" "$((length % 256))")"
          tail -c "+$start" -- "$1" | head -c "$length"; }} | sha1sum | cut -d ' ' -f 1 | tr a-f A-F
    done
}}"""

_FETCH: Final = r"""
fetch_key() { # URL DIRECTORY: the keyring that is to be had there, binary, as DIRECTORY/key.gpg
    mkdir -- "$2/fetched" && { chown _apt -- "$2/fetched" 2>/dev/null || :; }
    /usr/lib/apt/apt-helper download-file "$1" "$2/fetched/key" >&2 || return 1
    if grep -aq '^-----BEGIN PGP PUBLIC KEY BLOCK-----' "$2/fetched/key"; then # RFC 9580, 6.2; there may be several
        tr -d '\r' <"$2/fetched/key" | awk -v to="$2/block." '
            /^-----BEGIN PGP PUBLIC KEY BLOCK-----$/ { block = to sprintf("%03d", ++count); body = 0; next }
            /^-----END/ || /^=/ { block = "" }
            block && body { print >block }
            block && /^$/ { body = 1 }' && for each in "$2"/block.*; do base64 -d <"$each"; done
    else cat -- "$2/fetched/key"; fi >"$2/key.gpg"
}"""

_EXPECTED: Final = """
expected_keys() { # KEYRING URL FINGERPRINT...
    keyring=$1 url=$2 && shift 2
    found=$(fingerprints "$keyring") || { echo "what $url gives is no signing key" >&2; return 1; }
    for each in $found; do
        case " $* " in
            *" $each "*) ;;
            *) echo "the signing key of $url has the fingerprint $each, which is not expected" >&2; return 1 ;;
        esac
    done
}"""

_SIGNED: Final = """
signed_source() ( # KEYRING SOURCE DIRECTORY: whether what the source names can be had, and is signed by the keyring
    umask 022
    mkdir -p -- "$3/parts" "$3/lists/partial"
    sed "s,^Signed-By: .*,Signed-By: $1," <"$2" >"$3/parts/it.sources"
    apt-get -q update -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$3/parts" \\
        -o "Dir::State::Lists=$3/lists" -o Dir::Cache::PkgCache= -o Dir::Cache::SrcPkgCache= \\
        -o APT::Update::Error-Mode=any >"$3/said" 2>&1 && exit 0
    cat -- "$3/said" >&2
    grep -Eq 'NO_PUBKEY|BADSIG|KEYSIG|REVKEY|[Ss]ignature|not signed' "$3/said" || exit 1
    named=$(sed -n 's/^\\(URIs\\|Suites\\): //p' "$2" | paste -s -d ' ')
    echo "the repository $named is not signed by a key that is expected of it" >&2
    exit 1
)"""


def judged_source(keyring: str, path: str) -> str:
    """Shell that judges `$new`, a source to be at `path`: apt reads it beside all others, and the keyring signs it."""
    return f"""\
{_SIGNED}
tried=$(mktemp -d) && chmod 755 "$tried" && mkdir -- "$tried/all" && cp -a /etc/apt/sources.list.d/. "$tried/all" &&
    cp -- "$new" "$tried/all/"{quote(PurePosixPath(path).name)} &&
    apt-get indextargets -o "Dir::Etc::SourceParts=$tried/all" >/dev/null &&
    signed_source {quote(keyring)} "$new" "$tried"
judged=$?
rm -rf -- "$tried"
[ "$judged" = 0 ]"""


@dataclass(frozen=True)
class SigningKey(Part):
    """A keyring for apt, which `source`, a deb822 source that is still to be written, is to be verified by.

    Nothing is trusted unless all its keys have one of `fingerprints` (40 hexadecimal digits each, upper case), and the
    repository is signed by one of them: until then the host stays as it was.
    """

    path: str
    url: str
    fingerprints: tuple[str, ...]
    source: str

    @property
    def key(self) -> str:
        """The keyring's path."""
        return f"signing key {self.path}"

    def probe(self) -> str:
        """What is there, but for its digest; then each key's fingerprint."""
        path = quote(self.path)
        return f"{FINGERPRINTS}\nrb_state {path} | cut -d' ' -f-3\n[ ! -f {path} ] || fingerprints {path} || echo none"

    def judge(self, found: Reading) -> Finding:
        """In order when it holds keys that are expected, and no others."""
        state, *fingerprints = found.text.splitlines()
        kind = state.partition(" ")[0]
        if kind not in {"absent", "file", "link"}:
            return self.unknown(f"a {kind} is at {self.path}: move it out of the way")
        if state == "file 644 root:root" and set(fingerprints) <= set(self.fingerprints):
            return self.in_order()
        change = self._fetch("create" if kind == "absent" else "replace")
        return self.absent(change) if kind == "absent" else self.drift(change)

    def _fetch(self, verb: str) -> Change:
        path, url, expected = quote(self.path), quote(self.url), " ".join(self.fingerprints)
        return Change(
            summary=f"{verb} {self.path}: the keys of {self.url}, if their fingerprints are those expected",
            save=f"rb_save {path}",
            apply=(
                f"{FINGERPRINTS}{_FETCH}{_EXPECTED}{_SIGNED}\n"
                'tried=$(mktemp -d)\ntrap \'rm -rf -- "$tried"\' EXIT\nchmod 755 -- "$tried"\n'
                f'fetch_key {url} "$tried"\nexpected_keys "$tried/key.gpg" {url} {expected}\n'
                f'cat >"$tried/source" {heredoc(self.source)}'
                'signed_source "$tried/key.gpg" "$tried/source" "$tried"\n'
                f'rb_parents {path}\nrb_put {path} 644 root:root <"$tried/key.gpg"'
            ),
            undo=f"rb_restore {path}",
            settle=f"rb_tidy {path}\n[ -e {path} ] || rm -f -- {self._lists()}",
            diff="\n".join(f"+ {each}" for each in self.fingerprints),
        )

    def _lists(self) -> str:
        """Shell pattern of what apt has read of the source, and would keep until its next update."""
        named = dict(line.split(": ", 1) for line in self.source.splitlines() if ": " in line)
        where = named["URIs"].partition(":")[2].removeprefix("//")
        for each, escaped in (("_", "%5f"), ("~", "%7e"), ("/", "_")):
            where = where.replace(each, escaped)
        return f"/var/lib/apt/lists/{quote(where)}_dists_{quote(named['Suites'])}_*"
