"""Puts the database into an archive: pg_dump in the snapshot, decoded while it comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor.errors import DatabaseUnavailable, SafeHarborError, ToolFailed
from safeharbor.postgres.connection import is_alive
from safeharbor.postgres.decode import decoding, feed, finish_decoding
from safeharbor.postgres.dump import dump_argv, dumping, finish_dump, read_dump

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from safeharbor.archive.writer import ArchiveWriter
    from safeharbor.database_url import DatabaseUrl
    from safeharbor.postgres.snapshot import DatabaseProperties, Snapshot
    from safeharbor.postgres.tools import ClientTools
    from safeharbor.process import RunningTool
    from safeharbor.progress import Progress
    from safeharbor.settings import Settings


@dataclass(frozen=True, slots=True)
class DumpSource:
    """What a dump is made from: the server, the tools for it, and the open snapshot."""

    url: DatabaseUrl
    tools: ClientTools
    compression: str
    session: psycopg.Connection
    snapshot: Snapshot
    properties: DatabaseProperties


def dump_database(source: DumpSource, writer: ArchiveWriter, settings: Settings, progress: Progress) -> tuple[int, str]:
    """Size and SHA-256 of the dump that was written.

    It is decoded while it comes: that costs no time, and a cut dump is noticed before the uploads are copied. Raises
    ToolFailed, DatabaseUnavailable, OSError.
    """
    argv = dump_argv(
        source.tools,
        source.url,
        snapshot_id=source.snapshot.id,
        compression=source.compression,
        lock_timeout_seconds=settings.lock_timeout_seconds,
        without_data=settings.exclude_table_data,
    )
    with dumping(argv, source.url) as tool, decoding(source.tools) as decoder:
        size, digest = writer.write_dump(_decoded(read_dump(tool), decoder, progress))
        _hear_out(tool, source, progress)
        _require_whole(decoder)
    return size, digest


def _decoded(chunks: Iterator[bytes], decoder: RunningTool, progress: Progress) -> Iterator[bytes]:
    """The same chunks, each also given to the decoder."""
    is_listening = True
    for chunk in chunks:
        progress.advance(len(chunk))
        is_listening = is_listening and feed(decoder, chunk)
        yield chunk


def _require_whole(decoder: RunningTool) -> None:
    try:
        finish_decoding(decoder)
    except SafeHarborError as error:
        raise ToolFailed(
            f"pg_dump ended well, but what it wrote does not decode to its end: {error.message}",
            hint="pg_dump and pg_restore of one installation belong together; see BACKUP_PG_BIN.",
        ) from error


def _hear_out(tool: RunningTool, source: DumpSource, progress: Progress) -> None:
    """What pg_dump said; a failure is the database's if the session beside it is gone too."""
    try:
        for line in finish_dump(tool, source.url):
            progress.note(line)
    except ToolFailed as error:
        if is_alive(source.session):
            raise
        raise DatabaseUnavailable(f"{error.message} (the server is gone)") from error
