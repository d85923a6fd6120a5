"""The settings of restores and drills."""

from __future__ import annotations

from safeharbor_backup.settings import parsing
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.setting import Setting

ROWS = (
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
