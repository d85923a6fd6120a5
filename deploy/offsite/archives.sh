# shellcheck shell=bash
# What restic.sh, borg.sh, rclone.sh and share.sh have in common. They source it; it does nothing by itself.
#
# Each of them names five functions:
#   names_there           the names of the archives on the far side, one a line
#   evidence_there        the same for the files that drills have left
#   store NAME            copy this file of BACKUP_DIR; the current directory is BACKUP_DIR
#   size_there NAME       how many bytes it has on the far side; nothing if it is not there
#   fetch NAME DIRECTORY  bring it back, under its name
#
# With --drill before the file of settings nothing is copied: the newest archive is fetched from the far side, and
# `safeharbor drill` restores it into a scratch copy. The exit status is then that of the drill.
#
# Exit statuses, as far as they can those of safeharbor:
#   0  the newest archive is there and young enough
#   1  it was not copied, or did not arrive
#   2  the settings cannot be used
#   3  there is no archive, or the newest one is too old: what was there is copied, nothing was deleted on the far side
#   4  another run of this job is at work
#   7  the share is not mounted
set -euo pipefail
shopt -s nullglob
export LC_ALL=C TZ=UTC # names sort by byte, and the times in them are UTC
umask 077

suffix='' # behind the names of copies
job=$(basename "$0" .sh)
say() { printf '%s\n' "$job: $*"; }
fail() { # status, reason
    say "${*:2}" >&2
    exit "$1"
}

# Reads the file of settings that is the only argument, and keeps a second run away.
begin() {
    local patience=0
    is_drill=''
    if [ "${1:-}" = --drill ]; then
        is_drill=1 patience=3600
        shift
    fi
    [ $# = 1 ] || fail 2 "usage: $0 [--drill] FILE-OF-SETTINGS"
    require_private "$1"
    copy=$(basename "$1" .env) # what safeharbor calls it: restic, of offsite-restic.env
    copy=${copy#offsite-} copy=${copy//[^A-Za-z0-9._-]/-}
    exec 9<"$1"
    flock --timeout "$patience" 9 || fail 4 "another run with $1 is at work"
    set -a # what restic, borg and rclone read themselves must be in their environment
    # shellcheck disable=SC1090
    . "$1"
    set +a
    require BACKUP_DIR
    cd -P -- "$BACKUP_DIR" || fail 2 "BACKUP_DIR=$BACKUP_DIR is not a directory that can be entered"
    suffix=${OFFSITE_AGE_RECIPIENT:+.age} # of what only the owner of a key can read
    [ -z "$suffix" ] || require_program age
}

# safeharbor, as it is typed on this host.
ours() { # arguments
    local typed=${OFFSITE_SAFEHARBOR:-}
    [ -n "$typed" ] || typed=$(command -v safeharbor || echo /opt/safeharbor/bin/safeharbor)
    sh -c "$typed \"\$@\"" sh "$@"
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
# lock and all other dot files are not listed here, so they are not copied. Oldest first.
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
# What drills have found, and the signatures of that.
evidence() {
    # shellcheck disable=SC2086 # the pattern is to be expanded
    only_plain safeharbor-drill-$D$D-$D-${D}T$D-$D-${D}Z.json{,.sig}
}
only_plain() { # files
    local name
    for name; do
        if [ ! -f "$name" ] || [ -L "$name" ]; then continue; fi
        # such names need no quoting in tags, patterns and JSON
        if [[ $name =~ ^[A-Za-z0-9._-]+$ ]]; then printf '%s\n' "$name"; else say "skipped because of its name: $name" >&2; fi
    done
}

size_here() { stat --format=%s -- "$1"; }

# How large its copy is: age adds a header, and 16 bytes to each 64 KiB.
size_of_copy() {
    local size
    size=$(size_here "$1")
    if [ -n "$suffix" ]; then
        of_nothing=${of_nothing:-$(age_to - </dev/null | wc --bytes)}
        size=$((size + of_nothing + 16 * ((size + 65535) / 65536 - (size > 0))))
    fi
    echo "$size"
}

# Encrypts standard input into a file, to whom OFFSITE_AGE_RECIPIENT names: keys, or a file of them.
age_to() { # file, or - for standard output
    local each words to=()
    read -ra words <<<"$OFFSITE_AGE_RECIPIENT"
    for each in "${words[@]}"; do
        if [[ $each == /* ]]; then to+=(--recipients-file "$each"); else to+=(--recipient "$each"); fi
    done
    age --encrypt "${to[@]}" --output "$1"
}

# Copies what is newer than the newest nightly archive on the far side, oldest first, and every pre-upgrade archive
# that is not there, and every one that is kept. Anything else that retention has deleted there is older, and is not copied again.
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
        elif [ "$(size_there "$name")" != "$(size_of_copy "$name")" ]; then
            fail 1 "$name differs from its copy, which stays as it is. Give each pre-upgrade archive a name of its own"
        fi
    done
}

# `safeharbor prune` leaves an archive alone while somebody holds this lock.
store_locked() {
    { exec 8<"$1"; } 2>/dev/null || return 0 # pruned meanwhile
    flock --shared --timeout 60 8 || say "$1 cannot be locked; it is copied anyway"
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
    [ "$size" = "$(size_of_copy "$newest")" ] ||
        fail 1 "$newest did not arrive: ${size:-no} bytes are there instead of $(size_of_copy "$newest")"
    taken=$(sed -E 's/^safeharbor-backup-(.{10})T(..)-(..)-(..)Z\.tar$/\1 \2:\3:\4/' <<<"$newest")
    age=$((($(date +%s) - $(date --date="$taken" +%s)) / 3600))
    ((age < ${OFFSITE_MAX_AGE_HOURS:-26})) || fail 3 "$newest has arrived, but is $age hours old: look at the backup"
    if [ -n "${OFFSITE_HEALTHCHECK:-}" ]; then
        sh -c "$OFFSITE_HEALTHCHECK" || fail 3 "$newest has arrived, but the backup is not healthy"
    fi
    arrived=$newest
    say "$newest is there"
}

# The last step of a job: safeharbor records the copy, shows it, and warns when it gets old.
# An archive that a backup has taken since the copy is not in it.
record_copy() {
    ours offsite-done "$copy" --archive "$arrived" ||
        say "safeharbor could not record this copy, so status does not show how old it is. Set OFFSITE_SAFEHARBOR" >&2
}

# Copies the evidence of drills, each file once, and deletes none there. Here the newest 60 are kept.
copy_evidence() {
    local there name names
    mapfile -t names < <(evidence)
    [ ${#names[@]} -gt 0 ] || return 0
    there=$(evidence_there) || fail 1 "the far side does not answer"
    for name in "${names[@]}"; do
        if [ ! -e "$name" ] || grep --quiet --line-regexp --fixed-strings -- "$name" <<<"$there"; then continue; fi
        store "$name" || fail 1 "the archives are there, but $name is not, the evidence of a drill; the next run tries again"
        say "$name is there"
    done
}

# Proves that the far side restores: fetches its newest archive and drills it. Ends the script.
drill_if_asked() {
    [ -n "$is_drill" ] || return 0
    local there name status=0
    fetched=.offsite-$copy
    there=$(names_there) || fail 1 "the far side does not answer"
    name=$(grep '^safeharbor-backup-' <<<"$there" | sort | tail -n 1) || fail 3 "there is no archive on the far side"
    [ -z "$suffix" ] || require OFFSITE_AGE_IDENTITY
    trap 'rm --recursive --force -- "$BACKUP_DIR/$fetched"' EXIT
    rm --recursive --force -- "$fetched"
    mkdir -- "$fetched"
    say "fetching $name"
    fetch "$name$suffix" "$fetched" || fail 1 "$name could not be fetched"
    if [ -n "$suffix" ]; then
        age --decrypt --identity "$OFFSITE_AGE_IDENTITY" --output "$fetched/$name" "$fetched/$name$suffix" ||
            fail 1 "$name cannot be decrypted"
    fi
    chown --recursive --reference=. -- "$fetched" || true # safeharbor may run as another user
    ours drill --offsite "$copy" "$fetched/$name" || status=$?
    exit "$status"
}
