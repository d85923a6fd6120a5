"""The database refuses, hangs, breaks or lies while a backup is taken."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from safeharbor_backup.postgres.private_cluster import find_server_bins, private_server
from support.faults import Before, failed, fake_tools
from support.needs import need_program, need_root
from support.patience import patient
from support.postgres import PASSWORD, Database
from support.runs import Site


@pytest.fixture
def before(site: Site) -> Before:
    """One sound archive that every fault must leave alone."""
    assert site.run("backup").status == 0
    return Before(site)


def url(database: Database, **changed: str) -> str:
    parts = {"host": "127.0.0.1", "port": str(database.server.port), "user": database.owner, "dbname": database.name}
    parts |= {"password": PASSWORD, **changed}
    quoted = {key: value.replace("\\", "\\\\").replace("'", "\\'") for key, value in parts.items()}
    return " ".join(f"{key}='{value}'" for key, value in quoted.items())


REFUSALS = {
    "an unknown host": {"host": "no-such-host.invalid"},
    "a port where nobody listens": {"port": "1"},
    "a wrong password": {"password": "wrong"},
    "an unknown role": {"user": "nobody_knows_me"},
    "an unknown database": {"dbname": "atlantis"},
    "a server without TLS where TLS is demanded": {"sslmode": "require"},
}


@pytest.mark.parametrize("changed", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_database_that_refuses_is_told_apart(
    site: Site, before: Before, database: Database, changed: dict[str, str]
) -> None:
    started = time.monotonic()

    done = site.run("backup", BACKUP_DATABASE_URL=url(database, **changed), BACKUP_CONNECT_TIMEOUT="3s")

    failed(done, 6, "cannot be used", "1 existing archive is untouched")
    assert time.monotonic() - started < patient(15)
    before.unharmed()


@pytest.mark.parametrize(
    "revoke",
    [
        "REVOKE CONNECT ON DATABASE {name} FROM PUBLIC; REVOKE CONNECT ON DATABASE {name} FROM {owner}",
        "ALTER ROLE {owner} VALID UNTIL '2001-01-01'",
        "ALTER ROLE {owner} NOLOGIN",
        "ALTER DATABASE {name} CONNECTION LIMIT 0",
        "ALTER DATABASE {name} ALLOW_CONNECTIONS false",
    ],
)
def test_a_role_that_may_not_connect_is_told(site: Site, database: Database, revoke: str) -> None:
    if "REVOKE CONNECT" in revoke:
        database.server.execute(f"ALTER DATABASE {database.name} OWNER TO postgres")
    database.server.execute(revoke.format(name=database.name, owner=database.owner))

    failed(site.run("backup"), 6, "cannot be used", "No archive was written")
    assert site.leftovers == []


def test_a_server_that_accepts_and_never_answers_is_given_up(site: Site, before: Before, database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        port = str(silent.getsockname()[1])
        done = site.run("backup", BACKUP_DATABASE_URL=url(database, port=port), BACKUP_CONNECT_TIMEOUT="2s")

    failed(done, 6)
    assert time.monotonic() - started < patient(12)
    before.unharmed()


@pytest.mark.parametrize("address", ["sqlite:///app.db", "mysql://u:secret@h/db", "reef", "postgresql://h:port/db"])
def test_an_address_that_is_no_postgresql_is_a_setting_to_mend(site: Site, address: str) -> None:
    done = site.run("backup", BACKUP_DATABASE_URL=address)

    failed(done, 2, "BACKUP_DATABASE_URL", "expected")
    assert "secret" not in done.output


class CuttableProxy:
    """Forwards to a server until it is cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.is_cut = threading.Event()
        self.passed = 0
        self.cut_after = 0
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        while True:
            try:
                data = source.recv(65536)
                if self.cut_after and self.passed > self.cut_after:
                    self.is_cut.set()
                if self.is_cut.is_set():
                    time.sleep(0.2)
                    for each in self._sockets:  # as a host that goes down in order
                        each.shutdown(socket.SHUT_RDWR)
                    return
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                self.passed += len(data)
                target.sendall(data)
            except OSError:
                return


@pytest.fixture
def proxy(database: Database) -> Iterator[CuttableProxy]:
    made = CuttableProxy(database.server.port)
    yield made
    made.close()


def make_large(database: Database) -> None:
    """A table that takes a moment to dump."""
    database.execute("CREATE TABLE large AS SELECT g, repeat(md5(g::text), 20) t FROM generate_series(1, 60000) g")


def test_a_connection_cut_in_the_middle_of_the_dump_is_a_lost_database(
    site: Site, before: Before, database: Database, proxy: CuttableProxy
) -> None:
    make_large(database)
    proxy.cut_after = 3_000_000

    started = time.monotonic()
    done = site.run("backup", BACKUP_DATABASE_URL=url(database, port=str(proxy.port)), BACKUP_NETWORK_TIMEOUT="4s")

    assert proxy.is_cut.is_set()
    failed(done, 6, "untouched")
    assert time.monotonic() - started < patient(40)
    before.unharmed()


def test_a_network_that_falls_silent_is_a_lost_database_in_bounded_time(
    site: Site, before: Before, database: Database
) -> None:
    need_root()
    iptables = need_program("iptables")
    make_large(database)
    database.execute("INSERT INTO large SELECT g, repeat(md5(g::text), 100) FROM generate_series(1, 100000) g")
    port = str(database.server.port)
    rules = [["INPUT", "-i", "lo", "-p", "tcp", way, port, "-j", "DROP"] for way in ("--sport", "--dport")]
    run = site.start("backup", BACKUP_NETWORK_TIMEOUT="4s")
    await_draft(site, 200_000)
    try:
        for rule in rules:
            subprocess.run([iptables, "-w", "-I", *rule], check=True)
        started = time.monotonic()
        said = run.communicate(timeout=100)[1].decode()
    finally:
        run.kill()
        for rule in rules:
            subprocess.run([iptables, "-w", "-D", *rule], check=False)

    assert run.returncode == 6, said
    assert time.monotonic() - started < patient(45)
    time.sleep(5)  # as long as the server takes to notice, which gives the lock back
    before.unharmed()


def await_draft(site: Site, size: int) -> None:
    """Wait until the archive that is being written has so many bytes on the disk, the hole in it not counted."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for name in site.leftovers:
            try:
                if (site.backups / name).stat().st_blocks * 512 > size:
                    return
            except FileNotFoundError:
                continue
        time.sleep(0.01)
    pytest.fail("no archive was begun")


def test_a_backend_that_is_terminated_is_a_lost_database(site: Site, before: Before, database: Database) -> None:
    make_large(database)
    database.execute("INSERT INTO large SELECT g, repeat(md5(g::text), 100) FROM generate_series(1, 100000) g")
    run = site.start("backup")
    await_draft(site, 200_000)

    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'safeharbor' AND query LIKE 'COPY %'",
        superuser=True,
    )
    said = run.communicate(timeout=60)[1].decode()

    assert run.returncode == 6, said
    assert "untouched" in said
    before.unharmed()


def test_a_server_that_crashes_in_the_middle_is_a_lost_database(tmp_path: Path) -> None:
    with private_server(find_server_bins()[18]) as server:
        server.create_database("app")
        server.execute("CREATE TABLE t AS SELECT g, repeat(md5(g::text), 50) FROM generate_series(1, 200000) g", "app")
        site = Site(tmp_path, server.url("app"))
        run = site.start("backup")
        await_draft(site, 200_000)
        server.kill()
        said = run.communicate(timeout=60)[1].decode()

        assert run.returncode == 6, said
        server.start()
        Before(site).unharmed()


def test_a_table_that_somebody_has_locked_is_told_in_bounded_time(
    site: Site, before: Before, database: Database
) -> None:
    with psycopg.connect(database.url) as holder:
        holder.execute("LOCK TABLE entry IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        done = site.run("backup", BACKUP_LOCK_TIMEOUT="1s")

    failed(done, 1, "timeout", "BACKUP_LOCK_TIMEOUT")
    assert time.monotonic() - started < patient(15)
    before.unharmed()


def test_a_lock_taken_after_the_rows_were_counted_is_told_too(site: Site, before: Before, tmp_path: Path) -> None:
    real = next(path for path in find_server_bins().values() if "18" in str(path))
    sql = "BEGIN; LOCK TABLE entry IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(6)"
    script = (
        f'for each in "$@"; do case "$each" in --dbname=*) at="${{each#--dbname=}}";; esac; done\n'
        f'"{real}/psql" -w -q -c "{sql}" "$at" >/dev/null & sleep 1\n'
        f'"{real}/pg_dump" "$@"; status=$?; kill $!; exit $status'
    )
    tools = fake_tools(tmp_path / "fake", script, f'exec "{real}/pg_restore" "$@"')

    failed(site.run("backup", BACKUP_LOCK_TIMEOUT="1s", BACKUP_PG_BIN=str(tools)), 1, "BACKUP_LOCK_TIMEOUT")
    time.sleep(6)
    before.unharmed()


@pytest.mark.parametrize(
    "limit", ["statement_timeout = '1ms'", "idle_in_transaction_session_timeout = '1ms'", "lock_timeout = '1ms'"]
)
def test_limits_that_are_meant_for_queries_do_not_end_a_backup(site: Site, database: Database, limit: str) -> None:
    database.server.execute(f"ALTER ROLE {database.owner} SET {limit}")

    assert site.run("backup").status == 0


def test_a_table_that_may_not_be_read_is_named_with_the_remedy(site: Site, before: Before, database: Database) -> None:
    database.execute("CREATE TABLE secret (id int)", superuser=True)

    failed(site.run("backup"), 1, "permission denied for table secret", "GRANT", "untouched")
    database.execute("DROP TABLE secret", superuser=True)
    before.unharmed()


def test_rows_hidden_by_row_security_are_a_failure_not_a_smaller_backup(site: Site, database: Database) -> None:
    database.execute("ALTER TABLE entry ENABLE ROW LEVEL SECURITY; ALTER TABLE entry FORCE ROW LEVEL SECURITY")

    failed(site.run("backup"), 1, "row-level security", "BYPASSRLS")
    assert site.archives == []


FAKES = {
    "says nothing and ends well": ("exit 0", "input file is too short", 1),
    "ends well after a part": ("printf 'PGDMP\\001\\020\\000'; exit 0", "", 1),
    "writes something else": ("echo '<html>'; exit 0", "", 1),
    "fails at once": ("echo 'pg_dump: error: out of paper' >&2; exit 1", "out of paper", 1),
    "fails in the middle": ("head -c 3000000 /dev/zero; echo 'pg_dump: error: no more' >&2; exit 1", "no more", 1),
    "is killed": ("kill -9 $$", "signal 9", 1),
    "loses the server": ("echo 'server closed the connection unexpectedly' >&2; exit 1", "closed the connection", 6),
}


@pytest.mark.parametrize(("body", "words", "status"), FAKES.values(), ids=FAKES.keys())
def test_a_pg_dump_that_fails_or_lies_makes_no_archive(
    site: Site, before: Before, tmp_path: Path, body: str, words: str, status: int
) -> None:
    real = find_server_bins()[18]
    tools = fake_tools(tmp_path / "fake", body, f'exec "{real}/pg_restore" "$@"')

    done = site.run("backup", BACKUP_PG_BIN=str(tools))

    failed(done, status, words, "1 existing archive is untouched")
    before.unharmed()


def test_what_pg_dump_warns_of_is_logged(site: Site, tmp_path: Path) -> None:
    real = find_server_bins()[18]
    body = f'echo "pg_dump: warning: there are circular foreign-key constraints" >&2; exec "{real}/pg_dump" "$@"'
    tools = fake_tools(tmp_path / "fake", body, f'exec "{real}/pg_restore" "$@"')

    done = site.run("backup", BACKUP_PG_BIN=str(tools))

    assert done.status == 0
    assert "circular foreign-key" in done.stderr


def test_without_a_pg_dump_the_package_to_install_is_named(site: Site, tmp_path: Path) -> None:
    tools = fake_tools(tmp_path / "fake", "exit 9", version="14.2")

    older = site.run("backup", BACKUP_PG_BIN=str(tools))

    failed(older, 1, "PostgreSQL 18", "postgresql-client-18", "BACKUP_PG_BIN")
    assert site.leftovers == []


def test_a_pg_dump_that_ignores_being_asked_to_end_is_ended(site: Site, before: Before, tmp_path: Path) -> None:
    tools = fake_tools(tmp_path / "fake", "trap '' TERM; head -c 3000000 /dev/zero; while :; do sleep 0.2; done")
    run = site.start("backup", BACKUP_PG_BIN=str(tools))
    await_draft(site, 4000)

    run.send_signal(signal.SIGTERM)
    said = run.communicate(timeout=30)[1].decode()

    assert run.returncode == 143, said
    assert site.leftovers == []
    before.unharmed()
