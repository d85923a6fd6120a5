"""The options of `restore` beside those of the target, and which of them go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.restore.lost_stage import Abandoned

if TYPE_CHECKING:
    from safeharbor_backup.cli.restore_target import TargetOptions


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What the command line says beside the archive and the target."""

    dry_run: bool
    quick: bool
    yes: bool
    jobs: int | None
    in_place: bool
    accept_broken: bool
    accept_open: bool
    no_keep_previous: bool
    undo: bool
    resume: bool
    discard_previous: bool
    abandon_uploads: bool
    abandon_database: bool
    restore_id: str
    quiet: bool
    as_json: bool

    @property
    def is_silent(self) -> bool:
        """Whether only the end is printed."""
        return self.quiet or self.as_json

    @property
    def abandoned(self) -> Abandoned:
        """The halves of a restore that are given up."""
        return Abandoned(uploads=self.abandon_uploads, database=self.abandon_database)


def require_fitting_options(options: RestoreOptions, where: TargetOptions, *, is_of_archive: bool) -> None:
    """Raises UsageError for options that do not go with each other."""
    if [is_of_archive, options.undo, options.resume, options.discard_previous].count(True) != 1:
        raise click.UsageError("Give one of --from PATH, --undo, --resume and --discard-previous.")
    if options.as_json and not (options.yes or options.dry_run):
        or_look = ", or --dry-run for the plan alone" if is_of_archive else ""
        raise click.UsageError(f"--json asks nobody: add --yes{or_look}.")
    if options.quick and not options.dry_run:
        raise click.UsageError("--quick goes with --dry-run; a restore always checks every byte.")
    if options.accept_broken and options.in_place:
        raise click.UsageError(
            "--accept-broken does not go with --in-place, which loads all or nothing. Restore without "
            "--in-place, as a role with CREATEDB (RESTORE_DATABASE_URL), or into another database (--database-url)."
        )
    if (options.accept_broken or options.accept_open) and (where.only == "uploads" or not is_of_archive):
        raise click.UsageError("--accept-broken and --accept-open go with --from, and are about the database.")
    if options.in_place and where.only == "uploads":
        raise click.UsageError("--in-place is about the database.")
    of_archives = options.dry_run or where.only or options.jobs or options.in_place or options.no_keep_previous
    if not is_of_archive and of_archives:
        raise click.UsageError("--dry-run, --only, --jobs, --in-place and --no-keep-previous go with --from.")
    if (options.restore_id or options.abandon_uploads or options.abandon_database) and is_of_archive:
        raise click.UsageError(
            "--id, --abandon-uploads and --abandon-database go with --undo, --resume or --discard-previous."
        )
