"""Takes a backup: plan, snapshot, dump, uploads, manifest, proof, publish, prune.

The archive exists under its name only after it has been read back and every digest compared. Whatever fails
before that leaves no archive, and the older ones untouched.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.actions.backup.plan import plan_backup
from safeharbor_backup.actions.backup.self_check import prove_draft
from safeharbor_backup.actions.backup.sources import open_sources
from safeharbor_backup.actions.backup.write import write_archive
from safeharbor_backup.actions.catalog.entries import find_candidates
from safeharbor_backup.actions.losses import note_what_went
from safeharbor_backup.actions.preflight import check_places, require_no_interrupted_restore
from safeharbor_backup.actions.prune import PruneResult, prune_under_lock
from safeharbor_backup.actions.scratch_cleanup import sweep_leftovers
from safeharbor_backup.actions.steps import Steps
from safeharbor_backup.archive.layout import ARCHIVE_NAME, time_in_name
from safeharbor_backup.errors import SafeHarborError, translate_os_error
from safeharbor_backup.postgres.connection import backup_lock
from safeharbor_backup.progress import NoProgress, Progress
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.upload_dirs import describe_dirs
from safeharbor_backup.state.journal import Journal
from safeharbor_backup.state.marks import sweep_marks
from safeharbor_backup.system.atomic_file import published_whole, sweep_drafts
from safeharbor_backup.system.lock import directory_lock
from safeharbor_backup.uploads.next_index import recording
from safeharbor_backup.uploads.sharing import remembered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from safeharbor_backup.actions.backup.manifest_content import SharedRecord
    from safeharbor_backup.actions.backup.plan import BackupPlan
    from safeharbor_backup.actions.backup.self_check import ArchiveWritten
    from safeharbor_backup.archive.manifest_sections import OtherDatabase
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.system.atomic_file import Draft

_CONCERNS = (Concern.DATABASE, Concern.EXTRA_DATABASES, Concern.UPLOADS, Concern.DIRECTORY, Concern.DUMP)


@dataclass(frozen=True, slots=True)
class BackupResult:
    """A backup that was taken, proven and published. Sizes in bytes.

    `seconds` has the time of each phase; phases can overlap, so `elapsed_seconds` may be less than their sum.
    """

    path: Path
    size: int
    taken_at: datetime
    tables: int
    rows: int
    upload_files: int
    upload_bytes: int
    seconds: dict[str, float]
    elapsed_seconds: float
    shared: SharedRecord | None
    warnings: tuple[str, ...]
    pruned: PruneResult | None
    notes: tuple[str, ...] = ()
    databases: tuple[OtherDatabase, ...] = ()  # beside the main one, which `tables` and `rows` are of


def take_backup(
    settings: Settings,
    *,
    output: Path | None = None,
    prune: bool = True,
    full: bool = False,
    progress: Progress | None = None,
) -> BackupResult:
    """Take a backup into `output`, or under its own name into the backup directory; prune there if it went there.

    What has not changed since the previous backup is shared with it where the filesystem can, unless `full`.
    Raises SafeHarborError; then there is no new archive and nothing else has changed.
    """
    settings.require(*_CONCERNS)
    directory = output.absolute().parent if output is not None else settings.backup_dir
    started = time.monotonic()
    with _saying_what_is_intact(directory):
        check_places(settings, directory)
        with directory_lock(directory) as is_locked:
            require_no_interrupted_restore(settings.backup_dir)
            steps = Steps(progress or NoProgress())
            plan = plan_backup(settings, directory, output, prune=prune, full=full, is_locked=is_locked)
            steps.warn(*plan.warnings)
            path, taken_at, written = _publish(plan, steps)
            size = os.stat(path).st_size
            with steps.phase("compare"):
                notes = note_what_went(path, steps.progress) if plan.is_in_backup_dir else ()
            pruned = _prune(plan, path.name, steps) if plan.prunes else None
    manifest = written.manifest
    return BackupResult(
        path=path,
        size=size,
        taken_at=taken_at,
        tables=len(manifest.tables),
        rows=manifest.rows,
        upload_files=manifest.upload_files,
        upload_bytes=manifest.upload_bytes,
        seconds=steps.seconds,
        elapsed_seconds=round(time.monotonic() - started, 3),
        shared=written.shared,
        warnings=tuple(steps.warnings),
        pruned=pruned,
        notes=notes,
        databases=manifest.databases,
    )


def plan_output(settings: Settings) -> str:
    """The first line of a run: what is backed up. Raises SettingsInvalid."""
    settings.require(*_CONCERNS)
    uploads = describe_dirs(settings.upload_dirs)
    beside = [f"{each.name}={each.address.describe()}" for each in settings.extra_databases if each.address is not None]
    databases = ", ".join([settings.database_address().describe(), *beside])
    return f"Backing up {'databases' if beside else 'database'} {databases} and uploads {uploads}"


def _publish(plan: BackupPlan, steps: Steps) -> tuple[Path, datetime, ArchiveWritten]:
    """Write the archive, prove it, and give it its name; where it is, and the moment it is of."""
    Journal(plan.directory).sweep()
    for name in (*sweep_drafts(plan.directory, plan.draft_names), *sweep_marks(plan.directory, ARCHIVE_NAME)):
        steps.progress.note(f"removed {name}, left behind by a run that was killed")
    with (
        backup_lock(plan.address) as session,
        ExitStack() as until_dumped,
        ExitStack() as until_written,
    ):
        sweep_leftovers(plan.settings, session, steps.progress.note)
        path, taken_at = plan.free_name()
        sharing = until_written.enter_context(remembered(plan.directory, plan.settings, full=plan.is_full))
        sources = open_sources(plan, session, until_dumped, until_written, sharing, steps)
        with (
            recording(plan.directory, steps.progress.note) as index,  # published after the archive that it is of
            published_whole(path, replace=plan.output is not None) as draft,
        ):
            written = write_archive(plan, sources, draft, taken_at, index, steps)
            _prove(plan, draft, written, steps)
            if index is not None:
                status, block_size = os.fstat(draft.descriptor), written.manifest.block_size
                index.describe(status, path.name, plan.uploads, block_size, written.basis, written.moved)
            until_written.close()  # some shares replace no file that is open, as the index before is
    return path, taken_at, written


def _prove(plan: BackupPlan, draft: Draft, written: ArchiveWritten, steps: Steps) -> None:
    """Raises SafeHarborError if what is on the disk would not restore."""
    with steps.phase("sync"):
        draft.settle()
    with steps.phase("verify"):
        steps.warn(*prove_draft(draft, written, plan.settings, steps.progress))


def _prune(plan: BackupPlan, name: str, steps: Steps) -> PruneResult | None:
    """What retention deleted; whatever hinders it is a warning, since the backup is good."""
    problems = plan.settings.problems_in(Concern.RETENTION, Concern.SCHEDULE)
    if problems:
        steps.warn(f"nothing was pruned: {'; '.join(map(str, problems))}")
        return None
    with steps.phase("prune"):
        try:
            pruned = prune_under_lock(plan.settings, just_written=name if time_in_name(name) is not None else "")
        except (SafeHarborError, OSError) as error:
            failure = translate_os_error(error, "deleting") if isinstance(error, OSError) else error
            steps.warn(f"the backup is good, but pruning failed: {failure.message}")
            return None
    steps.warn(*pruned.warnings)
    return pruned


@contextmanager
def _saying_what_is_intact(directory: Path) -> Iterator[None]:
    """A block whose errors say it. Raises SafeHarborError."""
    try:
        yield
    except SafeHarborError as error:
        error.intact = _what_is_intact(directory)
        raise
    except OSError as error:
        failure = translate_os_error(error, "writing the archive")
        failure.intact = _what_is_intact(directory)
        raise failure from error


def _what_is_intact(directory: Path) -> str:
    try:
        count = len(find_candidates(directory))
    except (SafeHarborError, OSError):
        count = 0
    if not count:
        return "No archive was written."
    return f"No archive was written; the {count} existing {'archive is' if count == 1 else 'archives are'} untouched."
