"""A copy from beginning to end: stage, change by the operator's SQL, put under its name. For staging and laptops.

The database is loaded beside the one that it is to be, as a drill loads it, and is open to nobody until the SQL has
run. Whatever fails before that leaves no copy.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.actions.copy.masking import Script, run_script
from safeharbor_backup.actions.copy.some_tables import Choice, choose_tables
from safeharbor_backup.actions.copy.target import (
    name_of_target,
    require_another_database,
    require_another_directory,
    require_free_database,
    require_free_directory,
)
from safeharbor_backup.actions.copy.uploads import put_in_place, staged_uploads
from safeharbor_backup.actions.drill.place import create_copy, dropped_at_the_end, plan_copy
from safeharbor_backup.actions.drill.report import Report
from safeharbor_backup.actions.drill.server import DrillServer, Kind, why_no_scratch
from safeharbor_backup.actions.restore.dump_load import LoadOptions
from safeharbor_backup.actions.restore.request import opened_for_restore
from safeharbor_backup.actions.restore.stage import stage_archive
from safeharbor_backup.actions.restore.uploads_stage import UploadsPlace
from safeharbor_backup.actions.scratch_cleanup import remove_left_databases
from safeharbor_backup.errors import CannotRestore, DatabaseUnavailable, SafeHarborError, one_line
from safeharbor_backup.postgres.connection import bounded
from safeharbor_backup.postgres.create_drop import drop_database
from safeharbor_backup.postgres.database_swap import Exchange, close_database, exchange_databases, open_database
from safeharbor_backup.postgres.properties import Properties, read_properties, replay_properties
from safeharbor_backup.postgres.scratch_database import mark_scratch, scratch_name
from safeharbor_backup.postgres.side_names import new_id
from safeharbor_backup.postgres.target import target_connected
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.text import ascii_safe
from safeharbor_backup.uploads.extract import LACKS_OWNERS

if TYPE_CHECKING:
    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.actions.restore.stage import Staged
    from safeharbor_backup.actions.restore.staged_database import StagedDatabase
    from safeharbor_backup.postgres.target import Target, TargetDatabase
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.settings.model import Settings

# what everybody has on a database that was just created
_BY_DEFAULT = (("", "CONNECT", False), ("", "TEMPORARY", False))


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """What the operator asked for. `uploads` None: they are left out. No `tables`: the rows of all."""

    archive: Path
    database: DatabaseUrl
    uploads: Path | None
    script: Script | None = None
    tables: tuple[str, ...] = ()
    replaces: bool = False
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that was made. Sizes in bytes."""

    archive: Path
    database: str
    uploads: Path | None
    tables: int
    rows: int | None
    upload_files: int
    upload_bytes: int
    warnings: tuple[str, ...]


def copy_archive(request: CopyRequest, settings: Settings, progress: Progress) -> Copied:
    """Copy it. If this fails, there is no copy, and what was there is as it was, or the error says what became of it.

    Raises CannotRestore for a target that it must not, or cannot, be; ArchiveNotFound for a table that the archive has
    no rows of; SafeHarborError.
    """
    name = name_of_target(request.database)
    if request.uploads is not None:
        require_another_directory(request.uploads, request.archive, settings)
        require_free_directory(request.uploads, replaces=request.replaces)
    with ExitStack() as stack:
        archive = stack.enter_context(opened_for_restore(request.archive))
        target = stack.enter_context(target_connected(bounded(request.database, settings), name))
        if why_not := why_no_scratch(target):
            raise CannotRestore(f"No copy can be made there: {why_not}.", intact="Nothing was changed.")
        require_another_database(target, settings)
        live = target.find(name)
        require_free_database(target, live, replaces=request.replaces)
        target.hold_restore_lock()
        remove_left_databases(target, progress.note)
        try:
            return _Run(request, settings, archive, target, live, progress).copy()
        except psycopg.Error as error:
            raise DatabaseUnavailable(f"The database server answered: {one_line(error)}.") from error


@dataclass(frozen=True, slots=True)
class _Run:
    """A copy under the lock of its name."""

    request: CopyRequest
    settings: Settings
    archive: OpenArchive
    target: Target
    live: TargetDatabase | None
    progress: Progress

    def copy(self) -> Copied:
        report = Report(self.archive.path, datetime.now(UTC))
        plan = plan_copy(DrillServer(Kind.COPY, self.target, self.live, self.settings), self.archive, report)
        choice = choose_tables(plan, self.request.tables, self.archive.path.name)
        plan = replace(plan, entries=choice.entries)
        side = scratch_name(self.target.name, new_id())
        warnings = report.warnings
        _, *others = self.archive.databases()
        warnings += [f"{each.name} is skipped: only the main database is copied" for each in others]
        with ExitStack() as stack:
            uploads = self.request.uploads
            stage = stack.enter_context(staged_uploads(uploads)) if uploads is not None else None
            stack.enter_context(dropped_at_the_end(self.target, side, warnings.append))
            server = DrillServer(Kind.COPY, self.target, self.live, self.settings)
            database = create_copy(server, self.archive, plan, side, warnings.append)
            mark_scratch(self.target, side, self.archive.path.name)  # which also keeps others out
            staged = self._stage(database, stage, choice)
            warnings += [each for each in staged.warnings if each != LACKS_OWNERS]
            with database.session() as session:
                warnings += choice.add_foreign_keys(session)
                if self.request.script is not None:
                    self.progress.phase("run SQL")
                    run_script(self.request.script, session)
            warnings += self._name(side)
            if stage is not None:
                self._put_uploads(stage)
        return Copied(
            archive=self.archive.path,
            database=self.target.url.describe(),
            uploads=uploads,
            tables=plan.contents.tables,
            rows=staged.rows,
            upload_files=staged.upload_files if uploads is not None else 0,
            upload_bytes=staged.upload_bytes if uploads is not None else 0,
            warnings=tuple(dict.fromkeys(warnings)),
        )

    def _stage(self, database: StagedDatabase, stage: Path | None, choice: Choice) -> Staged:
        scratch = self.settings.tmp_dir or Path(tempfile.gettempdir())
        options = LoadOptions(
            jobs=self.request.jobs,
            scratch=scratch,
            mending=scratch,
            min_free=self.settings.min_free,
            judge_rows=choice.judge_rows,
            is_whole=choice.are_all,
            analyzes=self.request.script is None,  # else statistics would hold what the script takes away
        )
        places = [UploadsPlace(stage)] if stage is not None else []
        return stage_archive(self.archive, [database], places, options, self.progress)

    def _name(self, side: str) -> list[str]:
        """Give the copy its name, and everybody his rights; warnings. The one that has the name goes for ever."""
        target, live = self.target, self.live
        now = target.find(target.name)
        if (now.oid if now is not None else None) != (live.oid if live is not None else None):
            raise CannotRestore(f'Somebody has made, renamed or dropped the database "{target.name}" meanwhile.')
        properties = Properties(-1, None, _BY_DEFAULT, ()) if live is None else read_properties(target, live.name)
        comment = f"Copy of {ascii_safe(self.archive.path.name)}, made by Safe Harbor"
        grants = _BY_DEFAULT if properties.grants is None else properties.grants
        properties = replace(properties, comment=comment, grants=grants)
        outgoing = scratch_name(target.name, new_id()) if live is not None else ""
        with signals_held():
            if live is not None:
                close_database(target, live.name)
            try:
                exchange_databases(target, [Exchange(target.name, outgoing, side)])
            except BaseException:
                if live is not None:
                    open_database(target, live.name)
                raise
        refused = [
            f"not carried over to the new database: {what}"
            for what in replay_properties(target, target.name, properties)
        ]
        if outgoing:
            try:
                mark_scratch(target, outgoing, "what a copy has replaced")  # the next drill or copy drops it
                drop_database(target, outgoing)
            except (SafeHarborError, psycopg.Error) as error:
                refused.append(f'the database that was replaced is "{outgoing}" now: {one_line(error)}')
        return refused

    def _put_uploads(self, stage: Path) -> None:
        try:
            put_in_place(stage)
        except (SafeHarborError, OSError) as error:
            raise CannotRestore(
                f"The database is copied, but the uploads in {stage.parent} could not be replaced: {one_line(error)}.",
                hint="Look at that directory, then run this again with --replace.",
                intact="Some of what was in it may be gone.",
            ) from error
