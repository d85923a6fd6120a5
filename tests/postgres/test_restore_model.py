"""Random applications, changed at random: a restore brings the first state back, undo the changed one, exactly.

Every seed is an application of its own, made from nothing but `random.Random(seed)`; `APPLICATIONS=100` tries more.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from safeharbor_backup.actions.backup.run import take_backup
from safeharbor_backup.actions.restore.kept import discard_previous
from safeharbor_backup.actions.restore.recovery import undo_restore
from safeharbor_backup.actions.restore.request import RestoreRequest
from safeharbor_backup.actions.restore.run import restore_archive
from safeharbor_backup.archive.layout import link_stays_inside
from safeharbor_backup.postgres.private_cluster import find_server_bins
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.load import load_settings
from support.postgres import MAJORS, Database, Servers, drop_database, execute, make_database
from support.runs import Site
from support.states import State, state_of

BATCHES = [range(first, first + 5) for first in range(0, int(os.environ.get("APPLICATIONS", "40")), 5)]
IS_ROOT = os.geteuid() == 0
TEXTS = [
    "", " ", "plain", "it's", '"', "\\", "\\.", "\\N", "\\x41", "a\nb", "a\r\nb", "\t", "\x01\x7f", "--", "; DROP",
    "$$", "$1", "%s", "{}", "NULL", "ünï", "\u202eright to left", "\U0001f600", "a\u0301", "\ufeff", "x" * 3000,
]  # fmt: skip
# a type, and SQL for a value of it made from the integer {n}
TYPES = {
    "integer": "{n}",
    "smallint": "{n} % 30000",
    "bigint": "{n}::bigint * 4611686018427",
    "numeric": "{n}::numeric / 7",
    "numeric(12,3)": "{n} / 3.0",
    "double precision": "CASE {n} % 5 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' ELSE {n} / 3.0::float8 END",
    "real": "{n} / 7.0::float4",
    "boolean": "{n} % 2 = 0",
    "varchar(40)": "left(md5({n}::text) || E'\\n''\\\\', 40)",
    "character(5)": "{n} % 1000",
    "date": "date '4000-02-29' - {n}",
    "timestamp": "timestamp '1969-12-31 23:59:59.999999' - {n} * interval '1 hour'",
    "timestamptz": "CASE {n} % 7 WHEN 0 THEN 'infinity' ELSE timestamptz '2020-03-29 01:30Z' + {n} * interval '7s' END",
    "interval": "{n} * interval '1 month 1 day 1.000001 s'",
    "bytea": "decode(md5({n}::text), 'hex') || '\\x00ff0a5c'::bytea",
    "uuid": "md5({n}::text)::uuid",
    "json": "json_build_object('b', {n}, 'a', E'\\\\ \"')",
    "jsonb": "jsonb_build_object('b', {n}, 'a', jsonb_build_array(NULL, 1.50, E'\\n'))",
    "integer[]": "ARRAY[{n}, NULL, -1]",
    "text[]": "ARRAY['', 'NULL', NULL, E'{{\"\\\\', {n}::text]",
    "inet": "inet '10.0.0.0/8' + {n}",
    "int4range": "int4range({n}, {n} + 5)",
    "point": "point({n}, 0.1)",
    "bit(5)": "{n}::bit(5)",
    "tsvector": "to_tsvector('simple', md5({n}::text))",
}
FILE_NAMES = [
    b"plain.jpg", b"two words", b" ", b"new\nline", b"\xff\xfe latin", b"-rf", b"\\", b"'", b'"', b"*", b"~", b"..x",
    b".hidden", b"tab\t", b"\xc3\xa4.png", b"a\xcc\x88", b"db.dump", b"uploads", b"manifest.json", b"SHA256SUMS",
    b"\x01\x7f", b"n" * 255, b"#", b"%41", b"CON", b"x.tar",
]  # fmt: skip


@pytest.mark.parametrize("seeds", BATCHES, ids=lambda seeds: f"seeds-{seeds.start}-to-{seeds.stop - 1}")
def test_a_restore_brings_the_first_state_back_and_undo_the_changed_one(
    seeds: range, servers: Servers, tmp_path: Path
) -> None:
    server = servers[MAJORS[seeds.start // 5 % len(MAJORS)]]
    for seed in seeds:
        root = tmp_path / str(seed)
        root.mkdir()
        database = make_database(server)
        try:
            go_there_and_back(seed, Site(root, database.url), database)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            drop_database(database)
            shutil.rmtree(root)


def test_a_file_that_is_called_lost_and_found_goes_and_comes_as_any_other(site: Site, database: Database) -> None:
    settings = load_settings(site.full_environment())
    found = site.uploads / "lost+found"
    found.write_text("first")
    backup = take_backup(settings)
    found.write_text("changed")

    restore_archive(settings, RestoreRequest(archive=backup.path), lambda _: True, NoProgress())
    assert found.read_text() == "first"
    undo_restore(settings, "", NoProgress())
    assert found.read_text() == "changed"


def go_there_and_back(seed: int, site: Site, database: Database) -> None:
    def compare(expected: State, when: str) -> None:
        same_state(expected, state_of(database.url, database.server.major, site.uploads), f"seed {seed}, {when}")

    chance = random.Random(seed)
    bins = str(find_server_bins()[database.server.major])  # asking all of them for their versions takes time
    settings = load_settings(site.full_environment({"BACKUP_PG_BIN": bins}))
    make_schema(chance, database)
    make_tree(chance, site.uploads)
    first = state_of(database.url, database.server.major, site.uploads)
    backup = take_backup(settings)
    assert backup.warnings == (), f"seed {seed}"
    change_database(chance, database)
    change_tree(chance, site.uploads)
    changed = state_of(database.url, database.server.major, site.uploads)
    assert changed.database != first.database, f"seed {seed}"
    assert changed.uploads != first.uploads, f"seed {seed}"

    request = RestoreRequest(archive=backup.path, jobs=2)
    restored = restore_archive(settings, request, lambda _: True, NoProgress())

    compare(first, "restored")
    assert (restored.tables, restored.rows) == (backup.tables, backup.rows), f"seed {seed}"
    assert (restored.upload_files, restored.upload_bytes) == (backup.upload_files, backup.upload_bytes), f"seed {seed}"
    assert restored.warnings == (), f"seed {seed}"
    undo_restore(settings, "", NoProgress())
    compare(changed, "undone")
    last = changed
    if seed % 4 == 0:
        undo_restore(settings, "", NoProgress())
        compare(first, "undone twice")
        last = first
    assert [record.id for record in discard_previous(settings, "")] == [restored.id], f"seed {seed}"
    compare(last, "discarded")
    owned = f"SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = '{database.owner}'"
    assert execute(database.server.url(), owned) == [(database.name,)], f"seed {seed}"
    assert list(site.uploads.glob(".safeharbor-restore-*")) == [], f"seed {seed}"
    assert site.leftovers == [], f"seed {seed}"


def same_state(expected: State, actual: State, when: str) -> None:
    """Fails with the first differences only: whole states would fill the screen."""
    if actual.database != expected.database:
        lines = set(expected.database.splitlines()) ^ set(actual.database.splitlines())
        pytest.fail(f"{when}: the database differs: {sorted(lines)[:10]!r}")
    if actual.uploads != expected.uploads:
        entries = set(expected.uploads.items()) ^ set(actual.uploads.items())
        pytest.fail(f"{when}: the uploads differ: {sorted(entries)[:10]!r}")


# the database


@dataclass(frozen=True)
class Table:
    """A table as the model made it; the names are quoted."""

    name: str
    key: str
    columns: dict[str, str]
    is_logged: bool


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def any_name(chance: random.Random, base: str) -> str:
    """A quoted name, now and then one that has to be."""
    oddity = chance.choice(["", "", "", " of things", '"', "Ünï", ".dot", "'", "\\", "%s", "\nline", ";--", "é" * 20])
    return quoted(base + oddity)


def any_text(chance: random.Random) -> str:
    return "".join(chance.choices(TEXTS, k=chance.randint(1, 3)))


def make_schema(chance: random.Random, database: Database) -> None:
    """Two to six tables, and what may hang on them."""
    with psycopg.connect(database.url, autocommit=True) as connection:

        def run(statement: str) -> None:
            connection.execute(statement.encode())

        schemas = ["public"]
        if chance.random() < 0.4:
            schemas.append(any_name(chance, "schema"))
            run(f"CREATE SCHEMA {schemas[1]}")
        own_types: dict[str, str] = {}  # likewise with SQL for a value
        if chance.random() < 0.6:
            labels = [literal(f"it's {number}") for number in range(chance.randint(1, 5))]
            mood = f"{chance.choice(schemas)}.{any_name(chance, 'mood')}"
            run(f"CREATE TYPE {mood} AS ENUM ({', '.join(labels)})")
            own_types[mood] = chance.choice(labels)
        if chance.random() < 0.3:
            run("CREATE DOMAIN small AS bigint DEFAULT 7 CHECK (VALUE IS NULL OR VALUE < 100000)")
            own_types["small"] = "{n}"
        tables: list[Table] = []
        for number in range(chance.randint(2, 6)):
            name = f"{chance.choice(schemas)}.{any_name(chance, f'table{number}')}"
            tables.append(make_table(chance, connection, name, tables, {**TYPES, **own_types}))
        for number in range(chance.randint(0, 3)):
            sequence = f"{chance.choice(schemas)}.{any_name(chance, f'sequence{number}')}"
            run(f"CREATE SEQUENCE {sequence} INCREMENT {chance.choice((1, 3, 10))}")
            if chance.random() < 0.5:
                run(f"SELECT nextval({literal(sequence)}), nextval({literal(sequence)})")
        table = chance.choice(tables)
        run(f"CREATE VIEW {any_name(chance, 'view')} AS SELECT * FROM {table.name} WHERE {table.key} IS NOT NULL")
        if chance.random() < 0.4:
            view = any_name(chance, "materialized")
            run(f"CREATE MATERIALIZED VIEW {view} AS SELECT count(*) AS n, max(note) AS note FROM {table.name}")
            run(f"CREATE UNIQUE INDEX ON {view} (n)")
        if chance.random() < 0.4:
            run(
                "CREATE FUNCTION halve(n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE "
                "AS $f$ SELECT n / 2 -- it's \\\n$f$"
            )
            run(f"CREATE INDEX ON {table.name} (halve({table.key}::bigint))")
        if chance.random() < 0.3:
            run(
                "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note := now(); RETURN NEW; END'"
            )
            run(f"CREATE TRIGGER touched BEFORE UPDATE ON {table.name} FOR EACH ROW EXECUTE FUNCTION touch()")
        for _ in range(chance.randint(0, 2)):
            run(f"SELECT lo_from_bytea(0, repeat(md5({chance.random()}::text), 500)::bytea)")
        for _ in range(chance.randint(0, 3)):
            table = chance.choice(tables)
            run(f"COMMENT ON TABLE {table.name} IS {literal(any_text(chance))}")
            run(f"COMMENT ON COLUMN {table.name}.note IS {literal(any_text(chance))}")
        if chance.random() < 0.3:
            run(f"GRANT SELECT ON {chance.choice(tables).name} TO PUBLIC")
        if chance.random() < 0.2:
            run("CREATE TABLE parted (day int, what text) PARTITION BY RANGE (day)")
            run("CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (10)")
            run("CREATE TABLE parted_rest PARTITION OF parted DEFAULT")
            run("INSERT INTO parted SELECT g, 'day ' || g FROM generate_series(1, 30) g")


def make_table(
    chance: random.Random, connection: psycopg.Connection, name: str, others: list[Table], types: dict[str, str]
) -> Table:
    """One table with its rows: its key counts from 1, `note` holds nasty text, a third is NULL."""
    rows = chance.choice([0, 1, 20, chance.randint(0, 200), chance.randint(0, 200)])
    key = any_name(chance, "id")
    kind = chance.choice(["int", "bigserial", "int GENERATED BY DEFAULT AS IDENTITY"])
    definitions = [f"{key} {kind} PRIMARY KEY", "note text"]
    values = {key: "g", "note": "NULL"}
    columns = {any_name(chance, f"column{each}"): chance.choice(list(types)) for each in range(chance.randint(0, 7))}
    for column, of_type in columns.items():
        value = types[of_type].format(n=f"(g * {chance.randint(1, 99)})")
        definitions.append(f"{column} {of_type}")
        values[column] = f"CASE WHEN g % {chance.randint(2, 9)} = 0 THEN NULL ELSE ({value})::{of_type} END"
    if chance.random() < 0.3:
        definitions.append(f"twice bigint GENERATED ALWAYS AS ({key} * 2) STORED")
        definitions.append(f"CHECK ({key} > 0 OR note <> {literal(any_text(chance))})")
    for number, other in enumerate(others):
        if other.is_logged and chance.random() < 0.4:
            later = chance.choice(["", " ON DELETE CASCADE", " ON DELETE SET NULL", " DEFERRABLE INITIALLY DEFERRED"])
            definitions.append(f"ref{number} bigint REFERENCES {other.name}{later}")
            values[f"ref{number}"] = f"(SELECT {other.key} FROM {other.name} WHERE {other.key} = g % 7 + 1)"
    if chance.random() < 0.2:
        definitions.append(f"self bigint REFERENCES {name}")
        values["self"] = "nullif(g - 1, 0)"
    is_logged = chance.random() < 0.9
    connection.execute(f"CREATE {'' if is_logged else 'UNLOGGED'} TABLE {name} ({', '.join(definitions)})".encode())
    select = f"SELECT {', '.join(values.values())} FROM generate_series(1, {rows}) g"
    connection.execute(f"INSERT INTO {name} ({', '.join(values)}) {select}".encode())
    notes = [(any_text(chance), each) for each in range(1, rows + 1) if chance.random() < 0.7]
    update = f"UPDATE {name} SET note = ? WHERE {key} = ?".replace("%", "%%").replace("?", "%s")
    with connection.cursor() as cursor:
        cursor.executemany(update.encode(), notes)
    if kind != "int" and rows:
        sequence = f"pg_get_serial_sequence({literal(name)}, {literal(key[1:-1].replace(chr(34) * 2, chr(34)))})"
        connection.execute(f"SELECT setval({sequence}, {rows})".encode())
    for column in chance.sample(list(columns), k=min(len(columns), 2)):
        if columns[column] not in ("json", "point"):
            connection.execute(f"CREATE INDEX ON {name} ({column}) WHERE note IS NOT NULL".encode())
    return Table(name, key, columns, is_logged)


def tables_in(connection: psycopg.Connection) -> list[str]:
    query = """
        SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND n.nspname !~ '^(pg_|information_schema)' ORDER BY 1
    """
    return [row[0] for row in connection.execute(query)]


def change_database(chance: random.Random, database: Database) -> None:
    """Up to twenty changes; what the schema forbids is left undone, one is always possible."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        for number in range(chance.randint(1, 20)):
            table = chance.choice(tables_in(connection) or ["none"])
            new = any_name(chance, f"new{number}")
            change = chance.choice(
                [
                    f"DROP TABLE {table} CASCADE",
                    f"TRUNCATE {table} CASCADE",
                    f"ALTER TABLE {table} ADD COLUMN {new} text DEFAULT {literal(any_text(chance))}",
                    f"ALTER TABLE {table} DROP COLUMN note CASCADE",
                    f"ALTER TABLE {table} RENAME COLUMN note TO {new}",
                    f"ALTER TABLE {table} RENAME TO {new}",
                    f"ALTER TABLE {table} ALTER COLUMN note TYPE bytea USING convert_to(note, 'UTF8')",
                    f"CREATE TABLE {new} AS SELECT * FROM {table}",
                    f"CREATE TABLE {new} (id int PRIMARY KEY); INSERT INTO {new} VALUES (1), (2)",
                    f"DELETE FROM {table} WHERE (ctid::text::point)[1]::int % {chance.randint(2, 5)} = 0",
                    f"UPDATE {table} SET note = {literal(any_text(chance))}",
                    f"INSERT INTO {table} (note) SELECT note FROM {table}",
                    f"CREATE INDEX ON {table} (note)",
                    f"COMMENT ON TABLE {table} IS {literal(any_text(chance))}",
                    f"CREATE VIEW {new} AS SELECT * FROM {table}",
                    "CREATE OR REPLACE FUNCTION halve(n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT n'",
                    "DROP FUNCTION halve CASCADE",
                    "SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
                    "SELECT lo_from_bytea(0, 'new')",
                    "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
                    f"CREATE SCHEMA {new}",
                ]
            )
            try:
                connection.execute(change.encode())
            except psycopg.Error:
                continue
        connection.execute("CREATE TABLE always_new (id int); INSERT INTO always_new VALUES (1)")


# the uploads


def any_path(chance: random.Random, directory: bytes) -> bytes:
    """A free name in this directory."""
    name = path = os.path.join(directory, chance.choice(FILE_NAMES))
    while os.path.lexists(path):
        path = name[: len(directory) + 240] + b"%d" % chance.randrange(10_000)
    return path


def any_content(chance: random.Random) -> bytes:
    size = chance.choice([0, 1, 511, 512, 513, 4096, chance.randint(0, 20_000), chance.randint(0, 300_000)])
    return chance.randbytes(size)


def write(path: bytes, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def entries_in(root: bytes) -> tuple[list[bytes], list[bytes]]:
    """All directories, each before what is in it, the root first; and everything else."""
    directories, others = [root], list[bytes]()
    for directory, below, files in os.walk(root):
        for name in sorted(below + files):
            path = os.path.join(directory, name)
            is_directory = stat.S_ISDIR(os.lstat(path).st_mode)
            (directories if is_directory else others).append(path)
    return sorted(directories), sorted(others)


def depth(root: bytes, directory: bytes) -> int:
    return directory.count(b"/") - root.count(b"/")


def make_tree(chance: random.Random, uploads: Path) -> None:
    """Up to thirty files and links in directories up to four deep, with all modes and times there are."""
    root = os.fsencode(uploads)
    directories = [root]
    for _ in range(chance.randint(0, 8)):
        directories.append(any_path(chance, chance.choice([each for each in directories if depth(root, each) < 4])))
        os.mkdir(directories[-1])
    for _ in range(chance.randint(0, 30)):
        directory = chance.choice(directories)
        path = any_path(chance, directory)
        if chance.random() < 0.15:
            up = b"../" * chance.randint(0, depth(root, directory))
            os.symlink(up + chance.choice(FILE_NAMES), path)
        else:
            write(path, any_content(chance))
    made, others = entries_in(root)
    for path in [*others, *reversed(made[1:])]:  # a directory's time after what changes it
        set_properties(chance, path)


def set_properties(chance: random.Random, path: bytes) -> None:
    is_directory = os.path.isdir(path) and not os.path.islink(path)
    if IS_ROOT and chance.random() < 0.3:
        os.chown(path, chance.choice((0, 33, 1000)), chance.choice((0, 33, 1000)), follow_symlinks=False)
    if os.path.islink(path):
        return
    needed = 0o400 if not is_directory else 0o500 if IS_ROOT else 0o700  # only root moves what it may not write
    os.chmod(path, needed | chance.randrange(0o1000))
    if chance.random() < 0.7:
        os.utime(path, (0, chance.choice((0, 1, chance.randrange(2**31), chance.randrange(2**31, 2**33)))))


def change_tree(chance: random.Random, uploads: Path) -> None:
    """Up to twenty changes; what the system forbids is left undone, a new file is always possible."""
    root = os.fsencode(uploads)
    for _ in range(chance.randint(0, 20)):
        directories, others = entries_in(root)
        try:
            change_entry(chance, chance.choice(directories), chance.choice([*directories[1:], *others, b""]))
        except OSError:
            continue
    for path in entries_in(root)[1]:  # a link that was moved up and leaves the tree now would stay where it is
        above = os.path.relpath(os.path.dirname(path), root)
        if os.path.islink(path) and not link_stays_inside(b"" if above == b"." else above, os.readlink(path)):
            os.unlink(path)
    write(any_path(chance, root), b"always new")


def change_entry(chance: random.Random, directory: bytes, path: bytes) -> None:
    """Make something new in `directory`, or change `path`."""
    is_directory = os.path.isdir(path) and not os.path.islink(path)
    what = chance.choice(["new", "remove", "rename", "properties", "rewrite", "exchange"])
    if what == "new" or not path:
        write(any_path(chance, directory), any_content(chance))
    elif what == "rename":
        os.rename(path, any_path(chance, directory))
    elif what == "properties":
        set_properties(chance, path)
    elif what == "rewrite" and not is_directory:
        os.unlink(path)
        write(path, any_content(chance))
    elif is_directory:
        shutil.rmtree(path)
        if what == "exchange":
            write(path, any_content(chance))
    else:
        os.unlink(path)
        if what == "exchange":
            os.mkdir(path)
            write(any_path(chance, path), any_content(chance))
