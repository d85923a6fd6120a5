"""The scratch database of a drill: its name, the comment that marks it, the lock that shows that its drill is alive.

The name ends with an id that is a time. The lock is held by a session, so it goes when the process goes, however it
ended; pg_locks shows it to everybody, whatever database they are in. What has the name, and our comment or none yet,
and is nobody's lock, was left behind by a drill that was killed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.postgres.connection import connected
from safeharbor_backup.postgres.side_names import side_database

if TYPE_CHECKING:
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.settings.database_url import DatabaseUrl

MARK = "Scratch copy of a Safe Harbor drill"
_DRILL_LOCK = 0x6472696C  # "dril" in ASCII, the first of two keys; the second is the scratch database's name
_OLDEST = 1_577_836_800  # 2020: an id from before that is a time of nobody's drill
_AHEAD_SECONDS = 86400.0
_SMALLEST_TRIAL_BYTES = 32 << 20
_LARGEST_TRIAL_BYTES = 256 << 20

_LEFT = """
    SELECT d.datname FROM pg_catalog.pg_database d
    WHERE d.datname ~ '_drill_[0-9a-f]{12}$' AND pg_catalog.pg_has_role(d.datdba, 'USAGE')
      AND (pg_catalog.shobj_description(d.oid, 'pg_database') IS NULL
           OR pg_catalog.starts_with(pg_catalog.shobj_description(d.oid, 'pg_database'), %s))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l
                      WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid::bigint = %s
                        AND l.objid::bigint = pg_catalog.hashtext(d.datname::text)::bigint & 4294967295)
    ORDER BY 1
"""


def scratch_name(base: str, drill_id: str) -> str:
    """The name of a scratch database, within PostgreSQL's 63 bytes."""
    return side_database(base, "drill", drill_id)


def is_id_of_drill(text: str) -> bool:
    """Whether 12 hexadecimal digits are the time of a drill that can have been."""
    seconds = int(text, 16) / 10_000
    return _OLDEST < seconds < time.time() + _AHEAD_SECONDS


def hold_scratch(target: Target, name: str) -> None:
    """Hold, as long as the session lasts, the lock that shows that this drill is alive. Raises psycopg.Error.

    To be called before the database is created.
    """
    # decision 60
    target.session.execute("SELECT pg_catalog.pg_advisory_lock(%s, pg_catalog.hashtext(%s))", (_DRILL_LOCK, name))


def mark_scratch(target: Target, name: str, archive: str) -> None:
    """Say in a comment what it is, and let nobody else in: it holds the live database's rows. Raises psycopg.Error."""
    database = sql.Identifier(name)
    comment = sql.Literal(f"{MARK}, of {archive}. Drop it if no drill is running.")
    target.session.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, comment))
    target.session.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))


def find_left_scratch(session: psycopg.Connection[Any]) -> list[str]:
    """The scratch databases of drills that are gone, as far as they are ours to drop. Raises psycopg.Error."""
    rows = session.execute(_LEFT, (MARK, _DRILL_LOCK)).fetchall()
    return [str(row[0]) for row in rows if is_id_of_drill(str(row[0])[-12:])]


__all__ = ["MARK", "find_left_scratch", "hold_scratch", "is_id_of_drill", "mark_scratch", "scratch_name"]


def is_disk_full(url: DatabaseUrl, size_bytes: int) -> bool:
    """Whether the server has no room for so much more in that database, by trying it: its words may be in any language.

    A table of the session's own, gone with it; at most 256 MiB.
    """
    rows = min(max(size_bytes, _SMALLEST_TRIAL_BYTES), _LARGEST_TRIAL_BYTES) // 1000
    try:
        with connected(url) as session:
            session.execute(
                sql.SQL(
                    "CREATE TEMP TABLE room AS SELECT pg_catalog.repeat('x', 960) "
                    "FROM pg_catalog.generate_series(1, {})"
                ).format(sql.Literal(rows))
            )
    except (SafeHarborError, psycopg.Error) as error:
        cause = error if isinstance(error, psycopg.Error) else error.__cause__
        return isinstance(cause, psycopg.errors.DiskFull)
    return False
