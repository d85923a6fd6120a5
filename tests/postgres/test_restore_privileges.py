"""Privileges are left out by entry: one that the role cannot replay costs no other."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kills import Rig
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


CLOSED = "REVOKE EXECUTE ON FUNCTION similarity(text, text) FROM PUBLIC"
IS_OPEN = "SELECT has_function_privilege('public', 'similarity(text, text)', 'EXECUTE')"


def test_what_would_be_open_that_was_closed_is_accepted_knowingly(site: Site, database: Database) -> None:
    database.execute(f"CREATE EXTENSION pg_trgm; {CLOSED}", superuser=True)
    taken = site.run("backup")
    assert taken.status == 3, taken.output
    assert (
        "a superuser may revoke again what was revoked from all roles: REVOKE ALL ON FUNCTION public.sim"
        in taken.stderr
    )

    dry = site.run("restore", "--from", "latest", "--dry-run")
    refused = site.run("restore", "--from", "latest", "--yes")

    for done in (dry, refused):
        assert done.status == 8, done.output
        assert "REVOKE ALL ON FUNCTION public.similarity(text, text) FROM PUBLIC" in done.stderr
        assert "--accept-open" in done.stderr
    assert database.execute(IS_OPEN) == [(False,)]
    drilled = site.run("drill")
    assert drilled.status == 3, drilled.output
    assert "REVOKE ALL ON FUNCTION public.similarity(text, text) FROM PUBLIC" in drilled.output
    done = site.run("restore", "--from", "latest", "--yes", "--accept-open")
    assert done.status == 3, done.output
    assert "all roles have rights that they did not have" in done.stderr
    assert database.execute(IS_OPEN) == [(True,)]
    site.run("restore", "--discard-previous", "--yes")


def test_a_resume_remembers_what_was_accepted(site: Site, database: Database) -> None:
    database.execute("CREATE TABLE even (n int); INSERT INTO even VALUES (1)")
    database.execute(
        f"CREATE EXTENSION pg_trgm; {CLOSED}; ALTER TABLE even ADD CONSTRAINT even CHECK (n % 2 = 0) NOT VALID;"
        "UPDATE pg_constraint SET convalidated = true WHERE conname = 'even'",
        superuser=True,
    )
    rig = Rig(site, database, "accept all")
    killed = rig.kill("restore", "staging directory")
    assert not killed.has_ended
    assert rig.is_interrupted

    done = rig.recover("resume")

    assert done.status == 3, done.output
    assert "check constraint even of public.even" in done.stderr
    assert "all roles have rights that they did not have" in done.stderr
    assert database.execute("SELECT n FROM even") == [(1,)]
    site.run("restore", "--discard-previous", "--yes")


def test_what_another_role_closed_stays_closed_in_place(site: Site, database: Database) -> None:
    database.execute(f"CREATE EXTENSION pg_trgm; {CLOSED}", superuser=True)
    taken = site.run("backup")
    assert taken.status == 3, taken.output
    assert (
        "a superuser may revoke again what was revoked from all roles: REVOKE ALL ON FUNCTION public.sim"
        in taken.stderr
    )

    done = site.run("restore", "--from", "latest", "--yes", "--in-place")

    assert done.status == 3, done.output
    assert database.execute(IS_OPEN) == [(False,)]


@pytest.mark.parametrize(("in_place", "superuser"), [(False, False), (True, True)])
def test_a_role_that_is_missing_costs_its_own_rights_only(
    site: Site, database: Database, *, in_place: bool, superuser: bool
) -> None:
    reader, gone = (f"{name}_{secrets.token_hex(4)}" for name in ("reader", "gone"))
    execute(database.server.url(), f"CREATE ROLE {reader}; CREATE ROLE {gone}")
    if superuser:
        site.environment["BACKUP_DATABASE_URL"] = database.superuser_url
    try:
        database.execute(
            "CREATE FUNCTION salaries() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';"
            "REVOKE EXECUTE ON FUNCTION salaries() FROM PUBLIC;"
            f"GRANT EXECUTE ON FUNCTION salaries() TO {gone}; GRANT EXECUTE ON FUNCTION salaries() TO {reader};"
        )
        assert site.run("backup").status == 0
        execute(database.superuser_url, f"DROP OWNED BY {gone}")
        execute(database.server.url(), f"DROP ROLE {gone}")

        done = site.run("restore", "--from", "latest", "--yes", *(["--in-place"] if in_place else []))

        assert done.status == 3, done.output
        assert f"the server has no role {gone}" in done.stderr
        query = (
            f"SELECT has_function_privilege('public', f, 'EXECUTE'), has_function_privilege('{reader}', f, 'EXECUTE')"
        )
        assert database.execute(f"{query} FROM (SELECT 'salaries()') s(f)") == [(False, True)]
    finally:
        site.run("restore", "--discard-previous", "--yes")
        execute(database.superuser_url, f"DROP OWNED BY {reader}")
        execute(database.server.url(), f"DROP ROLE {reader}; DROP ROLE IF EXISTS {gone}")


def test_a_role_that_a_policy_is_for_is_needed(site: Site, database: Database) -> None:
    gone = f"to_{secrets.token_hex(4)}"
    execute(database.server.url(), f'CREATE ROLE "{gone} x"')
    database.execute(
        f"""CREATE TABLE "to" (a int); CREATE POLICY "TO" ON "to" TO "{gone} x", CURRENT_USER USING (a > 1);"""
        f"""ALTER POLICY "TO" ON "to" TO "{gone} x", {database.owner}"""
    )
    assert site.run("backup").status == 0
    execute(database.superuser_url, f'DROP OWNED BY "{gone} x"')
    execute(database.server.url(), f'DROP ROLE "{gone} x"')

    done = site.run("restore", "--from", "latest", "--dry-run")

    assert done.status == 8, done.output
    assert f"The server has no role {gone} x, which a policy or a user mapping of the dump is for." in done.stderr


def test_a_grant_whose_grantor_may_not_any_more_is_left_out_knowingly(site: Site, database: Database) -> None:
    first, second = (f"chain_{secrets.token_hex(4)}" for _ in range(2))
    execute(database.server.url(), f"CREATE ROLE {first}; CREATE ROLE {second}")
    site.environment["BACKUP_DATABASE_URL"] = database.superuser_url
    try:
        database.execute(
            f"CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO {first}; CREATE TABLE s.t (id int);"
            f"GRANT SELECT ON s.t TO {first} WITH GRANT OPTION; SET SESSION AUTHORIZATION {first};"
            f"GRANT SELECT ON s.t TO {second}; RESET SESSION AUTHORIZATION; REVOKE USAGE ON SCHEMA s FROM {first};"
            f"GRANT SELECT ON photo TO {second}",
            superuser=True,
        )
        taken = site.run("backup")

        planned = site.run("restore", "--from", "latest", "--dry-run")
        refused = site.run("restore", "--from", "latest", "--yes")
        done = site.run("restore", "--from", "latest", "--yes", "--accept-broken")

        why = f's.TABLE t: "{first}", who granted this, may not use the schema s any more'
        assert (taken.status, planned.status, refused.status) == (3, 8, 8), taken.output + planned.output
        for said in (taken, planned, refused):
            assert why in said.stderr
            assert "`--accept-broken` leaves it out" in said.stderr
        assert done.status == 3, done.output
        query = "SELECT " + ", ".join(
            f"has_table_privilege('{second}', '{name}', 'SELECT')" for name in ("s.t", "photo")
        )
        assert database.execute(query, superuser=True) == [(False, True)]
        (script,) = site.backups.glob("*-to-mend.sql")
        assert f"GRANT SELECT ON TABLE s.t TO {second}" in script.read_text()
        database.execute(f"REVOKE SELECT ON s.t FROM {first} CASCADE", superuser=True)
        assert site.run("backup").status == 0
    finally:
        site.run("restore", "--discard-previous", "--yes")
        execute(database.superuser_url, f"DROP OWNED BY {first}, {second}")
        execute(database.server.url(), f"DROP ROLE {first}, {second}")
