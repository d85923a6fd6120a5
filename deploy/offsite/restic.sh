#!/usr/bin/env bash
# Copies each archive into a restic repository, as a snapshot of its own: restic.sh /etc/safeharbor/offsite-restic.env
# The settings are explained in restic.env, the exit statuses in archives.sh.
. "$(dirname "$(readlink -f "$0")")/archives.sh"

# each file's name is a tag of its snapshot
tags_there() { # extended regular expression
    restic snapshots --json --no-lock | grep --only-matching --extended-regexp "\"$1\"" | tr --delete '"' ||
        [ "${PIPESTATUS[0]}" = 0 ]
}
names_there() { tags_there '(safeharbor-backup|pre-upgrade)-[A-Za-z0-9._-]+\.tar'; }
evidence_there() { tags_there 'safeharbor-drill-[A-Za-z0-9._-]+'; }

store() {
    local kind=nightly options
    # retention below looks at nightly ones only
    case $1 in pre-upgrade-*) kind=pre-upgrade ;; safeharbor-drill-*) kind=evidence ;; esac
    read -ra options <<<"${OFFSITE_OPTIONS:-}"
    # --time: the moment the archive was finished, so that retention counts days of archives and not of copies
    restic backup --quiet --tag "$kind" --tag "$1" --time "$(date --date="@$(stat --format=%Y -- "$1")" '+%F %T')" \
        "${options[@]}" -- "$1"
}

size_there() {
    restic ls --no-lock --long --tag "$1" latest | awk -v name="/$1" '$NF == name { print $4 }'
}

fetch() { restic restore --quiet --no-lock --tag "$1" latest --target "$2"; }

begin "$@"
require_program restic
require RESTIC_REPOSITORY RESTIC_PASSWORD_FILE
require_private "$RESTIC_PASSWORD_FILE"
restic unlock --quiet || fail 1 "the repository does not answer" # of processes that are gone, never of one at work
drill_if_asked
copy_archives
require_arrival

read -ra keep <<<"${OFFSITE_KEEP:-}"
if [ ${#keep[@]} -gt 0 ]; then
    kept | while read -r name; do # retention below looks at nightly ones only
        restic tag --quiet --remove nightly --tag "$name" || fail 1 "$name is kept here, and could be forgotten there"
    done
    # --group-by '': one rule for all nightly snapshots, whatever their host and path
    restic forget --quiet --tag nightly --group-by '' "${keep[@]}" --prune || fail 1 "old snapshots could not be forgotten"
fi
# the structure, and a part of the data at random: over the weeks all of it
restic check --quiet ${OFFSITE_READ:+--read-data-subset="$OFFSITE_READ"} ||
    fail 1 "the repository is damaged: see restic check"
record_copy
copy_evidence
