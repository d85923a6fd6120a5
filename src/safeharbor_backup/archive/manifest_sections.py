"""The sections of a manifest, which `docs/archive-format.md` describes."""

from __future__ import annotations

from msgspec import Struct, field

from safeharbor_backup.system.documents import Count


class Digests(Struct, frozen=True, kw_only=True):
    """SHA-256 in lower-case hex: of `SHA256SUMS`, of the list of members, of the dump."""

    sums: str = field(name="SHA256SUMS")
    members: str
    dump: str = field(name="db.dump", default="")


class Source(Struct, frozen=True, kw_only=True):
    """Whose backup this is."""

    system_identifier: str
    database: str


class Counts(Struct, frozen=True, kw_only=True):
    """What an archive holds. Sizes in bytes."""

    dump_bytes: Count
    upload_files: Count
    upload_directories: Count
    upload_links: Count
    upload_bytes: Count
    tables: Count | None = None
    rows: Count | None = None


class RoleSettings(Struct, frozen=True, kw_only=True):
    """What was set in the database for a role, "" for all, as `name=value`."""

    role: str = ""
    settings: tuple[str, ...] = ()


class Extension(Struct, frozen=True, kw_only=True):
    """An extension of the database."""

    name: str
    version: str
    schema: str


class DatabaseSection(Struct, frozen=True, kw_only=True):
    """The database and its dump; `tables`, `materialized_views` and `sequences` by quoted `schema.name`."""

    server_version: str = ""
    client_version: str
    compression: str = ""
    size_bytes: Count = 0
    encoding: str = ""
    collate: str = ""
    ctype: str = ""
    locale_provider: str = ""
    locale: str | None = None
    icu_rules: str | None = None
    tablespace: str = ""
    owner: str = ""
    acl: tuple[str, ...] | None = None
    connection_limit: int = -1
    comment: str | None = None
    is_template: bool = False
    settings: tuple[RoleSettings, ...] = ()
    extensions: tuple[Extension, ...] = ()
    alembic_revision: str | None = None
    tables: dict[str, Count]
    tables_without_data: tuple[str, ...] = ()
    excluded_schemas: tuple[str, ...] = ()
    excluded_tables: tuple[str, ...] = ()
    tables_left_out: tuple[str, ...] = ()
    materialized_views: dict[str, int | None] | None = None
    materialized_view_hashes: dict[str, str] | None = None
    sequences: dict[str, int | None] | None = None
    constraints: int | None = None
    indexes: int | None = None
    columns: dict[str, str] | None = None
    printing: dict[str, str] | None = None

    @property
    def is_counted(self) -> bool:
        """Whether `tables` says which tables there are; where they are too many for the manifest, it is empty."""
        return bool(self.tables) or self.constraints is not None


class OtherDatabase(Struct, frozen=True, kw_only=True):
    """A database beside the main one: its name in the archive, whose it is, its dump, and when its snapshot was taken.

    Size in bytes, SHA-256 in lower-case hex.
    """

    name: str
    source: Source
    snapshot_at: str = ""
    dump_bytes: Count
    sha256: str = ""
    database: DatabaseSection

    @property
    def identity(self) -> tuple[str, str]:
        """Whose backup this is: the server's system identifier and the database's name."""
        return self.source.system_identifier, self.source.database

    @property
    def rows(self) -> int:
        """All rows of all tables."""
        return sum(self.database.tables.values())


class NameList(Struct, frozen=True, kw_only=True):
    """How many there were, and the first of them; a name may be followed by a colon, a space and a reason."""

    count: Count
    names: tuple[str, ...] = ()


NO_NAMES = NameList(count=0)


class Folder(Struct, frozen=True, kw_only=True):
    """A directory at the top of the uploads; `.` for the files that are in none. Size in bytes."""

    name: str
    files: Count
    bytes: Count


class Place(Struct, frozen=True, kw_only=True):
    """A directory of uploads: its name at the top of the tree, and where it was."""

    name: str
    path: str = ""


class UploadsSection(Struct, frozen=True, kw_only=True):
    """What of the uploads is not in the archive, or not as it should be."""

    excluded_by: tuple[str, ...] = ()
    changed: NameList = NO_NAMES
    vanished: NameList = NO_NAMES
    unreadable: NameList
    skipped: NameList = NO_NAMES
    excluded: NameList = NO_NAMES
    altered: NameList = NO_NAMES
    attributes: NameList = NO_NAMES
    unreadable_directories: Count
    owners: tuple[tuple[Count, Count], ...] = ()
    folders: tuple[Folder, ...] | None = None
    directories: tuple[Place, ...] = ()


class AppSection(Struct, frozen=True, kw_only=True):
    """What the app has, by its configuration, and the archive lacks: names of databases, and paths."""

    missing_databases: tuple[str, ...] = ()
    missing_folders: tuple[str, ...] = ()


class ReferencesSection(Struct, frozen=True, kw_only=True):
    """The database's references to uploads: values by column, and those that have no file."""

    columns: dict[str, Count] = {}
    missing: NameList = NO_NAMES
    outside: NameList = NO_NAMES
    elsewhere: Count = 0
    unknown: tuple[str, ...] = ()


class SharedSection(Struct, frozen=True, kw_only=True):
    """What is in blocks of an earlier archive. Size in bytes."""

    archive: str = ""
    members: Count = 0
    bytes: Count = 0


class Fingerprint(Struct, frozen=True, kw_only=True):
    """A salted, slow hash of an app's SECRET_KEY; salt and hash in hex."""

    method: str = ""
    salt: str
    sha: str
