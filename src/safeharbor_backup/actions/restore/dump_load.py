"""The way of a dump into a staged database: copied for several jobs, loaded while uploads are extracted, checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.dump_copy import DumpCopy, copied_dump, lives_in_memory
from safeharbor_backup.actions.restore.loader import ACCEPT
from safeharbor_backup.actions.restore.rows_check import check_rows, compare_rows
from safeharbor_backup.actions.restore.second_try import Broken, load_again, load_entries, mending_script
from safeharbor_backup.actions.restore.views_check import judge_views
from safeharbor_backup.postgres.load import finish_loading
from safeharbor_backup.postgres.load_failures import LoadFailed
from safeharbor_backup.postgres.order import Pass, order_entries
from safeharbor_backup.postgres.rows import analyze_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from safeharbor_backup.actions.restore.staged_database import StagedDatabase
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.min_free import MinFree
    from safeharbor_backup.system.process import RunningTool

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a dump is loaded: with so many jobs, from a copy in `scratch` if there are several.

    `judge_rows` gets the rows of each table that was loaded, and says how many there are; it raises what is to end the
    staging. `accepts_broken`: what cannot be restored as it was is left out, and written down in `mending`. Statistics
    hold values of the rows: without `analyzes` there are none. What is not `is_whole` has views of fewer rows.
    """

    jobs: int
    scratch: Path
    mending: Path
    min_free: MinFree
    judge_rows: Callable[[Mapping[str, int], Manifest], int] = compare_rows
    accepts_broken: bool = False
    analyzes: bool = True
    is_whole: bool = True


class DumpLoad:
    """`take` the dump, `begin` when it has been read and compared, `finish`; `until_loaded` holds what that needs."""

    def __init__(
        self,
        database: StagedDatabase,
        options: LoadOptions,
        progress: Progress,
        until_loaded: ExitStack,
    ) -> None:
        self._database = database
        self._loader = database.loader
        self._archive = database.archive
        self._options = options
        self._progress = progress
        self._until_loaded = until_loaded
        self._order = order_entries(self._loader.plan.entries, self._loader.plan.contents.toc)
        self._begun: RunningTool | None = None
        self._is_judged = False  # whether a load that failed was found worth another one: that writes a trial table

    def take(self, size: int, chunks: Iterator[bytes]) -> Iterator[int]:
        """Put it where jobs can load it; the size of each chunk. Only when its checksum was compared is it loaded."""
        copy = self._open_copy(size) if self._options.jobs > 1 else None
        self._loader.copy = copy
        is_needed = copy is not None and not copy.clone(self._archive.dump, size)
        for chunk in chunks:
            if copy is not None and is_needed:
                copy.write(chunk)
            yield len(chunk)

    def begin(self) -> RunningTool:
        """The load at work, begun if it was not yet. Raises DatabaseUnavailable, OSError."""
        if self._begun is None:
            jobs = self._options.jobs if self._order.is_known else 1
            self._begun = self._until_loaded.enter_context(self._loader.loading(self._order.passes[Pass.DATA], jobs))
        return self._begun

    def begin_when_read(self) -> None:
        """The same, if the dump has been read and compared: in archives by others it may come last."""
        dump = self._archive.dump
        if self._archive.source.position >= dump.offset + dump.size:
            self.begin()

    def require_hope(self) -> None:
        """The load goes on, or may succeed otherwise: else there is no need to extract the rest.

        Raises LoadFailed, DatabaseUnavailable.
        """
        if self._is_judged or self._begun is None or self._begun.poll() in (None, 0):
            return
        try:
            finish_loading(self._begun, self._loader.url)
        except LoadFailed as error:
            if not self._may_succeed_otherwise(error):
                raise
            self._is_judged = True

    def finish(self) -> tuple[int | None, list[str]]:
        """How many rows there are now, None if they are unknown, and warnings.

        Raises LoadFailed, CannotRestore, DatabaseUnavailable, psycopg.Error.
        """
        self._progress.phase("load")
        broken: list[Broken] = []
        try:
            self._load()
        except LoadFailed as error:
            if not self._may_succeed_otherwise(error):
                raise
            broken = self._load_again(error)
        self._loader.give_rights(self._database.session)
        self._progress.phase("check")
        rows, warnings = check_rows(
            self._database.session,
            self._archive.manifest,
            self._options.judge_rows,
            accepts_broken=self._options.accepts_broken,
        )
        self._progress.phase("analyze")
        with self._database.session() as session:
            for note in analyze_tables(session) if self._options.analyzes else ():  # decision 30
                self._progress.note(note)
            if self._options.is_whole:
                warnings += judge_views(session, self._archive.manifest, self._progress.note)
        broken += load_entries(
            self._loader,
            self._database.session,
            self._order.passes[Pass.EVENT_TRIGGERS],
            accepts=self._options.accepts_broken,
        )
        warnings += self._database.complete()
        if self._options.accepts_broken:
            warnings += self._write_down(broken, [Broken(what, "", sql) for what, sql in self._loader.plan.vain])
        return rows, warnings

    def _may_succeed_otherwise(self, error: LoadFailed) -> bool:
        return self._loader.may_succeed_otherwise(error, self._database.session, accepts=self._options.accepts_broken)

    def _open_copy(self, size: int) -> DumpCopy | None:
        """None: one job will load straight from the archive."""
        directory, min_free = self._options.scratch, self._options.min_free
        room = min_free.room(os.statvfs(directory))
        why = ""
        if lives_in_memory(directory):
            why = f"{directory} is in memory"
        elif room is not None and room < size:
            why = f"{directory} has no space for a copy of the dump"
        if not why:
            try:
                return self._until_loaded.enter_context(copied_dump(directory, min_free))
            except OSError as error:
                why = f"no copy of the dump can be written to {directory}: {error.strerror}"
        self._progress.note(f"{why}: one job loads the dump straight from the archive (see BACKUP_TMP_DIR)")
        return None

    def _load(self) -> None:
        """Raises LoadFailed, DatabaseUnavailable."""
        finish_loading(self.begin(), self._loader.url)
        for each in (Pass.RULES, Pass.PRIVILEGES, Pass.VIEWS):
            self._loader.load(self._order.passes[each], 1 if each in self._order.serial else self._options.jobs)

    def _load_again(self, error: LoadFailed) -> list[Broken]:
        """Into a new database of the same name; what is broken, if that is accepted."""
        self._progress.note(f"{error.message} It is loaded again with one job, all rows before the constraints")
        self._database.make_anew()
        try:
            return load_again(self._loader, self._database.session, accepts=self._options.accepts_broken)
        except LoadFailed as second:
            second.hint = ACCEPT
            raise

    def _write_down(self, broken: list[Broken], known: list[Broken]) -> list[str]:
        """The SQL to mend it, and what was known before, in a file beside the archives; warnings."""
        if not broken and not known:
            return []
        path = self._options.mending / f"{self._database.name}-to-mend.sql"
        script = mending_script([*broken, *known], self._archive.path.name).encode("utf-8", "surrogateescape")
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(script)
        more = f" ({len(broken):,} things)" if len(broken) > _SHOWN else ""
        return [
            *(each.warning for each in broken[:_SHOWN]),
            f"what is broken and how to mend it{more} is in {path}",
        ]
