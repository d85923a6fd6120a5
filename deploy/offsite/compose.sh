#!/usr/bin/env bash
# What the service `offsite` of compose.yaml runs: restic.sh at its start, then every day at OFFSITE_AT. Its settings are in the
# environment. After a failure it tries again in an hour. With --drill it drills the newest archive of the far side, once.
set -euo pipefail
umask 077
say() { printf '%s\n' "offsite: $*" >&2; }

job=$(dirname "$(readlink -f "$0")")/restic.sh
if [ -z "${RESTIC_REPOSITORY:-}" ] || [ -z "${RESTIC_PASSWORD:-}${RESTIC_PASSWORD_FILE:-}" ]; then
    say "set OFFSITE_REPOSITORY and OFFSITE_PASSWORD in .env"
    exit 2
fi
settings=/tmp/offsite-restic.env # which names the copy: restic
: >>"$settings"
if [ -n "${RESTIC_PASSWORD:-}" ]; then
    export RESTIC_PASSWORD_FILE=/tmp/restic.password
    printf '%s\n' "$RESTIC_PASSWORD" >"$RESTIC_PASSWORD_FILE"
    unset RESTIC_PASSWORD
fi
[ -z "${1:-}" ] || exec bash "$job" "$1" "$settings"

at=${OFFSITE_AT:-04:30}
export TZ=${BACKUP_TIMEZONE:-UTC}
[[ $at =~ ^([01][0-9]|2[0-3]):[0-5][0-9]$ ]] || {
    say "OFFSITE_AT=$at: expected a time of day such as 04:30"
    exit 2
}
seconds_until_then() {
    local now next
    now=$(date +%s)
    # summer time skips an hour: no such time today, or tomorrow
    next=$(date --date="today $at" +%s 2>/dev/null) || next=0
    ((next > now)) || next=$(date --date="tomorrow $at" +%s 2>/dev/null) || next=$((now + 86400))
    echo $((next - now))
}

set -m # a child is a process group, which a stop ends as a whole
child=''
stop() { # restic takes its lock off the repository before it ends; `stop_grace_period` bounds the wait
    trap '' TERM INT
    if [ -n "$child" ]; then
        kill -TERM -- "-$child" 2>/dev/null || true
        while kill -0 -- "-$child" 2>/dev/null; do sleep 0.2; done
    fi
    exit 0
}
trap stop TERM INT
run() {
    local status=0
    "$@" &
    child=$!
    wait "$child" || status=$?
    child=''
    return "$status"
}

while true; do
    pause=$(seconds_until_then)
    if run bash "$job" "$settings"; then
        say "done; again at $at ${BACKUP_TIMEZONE:-UTC}"
        pause=$(seconds_until_then)
    else
        say "the job ended with $?; it tries again in an hour"
        ((pause < 3600)) || pause=3600
    fi
    run sleep "$pause"
done
