#!/usr/bin/env bash
# Copies each archive to a directory of a mounted share: share.sh /etc/safeharbor/offsite-share.env
# The settings are explained in share.env, the exit statuses in archives.sh.
. "$(dirname "$(readlink -f "$0")")/archives.sh"

names_there() { (cd "$OFFSITE_DIR" && nightly && pre_upgrade); }

store() {
    local draft=$OFFSITE_DIR/.offsite-draft.tmp # its name comes last, as in BACKUP_DIR
    # timestamps: retention goes by them; a share has owners and modes of its own
    cp --preserve=timestamps -- "$1" "$draft" && sync -- "$draft" && cmp -- "$1" "$draft" &&
        mv --no-clobber -- "$draft" "$OFFSITE_DIR/$1" && [ ! -e "$draft" ]
}

size_there() { if [ -f "$OFFSITE_DIR/$1" ]; then size_here "$OFFSITE_DIR/$1"; fi; }

begin "$@"
require OFFSITE_DIR OFFSITE_SENTINEL
# an empty mount point looks like an empty share; this also makes an automount come
[ -e "$OFFSITE_SENTINEL" ] || fail 7 "the sentinel $OFFSITE_SENTINEL is missing: the share is not mounted"
rm --force -- "$OFFSITE_DIR/.offsite-draft.tmp" # of a run that was killed
copy_archives
require_arrival

if [ -n "${OFFSITE_PRUNE:-}" ]; then
    kept | while read -r name; do # so that a prune there keeps it too
        [ -e "$OFFSITE_DIR/$name.keep" ] || cp --preserve=timestamps -- "$name.keep" "$OFFSITE_DIR/$name.keep"
    done
    sh -c "$OFFSITE_PRUNE" || fail 1 "old archives on the share could not be pruned"
fi
