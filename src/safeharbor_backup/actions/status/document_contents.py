"""What the status document says of one archive: why it stays, what is in it, when it was proven."""

from __future__ import annotations

from heapq import nlargest
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from safeharbor_backup.actions.status.document_values import MOST_WARNINGS, SHORT_TEXT, cut, in_seconds, moment
from safeharbor_backup.actions.status.schema import Contents

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.actions.status.result import Status
    from safeharbor_backup.archive.manifest_sections import Folder

_LARGEST = 30  # tables, and folders
_ARCHIVES_IN_FULL = 60  # of older ones, the largest few
_LARGEST_OF_OLD = 5


def contents_of(entry: CatalogEntry, status: Status, number: int) -> Contents:
    """One archive and what is in it; `number` counts from the newest: of older ones there is less."""
    manifest, name = entry.manifest, entry.name
    verdict = status.outlook.verdicts.get(name)
    stays = verdict is not None and verdict.keep
    most = _LARGEST if number < _ARCHIVES_IN_FULL else _LARGEST_OF_OLD
    known = Contents(
        name=name,
        taken_at=in_seconds(entry.taken_at),
        size_bytes=entry.size,
        state=entry.state.value,
        problem=cut(entry.problem, SHORT_TEXT),
        keep_codes=tuple(each.code.value for each in verdict.because) if verdict is not None and stays else (),
        kept_as=tuple(verdict.reasons) if verdict is not None and stays else (),
        is_daily=verdict is not None and verdict.is_daily,
        is_weekly=verdict is not None and verdict.is_weekly,
        goes_next=name in status.outlook.next_deleted,
        verified_at=moment(status.proofs.verified.get(name)),
        drilled_at=moment(status.proofs.drilled.get(name)),
    )
    if manifest is None:
        return known
    return replace(
        known,
        new_bytes=entry.size - manifest.shared_size if manifest.shared_size <= entry.size else None,
        server_version=cut(manifest.server_version, SHORT_TEXT),
        database=cut(manifest.database, SHORT_TEXT),
        tables=len(manifest.tables),
        rows=manifest.rows,
        upload_files=manifest.upload_files,
        upload_bytes=manifest.upload_bytes,
        largest_tables=_largest(manifest.tables.items(), most),
        folders=_folders(manifest.folders, most),
        databases=tuple((each.name, len(each.database.tables), each.rows) for each in manifest.databases[:most]),
        warnings=tuple(cut(each, SHORT_TEXT) for each in manifest.warnings[:MOST_WARNINGS]),
    )


def _largest(tables: Iterable[tuple[str, int]], most: int) -> tuple[tuple[str, int], ...]:
    largest = nlargest(most, tables, key=itemgetter(1))
    return tuple((cut(name, SHORT_TEXT), rows) for name, rows in largest)


def _folders(folders: Iterable[Folder] | None, most: int) -> tuple[tuple[str, int, int], ...] | None:
    if folders is None:
        return None
    largest = nlargest(most, folders, key=attrgetter("bytes"))
    return tuple((cut(each.name, SHORT_TEXT), each.files, each.bytes) for each in largest)
