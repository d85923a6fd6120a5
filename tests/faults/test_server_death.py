"""Servers that die the moment after the commit, with `fsync` and `synchronous_commit` as users have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from safeharbor_backup.actions.restore.recovery import undo_restore
from safeharbor_backup.actions.restore.request import RestoreRequest
from safeharbor_backup.actions.restore.run import restore_archive
from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.postgres.private_cluster import PrivateServer, find_server_bins, private_server
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.state.journal import Journal, find_interrupted
from support.postgres import Database, drop_database, execute, make_database
from support.runs import Site, make_site
from support.states import State, state_of

# what a server writes by itself it writes too late for these tests
_LAZY = {"wal_writer_delay": "10s", "checkpoint_timeout": "1h"}


class Dying(NoProgress):
    """Ends the server at one step, as a crash would."""

    def __init__(self, step: str, server: PrivateServer) -> None:
        self._step = step
        self._server = server
        self.has_died = False

    def step(self, name: str) -> None:
        if name == self._step and not self.has_died:
            self._server.kill()
            self.has_died = True


@pytest.fixture(scope="module")
def lazy_server() -> Iterator[PrivateServer]:
    """A server that cares about power cuts, and answers an asynchronous commit before it has written it."""
    with private_server(find_server_bins()[18], tcp=True, durable=True, options=_LAZY) as server:
        yield server


@pytest.fixture
def lazy(lazy_server: PrivateServer, tmp_path: Path) -> Iterator[tuple[Site, Database]]:
    """A site on it."""
    database = make_database(lazy_server)
    yield make_site(tmp_path, database), database
    drop_database(database)
    execute(lazy_server.url(), "ALTER SYSTEM RESET ALL")
    execute(lazy_server.url(), "ALTER DATABASE postgres RESET ALL")
    execute(lazy_server.url(), "SELECT pg_reload_conf()")


def be_asynchronous(database: Database, where: str) -> None:
    """Switch synchronous commits off as users do: for the server, a role or the databases."""
    url = database.server.url()
    if where == "server":
        execute(url, "ALTER SYSTEM SET synchronous_commit = off")
        execute(url, "SELECT pg_reload_conf()")
    if where == "role":
        execute(url, f"ALTER ROLE {database.owner} SET synchronous_commit = off")
    if where == "database":
        for name in (database.name, "postgres"):
            execute(url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    assert database.execute("SHOW synchronous_commit") == [("off",)]


def whole(site: Site, database: Database) -> State:
    return state_of(database.superuser_url, database.server.major, site.uploads)


def changed(site: Site, database: Database) -> State:
    """The state to restore over."""
    database.execute("DELETE FROM photo; UPDATE entry SET remark = 'changed'; CREATE TABLE newer (id int)")
    (site.uploads / "new.txt").write_text("new")
    return whole(site, database)


def dies(site: Site, server: PrivateServer, step: str, act: Callable[[NoProgress], object]) -> bool:
    """Whether the command ended well although its server died at that step; the server is there again."""
    site.environment["BACKUP_NETWORK_TIMEOUT"] = "5s"
    dying = Dying(step, server)
    try:
        act(dying)
        ended = True
    except SafeHarborError:
        ended = False
    assert dying.has_died
    server.start()
    return ended


@pytest.mark.parametrize(
    ("verb", "where"),
    [
        ("restore", "server"),
        ("restore", "role"),
        ("restore", "database"),
        ("undo", "server"),
        ("undo", "role"),
        ("in place", "server"),
    ],
)
def test_a_server_that_dies_right_after_the_commit_has_not_forgotten_it(
    lazy: tuple[Site, Database], verb: str, where: str
) -> None:
    site, database = lazy
    be_asynchronous(database, where)
    new = whole(site, database)
    assert site.run("backup").status == 0
    archive = site.archives[-1]
    old = changed(site, database)
    settings = load_settings(site.environment)
    if verb == "undo":
        assert site.run("restore", "--from", str(archive), "--yes").status == 0
    execute(database.server.url(), "CHECKPOINT")

    def act(progress: NoProgress) -> None:
        if verb == "undo":
            undo_restore(settings, "", progress)
        else:
            request = RestoreRequest(archive, in_place=verb == "in place")
            restore_archive(settings, request, lambda _plan: True, progress)

    dies(site, database.server, "committed", act)

    assert whole(site, database) == (old if verb == "undo" else new)
    assert site.run("backup").status == 0


@pytest.mark.parametrize("step", ["swapping", "closed", "uploads swapped"])
def test_what_was_loaded_is_on_the_disk_before_a_resume_can_bring_it_in(lazy: tuple[Site, Database], step: str) -> None:
    """The server answers each commit of the load before it has written it, and dies before the exchange."""
    site, database = lazy
    be_asynchronous(database, "server")
    new = whole(site, database)
    assert site.run("backup").status == 0
    archive = site.archives[-1]
    changed(site, database)
    settings = load_settings(site.environment)
    execute(database.server.url(), "CHECKPOINT")

    def act(progress: NoProgress) -> None:
        restore_archive(settings, RestoreRequest(archive), lambda _plan: True, progress)

    assert not dies(site, database.server, step, act)
    done = site.run("restore", "--resume")

    assert done.status == 0, done.output
    assert whole(site, database) == new
    assert site.run("backup").status == 0


@pytest.mark.parametrize("is_known", [True, False])
def test_an_id_that_a_crash_took_back_is_no_dead_end_and_is_given_to_nobody(
    lazy: tuple[Site, Database], is_known: bool
) -> None:
    """Nothing of the transaction was on the disk. `is_known`: as it is now; else as with a journal of before."""
    site, database = lazy
    assert site.run("backup").status == 0
    archive = site.archives[-1]
    old = changed(site, database)
    settings = load_settings(site.environment)
    execute(database.server.url(), "CHECKPOINT")

    def act(progress: NoProgress) -> None:
        restore_archive(settings, RestoreRequest(archive, in_place=True), lambda _plan: True, progress)

    assert not dies(site, database.server, "transaction begun", act)
    record = find_interrupted(site.backups)
    assert record is not None
    [(after,)] = execute(database.server.url(), "SELECT pg_current_xact_id()::text")
    assert int(after) > int(record.transaction)
    if not is_known:
        Journal(site.backups).write(replace(record, transaction=str(int(after) + 1000)))

    done = site.run("restore", "--undo")

    assert done.status == 0, done.output
    assert whole(site, database) == old
    assert site.run("backup").status == 0


@pytest.mark.parametrize("step", ["closed", "uploads swapped"])
def test_a_server_that_dies_before_the_commit_leaves_one_whole_state_and_a_way_on(
    lazy: tuple[Site, Database], step: str
) -> None:
    site, database = lazy
    be_asynchronous(database, "server")
    assert site.run("backup").status == 0
    archive = site.archives[-1]
    old = changed(site, database)
    settings = load_settings(site.environment)

    ended = dies(
        site,
        database.server,
        step,
        lambda progress: restore_archive(settings, RestoreRequest(archive), lambda _plan: True, progress),
    )

    assert not ended
    refused = site.run("backup")
    assert refused.status == 9, refused.output
    done = site.run("restore", "--undo")
    assert done.status == 0, done.output
    assert whole(site, database) == old
    assert list(site.uploads.glob(".safeharbor-restore-*")) == []
    assert site.run("backup").status == 0
