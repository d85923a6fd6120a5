# shellcheck shell=bash
# What restic.sh, borg.sh, rclone.sh and share.sh have in common. They source it; it does nothing by itself.
#
# Each of them names three functions:
#   names_there           the names of the archives on the far side, one a line
#   store NAME            copy this file of BACKUP_DIR; the current directory is BACKUP_DIR
#   size_there NAME       how many bytes it has on the far side; nothing if it is not there
#
# Exit statuses, as far as they can those of safeharbor:
#   0  the newest archive is there and young enough
#   1  it was not copied, or did not arrive
#   2  the settings cannot be used
#   3  there is no archive, or the newest one is too old: what there was is copied, nothing was deleted far away
#   4  another run of this job is at work
#   7  the share is not mounted
set -euo pipefail
shopt -s nullglob
export LC_ALL=C TZ=UTC # names sort by byte, and the times in them are UTC
umask 077

job=$(basename "$0" .sh)
say() { printf '%s\n' "$job: $*"; }
fail() { # status, reason
    say "${*:2}" >&2
    exit "$1"
}

# Reads the file of settings that is the only argument, and keeps a second run away.
begin() {
    [ $# = 1 ] || fail 2 "usage: $0 FILE-OF-SETTINGS"
    require_private "$1"
    exec 9<"$1"
    flock --nonblock 9 || fail 4 "another run with $1 is at work"
    set -a # what restic, borg and rclone read themselves must be in their environment
    # shellcheck disable=SC1090
    . "$1"
    set +a
    require BACKUP_DIR
    cd -P -- "$BACKUP_DIR" || fail 2 "BACKUP_DIR=$BACKUP_DIR is no directory that can be entered"
}

require() { # variables
    local name
    for name; do [ -n "${!name:-}" ] || fail 2 "$name is not set"; done
}

require_program() {
    command -v "$1" >/dev/null || fail 2 "$1 is not installed"
}

# A file that holds a secret, or names what does.
require_private() {
    [ -r "$1" ] || fail 2 "$1 cannot be read"
    (((8#$(stat --dereference --format=%a -- "$1") & 8#77) == 0)) || fail 2 "others may read $1. Type: chmod 600 $1"
}

# Only whole archives: Safe Harbor gives a file its name when it is finished and proven, by a rename. So *.tmp, the
# lock and all other dot files are left out by not being named here. Oldest first.
D='[0-9][0-9]'
nightly() {
    # shellcheck disable=SC2086 # the pattern is to be expanded
    only_plain safeharbor-backup-$D$D-$D-${D}T$D-$D-${D}Z.tar
}
pre_upgrade() { only_plain pre-upgrade-*.tar; }
# Those that `safeharbor keep` has marked.
kept() {
    local name
    nightly | while read -r name; do
        if [ -e "$name.keep" ]; then printf '%s\n' "$name"; fi
    done
}
only_plain() { # files
    local name
    for name; do
        if [ ! -f "$name" ] || [ -L "$name" ]; then continue; fi
        # such names need no quoting in tags, patterns and JSON
        if [[ $name =~ ^[A-Za-z0-9._-]+$ ]]; then printf '%s\n' "$name"; else say "left out for its name: $name" >&2; fi
    done
}

size_here() { stat --format=%s -- "$1"; }

# Copies what is newer than the newest nightly archive on the far side, oldest first, and every pre-upgrade archive
# that is not there, and every one that is kept. What else retention has deleted there is older, and does not come back.
copy_archives() {
    local there newest_there name names
    there=$(names_there) || fail 1 "the far side does not answer"
    newest_there=$(grep '^safeharbor-backup-' <<<"$there" | sort | tail -n 1 || true)
    mapfile -t names < <(nightly)
    for name in "${names[@]}"; do
        if [[ $name > $newest_there ]]; then store_locked "$name"; fi
    done
    mapfile -t names < <(kept)
    for name in "${names[@]}"; do
        if [[ ! $name > $newest_there ]] && ! grep --quiet --line-regexp --fixed-strings -- "$name" <<<"$there"; then
            store_locked "$name"
        fi
    done
    mapfile -t names < <(pre_upgrade)
    for name in "${names[@]}"; do
        if ! grep --quiet --line-regexp --fixed-strings -- "$name" <<<"$there"; then
            store_locked "$name"
        elif [ "$(size_there "$name")" != "$(size_here "$name")" ]; then
            fail 1 "$name differs from its copy, which stays as it is. Give each pre-upgrade archive a name of its own"
        fi
    done
}

# `safeharbor prune` leaves an archive alone while somebody holds this lock.
store_locked() {
    { exec 8<"$1"; } 2>/dev/null || return 0 # pruned meanwhile
    flock --shared --timeout 60 8 || say "$1 cannot be locked; it is copied nevertheless"
    if [ -e "$1" ]; then
        say "copying $1 ($(size_here "$1") bytes)"
        store "$1" || fail 1 "$1 could not be copied; the next run tries again"
    fi
    exec 8<&-
}

# The newest archive has arrived whole, and is young enough. Before that nothing may be deleted anywhere.
require_arrival() {
    local newest size taken age
    newest=$(nightly | tail -n 1)
    [ -n "$newest" ] || fail 3 "there is no archive in $BACKUP_DIR"
    size=$(size_there "$newest") || true
    [ "$size" = "$(size_here "$newest")" ] ||
        fail 1 "$newest did not arrive: ${size:-no} bytes are there instead of $(size_here "$newest")"
    taken=$(sed -E 's/^safeharbor-backup-(.{10})T(..)-(..)-(..)Z\.tar$/\1 \2:\3:\4/' <<<"$newest")
    age=$((($(date +%s) - $(date --date="$taken" +%s)) / 3600))
    ((age < ${OFFSITE_MAX_AGE_HOURS:-26})) || fail 3 "$newest has arrived, but is $age hours old: look at the backup"
    if [ -n "${OFFSITE_HEALTHCHECK:-}" ]; then
        sh -c "$OFFSITE_HEALTHCHECK" || fail 3 "$newest has arrived, but the backup is not healthy"
    fi
    say "$newest is there"
}
