#!/usr/bin/env bash
# Copies each archive to an rclone remote: rclone.sh /etc/safeharbor/offsite-rclone.env
# The settings are explained in rclone.env, the exit statuses in archives.sh.
#
# copy, never sync: a sync would delete on the far side what was pruned, or destroyed, on this one.
. "$(dirname "$(readlink -f "$0")")/archives.sh"

list_there() { # format of rclone lsf, patterns
    local patterns=() each
    for each in "${@:2}"; do patterns+=(--include "/$each$suffix"); done
    rclone lsf --files-only --format "$1" --separator ' ' "${patterns[@]}" "$OFFSITE_REMOTE" | sed "s/$suffix\$//"
}
archives_there() { list_there "$1" 'safeharbor-backup-*Z.tar' 'pre-upgrade-*.tar'; } # format of rclone lsf
names_there() { archives_there p; }
evidence_there() { list_there p 'safeharbor-drill-*.json' 'safeharbor-drill-*.json.sig'; }

store() {
    local options
    read -ra options <<<"${OFFSITE_OPTIONS:-}"
    # --immutable: a file that is there already is never changed, whatever happened to the one here
    if [ -z "$suffix" ]; then
        rclone copyto --immutable "${options[@]}" "$1" "$OFFSITE_REMOTE/$1"
    else # a whole file first: rclone goes on and compares by its size, and there is no copy that was cut
        age_to "$encrypted" <"$1" && touch --reference="$1" -- "$encrypted" &&
            rclone copyto --immutable "${options[@]}" "$encrypted" "$OFFSITE_REMOTE/$1$suffix" &&
            rm -- "$encrypted"
    fi
}

# Some remotes keep the beginning of a file when its copy is cut. Which of two sizes is right is not for us to say.
require_same_sizes() {
    local there size name
    there=$(archives_there sp) || fail 1 "the far side does not answer"
    while read -r size name; do
        if [ -f "$name" ] && [ "$size" != "$(size_of_copy "$name")" ]; then
            fail 1 "$name has $size bytes there and $(size_of_copy "$name") here: a cut copy, or a changed archive." \
                "Verify the one here; if it is good, delete the one there"
        fi
    done <<<"$there"
}

size_there() { rclone lsf --files-only --format s --include "/$1$suffix" "$OFFSITE_REMOTE"; }

fetch() { rclone copyto "$OFFSITE_REMOTE/$1" "$2/$1"; }

begin "$@"
require_program rclone
require OFFSITE_REMOTE RCLONE_CONFIG
require_private "$RCLONE_CONFIG"
drill_if_asked
encrypted=.offsite-$copy.tmp
trap 'rm --force -- "$encrypted"' EXIT
copy_archives
require_same_sizes
require_arrival

newest=$(nightly | tail -n 1)
read -ra compare <<<"${OFFSITE_COMPARE:-}"
# by checksum if the remote has one in common with this side, else by size; what age made is not kept here
[ -n "$suffix" ] || rclone check --one-way "${compare[@]}" --include "/$newest" "$BACKUP_DIR" "$OFFSITE_REMOTE" ||
    fail 1 "$newest is not the same on the far side"
if [ -n "${OFFSITE_KEEP_DAYS:-}" ]; then
    mapfile -t stay < <(kept | sed "s|^|--filter=- /|; s|\$|$suffix|")
    rclone delete --min-age "${OFFSITE_KEEP_DAYS}d" "${stay[@]}" --filter "+ /safeharbor-backup-*Z.tar$suffix" --filter '- *' \
        "$OFFSITE_REMOTE" ||
        fail 1 "old archives could not be deleted"
fi
record_copy
copy_evidence
