"""What belongs to a database and not into its dump: privileges on it, comment, connection limit, settings.

PostgreSQL keeps these by the database's number, so they follow a rename; a new database gets them replayed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

import psycopg
from psycopg import sql

from safeharbor_backup.errors import one_line
from safeharbor_backup.postgres.query import one_row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeharbor_backup.postgres.target import Target

_PROPERTIES = """
    SELECT d.datconnlimit, pg_catalog.shobj_description(d.oid, 'pg_database'), d.datacl IS NULL, d.datistemplate
    FROM pg_catalog.pg_database d WHERE d.datname = %s
"""
_ACL = """
    SELECT coalesce(g.rolname, ''), a.privilege_type, a.is_grantable
    FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a
    LEFT JOIN pg_catalog.pg_roles g ON g.oid = a.grantee
    WHERE d.datname = %s
"""
_SETTINGS = """
    SELECT coalesce(r.rolname, ''), s.setconfig
    FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase AND d.datname = %s
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole ORDER BY 1
"""
# settings whose value is a list of names, which must not be quoted as one (guc's GUC_LIST_QUOTE)
_LISTS = {"search_path", "session_preload_libraries", "local_preload_libraries", "temp_tablespaces", "datestyle",
          "shared_preload_libraries", "unix_socket_directories"}  # fmt: skip
_NOT_WHILE_LOADING = {
    "role", "session_authorization", "session_replication_role", "default_transaction_read_only",
    "default_transaction_isolation", "default_transaction_deferrable", "array_nulls", "transform_null_equals",
}  # fmt: skip
_WORDS: dict[str, LiteralString] = {"CREATE": "CREATE", "CONNECT": "CONNECT", "TEMPORARY": "TEMPORARY"}
_PRIVILEGES = {"C": "CREATE", "c": "CONNECT", "T": "TEMPORARY"}


@dataclass(frozen=True, slots=True)
class Properties:
    """A database's properties. `grants`: role ("" is everybody), privilege, with grant option; None: the default."""

    connection_limit: int
    comment: str | None
    grants: tuple[tuple[str, str, bool], ...] | None
    settings: tuple[tuple[str, str], ...]  # role ("" is everybody), "name=value"
    is_template: bool = False

    @property
    def while_loading(self) -> Properties:
        """Those that what is computed during a load depends on; not those that would keep a load from what it does."""
        settings = tuple(each for each in self.settings if _key(each[1]) not in _NOT_WHILE_LOADING)
        return Properties(-1, None, None, settings)

    @property
    def placeholders(self) -> str:
        """The settings that the app made up, as libpq's `options`: an owner may set them for a session only."""
        lines = [line for role, line in self.settings if not role and re.fullmatch(r"\w+\.\w+", line.partition("=")[0])]
        return " ".join("-c " + re.sub(r"([\\ ])", r"\\\1", line) for line in lines)


def read_properties(target: Target, name: str) -> Properties:
    """Those of an existing database. Raises psycopg.Error."""
    row = one_row(target.session, _PROPERTIES, (name,))
    grants = None if row[2] else tuple(target.session.execute(_ACL, (name,)).fetchall())
    settings = target.session.execute(_SETTINGS, (name,)).fetchall()
    return Properties(row[0], row[1], grants, tuple((role, line) for role, lines in settings for line in lines), row[3])


def replay_properties(target: Target, name: str, properties: Properties) -> list[str]:
    """Give them to another database; what could not be given, in words. Raises psycopg.Error if the server is lost."""
    database = sql.Identifier(name)
    statements: list[tuple[str, sql.Composed]] = []
    if properties.connection_limit >= 0:
        limit = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(
            database, sql.Literal(properties.connection_limit)
        )
        statements.append(("connection limit", limit))
    if properties.comment is not None:
        comment = sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(properties.comment))
        statements.append(("comment", comment))
    if properties.grants is not None:
        statements.append(("privileges", sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database)))
        for role, privilege, grantable in properties.grants:
            grantee = sql.Identifier(role) if role else sql.SQL("PUBLIC")
            option = sql.SQL(" WITH GRANT OPTION") if grantable else sql.SQL("")
            grant = sql.SQL("GRANT {} ON DATABASE {} TO {}").format(sql.SQL(_WORDS[privilege]), database, grantee)
            statements.append((f"privilege {privilege} of {role or 'PUBLIC'}", grant + option))
    for role, line in properties.settings:
        key, _, value = line.partition("=")
        where = sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(role), database)
        if not role:
            where = sql.SQL("DATABASE {}").format(database)
        setting = sql.SQL("ALTER {} SET {} TO {}").format(where, _identifier(key), _value(key, value))
        statements.append((f"setting {line}{f' of role {role}' if role else ''}", setting))
    if properties.is_template:
        statements.append(("template", sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(database)))
    refused = []
    for what, statement in statements:
        try:
            target.session.execute(statement)
        except psycopg.Error as error:
            if target.session.broken:
                raise
            refused.append(f"{what}: {one_line(error)}")
    return refused


def _key(line: str) -> str:
    return line.partition("=")[0].lower()


def _identifier(key: str) -> sql.Composable:
    return sql.SQL(".").join(sql.Identifier(part) for part in key.split("."))


def _value(key: str, value: str) -> sql.Composable:
    if key.lower() not in _LISTS:
        return sql.Literal(value)
    names = re.findall(r'"(?:[^"]|"")*"|[^",\s]+', value) or [""]
    return sql.SQL(", ").join(
        sql.Literal(name[1:-1].replace('""', '"') if name.startswith('"') else name) for name in names
    )


def parse_acl(items: Iterable[str]) -> tuple[tuple[str, str, bool], ...]:
    """`grantee=privileges/grantor` as PostgreSQL writes it, `*` after a privilege for its grant option."""
    grants = []
    for item in items:
        grantee, _, rest = item.rpartition("=")
        letters = rest.partition("/")[0]
        role = grantee[1:-1].replace('""', '"') if grantee.startswith('"') else grantee
        for index, letter in enumerate(letters):
            if letter in _PRIVILEGES:
                grants.append((role, _PRIVILEGES[letter], letters[index + 1 : index + 2] == "*"))
    return tuple(grants)
