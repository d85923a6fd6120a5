"""The settings of what is backed up, and of where the archives are."""

from __future__ import annotations

from safeharbor_backup.settings import parsing
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.setting import Setting
from safeharbor_backup.settings.upload_dirs import parse_dirs

ROWS = (
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
)
