"""Before-images: what a change needs to be undone, kept on the host that it changes, root-only.

An image is a directory, one for each application of a step to a target. It is whole before anything is changed:

    manifest     JSON: version, step, and each change's key, summary, whether it is irreversible
    sequence     its number among the host's images; whatever a controller's clock says, the highest is the newest
    lib.sh       the functions that the scripts below use
    probe.N      shell that reads what change N is about
    before.N     what it read before
    after.N      what it read afterwards; missing when the change was cut off
    stood.before how the changes of earlier applications of the step stood beforehand; stood.after: afterwards
    kept.N       the file or link as it was
    beside       where new content is written before it takes a path's place
    made.N       the directories that were made above it
    undo.N       shell that puts it back
    settle.N     shell that tidies up and has a daemon take notice, once everything is put back
    revert       the undoing of the changes that could cut the line, run by a timer

So the host can be brought back from any controller, or by hand:

    image=DIR index=N sh -c '. DIR/lib.sh; . DIR/undo.N; . DIR/settle.N'

An image goes when all of it is undone, when the admin has decided to keep what they changed since, or by `runbook
forget`; there is one for each time that a step had something to change. One never goes by itself: each is the only way
back to what was there before it. An image that was never finished goes at the next undoing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runbook.script import PRELUDE, Batch, digest, heredoc, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runbook.script import Reading
    from runbook.step import Finding

VERSION: Final = 1
IMAGES: Final = "/var/lib/ipsec-runbook/images"
"""Where a host keeps them; the controller's own are beside sites.yaml."""
KEEP: Final = "keep it"
PUT_BACK: Final = "put the earlier state back"
REVERT_SECONDS: Final = 60
"""How long a change that could cut the line may wait for the login that proves it."""

_TIMER: Final = "ipsec-runbook-revert-"
PLAN_CHANGED: Final = 75
"""Exit code of the guard (EX_TEMPFAIL): the host is no longer as the plan says."""


@dataclass(frozen=True)
class KeptChange:
    """One change of an image as the host tells it."""

    number: int
    key: str
    summary: str
    irreversible: str
    status: str
    """`as we left it`, `as before`, `changed since`, or `cut off` when the change itself was interrupted; as it will be
    once the later applications of its step are undone."""
    now: str = ""
    """The SHA-256 of what is there then."""
    then: str = ""
    """The file under the images that tells what is there then; empty where it is there now."""
    decision: str = ""
    """What the user wants of a change that they were shown to be `changed since`: KEEP, or PUT_BACK."""

    @property
    def stays(self) -> bool:
        """Whether it is not undone, since somebody has changed it since."""
        return self.status == "changed since" and self.decision != PUT_BACK


@dataclass(frozen=True)
class Image:
    """One application of a step to a target, as kept there."""

    name: str
    step: str
    changes: tuple[KeptChange, ...]

    @property
    def changed(self) -> list[KeptChange]:
        """What others have changed since."""
        return [each for each in self.changes if each.status == "changed since"]


def script_lines(*lines: str) -> str:
    """Join shell lines."""
    return "\n".join(lines)


def guard(findings: Sequence[Finding]) -> str:
    """Shell that reads every part once more, keeps it as before-image, and stops where it is not as planned."""
    checks = []
    for index, each in enumerate(findings):
        planned = digest(each.found.text if each.found else "")
        checks.append(
            script_lines(
                f'now=$( (\n{each.probe}\n) </dev/null | tee -- "$image/before.{index}" | sha256sum)',
                f'if [ "${{now%% *}}" != {planned} ]; then',
                f"    printf '%s\\n' {quote(each.key)}",
                f'    rm -rf -- "$image"; exit {PLAN_CHANGED}',
                f'elif [ "$now" != "$(sha256sum <"$image/before.{index}")" ]; then  # no room: tee has said so',
                '    rm -rf -- "$image"; exit 1',
                "fi",
            )
        )
    return script_lines('umask 077; mkdir -p -- "$image" || exit 1; rb_sweep "$(dirname -- "$image")"', *checks)


def begun(step: str) -> str:
    """What the manifest of an application of a step begins with."""
    return json.dumps({"version": VERSION, "step": step}).removesuffix("}")


def keep(step: str, findings: Sequence[Finding]) -> str:
    """Shell that writes the image, so that what follows can be undone whatever happens."""
    changes = [(index, each, each.change) for index, each in enumerate(findings) if each.change]
    told = [
        {"key": each.key, "summary": change.summary, "irreversible": change.irreversible} for _, each, change in changes
    ]
    manifest = f'{begun(step)}, "changes": {json.dumps(told)}}}\n'
    risky = [index for index, _, change in reversed(changes) if change.risky]
    lines = ["umask 077; set -e", f'cat >"$image/lib.sh" {heredoc(PRELUDE)}']
    for index, each, change in changes:
        lines += [
            f'cat >"$image/probe.{index}" {heredoc(each.probe + chr(10))}',
            f'cat >"$image/undo.{index}" {heredoc((change.undo or ":") + chr(10))}',
            f'cat >"$image/settle.{index}" {heredoc((change.settle or ":") + chr(10))}',
            f"index={index}",
            change.save or ":",
        ]
    if risky:
        lines.append(f'cat >"$image/revert" {heredoc(_revert(risky))}')
    lines += [
        'last=$(cat -- "$(dirname -- "$image")"/*/sequence 2>/dev/null | sort -n | tail -n 1)',
        'echo "$((${last:-0} + 1))" >"$image/sequence"',
        f'cat >"$image/manifest.new" {heredoc(manifest)}',
        'sync -f -- "$image"',
        'mv -- "$image/manifest.new" "$image/manifest"',
        'sync -- "$image"',
    ]
    return script_lines(*lines)


def _revert(risky: Iterable[int]) -> str:
    """The script that the timer runs: no controller is needed for it."""
    undo = [f'(index={index}; . "$image/undo.{index}") || true' for index in risky]
    return script_lines('image=$(dirname -- "$0")', '. "$image/lib.sh"', ': >"$image/reverted"', *undo, "")


def arm(image: str) -> str:
    """Shell that has the host itself undo the risky changes unless it is disarmed in time."""
    return script_lines(
        "set -e",
        f"systemd-run --quiet --collect --unit={quote(timer(image))} --on-active={REVERT_SECONDS} "
        '--timer-property=AccuracySec=1s /bin/sh "$image/revert"',
    )


def disarm(image: str) -> str:
    """Shell that calls the reversal off; fails where it has already run."""
    return script_lines(
        "set -e",
        f"systemctl stop {quote(timer(image))}.timer",
        'if [ -e "$image/reverted" ]; then echo "the host has already undone the change" >&2; exit 1; fi',
    )


def timer(image: str) -> str:
    """The name of the systemd unit that undoes `image`'s risky changes."""
    return f"{_TIMER}{image}"


def revert_unproved() -> str:
    """Shell that has every reversal still armed done at once: no run is left that could prove its change."""
    return script_lines(
        f"for unit in $(systemctl list-units --plain --no-legend '{_TIMER}*' 2>/dev/null | cut -d ' ' -f 1); do",
        "    echo 'undoing a change of an earlier run that no new login has proved' >&2",
        '    systemctl start --wait "${unit%.*}.service" 2>/dev/null || true',
        '    systemctl stop "${unit%.*}.timer" 2>/dev/null || true',
        "done",
    )


def record(index: int, probe: str) -> str:
    """Shell that reads a changed part again, keeps the reading in the image, whole or not at all, and prints it."""
    return script_lines(
        'if [ ! -e "$image/manifest" ]; then  # nothing was begun',
        f"(\n{probe}\n); exit",
        "fi",
        f'(\n{probe}\n) >"$image/now.{index}"; code=$?',
        f'sync -- "$image/now.{index}" && mv -f -- "$image/now.{index}" "$image/after.{index}"',
        f'cat -- "$image/after.{index}"; exit "$code"',
    )


def unmake(path: str, image: Image, numbers: Sequence[int]) -> Batch:
    """A script that undoes the numbered changes of the image at `path`, last first, then reads them again.

    While a change is undone it counts as cut off, so that undoing can be cut off and begun anew. Settling is for all.
    """
    forgotten = 'rm -f -- "$image/after.$index"'
    undo = {
        f"undo {n}": f'index={n}; . "$image/lib.sh"; set -e; {forgotten}; . "$image/undo.{n}"'
        for n in sorted(numbers, reverse=True)
    }
    settle = [f'index={each.number}; . "$image/settle.{each.number}"' for each in reversed(image.changes)]
    first = {**undo, "settle": script_lines('. "$image/lib.sh"; set -e', *settle)}
    read = {f"read {n}": f'. "$image/lib.sh"; . "$image/probe.{n}"' for n in numbers}
    return Batch({**first, **read, "before": _BEFORE}, {"image": path}, gated=frozenset(first))


_BEFORE = """\
for before in "$image"/before.*; do
    number=${before##*.}
    [ "$(cat -- "$image/undo.$number")" = : ] || printf '%s %s\\n' "$number" "$(sha256sum <"$before" | cut -d' ' -f1)"
done
"""
"""What has no undoing of its own, such as what a daemon had loaded of files since edited, need not come back as it was.
"""


def amount(images: str) -> str:
    """Shell that prints how many images there are, and how many KiB they take; nothing where there is none."""
    kept = f"$(ls -d -- {quote(images)}/*/manifest 2>/dev/null | wc -l)"
    return f'kept={kept}; [ "$kept" = 0 ] || echo "$kept $(du -sk -- {quote(images)} | cut -f 1)"'


def since(images: str, kept: Iterable[Image]) -> Batch:
    """A script that reads what was changed since: `left NAME N` as we left it, `now NAME N` as it is found."""
    fragments = {}
    for image in kept:
        path = quote(f"{images}/{image.name}")
        for each in image.changed:
            now = f"image={path}; . {path}/lib.sh; . {path}/probe.{each.number}"
            fragments[f"left {image.name} {each.number}"] = f"cat -- {path}/after.{each.number}"
            found = f"cat -- {quote(f'{images}/{each.then}')}" if each.then else now
            fragments[f"now {image.name} {each.number}"] = found
    return Batch(fragments)


def not_as_before(readings: Mapping[str, Reading], numbers: Sequence[int]) -> list[int]:
    """The changes that were undone and read otherwise than before they were made, after `unmake`."""
    before = dict(line.split(" ", 1) for line in readings["before"].text.splitlines())
    return [n for n in numbers if str(n) in before and digest(readings[f"read {n}"].text) != before[str(n)]]


def judged_here(image: Image, older: Sequence[Image]) -> set[int]:
    """The changes of `image` that no `older` application of its step, undone next, has made before it.

    Between the two the host can have been as a cut-off change left it, as with half a package: it never comes back.
    """
    before = {change.key for each in older if each.step == image.step for change in each.changes}
    return {each.number for each in image.changes if each.key not in before}


def undone(path: str, numbers: Sequence[int]) -> str:
    """Shell that has the numbered changes of an image that is kept count as made never: what differs now is new."""
    return script_lines(f"cd -- {quote(path)} || exit", *(f"cp -- before.{n} after.{n}" for n in numbers))


def forget(images: str, names: Sequence[str]) -> str:
    """Shell that removes images that nobody will undo, those never finished, and the directories left empty.

    The manifest goes first: an image without one is none, wherever its removal is cut off.
    """
    return script_lines(
        *(f"rm -f -- {quote(f'{images}/{name}/manifest')}" for name in names),
        f"for image in {quote(images)}/*/; do",
        '    [ ! -d "$image" ] || [ -e "${image}manifest" ] || rm -rf -- "$image"',
        "done",
        f"rmdir -p --ignore-fail-on-non-empty -- {quote(images)} 2>/dev/null || true",
    )
