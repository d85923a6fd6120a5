"""A restore that the operator has confirmed, carried out: stage, swap, settle.

Until the swap nothing live has changed; the swap has one commit point. See `swap` for what happens in between.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.actions.restore.dump_load import LoadOptions
from safeharbor_backup.actions.restore.failed import intact_after, remove_stage, what_is_left
from safeharbor_backup.actions.restore.in_place import load_in_place
from safeharbor_backup.actions.restore.record import new_record
from safeharbor_backup.actions.restore.request import OpenArchive, RestoreRequest, left_out_patterns
from safeharbor_backup.actions.restore.result import RestoreResult
from safeharbor_backup.actions.restore.stage import Staged, stage_archive
from safeharbor_backup.actions.restore.staged_database import create_staged
from safeharbor_backup.actions.restore.swap import Swap
from safeharbor_backup.actions.restore.swap_errors import translated
from safeharbor_backup.actions.restore.upload_stages import UploadStages
from safeharbor_backup.actions.restore.uploads_stage import UploadsPlace
from safeharbor_backup.actions.verify import verify_source
from safeharbor_backup.errors import (
    DatabaseUnavailable,
    Interrupted,
    RestorePending,
    SafeHarborError,
    one_line,
    translate_os_error,
)
from safeharbor_backup.postgres.connection import backup_lock
from safeharbor_backup.postgres.database_swap import bring_to_disk
from safeharbor_backup.state.journal import Journal
from safeharbor_backup.state.restore_parts import Side
from safeharbor_backup.state.restore_record import Phase, RestoreRecord
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.uploads.collect import make_filter
from safeharbor_backup.uploads.own_stage import create_stage
from safeharbor_backup.uploads.stage_marker import new_secret
from safeharbor_backup.uploads.staging import StageReplaced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeharbor_backup.actions.restore.plan import RestorePlan
    from safeharbor_backup.actions.steps import Steps
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.settings.model import Settings

MOMENT_SECONDS = 5.0  # a run that was killed, or a step of ours before this one, may not have lost its locks yet


@dataclass(frozen=True, slots=True)
class ConfirmedRestore:
    """A restore under the lock whose plan the operator has confirmed."""

    settings: Settings
    request: RestoreRequest
    archive: OpenArchive
    plan: RestorePlan
    steps: Steps

    @property
    def _target(self) -> Target | None:
        return self.plan.database_part.target if self.plan.database_part is not None else None

    def carry_out(self) -> RestoreResult:
        """What came of it, once it is done. Raises SafeHarborError; RestorePending if the swap is not ended."""
        plan = self.plan
        journal = Journal(self.settings.backup_dir)
        record = journal.write(new_record(plan, self.request))
        self.steps.progress.step("journal")
        with ExitStack() as stack:
            swap, staged = self._stage(journal, record, stack)
            try:
                rows = self._exchange(swap, staged)
            except Interrupted as interruption:  # it came before the swap, or has waited until that was done
                interruption.left = what_is_left(swap)
                raise
            keeps, left = self._keep_or_discard(journal, swap)
        return RestoreResult(
            id=record.id,
            archive=self.archive.path,
            tables=plan.tables,
            rows=rows,
            upload_files=staged.upload_files,
            upload_bytes=staged.upload_bytes,
            seconds=self.steps.seconds,
            warnings=tuple(dict.fromkeys([*plan.warnings, *staged.warnings, *self.steps.warnings, *left])),
            afterwards=plan.afterwards,
            keeps_previous=keeps,
            can_be_undone=keeps and not record.in_place and record.had_database,
            kept_bytes=record.kept_database_bytes + record.kept_uploads_bytes,
        )

    def _exchange(self, swap: Swap, staged: Staged) -> int | None:
        """Make what was staged live. If this fails before the commit: the old state is put back, the stage removed."""
        database = self.plan.database_part
        if database is not None and swap.record.in_place:
            with self.steps.timed("load"):
                lock_timeout = self.settings.lock_timeout_seconds
                rows, warnings = load_in_place(database, lock_timeout, swap, self.archive, self.steps.progress)
                self.steps.warnings.extend(warnings)
                return rows
        with self.steps.timed("swap"), signals_held():
            try:
                if database is not None:
                    bring_to_disk(database.target.session)  # from here on a resume brings it in, also after a crash
                swap.begin(Side.NEW, by_undo=False)
                self.steps.progress.step("swapping")
                swap.go_or_return(self.steps.progress.step)
            except RestorePending:
                raise
            except BaseException as error:
                remove_stage(swap, error)
                raise translated(error, "swapping the uploads") from error
            swap.settle()
            self.steps.progress.step("settled")
        return staged.all_rows

    def _keep_or_discard(self, journal: Journal, swap: Swap) -> tuple[bool, list[str]]:
        """Whether a previous state is kept, and warnings."""
        record = swap.record
        keeps = record.keeps_anything
        warnings = []
        try:
            if not keeps:
                journal.remove(record.id)
            elif not self.request.keep_previous:
                swap.discard()
                return False, []
            else:
                swap.stages.require_in_place()
        except StageReplaced as error:
            warnings = [f"the restore is done and whole, but {error.message} It holds the previous uploads."]
        except (SafeHarborError, psycopg.Error, OSError) as error:
            warnings = [f"the restore is done, but the previous state could not be discarded: {error}"]
        return keeps and swap.record.phase is Phase.KEPT, warnings  # one that is deleted in part cannot be brought back

    def _stage(self, journal: Journal, record: RestoreRecord, stack: ExitStack) -> tuple[Swap, Staged]:
        """Both halves, the stages in the uploads held open by `stack`, and what is to stay where it is.

        If this fails: both halves are removed, and nothing live has changed.
        """
        swap = Swap(journal, record, self._target, UploadStages())
        try:
            if record.in_place:
                with self.steps.timed("verify"):
                    verify_source(self.archive.source, self.settings, progress=self.steps.progress).require_sound()
            with self.steps.timed("stage"):
                for part in record.uploads:
                    stage = create_stage(Path(part.path), record.id, new_secret())
                    stack.callback(stage.close)
                    swap.hold(part, stage)
                    self.steps.progress.step("staging directory")
                done = self._build(swap)
                swap.stages.require_in_place()
                patterns = left_out_patterns(self.archive.manifest, self.settings.exclude)
                swap.find_what_stays(make_filter(patterns))
                self.steps.progress.step("staged")
        except BaseException as error:
            remove_stage(swap, error)
            if isinstance(error, psycopg.Error):
                raise SafeHarborError(f"The database answered: {one_line(error)}", intact=intact_after(swap)) from error
            if isinstance(error, OSError):
                failure = translate_os_error(error, "staging the restore")
                failure.intact = intact_after(swap)
                raise failure from error
            raise
        return swap, done

    def _build(self, swap: Swap) -> Staged:
        record = swap.record
        new = [
            UploadsPlace(stage.path / Side.NEW, Path(part.path), stage.side(Side.NEW), part.directory.prefix)
            for part in record.uploads
            if (stage := swap.stages.get(part.path)) is not None
        ]
        options = LoadOptions(
            jobs=record.jobs,
            scratch=self.settings.scratch_dir,
            mending=self.settings.backup_dir,
            min_free=self.settings.min_free,
            accepts_broken=self.request.accepts_broken,
        )
        if not record.exchanged:
            return stage_archive(self.archive, [], new, options, self.steps.progress)
        databases = []
        for planned, part in zip(self.plan.database_parts, record.exchanged, strict=True):
            name = record.beside(part, Side.NEW)
            databases.append(create_staged(planned.plan, name, planned.archive))
            self.steps.progress.step("staged database")
        with self._no_backup_meanwhile():
            return stage_archive(self.archive, databases, new, options, self.steps.progress)

    @contextmanager
    def _no_backup_meanwhile(self) -> Iterator[None]:
        """A backup that began now would dump a database which is about to be swapped."""
        with ExitStack() as stack:
            for planned in self.plan.database_parts:
                live = planned.plan.live
                if live is None:
                    continue
                try:
                    stack.enter_context(backup_lock(planned.plan.target.url, MOMENT_SECONDS))
                except DatabaseUnavailable as error:
                    if not live.is_open:  # a restore whose journal is lost may have closed it
                        raise
                    self.steps.progress.note(f"{error.message}; it is replaced anyway, and kept as it is")
            yield
