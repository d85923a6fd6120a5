"""What an archive says of itself: manifest.json, made at backup and read by whoever opens the archive."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import UNSET, Struct, UnsetType, field
from msgspec.structs import replace

from safeharbor_backup.archive.manifest_sections import (
    AppSection,
    Counts,
    DatabaseSection,
    Digests,
    Fingerprint,
    Folder,
    OtherDatabase,
    Place,
    ReferencesSection,
    SharedSection,
    Source,
    UploadsSection,
)
from safeharbor_backup.system.documents import Count
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Mapping

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


class Manifest(Struct, frozen=True, kw_only=True):
    """The document, section by section; what the program itself relies on has no default.

    A field with a default has it where a manifest lacks the field, or has something else. Sizes in bytes.
    """

    format: Count
    taken_at_text: str = field(name="taken_at")
    safeharbor_version: str = ""
    block_size: Count
    sums_offset: Count
    digests: Digests
    source: Source
    counts: Counts
    about_database: DatabaseSection = field(name="database")
    others: tuple[OtherDatabase, ...] | UnsetType = field(name="databases", default=UNSET)  # not written without any
    about_uploads: UploadsSection = field(name="uploads")
    app: AppSection | None = None
    references: ReferencesSection | None = None
    shared: SharedSection | None = None
    secret_key: Fingerprint | None = None
    raw_warnings: tuple[str, ...] = field(name="warnings")

    @property
    def taken_at(self) -> datetime:
        """The moment of the backup. Raises ValueError, but not of a manifest that was parsed."""
        return datetime.strptime(self.taken_at_text, TIME_FORMAT).replace(tzinfo=UTC)

    @property
    def sums_sha256(self) -> str:
        """The digest of SHA256SUMS."""
        return self.digests.sums

    @property
    def list_sha256(self) -> str:
        """The digest of the list of members."""
        return self.digests.members

    @property
    def dump_size(self) -> int:
        """How many bytes db.dump has, which is compressed."""
        return self.counts.dump_bytes

    @property
    def upload_files(self) -> int:
        """How many regular files are in the uploads."""
        return self.counts.upload_files

    @property
    def upload_directories(self) -> int:
        """How many directories are in the uploads, their own not counted."""
        return self.counts.upload_directories

    @property
    def upload_links(self) -> int:
        """How many symbolic links are in the uploads."""
        return self.counts.upload_links

    @property
    def upload_bytes(self) -> int:
        """The sum of the sizes of uploads."""
        return self.counts.upload_bytes

    @property
    def tables(self) -> Mapping[str, int]:
        """The exact row count of each table in the snapshot, by quoted `schema.table`."""
        return self.about_database.tables

    @property
    def rows(self) -> int:
        """All rows of all tables."""
        return sum(self.tables.values())

    @property
    def database(self) -> str:
        """The name that the main database had on its server when it was dumped."""
        return self.source.database

    @property
    def system_identifier(self) -> str:
        """The number of the server's cluster; "" if the server did not give it."""
        return self.source.system_identifier

    @property
    def identity(self) -> tuple[str, str]:
        """Whose backup this is: the server's system identifier and the database's name."""
        return self.system_identifier, self.database

    @property
    def databases(self) -> tuple[OtherDatabase, ...]:
        """Those beside the main one, by name."""
        return self.others if isinstance(self.others, tuple) else ()

    def seen_from(self, other: OtherDatabase) -> Manifest:
        """The same as if that database were the main one, and the only one."""
        counts = replace(self.counts, dump_bytes=other.dump_bytes, tables=len(other.database.tables), rows=other.rows)
        digests = replace(self.digests, dump=other.sha256)
        return replace(
            self, source=other.source, counts=counts, digests=digests, about_database=other.database, others=UNSET
        )

    @property
    def client_major(self) -> int:
        """The major version of the pg_dump that wrote the dump; 0 if it is not known."""
        return _major(self.about_database.client_version)

    @property
    def server_major(self) -> int:
        """The major version of the server that the dump is of; 0 if it is not known."""
        return _major(self.about_database.server_version)

    @property
    def server_version(self) -> str:
        """The version of the server, safe to print."""
        return ascii_safe(self.about_database.server_version)

    @property
    def compression(self) -> str:
        """What pg_dump was told of compression, safe to print."""
        return ascii_safe(self.about_database.compression)

    @property
    def unreadable(self) -> int:
        """How many uploads could not be read."""
        return self.about_uploads.unreadable.count

    @property
    def unreadable_directories(self) -> int:
        """How many directories could not be listed."""
        return self.about_uploads.unreadable_directories

    @property
    def folders(self) -> tuple[Folder, ...] | None:
        """The directories at the top of the uploads."""
        return self.about_uploads.folders

    @property
    def directories(self) -> tuple[Place, ...]:
        """Those that the uploads were in, if they were several with a name each."""
        return self.about_uploads.directories

    @property
    def excluded_by(self) -> tuple[str, ...]:
        """The patterns of what was left out on purpose, which a restore leaves where it is."""
        return self.about_uploads.excluded_by

    @property
    def owners(self) -> frozenset[tuple[int, int]]:
        """User and group of what is in the uploads; at most a hundred of them."""
        return frozenset(self.about_uploads.owners)

    @property
    def shared_size(self) -> int:
        """How much is in blocks of an earlier archive."""
        return self.shared.bytes if self.shared is not None else 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the operator was warned of before the archive was complete, safe to print."""
        return tuple(map(ascii_safe, self.raw_warnings))


def _major(version: str) -> int:
    digits = version.partition(".")[0][:4]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def secret_key_fingerprint(secret_key: str, salt: str | None = None) -> Fingerprint:
    """A salted, slow hash of an app's SECRET_KEY, so that a weak key cannot be guessed from an archive.

    scrypt with n=2**14, r=8, p=1: about 50 ms and 16 MiB (RFC 7914). Raises ValueError if `salt` is not hex.
    """
    salt = salt or secrets.token_hex(16)
    digest = hashlib.scrypt(secret_key.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=32)  # decision 14
    return Fingerprint(method="scrypt-16384-8-1", salt=salt, sha=digest.hex())


def fingerprint_matches(secret_key: str, fingerprint: Fingerprint) -> bool:
    """Whether `fingerprint` was made from this key. Raises ValueError if it is none."""
    again = secret_key_fingerprint(secret_key, fingerprint.salt)
    return hmac.compare_digest(again.sha.encode(), fingerprint.sha.encode("utf-8", "surrogateescape"))
