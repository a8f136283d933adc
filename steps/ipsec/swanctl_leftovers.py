"""Connections of ours that an earlier sites.yaml had swanctl load, and the present one does not know: they go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.script import quote
from runbook.step import Change, Finding, Part
from steps.ipsec.swanctl import LOAD, MANAGED

if TYPE_CHECKING:
    from runbook.script import Reading

_FILES = "/etc/swanctl/conf.d/ula-net-*.conf"


@dataclass(frozen=True)
class Leftovers(Part):
    """No connection of ours but those for the site's present links; a file without our first line is the admin's."""

    wanted: tuple[str, ...]
    """The connections' names."""

    @property
    def key(self) -> str:
        """There is one such on a host."""
        return "connections of an earlier sites.yaml"

    def probe(self) -> str:
        """Each file of ours, and each connection with such a name that charon has loaded and no file speaks of."""
        return f"""\
for file in {_FILES}; do
    [ ! -f "$file" ] || ! head -n 1 -- "$file" | grep -q '^{MANAGED}' || echo "file $(basename "$file" .conf)"
done
command -v swanctl >/dev/null || exit 0
swanctl --list-conns 2>/dev/null | sed -n 's/^\\(ula-net-[A-Za-z0-9-]*\\): .*/\\1/p' | while read -r name; do
    grep -rqs "^[^#]*\\b$name *{{" /etc/swanctl || echo "loaded $name"
done"""

    def judge(self, found: Reading) -> Finding:
        """In order when each is for a present link."""
        left = [line.split(" ", 1) for line in found.text.splitlines()]
        files = [name for kind, name in left if kind == "file" and name not in self.wanted]
        names = list(dict.fromkeys(name for _, name in left if name not in self.wanted))
        if not names:
            return self.in_order()
        paths = [quote(f"/etc/swanctl/conf.d/{name}.conf") for name in files]
        change = Change(
            summary=f"remove {' and '.join(names)}, for which there is no link in sites.yaml any more",
            save='mkdir "$image/kept.$index"\n' + "\n".join(f'cp -a -- {each} "$image/kept.$index"/' for each in paths),
            apply="\n".join([*(f"rb_remove {each}" for each in paths), LOAD, *(_down(name) for name in names)]),
            undo=(
                'for file in "$image/kept.$index"/*; do\n'
                '    [ ! -e "$file" ] || cp -a -- "$file" /etc/swanctl/conf.d/\ndone'
            ),
            settle=f"! systemctl is-active --quiet strongswan.service || {LOAD}",
            diff="\n".join(
                [*(f"- {each}" for each in paths), *(f"- connection {name}, and its tunnel" for name in names)]
            ),
        )
        return self.drift(change)


def _down(name: str) -> str:
    """Shell that ends a tunnel: what charon no longer knows of goes on carrying traffic otherwise."""
    return f"swanctl --terminate --ike {quote(name)} --timeout 10 >&2 || true"
