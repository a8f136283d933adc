"""Systemd units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runbook.script import quote
from runbook.step import Change, Finding, Part

if TYPE_CHECKING:
    from runbook.script import Reading


@dataclass(frozen=True)
class Service(Part):
    """A unit that is to start at boot and to run now."""

    unit: str

    @property
    def key(self) -> str:
        """The unit's name."""
        return f"service {self.unit}"

    def probe(self) -> str:
        """`enabled active`, or whatever it is instead."""
        return _state(self.unit)

    def judge(self, found: Reading) -> Finding:
        """Compare both states."""
        if found.text.split() == ["enabled", "active"]:
            return self.in_order()
        unit = quote(self.unit)
        # a package that was just installed may have started it before others had brought their parts of it
        start = "start" if found.text.split()[-1:] == ["active"] else "restart"
        change = Change(
            summary=f"enable and start {self.unit} ({_words(found)})",
            # enabled and started by itself: `enable --quiet --now` says nothing of why a unit does not start
            apply=(
                f"systemctl unmask {unit} 2>/dev/null || true\n"
                f"systemctl enable --quiet {unit} >&2\nsystemctl {start} {unit} >&2"
            ),
            save=_keep_links(self.unit),
            undo=_undo(self.unit, found),
            diff=f"- {self.unit} {found.text.strip()}\n+ {self.unit} enabled active",
        )
        return self.absent(change) if "not-found" in found.text else self.drift(change)


@dataclass(frozen=True)
class Masked(Part):
    """A unit that must never start, whether it is installed or not."""

    unit: str
    why: str

    @property
    def key(self) -> str:
        """The unit's name."""
        return f"masked service {self.unit}"

    def probe(self) -> str:
        """`masked inactive`, or whatever it is instead."""
        return _state(self.unit)

    def judge(self, found: Reading) -> Finding:
        """In order when masked and not running."""
        if found.text.split() == ["masked", "inactive"]:
            return self.in_order()
        unit = quote(self.unit)
        change = Change(
            summary=f"mask {self.unit} ({_words(found)})",
            apply=f"systemctl mask --quiet --now {unit} 2>/dev/null || systemctl mask --quiet {unit} >&2",
            save=_keep_links(self.unit),
            undo=f"systemctl unmask --quiet {unit} >&2\n{_undo(self.unit, found)}",
            diff=f"- {self.unit} {found.text.strip()}\n+ {self.unit} masked inactive",
        )
        return self.drift(change, self.why)


def at_work(unit: str) -> str:
    """Shell that succeeds where a unit runs, or will after the next boot."""
    name = quote(unit)
    return f"systemctl is-active --quiet {name} 2>/dev/null || systemctl is-enabled --quiet {name} 2>/dev/null"


def _state(unit: str) -> str:
    """Shell that prints how a unit starts and whether it runs.

    One that is starting again and again does not run; `failed` is past, and no undoing brings it back.
    """
    name = quote(unit)
    return (
        f"enabled=$(systemctl is-enabled {name} 2>/dev/null) || true\n"
        f"active=$(systemctl is-active {name} 2>/dev/null) || true\n"
        "case $active in active | reloading | refreshing) active=active ;; *) active=inactive ;; esac\n"
        f'printf \'%s %s\\n\' "${{enabled:-not-found}}" "$active"'
    )


def _words(found: Reading) -> str:
    """How a unit is, for people."""
    enabled, active = (*found.text.split(), "", "")[:2]
    if enabled == "not-found":
        return "it runs, with no unit file" if active == "active" else "it is not there yet"
    return f"it is {enabled} and {active}"


def _keep_links(unit: str) -> str:
    """Shell that keeps what has a unit start at boot, which a package that is removed and not purged leaves behind."""
    find = f"find /etc/systemd/system -type l -lname {quote(f'*/{unit}')} -printf '%p %l\\n'"
    return f'{find} >"$image/links.$index"'


LINKS_BACK: Final = """
while read -r path to; do
    [ -L "$path" ] || [ -e "$path" ] || { mkdir -p -- "$(dirname -- "$path")" && ln -s -- "$to" "$path"; }
done <"$image/links.$index\""""
"""Puts them back, as a unit is disabled that is not there any more, or was not: that would take them away."""


def _undo(unit: str, found: Reading) -> str:
    """Shell that gives a unit the states found."""
    name = quote(unit)
    enabled, active = (*found.text.split(), "", "")[:2]
    if enabled == "not-found":
        return f"systemctl disable --quiet --now {name} 2>/dev/null || true{LINKS_BACK}"
    start = {"enabled": "enable", "disabled": "disable", "masked": "mask"}.get(enabled, "")
    lines = [f"systemctl {start} --quiet {name} >&2"] if start else []
    lines.append(f"systemctl {'start' if active == 'active' else 'stop'} {name} >&2")
    return "\n".join(lines)
