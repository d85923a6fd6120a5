"""What of a dump is left out because the role or the server cannot have it, and what needs that: a problem, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore, SafeHarborError
from safeharbor_backup.postgres.connection import connected
from safeharbor_backup.postgres.contents import number_of
from safeharbor_backup.postgres.toc import users_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from safeharbor_backup.actions.restore.findings import Findings
    from safeharbor_backup.postgres.contents import DumpContents
    from safeharbor_backup.postgres.privilege_entries import Privileges
    from safeharbor_backup.postgres.target import Target, TargetDatabase

# what goes with a thing that is left out, unmissed: remarks, rights, and the rows that an extension keeps of its own
_GOES_WITH_IT = ("COMMENT", "SECURITY LABEL", "ACL", "TABLE DATA", "SEQUENCE SET")
_SHOWN = 10

_TABLES_OF_EXTENSIONS = """
    SELECT n.nspname, c.relname FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_extension e ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND e.oid = d.refobjid
    JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE d.deptype = 'e' AND e.extname = ANY(%s)
"""


def extensions_that_stay(target: Target) -> list[str]:
    """The extensions in the live database that its owner cannot wipe, since they are others'.

    Raises SafeHarborError.
    """
    query = "SELECT extname FROM pg_catalog.pg_extension WHERE pg_catalog.pg_get_userbyid(extowner) <> current_user"
    with connected(target.url) as session:
        return [str(row[0]) for row in session.execute(query).fetchall()]


def is_extension(contents: DumpContents, entry: str, names: Collection[str]) -> bool:
    """Whether this entry creates one of these extensions."""
    found = contents.toc.get(number_of(entry))
    return found is not None and found.kind == "EXTENSION" and found.name in names


def without_followers(
    target: Target,
    contents: DumpContents,
    entries: Iterable[str],
    live: TargetDatabase | None,
    findings: Findings,
    staying: Collection[str] = (),
) -> list[str]:
    """These entries without what only makes sense with those that are left out.

    If anything else needs one that is left out and is not `staying` in the database, that is a problem.
    """
    kept = {number_of(entry): entry for entry in entries}
    gone = [number for number in map(number_of, contents.entries) if number not in kept]
    stays = {number_of(entry) for entry in contents.entries if is_extension(contents, entry, staying)}
    followers = [user.number for user in users_of(contents.toc, gone) if user.kind in _GOES_WITH_IT]
    for number in [*followers, *_rows_of_extensions(target, contents, gone, live)]:
        kept.pop(number, None)
    needy = [user for user in users_of(contents.toc, set(gone) - stays) if user.number in kept]
    if needy:
        needed = {number for user in needy for number in user.needs if number in gone and number not in stays}
        things = ", ".join(contents.toc[number].what for number in sorted(needed))
        more = f" and {len(needy) - _SHOWN:,} more" if len(needy) > _SHOWN else ""
        findings.problems.append(
            CannotRestore(
                f'"{target.role}" may not create {things}, and the dump has what needs it: '
                f"{', '.join(user.what for user in needy[:_SHOWN])}{more}.",
                hint=_way(target, live, [contents.toc[number].name for number in needed]),
            )
        )
    return list(kept.values())


def report_privileges(privileges: Privileges, findings: Findings, *, accepts_open: bool) -> None:
    """What is left out: a warning, and a problem if things would be open that were closed, unless that is accepted."""
    shown = _some(privileges.left_out)
    if privileges.left_out:
        findings.warnings.append(f"privileges are left out: {shown}")
    if not privileges.opened:
        return
    opened = f"{_some(privileges.opened)}; so all roles may do what they could not"
    if accepts_open:
        findings.warnings.append(f"left out: {opened}. Give these statements as a superuser")
        return
    findings.problems.append(
        CannotRestore(
            f"Only a superuser may close again what was closed to all roles: {opened}.",
            hint="Set RESTORE_DATABASE_URL to a superuser on that server. Or `--accept-open`, and then give these "
            "statements as a superuser.",
        )
    )


def _some(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more


def _rows_of_extensions(
    target: Target, contents: DumpContents, gone: list[int], live: TargetDatabase | None
) -> list[int]:
    """The rows that the extensions among `gone` keep in tables of their own, which the dump has without the tables.

    The dump does not say whose they are: the live database does, or there is no other extension.
    """
    rows = [
        entry
        for entry in contents.toc.values()
        if entry.kind in ("TABLE DATA", "SEQUENCE SET") and not any(need in contents.toc for need in entry.needs)
    ]
    names = [contents.toc[number].name for number in gone if _is_kind(contents, number, "EXTENSION")]
    if not rows or not names:
        return []
    if live is not None and live.is_open:
        with connected(target.url) as session:
            tables = set(session.execute(_TABLES_OF_EXTENSIONS, (names,)).fetchall())
        return [entry.number for entry in rows if (entry.schema, entry.name) in tables]
    others = set(contents.extensions) - set(names) - {"plpgsql"}
    return [] if others else [entry.number for entry in rows]


def _is_kind(contents: DumpContents, number: int, kind: str) -> bool:
    return number in contents.toc and contents.toc[number].kind == kind


def _way(target: Target, live: TargetDatabase | None, names: list[str]) -> str:
    way = "Set RESTORE_DATABASE_URL to a superuser on that server; the data stays with its owners."
    if live is None or not live.is_open or target.is_superuser:
        return way
    query = "SELECT count(*) FROM pg_catalog.pg_extension WHERE extname = ANY(%s)"
    try:
        with connected(target.url) as session:
            row = session.execute(query, (names,)).fetchone()
    except SafeHarborError:
        return way
    if row is not None and row[0] == len(names):
        return f"{way} Or `--in-place`, which keeps what is there of it."
    return way
