"""CHECK constraints out of the way of a load, since they may read other tables, and back once all rows are there.

The work is done in the server, in one block, for sessions of ours and for psql alike: what is set aside is remembered
in a setting of the transaction, whatever the database's encoding is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from safeharbor_backup.postgres.query import one_row
from safeharbor_backup.postgres.rows import names_as_bytes, readable, sendable

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

_CHECKS: LiteralString = """
    SELECT c.oid, 'TABLE' AS kind, n.nspname, t.relname, c.conname,
           pg_catalog.pg_get_constraintdef(c.oid) AS definition,
           pg_catalog.obj_description(c.oid, 'pg_constraint') AS comment
    FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_class t ON t.oid = c.conrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
    WHERE c.contype = 'c' AND c.convalidated AND c.coninhcount = 0 AND t.relkind IN ('r', 'p')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
                      AND d.objid = t.oid AND d.deptype = 'e')
    UNION ALL  -- of domains those that call functions of the database
    SELECT c.oid, 'DOMAIN', n.nspname, t.typname, c.conname, pg_catalog.pg_get_constraintdef(c.oid),
           pg_catalog.obj_description(c.oid, 'pg_constraint')
    FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_type t ON t.oid = c.contypid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE c.contype = 'c' AND c.convalidated
      AND EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_constraint'::regclass
                  AND d.objid = c.oid AND d.refclassid = 'pg_catalog.pg_proc'::regclass)
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_type'::regclass
                      AND d.objid = t.oid AND d.deptype = 'e')
    ORDER BY 2, 3, 4, 5
"""

# only what can be added again is dropped; what a child has beside its parents shows once theirs is gone
SET_ASIDE: LiteralString = f"""
DO $safeharbor$
DECLARE aside text[] := '{{}}'; kept oid[] := '{{}}'; each record; is_found bool := true; place text;
BEGIN
  WHILE is_found LOOP
    is_found := false;
    FOR each IN SELECT * FROM ({_CHECKS}) s WHERE s.oid <> ALL (kept) LOOP
      place := format('ALTER %s %I.%I ', each.kind, each.nspname, each.relname);
      BEGIN
        EXECUTE format('%s DROP CONSTRAINT %I', place, each.conname);
        EXECUTE format('%s ADD CONSTRAINT %I %s', place, each.conname, each.definition);
        EXECUTE format('%s DROP CONSTRAINT %I', place, each.conname);
        aside := aside || ARRAY[[each.kind, each.nspname::text, each.relname::text, each.conname::text,
                                 each.definition, each.comment]];
        is_found := true;
      EXCEPTION WHEN feature_not_supported THEN  -- of a domain that a column has within something larger
        kept := kept || each.oid;
      END;
    END LOOP;
  END LOOP;
  PERFORM pg_catalog.set_config('safeharbor.checks', aside::text, true);
END
$safeharbor$;
"""  # noqa: S608 - made of constants

PUT_BACK: LiteralString = """
DO $safeharbor$
DECLARE c text[] := pg_catalog.current_setting('safeharbor.checks');
BEGIN
  FOR i IN REVERSE coalesce(array_length(c, 1), 0) .. 1 LOOP
    EXECUTE format('ALTER %s %I.%I ADD CONSTRAINT %I %s', c[i][1], c[i][2], c[i][3], c[i][4], c[i][5]);
    IF c[i][6] IS NOT NULL THEN
      EXECUTE format('COMMENT ON CONSTRAINT %I ON %s%I.%I IS %L', c[i][4],
                     CASE c[i][1] WHEN 'DOMAIN' THEN 'DOMAIN ' ELSE '' END, c[i][2], c[i][3], c[i][6]);
    END IF;
  END LOOP;
END
$safeharbor$;
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One that was set aside; `kind` is TABLE or DOMAIN, `on` the name of it."""

    kind: str
    schema: str
    on: str
    name: str
    definition: str
    comment: str | None

    @property
    def what(self) -> str:
        """The check's name for people."""
        return f"check constraint {self.name} of {self.schema}.{self.on}"

    def sent_by(self, session: psycopg.Connection) -> Check:
        """The same, as a session within `names_as_bytes` sends it."""
        return self.with_texts(lambda text: sendable(session, text))

    def with_texts(self, change: Callable[[str], str]) -> Check:
        """The same with each of its texts changed."""
        comment = None if self.comment is None else change(self.comment)
        return Check(
            self.kind, change(self.schema), change(self.on), change(self.name), change(self.definition), comment
        )

    @property
    def add(self) -> sql.Composed:
        """The statement that adds the check again."""
        return self._alter(sql.SQL("ADD CONSTRAINT {} {}").format(self._name, sql.SQL(self.definition)))

    @property
    def validate(self) -> sql.Composed:
        """The statement, for one that was added NOT VALID."""
        return self._alter(sql.SQL("VALIDATE CONSTRAINT {}").format(self._name))

    @property
    def remark(self) -> sql.Composed | None:
        """The statement that gives it its comment, if it has one."""
        if self.comment is None:
            return None
        domain = sql.SQL("DOMAIN " if self.kind == "DOMAIN" else "")
        statement = sql.SQL("COMMENT ON CONSTRAINT {} ON {}{} IS {}")
        return statement.format(self._name, domain, self._place, sql.Literal(self.comment))

    def _alter(self, what: sql.Composable) -> sql.Composed:
        kind = sql.SQL("DOMAIN" if self.kind == "DOMAIN" else "TABLE")
        return sql.SQL("ALTER {} {} {}").format(kind, self._place, what)

    @property
    def _name(self) -> sql.Identifier:
        return sql.Identifier(self.name)

    @property
    def _place(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.on)


def set_aside(session: psycopg.Connection) -> list[Check]:
    """Drop the checks that can be added again, in a transaction of the session's. Raises psycopg.Error."""
    with names_as_bytes(session), session.transaction():
        session.execute(SET_ASIDE)
        (found,) = one_row(session, "SELECT pg_catalog.current_setting('safeharbor.checks')::text[]")
        return [Check(*each).with_texts(lambda text: readable(session, text)) for each in found]
