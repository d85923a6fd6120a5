"""What remains of a dump for a role that may not create all of it, and what of the rest is needed: one judgement for
backups and restores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.postgres.contents import number_of
from safeharbor_backup.postgres.toc_entries import users_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    import psycopg

    from safeharbor_backup.postgres.contents import DumpContents
    from safeharbor_backup.postgres.toc_entries import TocEntry

# what goes with a thing that is left out, unmissed: remarks, rights, and the rows that an extension keeps of its own
_GOES_WITH_IT = ("COMMENT", "SECURITY LABEL", "ACL", "TABLE DATA", "SEQUENCE SET")
_SHOWN = 10

_CREATABLE = """
    SELECT name, bool_or(NOT superuser OR trusted) FROM pg_catalog.pg_available_extension_versions GROUP BY name
"""
_TABLES_OF_EXTENSIONS = """
    SELECT n.nspname, c.relname FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_extension e ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND e.oid = d.refobjid
    JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE d.deptype = 'e' AND e.extname = ANY(%s)
"""
_USABLE = """
    SELECT e.extname FROM pg_catalog.pg_extension e WHERE e.extname = ANY(%s) AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_language l
        ON d.classid = 'pg_catalog.pg_language'::regclass AND l.oid = d.objid
      WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = e.oid AND NOT l.lanpltrusted)
"""


@dataclass(frozen=True, slots=True)
class Remaining:
    """The `entries` that remain; the things left out that `users` among these need, if there are any."""

    entries: list[str]
    missing: list[TocEntry]
    users: list[TocEntry]

    def sentence(self, role: str) -> str:
        """What the role may not create, and what needs it."""
        more = f" and {len(self.users) - _SHOWN:,} more" if len(self.users) > _SHOWN else ""
        things = ", ".join(entry.what for entry in self.missing)
        needy = ", ".join(user.what for user in self.users[:_SHOWN])
        return f'"{role}" may not create {things}, and the dump has what needs it: {needy}{more}.'


def creatable_extensions(session: psycopg.Connection) -> dict[str, bool]:
    """The extensions that the server can install, and whether one needs no superuser for it. Raises psycopg.Error."""
    return {str(name): bool(anybody) for name, anybody in session.execute(_CREATABLE).fetchall()}


def tables_of_extensions(session: psycopg.Connection, names: list[str]) -> set[tuple[str, str]]:
    """Schema and name of each table that is these extensions' own. Raises psycopg.Error."""
    return {(str(schema), str(name)) for schema, name in session.execute(_TABLES_OF_EXTENSIONS, (names,)).fetchall()}


def usable_extensions(session: psycopg.Connection, names: Collection[str]) -> set[str]:
    """Those of these that are in the database and that a role may use there.

    Nobody but a superuser makes a function in an untrusted language. Raises psycopg.Error.
    """
    return {str(name) for (name,) in session.execute(_USABLE, (list(names),)).fetchall()}


def is_extension(contents: DumpContents, entry: str, names: Collection[str]) -> bool:
    """Whether this entry creates one of these extensions."""
    found = contents.toc.get(number_of(entry))
    return found is not None and found.kind == "EXTENSION" and found.name in names


def what_remains(
    contents: DumpContents,
    entries: Iterable[str],
    tables_of: Callable[[list[str]], set[tuple[str, str]] | None],
    staying: Collection[str] = (),
) -> Remaining:
    """These entries without what only makes sense with those that are left out.

    `tables_of` gives the tables of extensions in the database, None if it cannot be asked. What is `staying` in the
    database is not missed.
    """
    kept = {number_of(entry): entry for entry in entries}
    gone = [number for number in map(number_of, contents.entries) if number not in kept]
    stays = {number_of(entry) for entry in contents.entries if is_extension(contents, entry, staying)}
    followers = [user.number for user in users_of(contents.toc, gone) if user.kind in _GOES_WITH_IT]
    for number in [*followers, *_rows_of_extensions(contents, gone, tables_of)]:
        kept.pop(number, None)
    users = [user for user in users_of(contents.toc, set(gone) - stays) if user.number in kept]
    missing = {number for user in users for number in user.needs if number in gone and number not in stays}
    return Remaining(list(kept.values()), [contents.toc[number] for number in sorted(missing)], users)


def _rows_of_extensions(
    contents: DumpContents, gone: list[int], tables_of: Callable[[list[str]], set[tuple[str, str]] | None]
) -> list[int]:
    """The rows that the extensions among `gone` keep in tables of their own, which the dump has without the tables.

    The dump does not say whose they are: the live database does, or there is no other extension.
    """
    toc = contents.toc
    rows = [
        entry
        for entry in toc.values()
        if entry.kind in ("TABLE DATA", "SEQUENCE SET") and not any(need in toc for need in entry.needs)
    ]
    names = [toc[number].name for number in gone if number in toc and toc[number].kind == "EXTENSION"]
    if not rows or not names:
        return []
    tables = tables_of(names)
    if tables is not None:
        return [entry.number for entry in rows if (entry.schema, entry.name) in tables]
    others = set(contents.extensions) - set(names) - {"plpgsql"}
    return [] if others else [entry.number for entry in rows]
