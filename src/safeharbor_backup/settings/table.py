"""The names, defaults and meanings of all settings: the one table that the documentation is made from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting as an operator sees it."""

    name: str
    default: str
    meaning: str


VARIABLES = (
    Variable(
        "BACKUP_DATABASE_URL",
        "the app's SQLALCHEMY_DATABASE_URI, else DATABASE_URL",
        "The PostgreSQL database to back up: a URL as SQLAlchemy or libpq take it, or a libpq connection string. "
        "Name the server itself, not a connection pooler.",
    ),
    Variable(
        "BACKUP_UPLOAD_DIR",
        "the app's UPLOAD_DIR or UPLOAD_FOLDER, else UPLOAD_DIR, else /data/uploads",
        "The uploads tree. `none` says that the app has no uploads.",
    ),
    Variable("BACKUP_DIR", "/backups", "Where the archives are."),
    Variable(
        "BACKUP_SCHEDULE",
        "0 0 3 * * *",
        "When to take a backup: second minute hour day-of-month month day-of-week, or @daily and the like.",
    ),
    Variable(
        "BACKUP_VERIFY_SCHEDULE",
        "0 0 5 * * 0",
        "When `scheduler` runs `verify --latest`, written in the same way. `none` turns it off.",
    ),
    Variable(
        "BACKUP_DRILL_SCHEDULE",
        "0 0 6 * * 0",
        "When `scheduler` runs `drill`, written in the same way. `none` turns it off.",
    ),
    Variable(
        "BACKUP_TIMEZONE",
        "UTC",
        "The time zone in which `scheduler` reads the schedules: an IANA name such as Europe/Berlin.",
    ),
    Variable("BACKUP_RETENTION_DAILY", "7", "How many of the newest archives to keep."),
    Variable(
        "BACKUP_RETENTION_WEEKLY",
        "4",
        "For how many ISO weeks to keep the newest archive of the week.",
    ),
    Variable(
        "BACKUP_DUMP_COMPRESSION",
        "auto",
        "Anything that `pg_dump --compress` takes. `auto` is zstd:3 where the client has it, else gzip:1.",
    ),
    Variable(
        "BACKUP_PG_BIN",
        "/usr/lib/postgresql/<major>/bin, then PATH",
        "Where to look first for pg_dump and pg_restore; several directories are separated by `:`.",
    ),
    Variable(
        "BACKUP_EXCLUDE",
        "",
        "Uploads to leave out: patterns as in a .gitignore, separated by commas or line breaks.",
    ),
    Variable(
        "BACKUP_EXCLUDE_SCHEMA",
        "",
        "Schemas to leave out with all that is in them, such as those that the role may not read: patterns as for "
        "`pg_dump --exclude-schema`, separated by commas or line breaks. A restore does not bring them back.",
    ),
    Variable(
        "BACKUP_EXCLUDE_TABLE",
        "",
        "Tables, views and sequences to leave out: patterns as for `pg_dump --exclude-table`, separated by commas or "
        "line breaks. A restore does not bring them back.",
    ),
    Variable(
        "BACKUP_EXCLUDE_TABLE_DATA",
        "",
        "Tables whose rows to leave out (sessions, caches): patterns as for `pg_dump --exclude-table-data`, "
        "separated by commas or line breaks.",
    ),
    Variable(
        "BACKUP_UPLOAD_REFERENCES",
        "",
        "Columns that hold paths of uploads, as in `photos.path, users.avatar`: each value must have its file in the "
        "archive, or there is a warning.",
    ),
    Variable(
        "BACKUP_SENTINEL",
        "",
        "A file that exists only on the mounted share; without it no backup is written. Relative to BACKUP_DIR.",
    ),
    Variable(
        "BACKUP_FULL_READ_DAYS",
        "7",
        "After how many days everything is read and written anew; archives share no older blocks. 0: each time.",
    ),
    Variable(
        "BACKUP_MIN_FREE",
        "the greater of 1 GiB and 5 %, but never more than 10 %",
        "How much stays free where archives and restored uploads are written: a size such as 2GiB, a part of the "
        "filesystem such as 5%, or 0.",
    ),
    Variable("BACKUP_MAX_AGE", "26h", "How old the newest archive may be before `status` calls it stale."),
    Variable(
        "BACKUP_STATUS_FILE",
        "",
        "A file, named ….json, into which each run puts what `status --json` tells, for a page or a monitor elsewhere.",
    ),
    Variable(
        "BACKUP_METRICS_FILE",
        "",
        "A file, named ….prom, into which each run puts metrics, for the textfile collector of node_exporter. Its name "
        "tells several backups of a host apart.",
    ),
    Variable(
        "BACKUP_NOTIFY_URLS",
        "",
        "Whom to tell when a run fails: addresses as Apprise takes them, such as mailto://… and slack://…, separated "
        "by blanks or line breaks. They hold tokens, and are shown nowhere.",
    ),
    Variable(
        "BACKUP_NOTIFY_ON",
        "failure",
        "Which runs to tell of: `failure`, `warning` (failures too) or `always`.",
    ),
    Variable(
        "BACKUP_PING_URL",
        "",
        "A check that is to hear of each backup's start and end, as healthchecks.io and the like expect it.",
    ),
    Variable(
        "BACKUP_LOG_FORMAT",
        "human",
        "`json`: commands that do the work, and the scheduler, write one JSON object per line. As `--log-format`.",
    ),
    Variable("BACKUP_CONNECT_TIMEOUT", "10s", "How long a connection to the database may take."),
    Variable("BACKUP_LOCK_TIMEOUT", "60s", "How long to wait for a table that somebody has locked."),
    Variable(
        "BACKUP_NETWORK_TIMEOUT",
        "30s",
        "How long a silent network may last before the database counts as lost.",
    ),
    Variable(
        "RESTORE_DATABASE_URL",
        "BACKUP_DATABASE_URL",
        "The server to restore to and a role there that may create databases. The database's name still comes from "
        "BACKUP_DATABASE_URL.",
    ),
    Variable(
        "BACKUP_TMP_DIR",
        "BACKUP_DIR",
        "Where a restore puts a copy of the dump while several jobs load it, and a drill its uploads. Not a tmpfs.",
    ),
    Variable(
        "BACKUP_DRILL_DATABASE_URL",
        "the server that restores go to, else a private one",
        "The server on which `drill` makes its scratch database, and a role there that may create databases.",
    ),
    Variable(
        "BACKUP_DRILL_COMMAND",
        "",
        "A command that `drill` runs with DATABASE_URL and UPLOAD_DIR of its copy; another status than 0 fails the "
        "drill. It is taken apart as a shell does, and run without one.",
    ),
    Variable(
        "SECRET_KEY",
        "the app's SECRET_KEY",
        "Never stored: only a fingerprint of it, so that a restore can tell whether sessions will stay valid.",
    ),
)
