"""The table of contents read as data is the one that pg_restore lists, whatever client wrote it; damage is refused."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.postgres.contents import DumpInput
from safeharbor_backup.postgres.toc import UnknownToc, client_for, read_toc, users_of
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
