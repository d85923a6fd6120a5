"""What a snapshot has, seen before its dump is made: which tables, and what of them fits into the manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.actions.backup.manifest_content import fits_manifest
from safeharbor_backup.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeharbor_backup.postgres.rows import Table
    from safeharbor_backup.postgres.snapshot import Snapshot
    from safeharbor_backup.postgres.structure import Structure


@dataclass(frozen=True, slots=True)
class Inventory:
    """What the snapshot has. `structure` is None, and `fits` False, where it would be too much for the manifest."""

    tables: Sequence[Table]
    structure: Structure | None
    fits: bool

    @property
    def warning(self) -> str:
        """What of it will be missing from the manifest; "" if nothing."""
        return (
            ""
            if self.fits
            else f"row counts of {plural(len(self.tables), 'table')} do not fit into the manifest and are left out"
        )


def take_inventory(snapshot: Snapshot, among: int = 1) -> Inventory:
    """See which tables there are, the values of sequences, and how many constraints and indexes there are.

    It is one of so many that share the manifest.
    """
    tables, structure = snapshot.tables(), snapshot.structure()
    names: dict[str, int | None] = {table.quoted: 0 for table in tables}
    fits = fits_manifest({**names, **structure.sequences, **structure.views}, among)
    return Inventory(tables, structure if fits else None, fits_manifest(names, among))
