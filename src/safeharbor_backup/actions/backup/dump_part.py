"""The database's part of a backup: dumped, decoded while it comes, in turn with the uploads or beside them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from safeharbor_backup.actions.backup.dump_beside import DumpBeside
from safeharbor_backup.actions.backup.manifest_content import DumpRecord
from safeharbor_backup.archive.headers import WIDE_HEADER_BYTES
from safeharbor_backup.archive.layout import DUMP_OFFSET, dump_name
from safeharbor_backup.archive.parallel_dump import write_apart
from safeharbor_backup.errors import DatabaseUnavailable, SafeHarborError, ToolFailed
from safeharbor_backup.postgres.connection import is_alive
from safeharbor_backup.postgres.dump import LeftOut, dump_argv, dumping, finish_dump, read_dump
from safeharbor_backup.postgres.dump_check import CountedDecoding, feed
from safeharbor_backup.postgres.errors import count_ended, has_ended_more, why_dump_failed
from safeharbor_backup.postgres.patterns import is_left_out
from safeharbor_backup.postgres.session_settings import fixed_for_tools, let_go_of_snapshot
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.text import ascii_safe, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import psycopg

    from safeharbor_backup.actions.backup.inventory import Inventory
    from safeharbor_backup.archive.parallel_dump import DumpRegion
    from safeharbor_backup.archive.writer import ArchiveWriter
    from safeharbor_backup.postgres.client_tools import ClientTools
    from safeharbor_backup.postgres.copied_rows import TableName
    from safeharbor_backup.postgres.snapshot import DatabaseProperties, Snapshot
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.system.process import RunningTool

_GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class DumpSource:
    """What a dump is made from: the server, the tools for it, and the open snapshot."""

    url: DatabaseUrl
    tools: ClientTools
    compression: str
    session: psycopg.Connection
    snapshot: Snapshot
    properties: DatabaseProperties


@dataclass(frozen=True, slots=True)
class _AtWork:
    """pg_dump, and a pg_restore that decodes what it is given and has its rows counted.

    `ended_before`: how many sessions the server had ended before they began.
    """

    tool: RunningTool
    decoder: CountedDecoding
    ended_before: int


@dataclass(frozen=True, slots=True)
class DumpPart:
    """Takes a dump of one backup: `write` or `beside`."""

    source: DumpSource
    inventory: Inventory
    left_out: LeftOut
    lock_timeout_seconds: float
    progress: Progress

    def write(self, writer: ArchiveWriter, name: str = "") -> DumpRecord:
        """Write it where the archive begins, or, of the database `name`, where the archive is now.

        Raises ToolFailed, DatabaseUnavailable, OSError.
        """
        with self._tools() as at_work:
            chunks = self._decoded(at_work, self.progress.advance)
            offset = writer.position + WIDE_HEADER_BYTES if name else DUMP_OFFSET
            size, digest = writer.write_other_dump(dump_name(name), chunks) if name else writer.write_dump(chunks)
            rows = self._conclude(at_work)
        return replace(self._record(size, digest, rows), offset=offset)

    @contextmanager
    def beside(
        self, descriptor: int, gap: DumpRegion, when_dumped: Callable[[], None], require_room: Callable[[int], None]
    ) -> Iterator[DumpBeside]:
        """It is being written while the block runs; `when_dumped` is called when the snapshot is not needed any more.

        `require_room` is asked before so many bytes are written, and raises if they may not be.
        If the block is left early, pg_dump is ended.
        """
        with self._tools() as at_work:
            dump = DumpBeside(self.progress)

            def write() -> tuple[int, str]:
                return write_apart(descriptor, gap, self._decoded(at_work, dump.take), require_room)

            def conclude(size: int, digest: str) -> DumpRecord:
                rows = self._conclude(at_work)
                when_dumped()
                return self._record(size, digest, rows)

            try:
                with signals_held():  # one that came in between would leave a thread that nobody ends
                    dump.start(write, conclude)
                yield dump
            except BaseException:
                with signals_held():
                    gap.abandon()
                    at_work.tool.terminate()  # pg_dump tells the server
                    at_work.decoder.tool.kill()
                    if not dump.has_ended(_GRACE_SECONDS):
                        at_work.tool.kill()
                raise
            finally:
                dump.has_ended()  # the pipes must not be closed while they are read

    @contextmanager
    def _tools(self) -> Iterator[_AtWork]:
        source = self.source
        argv = dump_argv(
            source.tools,
            fixed_for_tools(source.url, source.session),
            snapshot_id=source.snapshot.id,
            compression=source.compression,
            lock_timeout_seconds=self.lock_timeout_seconds,
            encoding=source.properties.encoding,
            left_out=self.left_out,
        )
        ended_before = count_ended(source.session)
        with dumping(argv, source.url) as tool, CountedDecoding.started(source.tools) as decoder:
            yield _AtWork(tool, decoder, ended_before)

    def _decoded(self, at_work: _AtWork, advance: Callable[[int], None]) -> Iterator[bytes]:
        """The dump, each chunk also given to the decoder: a cut dump is noticed without reading it again."""
        is_listening = True
        for chunk in read_dump(at_work.tool):
            advance(len(chunk))
            is_listening = is_listening and feed(at_work.decoder.tool, chunk)
            yield chunk

    def _conclude(self, at_work: _AtWork) -> Mapping[TableName, int]:
        """Hear both out; the rows of each table in the dump.

        Raises ToolFailed, or DatabaseUnavailable if the session beside the dump is gone too.
        """
        source = self.source
        try:
            for line in finish_dump(at_work.tool, source.url):
                self.progress.note(line)
        except ToolFailed as error:
            if is_alive(source.session):
                if has_ended_more(source.session, at_work.ended_before):
                    raise DatabaseUnavailable(f"{error.message} (the server has ended its session)") from error
                error.hint = error.hint or why_dump_failed(
                    source.session, is_in_data="Dumping the contents of table" in error.message
                )
                raise
            raise DatabaseUnavailable(f"{error.message} (the server is gone)") from error
        try:
            rows = at_work.decoder.finish()
        except SafeHarborError as error:
            raise ToolFailed(
                f"pg_dump reported success, but its dump cannot be decoded to the end: {error.message}",
                hint="Use pg_dump and pg_restore of the same installation; see BACKUP_PG_BIN.",
            ) from error
        let_go_of_snapshot(source.session)
        return rows

    def _record(self, size: int, digest: str, counted: Mapping[TableName, int]) -> DumpRecord:
        """The rows are those of the dump itself; a table that it has none of was left out on purpose.

        Raises ToolFailed if one was not.
        """
        source, left_out, inventory = self.source, self.left_out, self.inventory
        rows: dict[str, int] = {}
        without: list[str] = []
        missing: list[str] = []
        for table in inventory.tables:
            found = [counted[name] for name in (table.raw, *table.parts) if name in counted]
            if found:
                rows[table.quoted] = sum(found)
            elif is_left_out(table, left_out.schemas, left_out.tables):
                missing.append(table.quoted)
            elif left_out.data:
                without.append(table.quoted)
            else:
                raise ToolFailed(
                    f"pg_dump reported success, but its dump lacks the rows of {ascii_safe(table.quoted)}."
                )
        if missing:
            self.progress.note(f"left out {plural(len(missing), 'table')}, which a restore will not bring back")
        how = (source.compression, source.tools, source.properties)
        tables = rows if inventory.fits else {}
        return DumpRecord(size, digest, *how, tables, without, inventory.structure, left_out, missing)
