"""The table of contents read as data is the one that pg_restore lists, whatever client wrote it; damage is refused."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.postgres.dump_input import DumpInput
from safeharbor_backup.postgres.toc import UnknownToc, client_for, read_toc
from safeharbor_backup.postgres.toc_entries import users_of
from support.postgres import Database, execute

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA = """
    CREATE TABLE "with space" (id int PRIMARY KEY, at timestamptz DEFAULT now());
    CREATE VIEW "a; view" AS SELECT id FROM "with space";
    COMMENT ON VIEW "a; view" IS 'on -- it';
"""


def dumped(database: Database, place: Path) -> DumpInput:
    execute(database.url, _SCHEMA)
    execute(database.url, f"COMMENT ON TABLE \"with space\" IS '{'x' * 2_500_000}'")  # more than is read ahead
    bins = database.server.bin_dir
    argv = [str(bins / "pg_dump"), "--format=custom", f"--file={place}", database.superuser_url]
    subprocess.run(argv, check=True, capture_output=True)
    return DumpInput(place, 0, place.stat().st_size)


def test_it_has_the_entries_of_the_list_and_their_dependencies(each_database: Database, tmp_path: Path) -> None:
    dump = dumped(each_database, tmp_path / "dump")
    listed = subprocess.run(
        [each_database.server.bin_dir / "pg_restore", "--list", dump.file], check=True, capture_output=True, text=True
    )
    numbers = {int(line.partition(";")[0]) for line in listed.stdout.splitlines() if line[:1].isdigit()}

    with dump.opened() as descriptor:
        toc = read_toc(descriptor)

    assert numbers
    assert numbers <= set(toc)
    whole = dump.file.read_bytes()
    for entry in toc.values():
        assert whole[entry.start :].startswith(entry.definition.encode())
    assert max(len(entry.definition) for entry in toc.values()) > 2_500_000
    major = int(execute(each_database.url, "SHOW server_version_num")[0][0]) // 10000
    assert client_for(dump.file.read_bytes()[:8]) == {15: 12, 16: 16}.get(major, 17)
    table = next(entry for entry in toc.values() if entry.kind == "TABLE")
    assert (table.schema, table.name, table.owner) == ("public", "with space", each_database.owner)
    assert {"a; view", "with space"} <= {entry.name for entry in users_of(toc, {table.number})}
    view = next(entry for entry in toc.values() if entry.kind == "VIEW")
    assert [entry.kind for entry in users_of(toc, {view.number})] == ["COMMENT"]


def test_cut_or_changed_it_is_refused(database: Database, tmp_path: Path) -> None:
    dump = dumped(database, tmp_path / "dump")
    whole = dump.file.read_bytes()
    for size in range(0, 2000, 7):
        dump.file.write_bytes(whole[:size])
        with pytest.raises(UnknownToc), dump.opened() as descriptor:
            read_toc(descriptor)
    for newer in (b"\x01\x11\x00", b"\x02\x00\x00"):
        dump.file.write_bytes(whole[:5] + newer + whole[8:])
        with pytest.raises(UnknownToc, match="its format is"), dump.opened() as descriptor:
            read_toc(descriptor)


def made_toc(encoding: bytes, need: bytes = b"1") -> bytes:
    """A dump of format 1.14 without data: the entry of its encoding, and a table whose name is not ASCII."""

    def number(value: int) -> bytes:
        return struct.pack("<BI", value < 0, abs(value))

    def text(content: bytes) -> bytes:
        return number(len(content)) + content

    def entry(at: int, kind: bytes, name: bytes, definition: bytes) -> bytes:
        told = [text(b"0"), text(b"0"), text(name), text(kind), number(2), text(definition), *[text(b"")] * 7]
        return b"".join([number(at), number(0), *told, text(need), number(-1), bytes(9)])

    said = b"SET client_encoding = '" + encoding + b"';\n"
    head = b"PGDMP\x01\x0e\x00\x04\x08\x01" + number(0) * 8 + text(b"") * 3
    return head + number(2) + entry(1, b"ENCODING", b"ENCODING", said) + entry(2, b"TABLE", b"caf\xe9", b"")


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        (b"LATIN1", "café"),
        *[
            (each, "caf\udce9")
            for each in (b"ROT13", b"ZLIB", b"UNDEFINED", b"IDNA", b"PUNYCODE", b"A\0B", b"\xe9", b"?")
        ],
    ],
)
def test_an_encoding_that_is_none_leaves_the_texts_as_they_are(tmp_path: Path, encoding: bytes, name: str) -> None:
    (tmp_path / "dump").write_bytes(made_toc(encoding))

    with (tmp_path / "dump").open("rb") as file:
        toc = read_toc(file.fileno())

    assert (toc[2].name, toc[2].needs) == (name, (1,))


@pytest.mark.parametrize("need", [b"9" * 5000, b"9" * 21, b"-1", b""])
def test_a_dependency_that_is_no_number_of_an_entry_is_refused(tmp_path: Path, need: bytes) -> None:
    (tmp_path / "dump").write_bytes(made_toc(b"UTF8", need))

    with pytest.raises(UnknownToc, match="a dependency is not a number"), (tmp_path / "dump").open("rb") as file:
        read_toc(file.fileno())
