"""The settings of what an archive has, of what its backup warns about, and of how it is written."""

from __future__ import annotations

from safeharbor_backup.settings import parsing
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.setting import Setting

_NOT_BACK = " A restore does not bring them back."

ROWS = (
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
)
