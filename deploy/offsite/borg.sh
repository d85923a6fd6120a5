#!/usr/bin/env bash
# Copies each archive into a borg repository, under its own name: borg.sh /etc/safeharbor/offsite-borg.env
# The settings are explained in borg.env, the exit statuses in archives.sh.
. "$(dirname "$(readlink -f "$0")")/archives.sh"

names_there() { borg list --format '{archive}.tar{NL}'; }
evidence_there() { borg list --glob-archives 'safeharbor-drill-*' --format '{archive}{NL}'; }

store() {
    local options
    read -ra options <<<"${OFFSITE_OPTIONS:-}"
    # --timestamp: the moment the archive was finished, so that retention counts days of archives and not of copies
    # --files-cache=disabled: each archive is read once and never again
    borg create --timestamp "$(date --date="@$(stat --format=%Y -- "$1")" +%FT%T)" --files-cache=disabled \
        --compression "${OFFSITE_COMPRESSION:-auto,zstd}" "${options[@]}" "::${1%.tar}" "$1"
}

size_there() { borg list --format '{size}{NL}' "::${1%.tar}" 2>/dev/null; }

fetch() { (cd "$2" && borg extract "::${1%.tar}"); }

begin "$@"
require_program borg
require BORG_REPO
if [ -n "${OFFSITE_PASSPHRASE_FILE:-}" ]; then
    require_private "$OFFSITE_PASSPHRASE_FILE"
    export BORG_PASSCOMMAND="cat $OFFSITE_PASSPHRASE_FILE"
fi
drill_if_asked
copy_archives
require_arrival

read -ra keep <<<"${OFFSITE_KEEP:-}"
if [ ${#keep[@]} -gt 0 ]; then
    borg prune --glob-archives 'safeharbor-backup-*' "${keep[@]}" || fail 1 "old archives could not be pruned"
    borg compact || fail 1 "the space of pruned archives could not be freed"
fi
# part of the data each time, going on where the last check ended
borg check --repository-only --max-duration "${OFFSITE_CHECK_SECONDS:-600}" ||
    fail 1 "the repository is damaged: see borg check"
record_copy
copy_evidence
