"""What earlier applications of steps have made of a host, and is there as the last one left it: before-images tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook.images import IMAGES, begun
from runbook.script import quote

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_BETWEEN = ";"


def each_change(steps: Collection[str], kinds: Collection[str], body: str, images: str = IMAGES) -> str:
    """Shell that runs `body` for each change of these steps to parts whose keys begin so, the oldest first.

    It has the part's `$key`, and the change's `$number` in its `$image`; and knows by `left_so` whether it reads now as
    it was left.
    """
    ours = "|".join(f"{quote(each)}*" for each in kinds)
    return f"""\
left_so() {{ (. "$image/lib.sh"; . "$image/probe.$number") </dev/null 2>/dev/null | cmp -s - "$image/after.$number"; }}
grep -lsF {_begun(steps)} {quote(images)}/*/manifest | while IFS= read -r image; do
    image=${{image%/manifest}}
    echo "$(cat "$image/sequence") $image"
done | sort -n | while read -r number image; do
    number=-1
    grep -o '{{"key": "[^"]*"' "$image/manifest" | cut -d '"' -f 4 | while IFS= read -r key; do
        number=$((number + 1))
        case $key in {ours}) ;; *) continue ;; esac
{body}
    done
done"""


def made_facts(
    fact: str, makers: Collection[str], takers: Collection[str], kinds: Collection[str], images: str = IMAGES
) -> str:
    """Shell that prints as `fact` the keys of the parts of `makers`, of these kinds, that are ours alone.

    There was nothing before one of these steps made it, and it reads now as the last of them, or of those that take it
    away again, has left it: what an admin had there before, or has changed since, is not among them; nor is what was
    made by an application that was forgotten. What was cut off counts as done where it makes, as undoing has it, and as
    not done where it takes away.
    """
    body = f"""\
        by=taken
        ! grep -qF {_begun(makers)} "$image/manifest" || by=made
        [ "$by" = made ] || [ -e "$image/after.$number" ] || continue
        printf '%s\\t%s\\t%s\\t%s\\n' "$key" "$number" "$image" "$by $(head -n 1 "$image/before.$number")"
"""
    newest = """\
{ newest[$1] = $0 }
$4 == "made absent" { made[$1] = 1 }
END { for (key in made) print newest[key] }"""
    # the readings of the newest alone are taken: a renewal a month makes many
    ours = f"""\
tab=$(printf '\\t')
{each_change([*makers, *takers], kinds, body, images)} | awk -F '\\t' {quote(newest)} | sort |
    while IFS=$tab read -r key number image _; do
        if [ ! -e "$image/after.$number" ]; then :
        elif [ "$(head -n 1 "$image/after.$number")" = absent ] || ! left_so; then continue; fi
        printf '%s{_BETWEEN}' "$key"
    done"""
    return f"printf '{fact}=%s\\n' \"$({ours})\"\n"


def made(facts: Mapping[str, str], fact: str) -> list[str]:
    """The keys that were printed."""
    return [each for each in facts.get(fact, "").split(_BETWEEN) if each]


def _begun(steps: Collection[str]) -> str:
    """What grep knows the manifests of these steps by."""
    return " ".join(f"-e {quote(begun(each))}" for each in steps)
