"""All settings, a row each: what is read, its default and what it is for. Pages and checks are made from this table.

To add one: a row here, a field in `model.Settings`, a test; then `make format`.
"""

from __future__ import annotations

from safeharbor_backup.settings import parsing
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.schedule import parse_schedule
from safeharbor_backup.settings.setting import Setting
from safeharbor_backup.settings.upload_dirs import parse_dirs

_NOT_BACK = " A restore does not bring them back."
SETTINGS = (
    Setting(
        "BACKUP_DATABASE_URL",
        "database",
        parsing.parse_address,
        Concern.DATABASE,
        "",
        "The PostgreSQL database to back up: a URL for SQLAlchemy or libpq, or a libpq connection string. Name the "
        "server itself, not a connection pooler.",
        rule="the app's SQLALCHEMY_DATABASE_URI and the like, then DATABASE_URL",
        is_secret=True,
    ),
    Setting(
        "BACKUP_EXTRA_DATABASES",
        "extra_databases",
        parsing.parse_extra_databases,
        Concern.EXTRA_DATABASES,
        "",
        "PostgreSQL databases to back up and restore together with the main one, each with a name of its own: "
        "`stats=postgresql://…`, or `bind:stats` for one of the app's binds. `stats=none`: a restore leaves that one "
        "out.",
        is_secret=True,
    ),
    Setting(
        "BACKUP_UPLOAD_DIR",
        "upload_dirs",
        parse_dirs,
        Concern.UPLOADS,
        "/data/uploads",
        "The uploads tree, or several directories with a name each: `media=/srv/app/media,static=/srv/app/static`. "
        "`none` says that the app has no uploads.",
        rule="the app's UPLOAD_DIR, UPLOAD_FOLDER or MEDIA_ROOT, then UPLOAD_DIR, then /data/uploads",
    ),
    Setting(
        "BACKUP_DIR",
        "backup_dir",
        parsing.parse_path,
        Concern.DIRECTORY,
        "/backups",
        "Where the archives are.",
    ),
    Setting(
        "BACKUP_SCHEDULE",
        "schedule",
        parse_schedule,
        Concern.SCHEDULE,
        "0 0 3 * * *",
        "When to take a backup: second minute hour day-of-month month day-of-week, or @daily and the like.",
    ),
    *(
        Setting(
            f"BACKUP_{what.upper()}_SCHEDULE",
            f"{what}_schedule",
            parsing.parse_schedule_or_none,
            Concern.SCHEDULE,
            default,
            f"When `scheduler` runs `{command}`, written in the same way. `none` turns it off.",
        )
        for what, default, command in (("verify", "0 0 5 * * 0", "verify --latest"), ("drill", "0 0 6 * * 0", "drill"))
    ),
    Setting(
        "BACKUP_TIMEZONE",
        "timezone",
        parsing.parse_zone,
        Concern.SCHEDULE,
        "UTC",
        "The time zone in which `scheduler` reads the schedules: an IANA name such as Europe/Berlin.",
    ),
    Setting(
        "BACKUP_RETENTION_DAILY",
        "retention_daily",
        parsing.parse_count,
        Concern.RETENTION,
        "7",
        "How many of the newest archives to keep; if one of the last three is set, for how many days the day's newest.",
    ),
    Setting(
        "BACKUP_RETENTION_WEEKLY",
        "retention_weekly",
        parsing.parse_count,
        Concern.RETENTION,
        "4",
        "For how many ISO weeks to keep the newest archive of the week.",
    ),
    *(
        Setting(
            f"BACKUP_RETENTION_{tier.upper()}",
            f"retention_{tier}",
            parsing.parse_count,
            Concern.RETENTION,
            "0",
            f"For how many {period}s to keep the newest archive of the {period}.",
        )
        for tier, period in (("hourly", "hour"), ("monthly", "month"), ("yearly", "year"))
    ),
    Setting(
        "BACKUP_DUMP_COMPRESSION",
        "dump_compression",
        parsing.parse_compression,
        Concern.DUMP,
        "auto",
        "Any value of `pg_dump --compress`. `auto` is zstd:3 if the client supports it, otherwise gzip:1.",
    ),
    Setting(
        "BACKUP_PG_BIN",
        "pg_bin",
        parsing.parse_paths,
        Concern.DUMP,
        "",
        "Where to look first for pg_dump and pg_restore; several directories are separated by `:`.",
        rule="/usr/lib/postgresql/<major>/bin, then PATH",
    ),
    Setting(
        "BACKUP_EXCLUDE",
        "exclude",
        parsing.parse_patterns,
        Concern.UPLOADS,
        "",
        "Uploads to leave out: patterns as in a .gitignore, separated by commas or line breaks.",
    ),
    Setting(
        "BACKUP_IGNORE",
        "ignore",
        parsing.parse_patterns,
        Concern.UPLOADS,
        "",
        "Warnings to switch off, separated by commas. `bind:NAME`: a database that is not in the archive. A path, or "
        "the app's setting for it: a folder that is not. `alerts`: you want none. `pg_cron`: you restore in place.",
    ),
    *(
        Setting(
            f"BACKUP_EXCLUDE_{what.upper()}",
            f"exclude_{what}",
            parsing.parse_patterns,
            Concern.DUMP,
            "",
            f"{meaning}: patterns as for `pg_dump --exclude-{flag}`, separated by commas or line breaks.{later}",
        )
        for what, flag, meaning, later in (
            ("schema", "schema", "Schemas to leave out, such as those that the role may not read", _NOT_BACK),
            ("table", "table", "Tables, views and sequences to leave out", _NOT_BACK),
            ("table_data", "table-data", "Tables whose rows to leave out (sessions, caches)", ""),
        )
    ),
    Setting(
        "BACKUP_UPLOAD_REFERENCES",
        "upload_references",
        parsing.parse_patterns,
        Concern.UPLOADS,
        "",
        "Columns that hold paths of uploads, as in `photos.path, users.avatar`: each value must have its file in the "
        "archive; if not, the backup warns.",
    ),
    Setting(
        "BACKUP_SENTINEL",
        "sentinel",
        parsing.parse_relative_path,
        Concern.DIRECTORY,
        "",
        "A file that exists only on the mounted share; without it no backup is written. Relative to BACKUP_DIR.",
    ),
    Setting(
        "BACKUP_FULL_READ_DAYS",
        "full_read_days",
        parsing.parse_count,
        Concern.SHARING,
        "7",
        "After how many days everything is read and written again; archives share no older blocks. 0: each time.",
    ),
    Setting(
        "BACKUP_MIN_FREE",
        "min_free",
        parsing.parse_room,
        Concern.DIRECTORY,
        "",
        "How much disk space stays free where archives and restored uploads are written: a size such as 2GiB, a part "
        "of the filesystem such as 5%, or 0.",
        rule="the greater of 1 GiB and 5 %, but never more than 10 %",
    ),
    Setting(
        "BACKUP_MAX_AGE",
        "max_age_seconds",
        parsing.parse_seconds,
        Concern.MONITORING,
        "26h",
        "How old the newest archive may be before `status` calls it stale.",
    ),
    Setting(
        "BACKUP_OFFSITE",
        "offsite",
        parsing.parse_offsite,
        Concern.MONITORING,
        "",
        "`none`: you want no off-site copy, and nothing warns about it.",
    ),
    Setting(
        "BACKUP_STATUS_FILE",
        "status_file",
        parsing.parse_json_file,
        Concern.MONITORING,
        "",
        "A file, named ….json, into which each run writes what `status --json` prints, for a page or a monitor. A "
        "directory beside it lists what is in each archive.",
    ),
    Setting(
        "BACKUP_METRICS_FILE",
        "metrics_file",
        parsing.parse_prom_file,
        Concern.MONITORING,
        "",
        "A file, named ….prom, into which each run writes metrics, for the textfile collector of node_exporter. Its "
        "name distinguishes several backups of one host.",
    ),
    Setting(
        "BACKUP_NOTIFY_URLS",
        "notify_urls",
        parsing.parse_notify_urls,
        Concern.MONITORING,
        "",
        "Where to send a message when a run fails: addresses for Apprise, such as mailto://… and slack://…, separated "
        "by spaces or line breaks. They contain tokens, and are never shown.",
        is_secret=True,
    ),
    Setting(
        "BACKUP_NOTIFY_ON",
        "notify_on",
        parsing.parse_notify_on,
        Concern.MONITORING,
        "failure",
        "Which runs to report: `failure`, `warning` (failures too) or `always`.",
    ),
    Setting(
        "BACKUP_PING_URL",
        "ping_url",
        parsing.parse_ping_url,
        Concern.MONITORING,
        "",
        "A check that gets a ping at each backup's start and end, as healthchecks.io and the like expect it.",
        is_secret=True,
    ),
    Setting(
        "BACKUP_LOG_FORMAT",
        "log_format",
        parsing.one_of("human", "json"),
        Concern.MONITORING,
        "human",
        "`json`: commands that do the work, and the scheduler, write one JSON object per line. Like `--log-format`.",
    ),
    Setting(
        "BACKUP_COMMAND",
        "command",
        parsing.parse_command_line,
        Concern.MONITORING,
        "",
        "How you type commands here, such as `docker compose exec backups safeharbor`. Errors, alerts and the "
        "page then show commands in this form.",
        rule="as this run was started",
    ),
    *(
        Setting(
            f"BACKUP_{what}_TIMEOUT",
            f"{what.lower()}_timeout_seconds",
            parsing.parse_seconds,
            Concern.DATABASE,
            default,
            meaning,
        )
        for what, default, meaning in (
            ("CONNECT", "10s", "How long a connection to the database may take."),
            ("LOCK", "60s", "How long to wait for a table that somebody has locked."),
            ("NETWORK", "30s", "How long a silent network may last before the database counts as lost."),
        )
    ),
    Setting(
        "BACKUP_MAX_RUNTIME",
        "max_runtime_seconds",
        parsing.parse_seconds_or_none,
        Concern.MONITORING,
        "none",
        "How long a backup, verify, prune or drill may take. A run that takes longer is ended and counts as "
        "failed. `none`: no limit. Connecting, waiting for locks and a silent network have the limits above.",
    ),
    Setting(
        "RESTORE_DATABASE_URL",
        "restore_database",
        parsing.parse_address,
        Concern.RESTORE,
        "",
        "The server to restore to and a role there that may create databases. The database's name still comes from "
        "BACKUP_DATABASE_URL.",
        rule="BACKUP_DATABASE_URL",
        is_secret=True,
    ),
    Setting(
        "BACKUP_TMP_DIR",
        "tmp_dir",
        parsing.parse_path,
        Concern.DIRECTORY,
        "",
        "Where a restore puts a copy of the dump while several jobs load it, and a drill its uploads. Not a tmpfs.",
        rule="BACKUP_DIR",
    ),
    Setting(
        "BACKUP_DRILL_DATABASE_URL",
        "drill_database",
        parsing.parse_address,
        Concern.DRILL,
        "",
        "The server on which `drill` makes its scratch database, and a role there that may create databases.",
        rule="the server that restores go to, then a private one",
        is_secret=True,
    ),
    Setting(
        "BACKUP_DRILL_COMMAND",
        "drill_command",
        parsing.parse_command,
        Concern.DRILL,
        "",
        "A command that `drill` runs with DATABASE_URL and UPLOAD_DIR of its copy; the drill fails if its exit status "
        "is not 0. It is split into words like in a shell, but run without one.",
        is_secret=True,
    ),
    Setting(
        "BACKUP_DRILL_HASH_SECONDS",
        "drill_hash_seconds",
        parsing.parse_count,
        Concern.DRILL,
        "300",
        "For how many seconds `drill` compares rows of its copy with those of the dump, small tables first; 0: never.",
    ),
    Setting(
        "BACKUP_DRILL_MAX_SECONDS",
        "drill_max_seconds",
        parsing.parse_seconds_or_none,
        Concern.DRILL,
        "none",
        "How long a restore may take: a drill whose restore takes longer warns. Seconds, or a duration such as 15m.",
    ),
    Setting(
        "BACKUP_DRILL_AFTER_BACKUP",
        "drill_after_backup",
        parsing.parse_yes,
        Concern.DRILL,
        "no",
        "`yes`: each backup, except with `--output`, is followed by a drill of its archive.",
    ),
    Setting(
        "BACKUP_EVIDENCE_KEY",
        "evidence_key",
        parsing.parse_path,
        Concern.DRILL,
        "",
        "A private key of OpenSSH without a passphrase, with which `drill` signs its evidence.",
    ),
    Setting(
        "SECRET_KEY",
        "secret_key",
        parsing.parse_text,
        Concern.RESTORE,
        "",
        "Never stored: only a fingerprint of it, so that a restore can tell whether sessions will stay valid.",
        rule="the app's SECRET_KEY",
        is_secret=True,
    ),
)
