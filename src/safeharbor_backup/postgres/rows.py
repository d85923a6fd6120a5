"""The ordinary tables and the materialized views of a database, and how many rows each has."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from safeharbor_backup.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SURROGATES = re.compile("[\udc80-\udcff]")  # in a name: bytes of a database without an encoding
_TABLES_PER_QUERY = 50

_ANALYZED = """
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_toast' ORDER BY 1
"""

# names as bytes too, as a dump in the database's own encoding has them; of a table whose rows move, those of its parts
_RELATIONS = """
    SELECT n.nspname, c.relname, pg_catalog.format('%I.%I', n.nspname, c.relname),
           pg_catalog.convert_to(n.nspname::text, pg_catalog.getdatabaseencoding()),
           pg_catalog.convert_to(c.relname::text, pg_catalog.getdatabaseencoding()),
           CASE c.relkind WHEN 'p' THEN ARRAY(
             SELECT pg_catalog.convert_to(part.name::text, pg_catalog.getdatabaseencoding())
             FROM pg_catalog.pg_partition_tree(c.oid) t JOIN pg_catalog.pg_class l ON l.oid = t.relid AND t.isleaf
             JOIN pg_catalog.pg_namespace s ON s.oid = l.relnamespace,
             LATERAL (VALUES (1, s.nspname), (2, l.relname)) part(place, name) ORDER BY l.oid, place) END
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE {kind} AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1, 2
"""
# where an enum is hashed its numbers decide, which a restore gives again: pg_dump lets such rows in from above
_MOVING = """
    ARRAY(SELECT pg_catalog.pg_partition_root(p.partrelid) FROM pg_catalog.pg_partitioned_table p
          WHERE p.partstrat = 'h' AND EXISTS (
            SELECT FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_am a ON a.oid = o.opcmethod AND a.amname = 'hash'
            WHERE o.opcname = 'enum_ops' AND o.opcnamespace = 'pg_catalog'::regnamespace AND o.oid = ANY(p.partclass)))
"""
_ORDINARY_TABLES = _RELATIONS.format(
    kind=f"""(c.oid = ANY({_MOVING}) OR c.relkind = 'r'
    AND NOT (c.relispartition AND pg_catalog.pg_partition_root(c.oid)::oid = ANY({_MOVING})))"""
)
_POPULATED = _RELATIONS.format(kind="c.relkind = 'm' AND c.relispopulated")
_UNPOPULATED = _RELATIONS.format(kind="c.relkind = 'm' AND NOT c.relispopulated")

# not a function of its own: the dump's event triggers would see it; names in hexadecimal, whatever the encoding is
COUNT_SCRIPT = f"""
DO $safeharbor$
DECLARE counts jsonb := '{{}}'; each record; number bigint;
BEGIN
  FOR each IN SELECT * FROM ({_ORDINARY_TABLES}) t(schema, name, quoted, raw_schema, raw_name, parts) LOOP
    EXECUTE format('SELECT count(*) FROM %s %s', CASE WHEN each.parts IS NULL THEN 'ONLY' END, each.quoted) INTO number;
    counts := counts || jsonb_build_object(encode(convert_to(each.quoted,
      CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END), 'hex'), number);
  END LOOP;
  PERFORM set_config('safeharbor.counts', counts::text, true);
END
$safeharbor$;
SELECT 'safeharbor ' || current_setting('safeharbor.counts');
"""  # noqa: S608 - made of constants


class Table(NamedTuple):
    """An ordinary table; `quoted` is its name as SQL spells it, `raw` schema and name as a dump has them.

    Or a partitioned one between whose `parts` a restore may move rows: it is counted as a whole.
    """

    schema: str
    name: str
    quoted: str
    raw: tuple[bytes, bytes]
    parts: tuple[tuple[bytes, bytes], ...] = ()


def list_tables(session: psycopg.Connection) -> list[Table]:
    """Every ordinary table that belongs to no extension. Raises psycopg.Error."""
    return _list(session, _ORDINARY_TABLES)


def list_views(session: psycopg.Connection, *, populated: bool) -> list[Table]:
    """Every materialized view that belongs to no extension and is, or is not, populated. Raises psycopg.Error."""
    return _list(session, _POPULATED if populated else _UNPOPULATED)


def _list(session: psycopg.Connection, query: LiteralString) -> list[Table]:
    with names_as_bytes(session):
        rows = session.execute(query).fetchall()
        return [
            Table(
                readable(session, schema),
                readable(session, name),
                readable(session, quoted),
                (bytes(raw_schema), bytes(raw_name)),
                tuple(zip(*[map(bytes, parts or ())] * 2, strict=True)),
            )
            for schema, name, quoted, raw_schema, raw_name, parts in rows
        ]


def count_table_rows(session: psycopg.Connection, tables: Sequence[Table]) -> dict[str, int]:
    """The exact row counts by quoted `schema.table`, within the session's open transaction.

    Each batch runs in a savepoint that is rolled back, which gives its table locks back and keeps the
    snapshot: 10,000 tables would otherwise fill the server's lock table. Raises psycopg.Error.
    """
    counts: dict[str, int] = {}
    with names_as_bytes(session):
        for start in range(0, len(tables), _TABLES_PER_QUERY):
            batch = tables[start : start + _TABLES_PER_QUERY]
            query = sql.SQL(" UNION ALL ").join(
                sql.SQL("SELECT {}::int, count(*) FROM {} {}").format(
                    sql.Literal(number),
                    sql.SQL("" if table.parts else "ONLY"),
                    sql.Identifier(sendable(session, table.schema), sendable(session, table.name)),
                )
                for number, table in enumerate(batch)
            )
            session.execute("SAVEPOINT batch")
            for number, rows in session.execute(query).fetchall():
                counts[batch[number].quoted] = rows
            session.execute("ROLLBACK TO SAVEPOINT batch")  # decision 15
    return counts


def parse_counts(answer: str) -> dict[str, int]:
    """The row counts by quoted `schema.table`, from what `COUNT_SCRIPT` answers."""
    counts: dict[str, int] = json.loads(answer)
    return {bytes.fromhex(name).decode("utf-8", "surrogateescape"): rows for name, rows in counts.items()}


@contextmanager
def names_as_bytes(session: psycopg.Connection) -> Iterator[None]:
    """Let names of a SQL_ASCII database, which may be any bytes, come and go as one letter for each byte.

    A session in UTF-8 gets no rows if one name is not UTF-8. After an error the end of the transaction sets it back.
    """
    is_bytes = session.info.parameter_status("server_encoding") == "SQL_ASCII"
    if is_bytes:
        session.execute("SET client_encoding = 'LATIN1'")
    yield
    if is_bytes:
        session.execute("SET client_encoding = 'UTF8'")


def readable(session: psycopg.Connection, name: str) -> str:
    """A name that came within `names_as_bytes`; bytes that are not UTF-8 are surrogates, as in names of files."""
    if name.isascii() or session.info.parameter_status("server_encoding") != "SQL_ASCII":
        return name
    return name.encode("latin-1").decode("utf-8", "surrogateescape")


def sendable(session: psycopg.Connection, name: str) -> str:
    """The reverse of `readable`."""
    if name.isascii() or session.info.parameter_status("server_encoding") != "SQL_ASCII":
        return name
    return name.encode("utf-8", "surrogateescape").decode("latin-1")


def analyze_tables(session: psycopg.Connection) -> list[str]:
    """Gather statistics; the tables of which there are none, and why: a partition may be on a server that is down.

    Raises psycopg.Error if the session is lost.
    """
    try:
        session.execute("ANALYZE")
    except psycopg.Error:
        if session.broken:
            raise
    else:
        return []
    without = []
    for (name,) in session.execute(_ANALYZED).fetchall():
        try:
            session.execute(sql.SQL("ANALYZE {}").format(sql.SQL(name)))
        except psycopg.Error as error:
            if session.broken:
                raise
            without.append(f"{name} has no statistics: {one_line(error)}")
    return without
