#!/usr/bin/env bash
# Copies each archive to a directory of a mounted share: share.sh /etc/safeharbor/offsite-share.env
# The settings are explained in share.env, the exit statuses in archives.sh.
. "$(dirname "$(readlink -f "$0")")/archives.sh"

names_there() { (cd "$OFFSITE_DIR" && without_suffix safeharbor-backup-*Z.tar"$suffix" pre-upgrade-*.tar"$suffix"); }
evidence_there() { (cd "$OFFSITE_DIR" && without_suffix safeharbor-drill-*.json"$suffix" safeharbor-drill-*.json.sig"$suffix"); }
without_suffix() { printf '%s\n' "$@" | sed "s/$suffix\$//"; }

store() {
    local draft=$OFFSITE_DIR/.offsite-draft.tmp # its name comes last, as in BACKUP_DIR
    # timestamps: retention goes by them; a share has owners and modes of its own
    if [ -n "$suffix" ]; then
        store_encrypted "$1" "$draft" && touch --reference="$1" -- "$draft"
    else
        cp --preserve=timestamps -- "$1" "$draft" && sync -- "$draft" && cmp -- "$1" "$draft"
    fi && mv --no-clobber -- "$draft" "$OFFSITE_DIR/$1$suffix" && [ ! -e "$draft" ]
}

# Whether the encrypted copy has arrived, by the checksum of what was sent.
store_encrypted() {
    local sum
    sum=$(age_to - <"$1" | tee -- "$2" | sha256sum) && sync -- "$2" && [ "$sum" = "$(sha256sum <"$2")" ]
}

size_there() { if [ -f "$OFFSITE_DIR/$1$suffix" ]; then size_here "$OFFSITE_DIR/$1$suffix"; fi; }

fetch() { cp -- "$OFFSITE_DIR/$1" "$2/"; }

begin "$@"
require OFFSITE_DIR OFFSITE_SENTINEL
# an empty mount point looks like an empty share; this also makes an automount come
[ -e "$OFFSITE_SENTINEL" ] || fail 7 "the sentinel $OFFSITE_SENTINEL is missing: the share is not mounted"
rm --force -- "$OFFSITE_DIR/.offsite-draft.tmp" # of a run that was killed
drill_if_asked
copy_archives
require_arrival

if [ -n "${OFFSITE_PRUNE:-}" ]; then
    kept | while read -r name; do # so that a prune there keeps it too
        [ -e "$OFFSITE_DIR/$name.keep" ] || cp --preserve=timestamps -- "$name.keep" "$OFFSITE_DIR/$name.keep"
    done
    sh -c "$OFFSITE_PRUNE" || fail 1 "old archives on the share could not be pruned"
fi
record_copy
copy_evidence
