"""Where a restore goes: the configured target, another one named as a whole, or a part of one that is named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from safeharbor_backup.errors import SettingsInvalid, Unusable
from safeharbor_backup.settings.address_parsing import UnusableDatabaseUrl, parse_database_url
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.upload_dirs import describe_dirs, parse_dirs

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.settings.upload_dirs import UploadDirs

_ADDRESSES = ("BACKUP_DATABASE_URL", "SQLALCHEMY_DATABASE_URI", "DATABASE_URL", "RESTORE_DATABASE_URL")


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """What the command line says of the target. `only` is `database`, `uploads` or None."""

    database_url: str | None = None
    upload_dir: str | None = None
    only: str | None = None
    live_database: bool = False
    live_uploads: bool = False
    from_another: bool = False

    @property
    def accepts_another(self) -> bool:
        """Whether an archive of any database may go there: what is overwritten was named on the command line."""
        named = self.upload_dir if self.only == "uploads" else self.database_url
        return self.from_another or named is not None


def target_options(callback: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where a restore goes."""
    for option in (
        click.option("--from-another", is_flag=True, help="Accept an archive of another database than the target's."),
        click.option("--live-uploads", is_flag=True, help="With --database-url: the configured uploads are meant."),
        click.option("--live-database", is_flag=True, help="With --upload-dir: the configured database is meant."),
    ):
        callback = option(callback)
    return callback


def retargeted(settings: Settings, options: TargetOptions) -> Settings:
    """The settings with another place to restore to. Raises SettingsInvalid."""
    if options.database_url is not None:
        try:
            database = parse_database_url(options.database_url)
        except UnusableDatabaseUrl as error:
            raise SettingsInvalid([f"--database-url: expected {error}"]) from None
        remaining = tuple(problem for problem in settings.problems if problem.variable not in _ADDRESSES)
        settings = replace(settings, database=database, restore_database=None, problems=remaining)
    if options.upload_dir is not None:
        try:
            dirs = parse_dirs(options.upload_dir)
        except Unusable as error:
            raise SettingsInvalid([f"--upload-dir: expected {error}"]) from None
        if not dirs:
            raise SettingsInvalid(["--upload-dir: expected a directory; --only database restores no uploads"])
        remaining = tuple(problem for problem in settings.problems if problem.concern is not Concern.UPLOADS)
        settings = replace(settings, upload_dirs=dirs, problems=remaining)
    return settings


def require_whole_target(
    options: TargetOptions, database: DatabaseUrl | None, uploads: UploadDirs, *, irrevocably: bool
) -> None:
    """Raises UsageError if half of another target is named and the live other half would be replaced.

    `irrevocably`: with --yes and --no-keep-previous, live data is replaced only if it is named as live.
    """
    if options.database_url is not None:
        _require_uploads_named(options, uploads)
    if options.upload_dir is not None:
        _require_database_named(options, database)
    if not irrevocably:
        return
    wanted = []
    if options.only != "uploads" and options.database_url is None and not options.live_database:
        wanted.append("--live-database")
    if options.only != "database" and options.upload_dir is None and not options.live_uploads:
        wanted.append("--live-uploads")
    if wanted and not (wanted == ["--live-uploads"] and not uploads):
        raise click.UsageError(
            "--yes with --no-keep-previous would delete the live state for ever, without a question. Leave one of the "
            f"two out, or say that it is meant: {' '.join(wanted)}."
        )


def _require_uploads_named(options: TargetOptions, live: UploadDirs) -> None:
    if options.only == "uploads":
        raise click.UsageError("--database-url names a database, but --only uploads restores no database.")
    if options.only is None and options.upload_dir is None and not options.live_uploads:
        raise click.UsageError(
            "You named another database, but not where the uploads go: the live ones in "
            f"{_shown(live)} would be replaced. Add --upload-dir DIR, --only database, or, if the live "
            "ones are meant, --live-uploads. Nothing was changed."
        )


def _require_database_named(options: TargetOptions, database: DatabaseUrl | None) -> None:
    if options.only == "database":
        raise click.UsageError("--upload-dir names a directory for uploads, but --only database restores no uploads.")
    if options.only is None and options.database_url is None and not options.live_database:
        live = database.describe() if database is not None else "the configured one"
        raise click.UsageError(
            f"You named another directory for the uploads, but not which database: the live one, {live}, would be "
            "replaced. Add --database-url URL, --only uploads, or, if the live one is meant, --live-database. "
            "Nothing was changed."
        )


def _shown(uploads: UploadDirs) -> str:
    return describe_dirs(uploads) if uploads else "the configured directory"
