"""What a backup records of itself: the manifest's document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import UNSET

import safeharbor_backup
from safeharbor_backup.archive.layout import DUMP_OFFSET, MANIFEST_LIMIT_BYTES, format_of
from safeharbor_backup.archive.manifest import TIME_FORMAT, Manifest, secret_key_fingerprint
from safeharbor_backup.archive.manifest_sections import (
    Counts,
    DatabaseSection,
    Digests,
    Extension,
    Folder,
    OtherDatabase,
    Place,
    RoleSettings,
    SharedSection,
    Source,
    UploadsSection,
)
from safeharbor_backup.postgres.dump import NOTHING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from safeharbor_backup.actions.app_data import AppData
    from safeharbor_backup.archive.checksums import Tally
    from safeharbor_backup.postgres.client_tools import ClientTools
    from safeharbor_backup.postgres.dump import LeftOut
    from safeharbor_backup.postgres.snapshot import DatabaseProperties
    from safeharbor_backup.postgres.structure import Structure
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.uploads.omissions import Omissions
    from safeharbor_backup.uploads.reference_paths import References

_MOST_OWNERS = 100


@dataclass(frozen=True, slots=True)
class DumpRecord:
    """How a dump was made and what was in the snapshot. Size, and offset in the archive, in bytes."""

    size: int
    sha256: str
    compression: str
    tools: ClientTools
    properties: DatabaseProperties
    tables: Mapping[str, int]
    tables_without_data: list[str]
    structure: Structure | None = None
    left_out: LeftOut = NOTHING
    tables_left_out: Sequence[str] = ()
    offset: int = DUMP_OFFSET


@dataclass(frozen=True, slots=True)
class OtherRecord:
    """The dump of a database beside the main one, its name in the archive, and when its snapshot was taken."""

    name: str
    snapshot_at: datetime
    dump: DumpRecord


@dataclass(frozen=True, slots=True)
class SharedRecord:
    """How much of an archive is blocks of an earlier one, and of which. Size in bytes."""

    archive: str
    members: int
    size: int


def fits_manifest(numbers: Mapping[str, int | None], among: int = 1) -> bool:
    """Whether so many numbers with names leave room in the manifest for everything else, and `among` so many lists."""
    size = sum(6 * len(name) + 24 for name in numbers)
    return len(numbers) <= 100_000 // among and size < MANIFEST_LIMIT_BYTES // 2 // among


def _columns(structure: Structure | None, among: int) -> dict[str, str] | None:
    """A line for each column of each table; None if they would take too much of the manifest."""
    if structure is None or sum(map(len, structure.columns.values())) > MANIFEST_LIMIT_BYTES // 16 // among:
        return None
    return dict(structure.columns)


def manifest_document(
    taken_at: datetime,
    settings: Settings,
    dump: DumpRecord,
    tally: Tally,
    omissions: Omissions,
    warnings: list[str],
    *,
    block_size: int,
    digests: tuple[str, str, int],
    shared: SharedRecord | None = None,
    references: References | None = None,
    owners: Collection[tuple[int, int]] = (),
    app_data: AppData | None = None,
    others: Sequence[OtherRecord] = (),
) -> Manifest:
    """The manifest; `digests` are SHA256SUMS' digest, the member list's digest, and where SHA256SUMS' data starts."""
    sums_sha256, list_sha256, sums_offset = digests
    return Manifest(
        format=format_of(len(others)),
        taken_at_text=taken_at.strftime(TIME_FORMAT),
        safeharbor_version=safeharbor_backup.__version__,
        block_size=block_size,
        sums_offset=sums_offset,
        digests=Digests(sums=sums_sha256, members=list_sha256, dump=dump.sha256),
        source=Source(system_identifier=dump.properties.system_identifier, database=dump.properties.name),
        counts=Counts(
            dump_bytes=dump.size,
            upload_files=tally.files,
            upload_directories=tally.directories - 1,  # uploads/ itself is always there
            upload_links=tally.links,
            upload_bytes=tally.upload_bytes,
            tables=len(dump.tables),
            rows=sum(dump.tables.values()),
        ),
        about_database=_database_section(dump, 1 + len(others)),
        others=tuple(_other_database(each, 1 + len(others)) for each in others) or UNSET,
        about_uploads=_uploads_section(settings, omissions, tally, owners),
        app=app_data.recorded() if app_data is not None else None,
        references=references.recorded() if references is not None else None,
        shared=None
        if shared is None
        else SharedSection(archive=shared.archive, members=shared.members, bytes=shared.size),
        secret_key=None if settings.secret_key is None else secret_key_fingerprint(settings.secret_key),
        raw_warnings=tuple(warnings),
    )


def _other_database(other: OtherRecord, among: int) -> OtherDatabase:
    dump = other.dump
    return OtherDatabase(
        name=other.name,
        source=Source(system_identifier=dump.properties.system_identifier, database=dump.properties.name),
        snapshot_at=other.snapshot_at.strftime(TIME_FORMAT),
        dump_bytes=dump.size,
        sha256=dump.sha256,
        database=_database_section(dump, among),
    )


def _database_section(dump: DumpRecord, among: int) -> DatabaseSection:
    properties, structure = dump.properties, dump.structure
    return DatabaseSection(
        server_version=properties.server_version,
        client_version=dump.tools.version,
        compression=dump.compression,
        size_bytes=properties.size_bytes,
        encoding=properties.encoding,
        collate=properties.collate,
        ctype=properties.ctype,
        locale_provider=properties.locale_provider,
        locale=properties.locale,
        icu_rules=properties.icu_rules,
        tablespace=properties.tablespace,
        owner=properties.owner,
        acl=properties.acl,
        connection_limit=properties.connection_limit,
        comment=properties.comment,
        is_template=properties.is_template,
        settings=tuple(RoleSettings(role=role, settings=lines) for role, lines in properties.settings),
        extensions=tuple(
            Extension(name=name, version=version, schema=schema) for name, version, schema in properties.extensions
        ),
        alembic_revision=properties.alembic_revision,
        printing=dict(properties.printing) if properties.printing is not None else None,
        tables=dict(dump.tables),
        tables_without_data=tuple(dump.tables_without_data),
        excluded_schemas=tuple(dump.left_out.schemas),
        excluded_tables=tuple(dump.left_out.tables),
        tables_left_out=tuple(dump.tables_left_out),
        materialized_views=dict(structure.views) if structure is not None else None,
        materialized_view_hashes=dict(structure.view_hashes) if structure is not None else None,
        sequences=dict(structure.sequences) if structure is not None else None,
        constraints=structure.constraints if structure is not None else None,
        indexes=structure.indexes if structure is not None else None,
        columns=_columns(structure, among),
    )


def _uploads_section(
    settings: Settings, omissions: Omissions, tally: Tally, owners: Collection[tuple[int, int]]
) -> UploadsSection:
    return UploadsSection(
        excluded_by=tuple(settings.exclude),
        changed=omissions.changed.recorded(),
        vanished=omissions.vanished.recorded(),
        unreadable=omissions.unreadable.recorded(),
        skipped=omissions.skipped.recorded(),
        excluded=omissions.excluded.recorded(),
        altered=omissions.altered.recorded(),
        attributes=omissions.attributes.recorded(),
        unreadable_directories=omissions.unreadable_directories,
        owners=tuple(sorted(owners)[:_MOST_OWNERS]),
        folders=tuple(
            Folder(name=name.decode("utf-8", "surrogateescape"), files=files, bytes=size)
            for name, files, size in tally.folders()
        ),
        directories=tuple(Place(name=each.name, path=str(each.path)) for each in settings.upload_dirs if each.name),
    )
