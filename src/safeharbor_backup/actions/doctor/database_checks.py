"""The database as the backup sees it: who asks, all of it readable, what is wrong in it, the same time."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from safeharbor_backup.actions.app_data import describe_folders, find_missing
from safeharbor_backup.actions.doctor.check import Check
from safeharbor_backup.actions.doctor.findings import Finding, fine, problem, remark, warning
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.postgres.damage import find_damage, find_unfinished
from safeharbor_backup.postgres.errors import GRANT, ROW_SECURITY
from safeharbor_backup.postgres.privileges import ReadPrivileges, read_privileges
from safeharbor_backup.postgres.query import one_row
from safeharbor_backup.postgres.reference_values import find_unknown_references
from safeharbor_backup.postgres.scratch_database import find_left_scratch
from safeharbor_backup.text import plural, typed
from safeharbor_backup.uploads.drill_directory import find_left_directories

if TYPE_CHECKING:
    import psycopg

    from safeharbor_backup.settings.model import Settings

_SHOWN = 5
_CLOCK_TOLERANCE = timedelta(minutes=1)
_ROLE = """
    SELECT r.rolname::text, CASE WHEN r.rolvaliduntil < now() + interval '14 days'
                            THEN pg_catalog.to_char(r.rolvaliduntil AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') END
    FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """The live database in a session, and the settings. Its checks may raise psycopg.Error as well."""

    settings: Settings
    session: psycopg.Connection


def _check_role(asked: Asked) -> list[Finding]:
    row = asked.session.execute(_ROLE).fetchone()
    if row is None:
        return []
    role, expires = row
    if expires is not None:
        return [
            warning(
                "role",
                f'the password of "{role}" expires on {expires} UTC',
                f"ALTER ROLE \"{role}\" VALID UNTIL 'infinity';",
            )
        ]
    return [fine("role", f'"{role}" may connect, and its password does not expire soon')]


def _check_pooler(asked: Asked) -> list[Finding]:
    row = asked.session.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    if row is not None and row[0] == asked.session.info.backend_pid:  # a pooler makes process ids up
        return [fine("pooler", "the server itself is reached")]
    restores = "restores use RESTORE_DATABASE_URL" if asked.settings.restore_database else "a restore will refuse it"
    return [
        warning(
            "pooler",
            f"the database is reached through a connection pooler; {restores}",
            "Name the server itself in BACKUP_DATABASE_URL.",
        )
    ]


def judge_privileges(readable: ReadPrivileges) -> list[Finding]:
    """Whether pg_dump, which fails as a whole, can read everything."""
    found = []
    if readable.unreadable or readable.unreadable_large_objects:
        what = _shorten(readable.unreadable)
        if readable.unreadable_large_objects:
            what = " and ".join(
                each for each in (what, plural(readable.unreadable_large_objects, "large object")) if each
            )
        found.append(problem("tables", f"may not be read: {what}", GRANT, ExitStatus.FAILED))
    else:
        found.append(fine("tables", f"all {readable.tables} can be read"))
    if readable.hidden:
        found.append(
            problem(
                "row security",
                f"policies hide rows of {_shorten(readable.hidden)} from this role, so pg_dump refuses",
                ROW_SECURITY,
                ExitStatus.FAILED,
            )
        )
    else:
        found.append(fine("row security", "hides no rows from this role"))
    return found


def _check_damage(asked: Asked) -> list[Finding]:
    notes: list[str] = []
    damage = find_damage(asked.session, notes.append)
    found = [warning("damage", each.text, each.remedy) for each in damage] + [remark("damage", each) for each in notes]
    return found or [fine("damage", "collations have the library's versions, and no page failed its checksum")]


def _check_unfinished(asked: Asked) -> list[Finding]:
    found = [remark("unfinished", each) for each in find_unfinished(asked.session)]
    return found or [fine("unfinished", "every index is valid, and so is every constraint")]


def _shorten(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _check_references(asked: Asked) -> list[Finding]:
    unknown = find_unknown_references(asked.session, asked.settings.upload_references)
    if unknown:
        remedy = "Correct it in BACKUP_UPLOAD_REFERENCES; each backup ends with 3 until then."
        return [warning("references", each, remedy) for each in unknown]
    if not asked.settings.upload_references:
        return [fine("references", "BACKUP_UPLOAD_REFERENCES names no columns that hold paths of uploads")]
    return [fine("references", f"{', '.join(asked.settings.upload_references)}: each is there")]


def _check_leftovers(asked: Asked) -> list[Finding]:
    left = [f'the database "{name}"' for name in find_left_scratch(asked.session)]
    with suppress(OSError):  # a directory that cannot be read is another check's
        left += [str(path) for path in find_left_directories(asked.settings.scratch_dir)]
    if not left:
        return [fine("drills", "none left anything behind")]
    return [
        warning(
            "drills",
            f"a drill that was killed left {', '.join(left[:3])}{' and more' if len(left) > 3 else ''}",
            f"The next backup or drill removes it: {typed('drill')}",
        )
    ]


def _check_clock(asked: Asked) -> list[Finding]:
    before = datetime.now(UTC)
    (clock,) = one_row(asked.session, "SELECT pg_catalog.clock_timestamp()")
    return [judge_clock(before, clock, datetime.now(UTC))]


def judge_clock(before: datetime, theirs: datetime, after: datetime) -> Finding:
    """Whether a server that was asked between two moments here has about the same time."""
    ahead = before - theirs if theirs < before else after - theirs if theirs > after else timedelta()
    if abs(ahead) <= _CLOCK_TOLERANCE:
        return fine("clock", "agrees with the database server's")
    return warning(
        "clock",
        f"is {abs(int(ahead.total_seconds())):,} s {'ahead of' if ahead > timedelta() else 'behind'} the database "
        "server's; the names of archives and the order of retention depend on it",
        "On the host whose clock is wrong: sudo timedatectl set-ntp true",
    )


def _check_app_data(asked: Asked) -> list[Finding]:
    missing = find_missing(asked.settings, asked.session)
    found = [remark("app data", describe_folders(missing.folders))] if missing.folders else []
    found += [warning("app data", each.text, each.remedy) for each in missing.databases]
    return found or [fine("app data", "archives lack no database or folder that the app's configuration names")]


QUERIES: tuple[Check[Asked], ...] = (
    Check("role", "its password does not expire within 14 days", _check_role),
    Check("pooler", "the server itself is reached, not a pooler", _check_pooler),
    Check(
        "tables",
        "the role may read every table, sequence and large object; if it may not read one, `pg_dump` fails as a whole",
        lambda asked: judge_privileges(read_privileges(asked.session)),
    ),
    Check("row security", "no policy hides rows; `pg_dump` refuses rather than leave them out"),
    Check(
        "damage",
        "[damage](backup.md#damage-in-the-database) that does not stop a dump: a collation whose version is "
        "not the library's, pages that failed their checksum",
        _check_damage,
    ),
    Check(
        "unfinished",
        "a note of invalid indexes (a `CREATE INDEX CONCURRENTLY` that failed: no dump has them) and of constraints "
        "that are `NOT VALID`, which a restore brings back as they are",
        _check_unfinished,
    ),
    Check(
        "references",
        "each column of [`BACKUP_UPLOAD_REFERENCES`](backup.md#rows-that-name-uploads) is there",
        _check_references,
    ),
    Check(
        "drills",
        "no [drill](drill.md) that was killed has left a database on this server, or a directory",
        _check_leftovers,
    ),
    Check(
        "app data",
        "the app's configuration names no other database, and no folder with files, that archives lack and "
        "`BACKUP_IGNORE` does not name; see [any app](apps.md)",
        _check_app_data,
    ),
    Check("clock", "it is within a minute of the server's", _check_clock),
)
