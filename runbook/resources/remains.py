"""Configuration of packages that are gone but for it (dpkg's state `config-files`): it is the admin's."""

from __future__ import annotations

from typing import Final

NOTE_REMAINS: Final = """
dpkg-query -W -f '${db:Status-Status} ${Package}\\n' | sed -n 's/^config-files //p' >"$image/remains.$index"
dpkg-query -W -f '${db:Status-Status}\\n${Conffiles}\\n' |
    awk '$1 ~ "^/" { if (gone) print $1; next } NF { gone = $1 == "config-files" }' |
    sed 'p; s/$/.dpkg-dist/p; s/dist$/new/' >"$image/paths.$index"
mkdir -- "$image/remained.$index"
while read -r path; do
    # a link may lead nowhere; paths begin with a slash, and those cp takes from / alone, where the script is
    if [ -e "$path" ] || [ -L "$path" ]; then cp -a --parents -- "$path" "$image/remained.$index"; fi
done <"$image/paths.$index"
"""
"""Notes which packages those are, and keeps their configuration files: what is installed may bring others."""

BROUGHT_REMAINS: Final = """\
[ -e "$image/brought.$index" ] || {
    xargs -r dpkg-query -W -f '${Conffiles}\\n' <"$image/added.$index" 2>/dev/null | awk '$1 ~ "^/" { print $1 }' |
        sed 'p; s/$/.dpkg-dist/p; s/dist$/new/' | grep -xF -f "$image/paths.$index" >"$image/brought.new" || true
    mv -f -- "$image/brought.new" "$image/brought.$index"
}
"""
"""Notes which of them have come with an installation as well, once; the others are none of its business."""

SEEN_REMAINS: Final = f"""\
{BROUGHT_REMAINS}while read -r path; do
    [ ! -e "$path" ] || sha256sum -- "$path"
done <"$image/brought.$index" >"$image/installed.$index"
"""
"""Remembers how the installation has left those."""

GIVE_BACK_REMAINS: Final = """\
while read -r path; do
    was=$image/remained.$index$path
    if [ -e "$path" ] && [ -e "$image/installed.$index" ] &&
        ! sha256sum -- "$path" | grep -qxF -f "$image/installed.$index"
    then :
    elif [ ! -e "$was" ] && [ ! -L "$was" ]; then rm -f -- "$path"
    else
        new=$(rb_beside "$path")
        rb_note "$new"
        (umask 022 && mkdir -p -- "$(dirname -- "$path")")
        rm -f -- "$new" && cp -aT -- "$was" "$new" && rb_settle "$path" "$new"
    fi
done <"$image/brought.$index"
"""
"""Gives them back as they were, but for what others have changed of them since; if the installation was cut off, all.
"""
