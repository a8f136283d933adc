# Functions that every script sent to a host may use. POSIX sh; needs coreutils.
# $image: the directory that keeps the before-images of the step in hand.

# rb_state PATH: what is at PATH in one line; nothing where that cannot be read. A file's content is told by its SHA-256.
rb_state() {
    if [ -L "$1" ]; then
        printf 'link %s\n' "$(readlink -- "$1")"
    elif [ -d "$1" ]; then
        printf 'directory %s\n' "$(stat -c '%a %U:%G' -- "$1")"
    elif [ -f "$1" ]; then
        attributes=$(stat -c '%a %U:%G' -- "$1") && sum=$(sha256sum <"$1") &&
            printf 'file %s %s\n' "$attributes" "${sum%% *}"
    elif [ -e "$1" ]; then # never read: a fifo would be waited for, a device has no end
        stat -c %F -- "$1"
    else
        echo absent
    fi
}

# rb_beside PATH: the name under which PATH's next content is written before it takes its place.
rb_beside() {
    printf '%s/.%s.ipsec-runbook-new' "$(dirname -- "$1")" "$(basename -- "$1")"
}

# rb_note NEW: keep in the image that NEW may be left behind, for rb_sweep.
rb_note() {
    [ -z "${image:-}" ] || printf '%s\n' "$1" >>"$image/beside"
}

# rb_sweep IMAGES: remove what was left behind by whatever was cut off here before, also beside what is in order now.
rb_sweep() {
    cat -- "$1"/*/beside 2>/dev/null | while IFS= read -r new; do
        case $new in *.ipsec-runbook-new) rm -rf -- "$new" ;; esac
    done
}

# rb_settle PATH NEW: NEW takes PATH's place at once, and stays there if the power fails now.
rb_settle() {
    { [ -L "$2" ] || sync -- "$2"; } && mv -fT -- "$2" "$1" && sync -- "$(dirname -- "$1")"
}

# rb_like PATH NEW: make NEW an empty file, for its owner alone, with the access list (acl(5)) that a file PATH has.
# Only the mask of that list follows the mode: what it grants is back with the last chmod.
rb_like() {
    rm -rf -- "$2"
    if [ -f "$1" ] && [ ! -L "$1" ]; then cp -a --attributes-only -- "$1" "$2" && chmod 600 "$2"; else : >"$2"; fi
}

# rb_put PATH MODE OWNER:GROUP [VALIDATOR]: standard input becomes the file PATH, atomically.
# VALIDATOR is a shell command that judges the new content, whose name is in $new.
# The steps are chained: errexit is off where a caller tests the result, and half a file must never settle.
rb_put() (
    umask 077
    new=$(rb_beside "$1")
    rb_note "$new"
    if ! { rb_like "$1" "$new" && cat >"$new" && chown -- "$3" "$new" && chmod -- "$2" "$new" &&
        { [ -z "${4:-}" ] || eval "$4"; } && rb_settle "$1" "$new"; }; then
        rm -f -- "$new"
        return 65
    fi
)

# rb_remove PATH: nothing is at PATH any more.
rb_remove() {
    rm -f -- "$1" && sync -- "$(dirname -- "$1")"
}

# rb_parents PATH: make the directories above PATH, and keep as $image/made.$index which of them were missing.
rb_parents() {
    parent=$(dirname -- "$1") missing=
    while [ ! -d "$parent" ]; do
        missing="$parent
$missing"
        parent=$(dirname -- "$parent")
    done
    [ -z "$missing" ] || { printf %s "$missing" >"$image/made.$index" && mkdir -p -- "$(dirname -- "$1")"; }
}

# rb_tidy PATH: remove what making PATH can have left beside and above it, whenever it was cut off.
rb_tidy() {
    new=$(rb_beside "$1")
    rm -rf -- "$new" "$new".*
    [ ! -e "$image/made.$index" ] || tac -- "$image/made.$index" | while IFS= read -r made; do
        [ -L "$made" ] || [ ! -d "$made" ] || rmdir --ignore-fail-on-non-empty -- "$made"
    done
}

# rb_save PATH: keep what is at PATH (a file or a link) as the before-image of the change $index.
rb_save() {
    if [ -L "$1" ] || [ -e "$1" ]; then
        cp -aT -- "$1" "$image/kept.$index" && { [ -L "$image/kept.$index" ] || sync -- "$image/kept.$index"; }
    fi
}

# rb_restore PATH: put the before-image of the change $index back at PATH, or nothing where there was nothing.
rb_restore() (
    if [ -L "$image/kept.$index" ] || [ -e "$image/kept.$index" ]; then
        new=$(rb_beside "$1")
        rb_note "$new"
        rm -rf -- "$new" && cp -aT -- "$image/kept.$index" "$new" && rb_settle "$1" "$new"
    elif [ -L "$1" ] || [ -e "$1" ]; then
        rb_remove "$1"
    fi
)
