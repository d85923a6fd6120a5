"""Whether the tables of a restored database have as many rows as the manifest says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.errors import CannotRestore, one_line
from safeharbor_backup.postgres.rows import count_table_rows, list_tables
from safeharbor_backup.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from safeharbor_backup.archive.manifest import Manifest


def compare_rows(counts: Mapping[str, int], manifest: Manifest) -> int:
    """How many rows there are, each table's count being the manifest's. Raises CannotRestore."""
    wrong = [
        f"{name} has {plural(counts.get(name, 0), 'row')} instead of {rows:,}"
        for name, rows in manifest.tables.items()
        if counts.get(name) != rows
    ]
    if wrong:
        differ = "differs" if len(wrong) == 1 else "differ"
        raise CannotRestore(
            f"The dump was loaded, but {plural(len(wrong), 'table')} {differ} from the backup: {'; '.join(wrong[:3])}.",
            hint="A trigger or rule may have acted during the load. The live database is as it was.",
        )
    return manifest.rows


def check_rows(
    session: Callable[[], AbstractContextManager[psycopg.Connection]],
    manifest: Manifest | None,
    judge: Callable[[Mapping[str, int], Manifest], int],
    *,
    accepts_broken: bool,
) -> tuple[int | None, list[str]]:
    """How many rows there are, as `judge` says of each table's count, None if they are unknown; and warnings.

    `accepts_broken`: that `judge` refuses them is a warning. Raises CannotRestore, DatabaseUnavailable,
    psycopg.Error.
    """
    if manifest is None:
        return None, []
    with session() as connection:
        # fail, as pg_dump does, rather than count only the visible rows
        connection.execute("SET row_security = off")
        try:
            with connection.transaction():
                counts = count_table_rows(connection, list_tables(connection))
        except psycopg.errors.InsufficientPrivilege as error:
            return None, [f"the rows could not be counted: {one_line(error)}"]
    try:
        return judge(counts, manifest), []
    except CannotRestore as error:
        if not accepts_broken:
            error.hint = f"{error.hint} `--accept-broken` takes it as it is.".strip()
            raise
        return sum(counts.values()), [error.message]
