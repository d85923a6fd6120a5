"""One table out of an archive: into a file, beside the live one, or the rows that the live one lacks."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from support.postgres import Database
    from support.runs import Site

SCHEMA = """
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE DOMAIN email AS text CHECK (VALUE ~ '@');
    CREATE TABLE owner (id int PRIMARY KEY, name text);
    INSERT INTO owner VALUES (1, 'ann'), (2, 'bob');
    CREATE TABLE "Odd Table" (
        id bigint GENERATED ALWAYS AS IDENTITY, owner int REFERENCES owner, "a ""b" mood, mail email,
        price numeric(8,2), double numeric GENERATED ALWAYS AS (price * 2) STORED, tags text[], blob bytea,
        note text COLLATE "C" NOT NULL DEFAULT '', PRIMARY KEY (id));
    INSERT INTO "Odd Table" (owner, "a ""b", mail, price, tags, blob, note)
        SELECT 1 + g % 2, 'happy', 'x@y', g, '{a,"b,c"}', '\\xff00', E'line\\n\\t\\\\' || g
        FROM generate_series(1, 10) g;
    CREATE TABLE log (line text);
    CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN INSERT INTO public.log VALUES ('inserted ' || NEW.id); RETURN NEW; END$$;
    CREATE TRIGGER noted AFTER INSERT ON "Odd Table" FOR EACH ROW EXECUTE FUNCTION noted();
    CREATE TABLE keyless (line text); INSERT INTO keyless VALUES ('a');
"""
ODD = '"Odd Table"'


@pytest.fixture
def shop(site: Site, database: Database) -> Site:
    database.execute(SCHEMA)
    assert site.run("backup").status == 0
    return site


def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in database.execute(query)]


def test_a_table_comes_beside_the_live_one_with_its_types_and_values(shop: Site, database: Database) -> None:
    before = rows(database, f"SELECT * FROM {ODD} ORDER BY id")
    database.execute(f"DELETE FROM {ODD} WHERE id < 4; UPDATE {ODD} SET note = 'changed'")

    done = shop.run("extract", "latest", "--table", "public.Odd Table")

    assert done.status == 0, done.output
    name = rows(database, "SELECT relname FROM pg_class WHERE relname LIKE 'Odd Table\\_20%' AND relkind = 'r'")[0][0]
    assert f"10 rows of public.Odd Table into public.{name}" in done.stdout
    assert rows(database, f'SELECT * FROM "{name}" ORDER BY id') == before
    types = (
        "SELECT attname, format_type(atttypid, atttypmod), attcollation FROM pg_attribute WHERE attnum > 0 AND attrelid"
    )
    assert rows(database, f"{types} = '\"{name}\"'::regclass") == rows(database, f"{types} = '{ODD}'::regclass")
    again = shop.run("extract", "latest", "--table", f"public.{ODD}")
    assert again.status == 8
    assert "already" in again.stderr
    assert rows(database, "SELECT datname FROM pg_database WHERE datname LIKE '%\\_drill\\_%'") == []


def test_rows_that_are_missing_are_shown_and_then_inserted(shop: Site, database: Database) -> None:
    before = rows(database, f"SELECT * FROM {ODD} ORDER BY id")
    database.execute(f"DELETE FROM {ODD} WHERE id < 4; UPDATE {ODD} SET note = 'mine' WHERE id = 10; DELETE FROM log")

    shown = shop.run("extract", "latest", "--table", "Odd Table", "--into-live")
    assert shown.status == 0, shown.output
    assert "the live public.Odd Table lacks 3 rows of the archive" in shown.stdout
    assert "6 rows are there as they were, 1 with other values: they stay" in shown.stdout
    assert len(rows(database, f"SELECT * FROM {ODD}")) == 7

    done = shop.run("extract", "latest", "--table", "Odd Table", "--into-live", "--where", "id <> 3", "--yes")

    assert done.status == 0, done.output
    assert "inserted 2 rows" in done.stdout
    after = rows(database, f"SELECT * FROM {ODD} WHERE id <> 10 ORDER BY id")
    assert after == [row for row in before if row[0] not in (3, 10)]
    assert rows(database, f"SELECT note FROM {ODD} WHERE id = 10") == [("mine",)]
    assert rows(database, "SELECT line FROM log ORDER BY 1") == [("inserted 1",), ("inserted 2",)]


def test_what_comes_back_takes_no_number_that_the_app_gets_next(site: Site, database: Database) -> None:
    database.execute(
        "CREATE TABLE ticket (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line text);"
        "CREATE TABLE other (id serial PRIMARY KEY); INSERT INTO other DEFAULT VALUES;"
        "INSERT INTO ticket (line) SELECT 'line ' || g FROM generate_series(1, 20) g"
    )
    assert site.run("backup").status == 0
    database.execute("TRUNCATE ticket RESTART IDENTITY; ALTER SEQUENCE other_id_seq RESTART")
    command = ("extract", "latest", "--table", "ticket", "--into-live")

    assert "sequence" not in site.run(*command).output
    done = site.run(*command, "--yes")
    again = site.run(*command, "--yes", "--json")

    assert done.status == 0, done.output
    assert "inserted 20 rows\n  set the sequence public.ticket_id_seq from 1 to 20" in done.stdout
    assert (again.document["rows"], again.document["sequences"]) == (0, [])
    assert rows(database, "INSERT INTO ticket (line) VALUES ('new') RETURNING id") == [(21,)]
    assert rows(database, "SELECT is_called FROM other_id_seq") == [(False,)]  # the table of another one


def test_rows_come_back_though_the_role_may_not_set_the_sequence(site: Site, database: Database) -> None:
    database.execute(
        "CREATE TABLE ticket (id serial PRIMARY KEY, line text); INSERT INTO ticket (line) VALUES ('a'), ('b')"
    )
    assert site.run("backup").status == 0
    database.execute(
        f'TRUNCATE ticket RESTART IDENTITY; REVOKE ALL ON SEQUENCE ticket_id_seq FROM "{database.owner}";'
        f'REVOKE UPDATE ON SEQUENCE ticket_id_seq FROM "{database.owner}"'
    )

    done = site.run("extract", "latest", "--table", "ticket", "--into-live", "--yes")

    assert done.status == 3, done.output
    assert "the sequence public.ticket_id_seq may give numbers that are taken, and was not set" in done.stderr
    assert rows(database, "SELECT count(*) FROM ticket") == [(2,)]


def test_what_a_primary_key_only_includes_tells_no_rows_apart(site: Site, database: Database) -> None:
    database.execute(
        "CREATE TABLE tag (id int, name text, PRIMARY KEY (id) INCLUDE (name));"
        "INSERT INTO tag VALUES (1, 'a'), (2, 'b')"
    )
    assert site.run("backup").status == 0
    database.execute("DELETE FROM tag WHERE id = 1; UPDATE tag SET name = 'mine'")

    done = site.run("extract", "latest", "--table", "tag", "--into-live", "--yes")

    assert done.status == 0, done.output
    assert "0 rows are there as they were, 1 with other values: they stay\ninserted 1 row" in done.stdout
    assert rows(database, "SELECT * FROM tag ORDER BY id") == [(1, "a"), (2, "mine")]


def test_a_type_is_the_same_wherever_a_role_looks_first(site: Site, database: Database) -> None:
    database.execute(
        "CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('sad', 'happy');"
        "CREATE TABLE app.diary (day date PRIMARY KEY, mood app.mood, moods app.mood[]);"
        "INSERT INTO app.diary VALUES ('2026-01-01', 'sad', '{sad,happy}')"
    )
    assert site.run("backup").status == 0
    database.execute("DELETE FROM app.diary")
    app, other = f"{database.url}?options=-csearch_path%3Dapp,public", database.server.url()
    command = ("extract", "latest", "--table", "diary")

    beside = site.run(*command, BACKUP_DATABASE_URL=app, RESTORE_DATABASE_URL=other)
    done = site.run(*command, "--into-live", "--yes", BACKUP_DATABASE_URL=app, RESTORE_DATABASE_URL=other)

    assert (beside.status, done.status) == (0, 0), beside.output + done.output
    assert rows(database, "SELECT mood, moods::text FROM app.diary") == [("sad", "{sad,happy}")]


def test_no_name_of_a_column_writes_lines_or_controls_into_an_error(site: Site, database: Database) -> None:
    database.execute(
        "CREATE TABLE odd (id int PRIMARY KEY, \"two\nlines \x1b[2J\" text); INSERT INTO odd VALUES (1, 'a')"
    )
    assert site.run("backup").status == 0
    database.execute('ALTER TABLE odd DROP COLUMN "two\nlines \x1b[2J"')

    done = site.run("extract", "latest", "--table", "odd", "--into-live")

    assert done.status == 8, done.output
    assert r"has other columns: two\nlines \x1b[2J is not there." in done.stderr


def test_a_constraint_that_fails_inserts_nothing(shop: Site, database: Database) -> None:
    database.execute(f"DELETE FROM {ODD}; DELETE FROM owner WHERE id = 2")

    done = shop.run("extract", "latest", "--table", "Odd Table", "--into-live", "--yes")

    assert done.status == 1, done.output
    assert "foreign key" in done.stderr
    assert rows(database, f"SELECT count(*) FROM {ODD}") == [(0,)]


def test_a_live_table_that_does_not_fit_is_8_and_stays(shop: Site, database: Database) -> None:
    for change, table, says in (
        ("SELECT 1", "keyless", "has no primary key"),
        (f"ALTER TABLE {ODD} ALTER note TYPE varchar(9)", ODD, "note is character varying(9) there and text"),
        (f"ALTER TABLE {ODD} DROP COLUMN price CASCADE", ODD, "price is not there"),
        (f"DROP TABLE {ODD}", ODD, "has no table public.Odd Table"),
    ):
        database.execute(change)

        done = shop.run("extract", "latest", "--table", table, "--into-live", "--yes")

        assert done.status == 8, done.output
        assert says in done.stderr


def test_rows_go_into_files_that_other_programs_read(shop: Site, database: Database, tmp_path: Path) -> None:
    values, script = tmp_path / "rows.csv", tmp_path / "rows.sql"
    query = f"SELECT id, note, double FROM {ODD} WHERE id > 8 ORDER BY id"
    before = rows(database, query)

    one = shop.run("extract", "latest", "--table", "Odd Table", "--where", "id > 8", "--csv", str(values))
    other = shop.run("extract", "latest", "--table", "Odd Table", "--where", "id > 8", "--sql", str(script))
    refused = shop.run("extract", "latest", "--table", "Odd Table", "--csv", str(values))
    wrong = shop.run("extract", "latest", "--table", "Odd Table", "--where", "nothing = ", "--csv", str(tmp_path / "x"))

    assert (one.status, other.status, refused.status, wrong.status) == (0, 0, 8, 1), one.output + wrong.output
    assert "2 rows of public.Odd Table" in one.stdout
    read = list(csv.DictReader(io.StringIO(values.read_text(), newline="")))
    assert [(int(row["id"]), row["note"]) for row in read] == [(row[0], row[1]) for row in before]
    assert not (tmp_path / "x").exists()
    database.execute(f"DELETE FROM {ODD} WHERE id > 8; ALTER TABLE {ODD} ALTER id SET GENERATED BY DEFAULT")
    heading, _, values_only = script.read_text().partition(";\nCOPY")
    statement, _, data = values_only.partition(";\n")
    assert heading == "SET client_encoding = 'UTF8'"
    with psycopg.connect(database.url) as session, session.cursor().copy(f"COPY{statement}".encode()) as copy:
        copy.write(data.removesuffix("\\.\n"))
    assert rows(database, query) == before


@pytest.mark.parametrize(
    ("name", "says"), [("-", "the name of a file"), ("", "the name of a file"), ("none/x.csv", "There is no directory")]
)
def test_what_is_no_name_of_a_file_is_2_before_anything_is_loaded(shop: Site, name: str, says: str) -> None:
    before = set(shop.root.iterdir())

    done = shop.run("extract", "latest", "--table", "log", "--csv", name)

    assert (done.status, says in done.stderr) == (2, True), done.output
    assert set(shop.root.iterdir()) == before


def test_no_such_table_is_2_with_the_nearest(shop: Site) -> None:
    done = shop.run("extract", "latest", "--table", "public.keyles\x1b[2J")

    assert done.status == 2
    assert "public.keyles\\x1b[2J" in done.stderr
    assert "The nearest: public.keyless" in done.stderr
    assert "The nearest: public.log" in shop.run("extract", "latest", "--table", "LOG").stderr


def test_an_empty_condition_is_not_all_rows(shop: Site, database: Database) -> None:
    database.execute(f"DELETE FROM {ODD}")

    done = shop.run("extract", "latest", "--table", "Odd Table", "--into-live", "--yes", "--where", " ")

    assert (done.status, "the condition is empty" in done.stderr) == (2, True), done.output
    assert rows(database, f"SELECT count(*) FROM {ODD}") == [(0,)]


def test_what_the_app_has_planted_never_runs_as_a_superuser(shop: Site, database: Database) -> None:
    database.execute(
        "CREATE TABLE ran (who text);"
        "CREATE OR REPLACE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN INSERT INTO public.ran VALUES (current_user); RETURN NEW; END$$;"
        f"DELETE FROM {ODD} WHERE id < 4"
    )
    into_live = ("extract", "latest", "--table", "public.Odd Table", "--into-live", "--yes")

    beside = shop.run(*into_live[:4], BACKUP_DATABASE_URL=database.superuser_url)
    refused = shop.run(*into_live, BACKUP_DATABASE_URL=database.superuser_url)
    assert (beside.status, refused.status) == (8, 8), beside.output + refused.output
    assert f'belongs to "{database.owner}", whose functions would run as a superuser' in refused.stderr
    assert "the app's own role" in refused.stderr
    assert rows(database, "SELECT * FROM ran") == []

    done = shop.run(*into_live, RESTORE_DATABASE_URL=database.server.url())
    assert done.status == 0, done.output
    assert set(rows(database, "SELECT who FROM ran")) == {(database.owner,)}
