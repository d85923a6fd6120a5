"""No version is the last: a server and a client that say they are 19 go through everything."""

from __future__ import annotations

import json
from pathlib import Path

from support.newer import newer_server, newer_tools
from support.postgres import Database
from support.runs import Site, make_site
from support.states import state_of


def test_a_server_of_the_next_major_is_backed_up_drilled_and_restored_every_way(
    tmp_path: Path, database: Database
) -> None:
    site = make_site(tmp_path, database)
    before = state_of(database.url, database.server.major, site.uploads)
    with newer_server(database.server, 19) as port:
        site.environment["BACKUP_DATABASE_URL"] = database.url.replace(f":{database.server.port}/", f":{port}/")
        site.environment["BACKUP_PG_BIN"] = str(newer_tools(tmp_path / "tools", database.server, port, 19))

        doctor = site.run("doctor")
        backup = site.run("backup", "--json")
        drill = site.run("drill")
        database.execute("DELETE FROM photo")
        restored = site.run("restore", "--from", "latest", "--yes")
        undone = site.run("restore", "--undo")
        in_place = site.run("restore", "--from", "latest", "--in-place", "--yes")

    assert "PostgreSQL 19." in doctor.stdout
    assert "pg_dump 19.0 in " in doctor.stdout
    for done in (doctor, backup, drill, restored, undone, in_place):
        assert done.status == 0, done.output
    assert json.loads(backup.stdout)["rows"] == 510
    assert state_of(database.url, database.server.major, site.uploads) == before


def test_the_client_for_the_next_major_is_named_where_it_is_missing(site: Site, database: Database) -> None:
    with newer_server(database.server, 19) as port:
        url = database.url.replace(f":{database.server.port}/", f":{port}/")

        done = site.run("backup", BACKUP_DATABASE_URL=url)

    assert done.status == 1
    assert "The server is PostgreSQL 19, but the newest pg_dump here is 18." in done.stderr
    assert "Install postgresql-client-19" in done.stderr
