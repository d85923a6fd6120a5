"""Restores that names in the uploads and on the server speak of, and that the journal does not know.

The journal was lost, or the names lie: whoever can write to the uploads or create databases can make them. So nothing
here is acted upon by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.postgres.addresses import names_beside, target_address
from safeharbor_backup.postgres.side_names import side_database
from safeharbor_backup.postgres.target import target_connected
from safeharbor_backup.state.restore_parts import DatabasePart, Side, UploadsPart
from safeharbor_backup.state.restore_record import Phase, RestoreRecord
from safeharbor_backup.text import ascii_safe
from safeharbor_backup.uploads.staging import find_look_alikes, stage_path

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.settings.upload_dirs import UploadDirs
    from safeharbor_backup.state.journal import Journal


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """Names that end in one id: databases beside the live ones, and an entry in some directories of uploads.

    `database_bytes`: what the databases take, as far as our role may ask. `others` are the live ones beside the main
    one, `strangers` databases of that id that are beside none of these.
    """

    id: str
    database: str
    databases: tuple[str, ...]
    uploads: UploadDirs
    has_database: bool
    database_bytes: int = 0
    others: tuple[DatabasePart, ...] = ()
    strangers: tuple[str, ...] = ()

    def require_all_known(self) -> None:
        """Raises CannotRestore if databases bear its id of which the settings name no live one."""
        if self.databases and self.strangers:
            raise CannotRestore(
                f"Restore {self.id} was of more databases than BACKUP_EXTRA_DATABASES names: "
                f"{', '.join(ascii_safe(each) for each in self.strangers)} bear its id too.",
                hint="Name them there, so that all come to the same state. One that is no part of it: rename it first.",
                intact="Nothing was changed.",
            )

    def require_one_side(self) -> None:
        """Raises CannotRestore if its databases do not all show by their names that the same state is live."""
        parts = (DatabasePart(self.database), *self.others) if self.databases else ()
        if len({self._live_side(part) for part in parts}) > 1:
            raise CannotRestore(
                f"Of restore {self.id}, not every database is there that must be: "
                f"{', '.join(ascii_safe(each) for each in self.databases)} is left, which does not show the same state "
                "for all.",
                hint="Exchange by hand what is to be live. `--abandon-database` brings in the uploads alone.",
                intact="Nothing was changed.",
            )

    def _live_side(self, part: DatabasePart) -> Side | None:
        """Which state its names show to be live; None if there is no name of either."""
        if side_database(part.database, "before", self.id) in self.databases:
            return Side.NEW
        return Side.OLD if side_database(part.database, "restore", self.id) in self.databases else None

    def describe(self) -> str:
        """What there is, for a list."""
        names = [f'database "{name}"' for name in self.databases]
        return ", ".join([*names, *map(str, self.stages)])

    @property
    def stages(self) -> list[Path]:
        """The entries in the uploads."""
        return [stage_path(each.path, self.id) for each in self.uploads]

    def record(self, towards: Side) -> RestoreRecord:
        """As the journal would have it, as far as names can tell."""
        return RestoreRecord(
            id=self.id,
            started_at=f"the id {self.id}",
            archive=f"restore {self.id}",
            phase=Phase.SWAPPING,
            live=towards.other,
            towards=towards,
            by_undo=towards is Side.OLD,
            has_been_live=True,  # so that nothing of it is ever removed as if it had only been staged
            database=self.database if self.databases else "",
            others=self.others if self.databases else (),
            uploads=tuple(UploadsPart(str(each.path), each.name) for each in self.uploads),
        )

    def plan(self, to: Side, stages: list[Path], others: UploadDirs) -> str:
        """What would be moved, for the operator to say yes or no; `others` are directories that stay as they are."""
        record = self.record(to)
        lines = [f"Restore {self.id} is not in the journal; only names of databases or directories have its id."]
        for part in record.exchanged:
            incoming, outgoing = record.beside(part, to), record.beside(part, to.other)
            if incoming in self.databases:
                lines.append(f'  database "{incoming}" becomes "{part.database}", which is kept as "{outgoing}"')
            else:
                lines.append(f'  database "{part.database}" stays live and is opened')
        lines += [
            f"  what is in {stage}/{to} becomes live; what is live is kept in {stage}/{to.other}" for stage in stages
        ]
        lines += [f"  {each} has nothing of it to bring in, and stays as it is; is it mounted?" for each in others]
        lines.append("Nothing is deleted.")
        return "\n".join(lines)


def find_unrecorded(settings: Settings, journal: Journal) -> list[Unrecorded]:
    """Those of the configured database and uploads, newest first. Raises SafeHarborError, OSError."""
    known = {record.id for record in journal.read()}
    look_alikes = {
        each: {name[-12:] for name in find_look_alikes(each.path, known)}
        for each in settings.upload_dirs
        if each.path.is_dir()
    }
    stages = set[str]().union(*look_alikes.values())
    url, name = target_address(settings)
    extras = names_beside(settings)
    with target_connected(url, name, tuple(extras.values())) as target:
        sizes = find_unrecorded_databases(target, known)
        has_database = target.find(name) is not None
        beside = {label: find_unrecorded_databases(target.beside(extra), known) for label, extra in extras.items()}
        of_id = target.databases_beside("_(restore|before)_[0-9a-f]{12}$")
    sizes |= {database: size for found in beside.values() for database, size in found.items()}
    return [
        Unrecorded(
            id=each,
            database=name,
            databases=tuple(database for database in sizes if database.endswith(each)),
            uploads=tuple(directory for directory, ids in look_alikes.items() if each in ids),
            has_database=has_database,
            database_bytes=sum(size for database, size in sizes.items() if database.endswith(each)),
            others=tuple(
                DatabasePart(extras[label], label)
                for label, found in beside.items()
                if any(database.endswith(each) for database in found)
            ),
            strangers=tuple(name for name in of_id if name.endswith(each) and name not in sizes),
        )
        for each in sorted(stages | {database[-12:] for database in sizes}, reverse=True)
    ]


def find_unrecorded_databases(target: Target, known: set[str]) -> dict[str, int]:
    """Databases with names like those that a restore of this one leaves, and their sizes. Raises psycopg.Error."""
    base = side_database(target.name, "restore", "0" * 12).removesuffix("_restore_" + "0" * 12)
    beside = target.databases_beside(f"^{re.escape(base)}_(restore|before)_[0-9a-f]{{12}}$")
    found = {each: target.find(each) for each in beside if each[-12:] not in known}
    return {each: about.size for each, about in found.items() if about is not None}
