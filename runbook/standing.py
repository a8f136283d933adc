"""How the changes that before-images tell of stand: as they were left, as before, or changed by others since.

What a later application changed again, of the same step or with a part in common, is put back before an earlier one is
undone. So each image keeps how the earlier ones' changes read just before and just after it was made: what reads now as
it read just after will read as it did just before. By that, not by what is there now, the earlier change is judged.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.images import Image, KeptChange, begun, script_lines
from runbook.script import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_READ = """\
read_by() { (. "${1%/*}/lib.sh"; . "$1") </dev/null | sha256sum | cut -d ' ' -f 1; }
"""


def stood_before(step: str, keys: Iterable[str]) -> str:
    """Shell that keeps in a new image how the changes of earlier applications read, each probe once.

    They are those of its step, and those of other steps that one of the parts belongs to as well.
    """
    related = [begun(step), *(json.dumps({"key": key})[1:-1] for key in keys)]
    patterns = " ".join(f"-e {quote(each)}" for each in related)
    return f"""\
{_READ}umask 077
grep -lsF {patterns} -- "$(dirname -- "$image")"/*/manifest | while IFS= read -r manifest; do
    sha256sum -- "${{manifest%/*}}"/probe.*
done | sort -u -k 1,1 | while read -r sum probe; do
    printf '%s %s %s\\n' "$sum" "$(read_by "$probe")" "$probe"
done >"$image/stood.before"
"""


STOOD_AFTER = f"""\
{_READ}[ ! -s "$image/stood.before" ] || {{
    while read -r sum _ probe; do printf '%s %s\\n' "$sum" "$(read_by "$probe")"; done <"$image/stood.before" \\
        >"$image/stood.new" && mv -f -- "$image/stood.new" "$image/stood.after"
}}
"""
"""Shell that keeps how they read now that the image is made."""

_TOLD = """\
[ -e "$image/manifest" ] || exit 0
cat -- "$image/sequence" 2>/dev/null || echo 0
cat -- "$image/manifest"
. "$image/lib.sh"
for probe in "$image"/probe.*; do
    index=${probe##*.}
    sum=$(sha256sum <"$probe"); before=$(sha256sum <"$image/before.$index"); after=
    now=$( (. "$probe") </dev/null | sha256sum)
    [ ! -e "$image/after.$index" ] || after=$(sha256sum <"$image/after.$index")
    open=$([ ! -e "$image/open.$index" ] || echo open)
    own=$([ "$(cat -- "$image/undo.$index")" = : ] || echo own)
    echo "change $index ${sum%% *} ${before%% *} ${now%% *} ${after%% *}:$open:$own"
done
for when in before after; do
    [ ! -e "$image/stood.$when" ] || sed "s/^\\([^ ]* [^ ]*\\).*/$when \\1/" "$image/stood.$when"
done
"""
"""A change that can be cut off where its probe does not see it keeps the file `open.N` while it is under way."""


def listing(images: str) -> str:
    """Shell that tells every image under the directory `images`, and how what it is about reads."""
    return script_lines(
        f'for image in {quote(images)}/*/; do [ -d "$image" ] || continue',
        "image=${image%/}; printf '\\036%s\\n' \"${image##*/}\"",
        f"(\n{_TOLD}\n)",
        "done",
    )


@dataclass(frozen=True)
class _Readings:
    """What is known of one change, by the SHA-256 of readings."""

    probe: str
    before: str
    now: str
    after: str = ""
    """Empty where the change was cut off."""
    under_way: bool = False
    own: bool = True
    """Whether it has an undoing of its own."""

    def status(self, reading: str) -> str:
        """How it stands where it reads so."""
        if self.under_way:
            return "cut off"
        if reading == self.before:
            return "as before"
        if not self.after:
            return "cut off"
        return "as we left it" if reading == self.after or not self.own else "changed since"


@dataclass(frozen=True)
class _Told:
    """One image as its host told it."""

    sequence: int
    name: str
    step: str
    changes: Sequence[Mapping[str, str]]
    readings: Mapping[int, _Readings]
    stood: Mapping[str, Mapping[str, str]]
    """`before` and `after` it was made: how earlier applications' probes read, by the SHA-256 of the probe."""

    def follows(self, earlier: _Told) -> bool:
        """Whether it may have changed again what that one changed: of the same step, or with a part in common."""
        keys = {each["key"] for each in earlier.changes}
        return self.step == earlier.step or any(each["key"] in keys for each in self.changes)


def parse_listing(text: str) -> list[Image]:
    """The images that `listing` told, newest first."""
    blocks = [block.split("\n", 1) for block in text.split("\036")[1:]]
    told = [_parse(name, block) for name, block in blocks if block]
    told.sort(key=lambda each: (each.sequence, each.name), reverse=True)
    return [_image(each, [later for later in told[:at] if later.follows(each)]) for at, each in enumerate(told)]


def _parse(name: str, block: str) -> _Told:
    sequence, written, *lines = block.splitlines()
    manifest = json.loads(written)
    readings: dict[int, _Readings] = {}
    stood: dict[str, dict[str, str]] = {"before": {}, "after": {}}
    for kind, *words in map(str.split, lines):
        if kind == "change":
            number, probe, before, now, rest = words
            after, under_way, own = rest.split(":")
            readings[int(number)] = _Readings(probe, before, now, after, bool(under_way), bool(own))
        else:
            stood[kind][words[0]] = words[1]
    return _Told(int(sequence), name, manifest["step"], manifest["changes"], readings, stood)


def _image(told: _Told, later: Sequence[_Told]) -> Image:
    """As it will be found; `later` are the applications that follow it and will be undone before it, newest first."""
    changes = (_change(number, each, told.readings.get(number), later) for number, each in enumerate(told.changes))
    return Image(told.name, told.step, tuple(changes))


def _change(number: int, said: Mapping[str, str], read: _Readings | None, later: Sequence[_Told]) -> KeptChange:
    reading, then = _once_undone(read, later) if read else ("", "")
    status = read.status(reading) if read else "cut off"
    return KeptChange(number, said["key"], said["summary"], said["irreversible"], status, reading, then)


def _once_undone(read: _Readings, later: Sequence[_Told]) -> tuple[str, str]:
    """How it will read once these are undone, and which file tells that, where one does.

    They go down to where somebody else has changed it in between.
    """
    reading, then = read.now, ""
    for each in later:
        if read.probe in each.stood["before"]:
            if each.stood["after"].get(read.probe, reading) != reading:
                break
            reading = each.stood["before"][read.probe]
            then = next((f"{each.name}/before.{n}" for n, own in each.readings.items() if own.probe == read.probe), "")
    return reading, then
