"""What `diff --json` prints."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from safeharbor_backup.cli.documents import Moment
from safeharbor_backup.system.documents import Count


class DiffSide(Struct, frozen=True, kw_only=True):
    """An archive, or what is live; null is what it does not record."""

    name: str
    taken_at: Moment | None
    tables: Count | None
    revision: str | None
    upload_files: Count | None
    upload_bytes: Count | None


class ColumnChanges(Struct, frozen=True, kw_only=True):
    """The columns of a table that came and went."""

    table: str
    added: tuple[str, ...]
    gone: tuple[str, ...]


class ChangeCounts(Struct, frozen=True, kw_only=True):
    """How many files came, went and changed."""

    added: Count
    gone: Count
    changed: Count


class ChangedNames(Struct, frozen=True, kw_only=True):
    """Paths of uploads, below uploads/."""

    added: tuple[str, ...]
    gone: tuple[str, ...]
    changed: tuple[str, ...]


class UploadsDiff(ChangeCounts, frozen=True, kw_only=True):
    """The same by folder, and with `--names` the paths."""

    folders: dict[str, ChangeCounts]
    names: ChangedNames | UnsetType = UNSET


class DiffDocument(Struct, frozen=True, kw_only=True):
    """What changed between two; `rows` are table, rows before and rows after, null where there is no such table."""

    schema: int = 1
    before: DiffSide
    after: DiffSide
    rows: tuple[tuple[str, Count | None, Count | None], ...]
    columns: tuple[ColumnChanges, ...]
    uploads: UploadsDiff
    unknown: tuple[str, ...]
