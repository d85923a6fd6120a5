"""Builds the state that an archive holds beside the live one: a database of its own, and uploads in a directory.

A restore swaps it in afterwards, a drill looks at it and removes it. Nothing live changes here. The hashes taken while
extracting, the load itself and the row counts afterwards are the proof that the archive is what its manifest says.
"""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from safeharbor.archive.checked import CheckedPass, run_foreign_pass
from safeharbor.archive.reader import Rejected
from safeharbor.archive.source import Truncated
from safeharbor.errors import ArchiveRejected, CannotRestore, StorageUnavailable, one_line, translate_os_error
from safeharbor.postgres.connection import connected
from safeharbor.postgres.load import LoadOptions, finish_loading, load_argv, loading
from safeharbor.postgres.order import Order, Pass, order_entries
from safeharbor.postgres.properties import properties_in_manifest, read_properties, replay_properties
from safeharbor.postgres.rows import count_table_rows, list_tables
from safeharbor.postgres.target import TargetDatabase, create_beside
from safeharbor.restore.dump_copy import DumpCopy, copied_dump, lives_in_memory
from safeharbor.uploads.extract import ELSEWHERE, LACKS_MODES, LACKS_OWNERS, Extraction
from safeharbor.uploads.movable import has_own_lost_and_found
from safeharbor.uploads.omissions import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from safeharbor.archive.layout import Member
    from safeharbor.archive.manifest import Manifest
    from safeharbor.database_url import DatabaseUrl
    from safeharbor.postgres.properties import Properties
    from safeharbor.postgres.target import Target
    from safeharbor.process import RunningTool
    from safeharbor.progress import Progress
    from safeharbor.restore.database_plan import DatabasePlan
    from safeharbor.restore.request import OpenArchive
    from safeharbor.settings import Settings

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


def _as_they_are(properties: Properties) -> Properties:
    return properties


class Staging:
    """One pass over the archive: its dump goes into the staged database, its uploads into our directory.

    `judge_rows` gets the rows of each table that was loaded, and says how many there are; it raises what is to end the
    staging. `adapt` says which of the database's properties the staged one gets.
    """

    def __init__(
        self,
        settings: Settings,
        archive: OpenArchive,
        places: Places,
        progress: Progress,
        *,
        judge_rows: Callable[[Mapping[str, int], Manifest], int] = compare_rows,
        adapt: Callable[[Properties], Properties] = _as_they_are,
    ) -> None:
        self._settings = settings
        self._archive = archive
        self._places = places
        self._progress = progress
        self._judge_rows = judge_rows
        self._adapt = adapt
        self._until_loaded = ExitStack()
        self._plan: DatabasePlan | None = None
        self._url: DatabaseUrl | None = None
        self._role = ""
        self._is_superuser = False
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
        like = like or plan.live or _database_in_manifest(target, self._archive.manifest)
        create_beside(target, self._places.database, like)
        self._plan = plan
        self._url = target.url.with_database(self._places.database)
        self._is_superuser = target.is_superuser
        if not target.is_superuser and plan.live is not None and plan.live.owner != target.role:
            self._role = plan.live.owner

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
                    self._extraction = Extraction(descriptor, in_order=self._archive.front is not None)
                    stack.callback(self._extraction.close)
                self._pass()
                if self._extraction is not None:
                    self._progress.phase("sync")
                    self._extraction.finish()
                rows = self._finish_database(target) if target is not None and self._plan is not None else None
        except OSError as error:
            raise _translate(error, self._archive.path) from error
        files = self._extraction.files if self._extraction is not None else 0
        size = self._extraction.size_bytes if self._extraction is not None else 0
        if self._extraction is not None and self._extraction.lacks_owners:
            self._warnings.append(LACKS_OWNERS)
        if self._extraction is not None and self._extraction.lacks_modes:
            self._warnings.append(LACKS_MODES)
        return Staged(files, size, rows, tuple(self._warnings))

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
                return self._until_loaded.enter_context(copied_dump(directory))
            except OSError as error:
                why = f"{directory} cannot be written: {error.strerror}"
        self._progress.note(f"{why}: one job loads the dump straight from the archive (see BACKUP_TMP_DIR)")
        return None

    def _start_loading(self) -> None:
        if self._tool is not None or self._plan is None or self._url is None or not self._has_dump():
            return
        self._order = order_entries(self._plan.entries, self._plan.contents.toc)
        listed = self._until_loaded.enter_context(table_of_contents(self._order.passes[Pass.DATA]))
        jobs = self._places.jobs if self._order.is_known else 1
        self._tool = self._until_loaded.enter_context(self._loading(listed, jobs))

    @contextmanager
    def _loading(self, listed: Path, jobs: int) -> Iterator[RunningTool]:
        """pg_restore at work on these entries, with several jobs where there is a copy for them."""
        assert self._url is not None  # noqa: S101 - set with the plan
        assert self._plan is not None  # noqa: S101 - likewise
        tools = self._plan.contents.tools
        options = LoadOptions(
            jobs=jobs,
            keep_owners=self._is_superuser,
            keep_privileges=self._plan.keep_privileges,
            role=self._role,
        )
        if self._copy is not None:
            with loading(load_argv(tools, self._url, self._copy.input.file, listed, options), self._url) as tool:
                yield tool
            return
        argv = load_argv(tools, self._url, None, listed, options)
        with self._archive.dump.piped() as stdin, loading(argv, self._url, stdin) as tool:
            yield tool

    def _has_dump(self) -> bool:
        """Whether the dump has been read and compared: in archives by others it may come last."""
        dump = self._archive.dump
        return self._archive.source.position >= dump.offset + dump.size

    def _finish_database(self, target: Target) -> int | None:
        assert self._tool is not None  # noqa: S101 - started at the end of the pass, at the latest
        assert self._url is not None  # noqa: S101 - set with the plan
        assert self._plan is not None  # noqa: S101 - asked by the caller
        self._progress.phase("load")
        finish_loading(self._tool, self._url)
        assert self._order is not None  # noqa: S101 - set when the load began
        for each in (Pass.RULES, Pass.PRIVILEGES, Pass.VIEWS):
            self._load_more(self._order.passes[each], 1 if each is Pass.PRIVILEGES else self._places.jobs)
        self._progress.phase("check")
        rows = self._check_rows()
        self._progress.phase("analyze")
        with self.session() as session:
            session.execute("ANALYZE")
        self._load_more(self._order.passes[Pass.EVENT_TRIGGERS], self._places.jobs)
        properties = None
        if self._plan.live is not None:
            properties = read_properties(target, self._plan.live.name)
        elif self._archive.manifest is not None:
            section = self._archive.manifest.document.get("database")
            properties = properties_in_manifest(section if isinstance(section, dict) else {})
        if properties is not None:
            refused = replay_properties(target, self._places.database, self._adapt(properties))
            self._warnings += [f"not carried over to the new database: {what}" for what in refused]
        return rows

    def _load_more(self, entries: tuple[str, ...], jobs: int) -> None:
        """Load what had to wait, in the order of the dump."""
        if not entries:
            return
        assert self._url is not None  # noqa: S101 - set with the plan
        with table_of_contents(entries) as listed, self._loading(listed, jobs) as tool:
            finish_loading(tool, self._url)

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
        return self._judge_rows(counts, self._archive.manifest)

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection]:
        """A session in the staged database as the role that owns what is in it."""
        assert self._url is not None  # noqa: S101 - asked only for a database
        with connected(self._url) as session:
            if self._role:
                session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self._role)))
            yield session

    def _report(self, size: int) -> None:
        self._unreported += size
        if self._unreported >= _REPORT_BYTES:
            self._progress.advance(self._unreported)
            self._unreported = 0
            if self._tool is not None and self._tool.poll() not in (None, 0):
                assert self._url is not None  # noqa: S101 - it was started with it
                finish_loading(self._tool, self._url)  # no need to extract the rest

    def _reject(self, problem: str) -> None:
        raise ArchiveRejected(
            f"{self._archive.path}: {problem.rstrip('.')}.",
            hint="The live database and uploads are as they were. `safeharbor list` shows the other archives.",
        )


def _database_in_manifest(target: Target, manifest: Manifest | None) -> TargetDatabase:
    """What a database that does not exist yet is to be like."""
    template = target.find("template1")
    assert template is not None  # noqa: S101 - every cluster has it
    template = replace(template, owner="", tablespace="pg_default")
    section = manifest.document.get("database") if manifest is not None else None
    if not isinstance(section, dict):
        return template
    values = {key: section.get(key) for key in ("encoding", "collate", "ctype", "locale_provider", "locale", "owner")}
    if not all(isinstance(values[key], str) for key in ("encoding", "collate", "ctype", "locale_provider")):
        return template
    owner = str(values["owner"] or "")
    if not target.is_superuser or target.missing_roles({owner}):
        owner = ""
    return replace(
        template,
        owner=owner,
        encoding=str(values["encoding"]),
        collate=str(values["collate"]),
        ctype=str(values["ctype"]),
        provider=str(values["locale_provider"]),
        locale=values["locale"] if isinstance(values["locale"], str) else None,
        icu_rules=None,
    )


@contextmanager
def table_of_contents(entries: tuple[str, ...]) -> Iterator[Path]:
    """A nameless file with the entries to load, as pg_restore's --use-list wants it."""
    with tempfile.TemporaryFile() as file:
        file.write("\n".join(entries).encode("utf-8", "surrogateescape") + b"\n")
        file.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")


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
