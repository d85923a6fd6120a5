"""Builds the state that an archive holds beside the live one: a database of its own, and uploads in a directory.

A restore swaps it in afterwards, a drill looks at it and removes it. Nothing live changes here. The hashes taken while
extracting, the load itself and the row counts afterwards are the proof that the archive is what its manifest says.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from safeharbor_backup.actions.restore.dump_copy import DumpCopy, copied_dump, lives_in_memory
from safeharbor_backup.actions.restore.loader import Loader
from safeharbor_backup.actions.restore.recorded_database import database_in_manifest, properties_in_manifest
from safeharbor_backup.actions.restore.second_try import ACCEPT, Broken, load_again, mending_script
from safeharbor_backup.actions.restore.views_check import judge_views
from safeharbor_backup.archive.reader import Rejected
from safeharbor_backup.archive.source import Truncated
from safeharbor_backup.archive.verified_reader import CheckedPass, run_foreign_pass
from safeharbor_backup.errors import ArchiveRejected, CannotRestore, StorageUnavailable, one_line, translate_os_error
from safeharbor_backup.postgres.connection import connected
from safeharbor_backup.postgres.load import LoadFailed, finish_loading
from safeharbor_backup.postgres.order import Order, Pass, order_entries
from safeharbor_backup.postgres.properties import Properties, read_properties, replay_properties
from safeharbor_backup.postgres.rows import analyze_tables, count_table_rows, list_tables
from safeharbor_backup.postgres.target import TargetDatabase, create_beside, drop_database
from safeharbor_backup.settings.min_free import FREE_RESTORES, Floor
from safeharbor_backup.text import ascii_safe
from safeharbor_backup.uploads.extract import ELSEWHERE, LACKS_MODES, LACKS_OWNERS, Extraction
from safeharbor_backup.uploads.movable import has_own_lost_and_found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from safeharbor_backup.actions.restore.database_plan import DatabasePlan
    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.archive.layout import Member
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.system.process import RunningTool

_SHOWN = 10
_LOST_AND_FOUND = b"uploads/lost+found/"
_REFUSED_NAMES = (
    errno.EEXIST,  # it is another name of the archive's there
    errno.EINVAL, errno.ENOENT, errno.EILSEQ, errno.ENAMETOOLONG, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPROTO,
)  # fmt: skip
_REPORT_BYTES = 8 * 1024 * 1024
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Places:
    """Where the state is built: a database by its name ("": none), an empty directory for uploads (None: none).

    `instead_of` is the directory whose place these uploads are to take, where the filesystem's lost+found stays.
    `root` is the directory for uploads held open, for where its path may lead elsewhere meanwhile.
    """

    database: str
    uploads: Path | None
    jobs: int
    instead_of: Path | None = None
    root: int | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """What was staged. Sizes in bytes."""

    upload_files: int
    upload_bytes: int
    rows: int | None
    warnings: tuple[str, ...]


def compare_rows(counts: Mapping[str, int], manifest: Manifest) -> int:
    """How many rows there are, each table's count being the manifest's. Raises CannotRestore."""
    wrong = [
        f"{name} has {counts.get(name, 0):,} rows instead of {rows:,}"
        for name, rows in manifest.tables.items()
        if counts.get(name) != rows
    ]
    if wrong:
        raise CannotRestore(
            f"The dump was loaded, but {len(wrong)} tables are not as they were backed up: {'; '.join(wrong[:3])}.",
            hint="A trigger or rule may have acted during the load. The live database is as it was.",
        )
    return manifest.rows


class Staging:
    """One pass over the archive: its dump goes into the staged database, its uploads into our directory.

    `judge_rows` gets the rows of each table that was loaded, and says how many there are; it raises what is to end the
    staging. `adapt` says which of the database's properties the staged one gets. `accepts_broken`: what cannot be
    restored as it was is left out, and written down.
    """

    def __init__(
        self,
        settings: Settings,
        archive: OpenArchive,
        places: Places,
        progress: Progress,
        *,
        judge_rows: Callable[[Mapping[str, int], Manifest], int] = compare_rows,
        adapt: Callable[[Properties], Properties] = lambda properties: properties,
        accepts_broken: bool = False,
    ) -> None:
        self._settings = settings
        self._archive = archive
        self._places = places
        self._progress = progress
        self._judge_rows = judge_rows
        self._adapt = adapt
        self._accepts_broken = accepts_broken
        self._like: TargetDatabase | None = None
        self._properties: Properties | None = None
        self._loader: Loader | None = None
        self._until_loaded = ExitStack()
        self._plan: DatabasePlan | None = None
        self._url: DatabaseUrl | None = None
        self._role = ""
        self._copy: DumpCopy | None = None
        self._tool: RunningTool | None = None
        self._extraction: Extraction | None = None
        self._unreported = 0
        self._warnings: list[str] = []
        self._order: Order | None = None

    def prepare_database(self, target: Target, plan: DatabasePlan, like: TargetDatabase | None = None) -> None:
        """Create the empty database, as the live one is, or the archive says, or as `like`.

        If this fails: it is dropped by the caller, and nothing live has changed.
        """
        like = like or plan.live or database_in_manifest(target, self._archive.manifest)
        create_beside(target, self._places.database, like)
        self._plan, self._like = plan, like
        self._url = target.url.with_database(self._places.database)
        if not target.is_superuser and plan.live is not None and plan.live.owner != target.role:
            self._role = plan.live.owner
        self._properties = self._read_properties(target)
        replay_properties(target, self._places.database, self._properties.while_loading)
        url = self._url.with_options(self._properties.placeholders)
        self._loader = Loader(self._archive.dump, plan, url, target.is_superuser, self._role)

    def _read_properties(self, target: Target) -> Properties:
        """Those that the staged database gets."""
        assert self._plan is not None  # noqa: S101 - asked once there is one
        if self._plan.live is not None:
            return self._adapt(read_properties(target, self._plan.live.name))
        return self._adapt(properties_in_manifest(self._archive.manifest))

    def run(self, target: Target | None) -> Staged:
        """Stage everything. If this fails: the caller removes both stages, and nothing live has changed.

        Raises ArchiveRejected, CannotRestore, DatabaseUnavailable, StorageUnavailable.
        """
        self._progress.phase("stage", self._archive.source.size)
        try:
            with ExitStack() as stack:
                stack.enter_context(self._until_loaded)
                if self._places.uploads is not None:
                    root = self._places.root
                    descriptor = os.open(self._places.uploads, _OPEN_DIRECTORY) if root is None else os.dup(root)
                    stack.callback(os.close, descriptor)
                    floor = Floor(descriptor, self._places.uploads, self._settings.min_free, FREE_RESTORES)
                    in_order = self._archive.front is not None
                    self._extraction = Extraction(descriptor, in_order=in_order, require_room=floor.require)
                    stack.callback(self._extraction.close)
                self._pass()
                if self._extraction is not None:
                    self._progress.phase("sync")
                    self._extraction.finish()
                rows = self._finish_database(target) if target is not None and self._plan is not None else None
        except OSError as error:
            raise _translate(error, self._archive.path) from error
        done = (self._extraction.files, self._extraction.size_bytes) if self._extraction is not None else (0, 0)
        if self._extraction is not None and self._extraction.lacks_owners:
            self._warnings.append(LACKS_OWNERS)
        if self._extraction is not None and self._extraction.lacks_modes:
            self._warnings.append(LACKS_MODES)
        return Staged(*done, rows, tuple(self._warnings))

    def _pass(self) -> None:
        try:
            if self._archive.front is not None:
                CheckedPass(self._archive.source, self._archive.front, self, self._reject).run()
            else:
                run_foreign_pass(self._archive.source, self)
        except Rejected as error:
            self._reject(str(error))
        except Truncated:
            self._reject("it was cut: it ends in the middle")
        self._start_loading()

    def take_dump(self, member: Member, read: Callable[[], Iterator[bytes]]) -> None:
        """Put it where jobs can load it; only when its checksum was compared is it loaded."""
        directory = self._settings.tmp_dir or self._settings.backup_dir
        if self._plan is not None and self._places.jobs > 1:
            self._copy = self._open_copy(directory, member.size)
        if self._copy is None or self._copy.clone(self._archive.dump, member.size):
            for chunk in read():
                self._report(len(chunk))
            return
        for chunk in read():
            self._copy.write(chunk)
            self._report(len(chunk))

    def take_upload(self, member: Member, data: Iterable[bytes]) -> None:
        """Write it below our staging directory. The dump, which comes before, loads meanwhile."""
        self._start_loading()
        self._report(512)
        if self._extraction is None:
            for chunk in data:
                self._report(len(chunk))
            return
        instead_of = self._places.instead_of
        if member.name == _LOST_AND_FOUND and instead_of is not None and has_own_lost_and_found(instead_of):
            raise CannotRestore(
                f"The archive holds a directory lost+found, and the one in {instead_of} is the filesystem's.",
                hint="Restore into another directory with --upload-dir, or extract it by hand.",
            )
        self._extraction.add(member, data)
        self._report(member.size)

    def _open_copy(self, directory: Path, size: int) -> DumpCopy | None:
        """None: one job will load straight from the archive."""
        room = self._settings.min_free.room(os.statvfs(directory))
        why = ""
        if lives_in_memory(directory):
            why = f"{directory} is in memory"
        elif room is not None and room < size:
            why = f"{directory} has no room for a copy of the dump"
        if not why:
            try:
                return self._until_loaded.enter_context(copied_dump(directory, self._settings.min_free))
            except OSError as error:
                why = f"{directory} cannot be written: {error.strerror}"
        self._progress.note(f"{why}: one job loads the dump straight from the archive (see BACKUP_TMP_DIR)")
        return None

    def _start_loading(self) -> None:
        if self._tool is not None or self._plan is None or self._loader is None or not self._has_dump():
            return
        self._order = order_entries(self._plan.entries, self._plan.contents.toc)
        self._loader.copy = self._copy
        jobs = self._places.jobs if self._order.is_known else 1
        self._tool = self._until_loaded.enter_context(self._loader.loading(self._order.passes[Pass.DATA], jobs))

    def _has_dump(self) -> bool:
        """Whether the dump has been read and compared: in archives by others it may come last."""
        dump = self._archive.dump
        return self._archive.source.position >= dump.offset + dump.size

    def _finish_database(self, target: Target) -> int | None:
        assert self._loader is not None  # noqa: S101 - set with the plan
        assert self._order is not None  # noqa: S101 - set when the load began
        assert self._properties is not None  # noqa: S101 - set with the plan
        self._progress.phase("load")
        broken: list[Broken] = []
        try:
            self._load()
        except LoadFailed as error:
            if not self._loader.may_succeed_otherwise(error):
                raise
            broken = self._load_again(target, error)
        self._loader.give_rights(self.session)
        self._progress.phase("check")
        rows = self._check_rows()
        self._progress.phase("analyze")
        with self.session() as session:
            for note in analyze_tables(session):  # decision 30
                self._progress.note(note)
            self._warnings += judge_views(session, self._archive.manifest, self._progress.note)
        self._loader.load(self._order.passes[Pass.EVENT_TRIGGERS], 1)
        refused = replay_properties(target, self._places.database, self._properties)
        self._warnings += [f"not carried over to the new database: {what}" for what in refused]
        if broken:
            self._write_down(broken)
        return rows

    def _load(self) -> None:
        """Raises LoadFailed, DatabaseUnavailable."""
        assert self._tool is not None  # noqa: S101 - started at the end of the pass, at the latest
        assert self._loader is not None  # noqa: S101 - set with the plan
        assert self._order is not None  # noqa: S101 - set when the load began
        finish_loading(self._tool, self._loader.url)
        for each in (Pass.RULES, Pass.PRIVILEGES, Pass.VIEWS):
            self._loader.load(self._order.passes[each], 1 if each is Pass.PRIVILEGES else self._places.jobs)

    def _load_again(self, target: Target, error: LoadFailed) -> list[Broken]:
        """Into a new database of the same name; what is broken, if that is accepted."""
        assert self._loader is not None  # noqa: S101 - set with the plan
        assert self._like is not None  # noqa: S101 - likewise
        assert self._properties is not None  # noqa: S101 - likewise
        self._progress.note(f"{error.message} It is loaded again with one job, all rows before what judges them")
        name = self._places.database
        mark = replace(self._properties.while_loading, comment=read_properties(target, name).comment)
        drop_database(target, name)
        create_beside(target, name, self._like)
        replay_properties(target, name, mark)
        try:
            return load_again(self._loader, self.session, accepts=self._accepts_broken)
        except LoadFailed as second:
            second.hint = ACCEPT
            raise

    def _write_down(self, broken: list[Broken]) -> None:
        path = self._settings.backup_dir / f"{self._places.database}-to-mend.sql"
        with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(mending_script(broken, self._archive.path.name))
        self._warnings += [each.warning for each in broken[:_SHOWN]]
        more = f" ({len(broken):,} things)" if len(broken) > _SHOWN else ""
        self._warnings.append(f"what is broken and how to mend it{more} is in {path}")

    def _check_rows(self) -> int | None:
        """How many rows were loaded, compared with the manifest. Raises CannotRestore."""
        if self._archive.manifest is None:
            return None
        with self.session() as session:
            # fail, as pg_dump does, rather than count only the visible rows
            session.execute("SET row_security = off")
            try:
                with session.transaction():
                    counts = count_table_rows(session, list_tables(session))
            except psycopg.errors.InsufficientPrivilege as error:
                self._warnings.append(f"the rows could not be counted: {one_line(error)}")
                return None
        try:
            return self._judge_rows(counts, self._archive.manifest)
        except CannotRestore as error:
            if not self._accepts_broken:
                error.hint = f"{error.hint} `--accept-broken` takes it as it is.".strip()
                raise
            self._warnings.append(error.message)
            return sum(counts.values())

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection]:
        """A session in the staged database as the role that owns what is in it."""
        assert self._url is not None  # noqa: S101 - asked only for a database
        with connected(self._loader.url if self._loader is not None else self._url) as session:
            if self._role:
                session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self._role)))
            yield session

    def _report(self, size: int) -> None:
        self._unreported += size
        if self._unreported >= _REPORT_BYTES:
            self._progress.advance(self._unreported)
            self._unreported = 0
            if self._tool is not None and self._tool.poll() not in (None, 0):
                self._require_hope(self._tool)

    def _require_hope(self, failed: RunningTool) -> None:
        """No need to extract the rest if loading again would be no use. Raises LoadFailed, DatabaseUnavailable."""
        assert self._loader is not None  # noqa: S101 - it was started with it
        try:
            finish_loading(failed, self._loader.url)
        except LoadFailed as error:
            if not self._loader.may_succeed_otherwise(error):
                raise

    def _reject(self, problem: str) -> None:
        raise ArchiveRejected(
            f"{self._archive.path}: {problem.rstrip('.')}.",
            hint="The live database and uploads are as they were. `safeharbor list` shows the other archives.",
        )


def _translate(error: OSError, archive: Path) -> Exception:
    if isinstance(error.filename, bytes) and error.errno in _REFUSED_NAMES:  # the name of a member
        name = ascii_safe(os.fsdecode(error.filename))
        return CannotRestore(
            f"The filesystem of the uploads does not take {name} of {archive.name}: {error.strerror}.",
            hint=ELSEWHERE,
        )
    failure = translate_os_error(error, "staging the restore")
    if isinstance(failure, StorageUnavailable):
        failure.hint = (
            "Free some space, or access, there; `safeharbor restore --discard-previous` deletes what earlier "
            "restores kept. The live database and uploads are as they were."
        )
    return failure
