"""Privileges are left out by entry: one that the role cannot replay costs no other."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.postgres import Database, Servers, drop_database, execute, make_database
from support.runs import Site, make_site


@pytest.fixture
def database(servers: Servers) -> Iterator[Database]:
    """A fresh database on the major that comes with contrib's extensions."""
    made = make_database(servers[15])
    yield made
    drop_database(made)


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Site:
    """A small application on it."""
    return make_site(tmp_path, database)


def test_what_others_own_costs_no_right_on_what_is_the_role_s_own(site: Site, database: Database) -> None:
    reader = f"reader_{secrets.token_hex(4)}"
    execute(database.server.url(), f"CREATE ROLE {reader}")
    try:
        database.execute(
            "CREATE SCHEMA audit; CREATE TABLE audit.log (id int);"
            f"GRANT USAGE ON SCHEMA audit TO {database.owner}; GRANT SELECT ON audit.log TO {database.owner};"
            "CREATE EXTENSION pg_trgm;"
            f"GRANT EXECUTE ON FUNCTION similarity(text, text) TO {reader};",
            superuser=True,
        )
        database.execute(
            f"CREATE TABLE own (id int); GRANT SELECT ON own TO {reader};"
            "CREATE FUNCTION salaries() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';"
            "REVOKE EXECUTE ON FUNCTION salaries() FROM PUBLIC"
        )
        assert site.run("backup").status == 0

        done = site.run("restore", "--from", "latest", "--yes")

        assert done.status == 3, done.output
        assert "privileges are left out: public.FUNCTION similarity" in done.stderr
        query = (
            f"SELECT has_table_privilege('{reader}', 'own', 'SELECT'),"
            f" has_function_privilege('{reader}', 'salaries()', 'EXECUTE')"
        )
        assert database.execute(query) == [(True, False)]
    finally:
        site.run("restore", "--discard-previous", "--yes")
        execute(database.superuser_url, f"DROP OWNED BY {reader}")
        execute(database.server.url(), f"DROP ROLE {reader}")
