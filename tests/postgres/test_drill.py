"""Drills of real archives on real servers, by the real command."""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from safeharbor_backup.actions.drill.content_check import compare_content
from safeharbor_backup.actions.restore.request import opened_for_restore
from safeharbor_backup.actions.scratch_cleanup import find_leftovers
from safeharbor_backup.postgres.client_tools import choose_client_tools, find_client_tools
from safeharbor_backup.postgres.private_cluster import find_server_bins
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.state.evidence import KEPT
from safeharbor_backup.uploads.drill_directory import scratch_directory
from support.faults import children_left
from support.injection import traced
from support.postgres import PASSWORD, Database, Servers, drop_database, execute, make_database
from support.runs import Outcome, Site, make_site
from support.states import state_of


def backed_up(site: Site) -> Path:
    done = site.run("backup", "--no-prune")
    assert done.status == 0, done.output
    return site.archives[-1]


def evidence_of(site: Site) -> dict[str, Any]:
    """The newest evidence, after it was seen that it is nobody else's business."""
    path = max(site.backups.glob("safeharbor-drill-*.json"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert PASSWORD not in text
    document: dict[str, Any] = json.loads(text)
    return document


def scratch_left(site: Site, database: Database) -> list[str]:
    """Scratch databases and directories that are there, whoever made them."""
    names = execute(database.server.url(), r"SELECT datname FROM pg_database WHERE datname LIKE '%\_drill\_%'")
    return [row[0] for row in names] + [path.name for path in site.backups.glob(".safeharbor-drill-*")]


def test_a_drill_on_each_major_compares_everything_and_leaves_nothing(each_database: Database, tmp_path: Path) -> None:
    site = make_site(tmp_path, each_database)
    each_database.execute(
        "CREATE SEQUENCE ticket START 5; SELECT nextval('ticket'); CREATE SEQUENCE unused; CREATE SEQUENCE down "
        "INCREMENT -2; SELECT nextval('down'); SELECT nextval('down'); CREATE TABLE own (id serial PRIMARY KEY, "
        "part int CHECK (part > 0)); INSERT INTO own (part) VALUES (1), (2); CREATE INDEX ON photo (path);"
        "CREATE TABLE parted (id int NOT NULL, entry int REFERENCES entry, PRIMARY KEY (id)) PARTITION BY RANGE (id);"
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10); INSERT INTO parted VALUES (1, 1);"
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM entry;"
        "CREATE TABLE alembic_version (version_num text PRIMARY KEY); INSERT INTO alembic_version VALUES ('a1b2')"
    )
    archive = backed_up(site)
    before = state_of(each_database.url, each_database.server.major, site.uploads)

    done = site.run("drill")

    assert done.status == 0, done.output
    assert f"{archive} restores: 5 tables with 514 rows, 10 uploads (58.6 KiB); a restore takes about" in done.stdout
    words = "as recorded: rows of 5 tables, content of 5 tables, rows of 1 materialized view, 4 sequences, "
    assert f"{words}SHA-256 of 10 uploads, 9 constraints, 7 indexes" in done.stdout
    assert "migrations at a1b2" in done.stdout
    assert "Warning" not in done.stderr  # a slow phase has a line there
    found = evidence_of(site)
    assert (found["result"], found["exit_status"], found["problems"], found["warnings"]) == ("passed", 0, [], [])
    assert found["archive"]["name"] == archive.name
    assert found["archive"]["database"] == each_database.name
    assert found["server"]["kind"] == "the server that restores go to"
    assert found["versions"]["server"].split(".")[0] == str(each_database.server.major)
    assert 0 < found["restore_seconds"] < 60
    assert found["compared"]["uploads"] == {"recorded": 10, "equal": 10, "size_bytes": 60_000, "different": []}
    assert found["compared"]["tables"]["rows"] == 514
    assert found["not_recorded"] == []
    assert scratch_left(site, each_database) == []
    assert state_of(each_database.url, each_database.server.major, site.uploads) == before
    assert not children_left(site)


def test_the_document_of_json_is_the_evidence_and_names_it(site: Site) -> None:
    backed_up(site)
    key = site.backups.parent / "evidence-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)

    done = site.run("drill", "--json", "--jobs", "1", BACKUP_EVIDENCE_KEY=str(key))
    key.chmod(0o644)
    unsigned = site.run("drill", BACKUP_EVIDENCE_KEY=str(key))

    document = done.document
    assert done.status == 0
    path, signature = Path(document.pop("evidence")), document.pop("signature")
    assert signature == f"{path}.sig"
    assert document == json.loads(path.read_text())
    assert site.run("verify", str(path), "--signed-by", f"{key}.pub").status == 0
    assert unsigned.status == 3, unsigned.output
    assert f"could not be signed: ssh-keygen cannot sign with {key}: others may read it" in unsigned.stderr
    assert (evidence_of(site)["result"], evidence_of(site)["exit_status"]) == ("warnings", 3)
    assert [each.name for each in site.backups.glob("*.sig")] == [f"{path.name}.sig"]
    assert site.run("list").output.count("safeharbor-drill") == 0  # it is no foreign file
    assert site.run("drill", "--quiet").output == ""


def test_evidence_of_which_only_the_signature_cannot_be_written_is_there(site: Site) -> None:
    backed_up(site)
    key = site.backups.parent / "evidence-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    site.environment["BACKUP_EVIDENCE_KEY"] = str(key)
    full = ("-e", "trace=rename", "-e", "inject=rename:error=ENOSPC")  # evidence gets its name by renameat2

    run = traced(site, "drill", "--json", options=full)

    failed = [line for line in run.log.splitlines() if "(INJECTED)" in line]
    assert any(".json.sig" in line for line in failed), run.log
    assert run.outcome.status == 3, run.outcome.output
    document = run.outcome.document
    path = max(site.backups.glob("safeharbor-drill-*.json"))
    assert (document["evidence"], document["signature"]) == (str(path), None)
    assert f"the evidence {path} could not be signed: " in document["warnings"][-1]


def test_a_drill_is_remembered(site: Site) -> None:
    from safeharbor_backup.state.history import read_history

    archive = backed_up(site)
    assert site.run("drill").status == 0

    outcome = read_history(site.backups)[-1]

    assert (outcome.command, outcome.exit_status, outcome.archive) == ("drill", 0, archive.name)
    assert outcome.details["rows"] == 510


# pg_restore as it is, and after each of its runs some mischief in the database that it has loaded
_MISCHIEVOUS = """
import subprocess, sys
import psycopg
status = subprocess.run([{real!r}, *sys.argv[1:]]).returncode
address = [each.partition("=")[2] for each in sys.argv if each.startswith("--dbname=")]
if address and status == 0:
    with psycopg.connect(address[0], autocommit=True) as session:
        session.execute({mischief!r})
sys.exit(status)
"""


def mischievous(place: Path, mischief: str) -> str:
    """A BACKUP_PG_BIN whose pg_restore does that."""
    real = find_server_bins()[18]
    place.mkdir()
    (place / "pg_dump").symlink_to(real / "pg_dump")
    script = place / "pg_restore"
    script.write_text(f"#!{sys.executable}\n" + _MISCHIEVOUS.format(real=str(real / "pg_restore"), mischief=mischief))
    script.chmod(0o755)
    return str(place)


def test_what_differs_is_found_and_told(site: Site, database: Database, tmp_path: Path) -> None:
    database.execute(
        "CREATE SEQUENCE ticket; SELECT setval('ticket', 70); CREATE SEQUENCE gone;"
        "CREATE INDEX remarks ON entry (remark);"
        "ALTER TABLE entry ADD CONSTRAINT positive CHECK (id > 0);"
        "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('a1b2')"
    )
    backed_up(site)
    mischief = (
        "DELETE FROM photo WHERE id = 7; SELECT setval('ticket', 69); DROP SEQUENCE IF EXISTS gone;"
        "DROP INDEX IF EXISTS remarks; ALTER TABLE entry DROP CONSTRAINT IF EXISTS positive;"
        "UPDATE alembic_version SET version_num = 'zzz'"
    )

    done = site.run("drill", BACKUP_PG_BIN=mischievous(tmp_path / "bin", mischief))

    assert done.status == 5, done.output
    assert "FAILED the drill" in done.stdout
    for problem in (
        "Problem: public.photo has 9 rows instead of 10",
        "Problem: the sequence public.gone is missing",
        "Problem: the sequence public.ticket is at 69, not at 70",
        "Problem: constraints: 3 instead of 4",
        "Problem: indexes: 2 instead of 3",
        "Problem: the migrations are at zzz instead of a1b2",
        "Problem: public.alembic_version has other rows than the dump",
    ):
        assert problem in done.stderr.splitlines()
    found = evidence_of(site)
    assert (found["result"], found["exit_status"], len(found["problems"])) == ("failed", 5, 7)
    assert found["compared"]["tables"]["different"] == ["public.photo has 9 rows instead of 10"]
    assert scratch_left(site, database) == []
    assert site.run("drill").status == 0


def test_rows_that_are_others_than_the_dump_s_are_found_by_content(
    site: Site, database: Database, tmp_path: Path
) -> None:
    database.execute(
        "CREATE TABLE big AS SELECT g AS id, repeat('x', 90) AS t FROM generate_series(1, 30000) g;"
        "SELECT lo_from_bytea(0, repeat('xyz', n)::bytea) FROM (VALUES (0), (10), (200000)) t(n)"
    )
    archive = backed_up(site)
    change = "UPDATE photo SET path = upper(path) WHERE id = 7; UPDATE entry SET id = id"  # the latter moves rows only
    change += "; SELECT lo_put(max(oid), 300000, 'z') FROM pg_largeobject_metadata"
    programs = mischievous(tmp_path / "bin", change)

    done = site.run("drill", BACKUP_PG_BIN=programs)
    unseen = site.run("drill", BACKUP_PG_BIN=programs, BACKUP_DRILL_HASH_SECONDS="0")

    assert done.status == 5, done.output
    assert "Problem: public.photo has other rows than the dump" in done.stderr.splitlines()
    assert "Problem: the large objects have other content than in the dump" in done.stderr.splitlines()
    assert "rows of 3 tables" in done.stdout
    assert "content of" not in done.stdout
    assert unseen.status == 0, unseen.output
    assert "content" not in evidence_of(site)["compared"]
    tools = choose_client_tools(find_client_tools([find_server_bins()[18]]), 18)
    with opened_for_restore(archive) as opened, psycopg.connect(database.url, autocommit=True) as session:
        assert opened.manifest is not None
        in_time = compare_content(session, opened.dump, tools, opened.manifest, 60)
        too_late = compare_content(session, opened.dump, tools, opened.manifest, 0)
    assert in_time.equal == ["public.photo", "public.entry", "public.big"]
    assert (in_time.different, in_time.not_hashed) == ([], [])
    assert (in_time.objects_are, too_late.objects_are) == ("equal", "the time limit was reached")
    assert in_time.document_of_objects() == {"recorded": 3, "equal": 3, "different": [], "not_hashed": []}
    assert sorted(too_late.not_hashed) == [
        f"public.{name}: the time limit was reached" for name in ("big", "entry", "photo")
    ]


def test_a_sequence_that_went_on_while_the_dump_was_taken_is_no_difference(
    site: Site, database: Database, tmp_path: Path
) -> None:
    database.execute("CREATE SEQUENCE ticket; SELECT setval('ticket', 70)")
    backed_up(site)

    done = site.run("drill", BACKUP_PG_BIN=mischievous(tmp_path / "bin", "SELECT setval('ticket', 75)"))

    assert done.status == 0, done.output


def test_a_dump_that_does_not_load_fails_the_drill(site: Site, database: Database, tmp_path: Path) -> None:
    archive = backed_up(site)
    broken = tmp_path / "bin"
    broken.mkdir()
    real = find_server_bins()[18]
    (broken / "pg_dump").symlink_to(real / "pg_dump")
    (broken / "pg_restore").write_text(
        f"#!/bin/sh\ncase \"$*\" in *--dbname*) echo 'pg_restore: error: out of luck' >&2; exit 1;; esac\n"
        f'exec {real}/pg_restore "$@"\n'
    )
    (broken / "pg_restore").chmod(0o755)

    done = site.run("drill", BACKUP_PG_BIN=str(broken))

    assert done.status == 5, done.output
    assert f"{archive} does not restore." in done.stderr
    assert "out of luck" in evidence_of(site)["problems"][0]
    assert scratch_left(site, database) == []


def test_a_damaged_archive_and_none_at_all_end_with_5(site: Site, database: Database) -> None:
    assert site.run("drill").status == 5
    archive = backed_up(site)
    with open(archive, "r+b") as file:
        file.seek(archive.stat().st_size // 2)
        file.write(b"XXXX")

    done = site.run("drill")

    assert done.status == 5, done.output
    assert evidence_of(site)["result"] == "failed"
    assert scratch_left(site, database) == []


def test_an_archive_by_another_implementation_is_drilled_as_far_as_it_tells(
    site: Site, database: Database, tmp_path: Path
) -> None:
    archive = backed_up(site)
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path, "db.dump"], check=True)
    foreign = tmp_path / "foreign.tar"
    subprocess.run(["tar", "-cf", foreign, "-C", tmp_path, "db.dump", "uploads"], check=True)

    done = site.run("drill", str(foreign))

    assert done.status == 3, done.output
    assert "carries no checksums" in done.stderr
    assert "2 tables, 10 uploads" in done.stdout
    assert evidence_of(site)["result"] == "warnings"
    assert scratch_left(site, database) == []


def test_the_apps_own_check_runs_on_the_copy(site: Site, database: Database, tmp_path: Path) -> None:
    backed_up(site)
    check = tmp_path / "check.py"
    check.write_text(
        "import os, pathlib, psycopg, sys\n"
        "url = os.environ['DATABASE_URL'].replace('postgresql+psycopg:', 'postgresql:')\n"
        "assert url != os.environ['DATABASE_URL'], url\n"
        "with psycopg.connect(url) as session:\n"
        "    name, rows = session.execute('SELECT current_database(), (SELECT count(*) FROM entry)').fetchone()\n"
        "uploads = pathlib.Path(os.environ['UPLOAD_DIR'])\n"
        "print(name, rows, len(list(uploads.glob('2026/*.jpg'))), 'BACKUP_DATABASE_URL' in os.environ)\n"
        "print(url, os.environ['SECRET_KEY'], file=sys.stderr)\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    site.environment["SECRET_KEY"] = "nobody's business"
    site.environment["BACKUP_DATABASE_URL"] = database.url.replace("postgresql:", "postgresql+psycopg:")

    def command(status: int) -> str:
        return shlex.join([sys.executable, str(check), str(status)])

    good = site.run("drill", BACKUP_DRILL_COMMAND=command(0))

    assert good.status == 0, good.output
    app_check = evidence_of(site)["app_check"]
    name, *told = app_check["output"][0].split()
    assert name.startswith(f"{database.name}_drill_")
    assert told == ["500", "10", "False"]
    assert "***" in app_check["output"][1]
    assert "nobody's business" not in app_check["output"][1]
    assert PASSWORD not in json.dumps(app_check)
    bad = site.run("drill", BACKUP_DRILL_COMMAND=command(9))
    assert bad.status == 5, bad.output
    assert "Problem: the app check" in bad.stderr
    assert "ended with 9" in bad.stderr
    assert evidence_of(site)["app_check"]["exit_status"] == 9
    missing = site.run("drill", BACKUP_DRILL_COMMAND="/no/such/program")
    assert missing.status == 1, missing.output
    assert evidence_of(site)["result"] == "impossible"
    unclosed = site.run("drill", BACKUP_DRILL_COMMAND="echo 'never")
    assert unclosed.status == 2
    assert "BACKUP_DRILL_COMMAND" in unclosed.stderr
    assert scratch_left(site, database) == []


def test_a_copy_is_nobody_elses_business(site: Site, database: Database) -> None:
    """Whoever may connect to the server may not connect to the copy, and the live database's privileges stay there."""
    database.execute(
        f"COMMENT ON DATABASE {database.name} IS 'the reef'; ALTER DATABASE {database.name} SET work_mem = '7MB'"
    )
    backed_up(site)
    stranger = make_database(database.server)
    asking = (
        "import os, psycopg\n"
        "with psycopg.connect(os.environ['DATABASE_URL']) as session:\n"
        f"    print(session.execute(\"SELECT has_database_privilege('{stranger.owner}', current_database(), 'CONNECT')"
        ", current_setting('work_mem'), shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = "
        'current_database()").fetchone())\n'
    )

    try:
        done = site.run("drill", BACKUP_DRILL_COMMAND=shlex.join([sys.executable, "-c", asking]))
    finally:
        drop_database(stranger)

    assert done.status == 0, done.output
    (told,) = evidence_of(site)["app_check"]["output"]
    assert told.startswith("(False, '7MB', 'Scratch copy of a Safe Harbor drill, of safeharbor-backup-")


@pytest.fixture
def humble(database: Database) -> Iterator[Database]:
    """The owner of the database, who may not create databases."""
    execute(database.server.url(), f"ALTER ROLE {database.owner} NOCREATEDB")
    yield database
    execute(database.server.url(), f"ALTER ROLE {database.owner} CREATEDB")


def test_a_role_that_may_not_create_databases_drills_on_a_private_server(site: Site, humble: Database) -> None:
    humble.execute("CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('a1b2')")
    backed_up(site)
    with tempfile.TemporaryDirectory() as place:  # the path of a socket must be short
        os.chmod(place, 0o711)

        done = site.run("drill", BACKUP_TMP_DIR=place)

        assert os.listdir(place) == []
    assert done.status == 0, done.output
    assert f'the role "{humble.owner}" may not create databases: the drill uses a private server' in done.stderr
    assert "on a private server, PostgreSQL 18" in done.stdout
    assert evidence_of(site)["compared"]["alembic_revision"] == {"recorded": "a1b2", "found": "a1b2"}


def test_without_any_database_an_archive_is_drilled_on_a_private_server(site: Site) -> None:
    archive = backed_up(site)
    del site.environment["BACKUP_DATABASE_URL"]

    done = site.run("drill", str(archive))

    assert done.status == 0, done.output
    assert "there is no BACKUP_DATABASE_URL: the drill uses a private server" in done.stderr


def test_a_drill_can_go_to_a_server_of_its_own(site: Site, servers: Servers, tmp_path: Path) -> None:
    """An archive of 18 fits no older server, which says nothing of the archive."""
    older, other = make_database(servers[15]), make_database(servers[18])
    try:
        archive = backed_up(site)
        there = site.run("drill", BACKUP_DRILL_DATABASE_URL=other.url)
        too_old = site.run("drill", BACKUP_DRILL_DATABASE_URL=older.url)
        execute(other.server.url(), f"ALTER ROLE {other.owner} NOCREATEDB")
        may_not = site.run("drill", BACKUP_DRILL_DATABASE_URL=other.url)
        unreachable = site.run("drill", BACKUP_DRILL_DATABASE_URL="postgresql://x@127.0.0.1:1/x")
        wrong = site.run("drill", BACKUP_DRILL_DATABASE_URL="mysql://x@127.0.0.1/x")
    finally:
        drop_database(older)
        drop_database(other)

    assert there.status == 0, there.output
    assert archive.name in there.stdout
    assert (too_old.status, may_not.status, unreachable.status, wrong.status) == (8, 6, 6, 2), too_old.output
    assert "a dump cannot go to an older major version" in too_old.stderr
    assert "BACKUP_DRILL_DATABASE_URL cannot be used" in may_not.stderr
    kinds = [json.loads(path.read_text())["result"] for path in sorted(site.backups.glob("safeharbor-drill-*"))]
    assert kinds == ["passed", "impossible", "impossible", "impossible"]


def test_without_a_place_for_the_copy_nothing_is_begun(site: Site, tmp_path: Path) -> None:
    backed_up(site)

    done = site.run("drill", BACKUP_TMP_DIR=str(tmp_path / "missing"))

    assert done.status == 7, done.output
    assert "does not exist" in done.stderr
    assert evidence_of(site)["result"] == "impossible"


def test_a_backup_a_prune_and_a_verify_run_beside_a_drill(site: Site, database: Database, tmp_path: Path) -> None:
    archive = backed_up(site)
    go = tmp_path / "go"
    os.mkfifo(go)
    at_work, outcome = tmp_path / "at-work", list[Outcome]()
    waiting = shlex.join(["sh", "-c", f"touch {at_work}; cat {go}"])
    drill = threading.Thread(target=lambda: outcome.append(site.run("drill", BACKUP_DRILL_COMMAND=waiting)))
    drill.start()
    while not at_work.exists():
        assert drill.is_alive(), outcome

    backup = site.run("backup", BACKUP_RETENTION_DAILY="1", BACKUP_RETENTION_WEEKLY="0")
    again = site.run("backup", BACKUP_RETENTION_DAILY="1", BACKUP_RETENTION_WEEKLY="0")
    second = site.run("drill")
    left = find_leftovers(load_settings(site.environment))
    go.write_text("on you go")
    drill.join()

    assert (backup.status, again.status) == (0, 0), backup.output
    assert archive.exists()  # it is being read
    assert second.status == 4
    assert "Another drill is at work" in second.stderr
    assert (left.databases, left.directories) == ((), ())  # what lives is no leftover
    assert outcome[0].status == 0, outcome[0].output
    assert scratch_left(site, database) == []


def test_the_last_sixty_drills_are_remembered(site: Site) -> None:
    archive = backed_up(site)
    for number in range(KEPT + 5):
        (site.backups / f"safeharbor-drill-2026-01-01T00-{number // 60:02}-{number % 60:02}Z.json").write_text(
            "garbage"
        )

    assert site.run("drill").status == 0

    kept = sorted(site.backups.glob("safeharbor-drill-*.json"))
    assert len(kept) == KEPT
    assert kept[0].name == "safeharbor-drill-2026-01-01T00-00-06Z.json"
    newest = json.loads(kept[-1].read_text())
    assert newest["archive"]["name"] == archive.name


# Runs a drill as the command does, and dies at the step of that number, having said its name.
_CHILD = """
import os, signal, sys
from pathlib import Path
from safeharbor_backup.actions.drill.run import drill_archive
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.load import load_settings

class Killing(NoProgress):
    def __init__(self, number):
        self.left = number

    def step(self, name):
        print(name, flush=True)
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def phase(self, name, total_bytes=None):
        self.step("phase " + name)

result = drill_archive(Path(sys.argv[1]), load_settings(os.environ), jobs=2, progress=Killing(int(sys.argv[2])))
print("passed" if not result.problems else result.problems)
"""


def killed_at(site: Site, archive: Path, number: int) -> tuple[int, list[str]]:
    run = site.run_code(_CHILD, str(archive), str(number))
    assert run.returncode in (0, -signal.SIGKILL), run.stderr.decode()
    return run.returncode, run.stdout.decode().splitlines()


def test_what_a_killed_drill_leaves_is_found_and_the_next_drill_removes_it(site: Site, database: Database) -> None:
    archive = backed_up(site)
    settings = load_settings(site.environment)
    status, steps = killed_at(site, archive, 1000)
    assert (status, steps[-1]) == (0, "passed")
    assert {"scratch directory", "scratch database", "marked", "restored", "compared", "dropped"} <= set(steps)

    left_something = 0
    for number in range(1, len(steps)):
        status, reached = killed_at(site, archive, number)
        assert status == -signal.SIGKILL
        assert not children_left(site)
        there = set(scratch_left(site, database))
        found = _found_in_time(settings, there)
        left_something += bool(there)
        assert found == there, reached[-1]
        status, told = killed_at(site, archive, 1000)
        assert (status, told[-1]) == (0, "passed"), reached[-1]
        assert scratch_left(site, database) == [], reached[-1]
    assert left_something > 5


def _found_in_time(settings: Any, there: set[str]) -> set[str]:
    """What is found; the server may still be ending the session of the one that was killed."""
    import time

    deadline = time.monotonic() + 5
    while True:
        left = find_leftovers(settings)
        found = {*left.databases, *(path.name for path in left.directories)}
        if found == there or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_a_backup_removes_what_a_killed_drill_has_left(site: Site, database: Database) -> None:
    archive = backed_up(site)
    steps = killed_at(site, archive, 1000)[1]
    killed_at(site, archive, steps.index("restored") + 1)
    there = scratch_left(site, database)
    assert len(there) == 2
    assert _found_in_time(load_settings(site.environment), set(there)) == set(there)

    done = site.run("backup")

    assert done.status == 0, done.output
    assert done.stderr.count("left behind by a drill that was killed") == 2
    assert scratch_left(site, database) == []


def test_what_only_looks_like_a_leftover_is_left_alone(site: Site, database: Database) -> None:
    backed_up(site)
    settings = load_settings(site.environment)
    stranger = make_database(database.server)
    names = {
        "commented": "app_drill_00f35d0e2a01",  # of a time when there was no drill
        "theirs": f"{database.name}_drill_0fa35d0e2a01",
        "strangers": f"{stranger.name}_drill_0fa35d0e2a01",
    }
    owners = {"commented": database.owner, "theirs": database.owner, "strangers": stranger.owner}
    for which, name in names.items():
        execute(database.server.url(), f"CREATE DATABASE {name} OWNER {owners[which]}")
    execute(database.server.url(), f"COMMENT ON DATABASE {names['theirs']} IS 'my own copy'")
    plain = site.backups / ".safeharbor-drill-0fa35d0e2a01"
    plain.mkdir()
    (plain / "in-use").write_text("something else")
    link = site.backups / ".safeharbor-drill-0fa35d0e2a02"
    link.symlink_to(site.uploads)
    try:
        with scratch_directory(site.backups, "0fa35d0e2a03", pytest.fail) as uploads:
            left = find_leftovers(settings)
            assert (left.databases, left.directories) == ((), ())
            assert site.run("drill").status == 0
            assert uploads.is_dir()
        present = {row[0] for row in execute(database.server.url(), "SELECT datname FROM pg_database")}
        assert set(names.values()) <= present
        assert plain.is_dir()
        assert link.is_symlink()
    finally:
        for name in names.values():
            execute(database.server.url(), f"DROP DATABASE IF EXISTS {name}")
        drop_database(stranger)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_drill_the_orderly_way(site: Site, database: Database, tmp_path: Path, number: int) -> None:
    backed_up(site)
    at_work = tmp_path / "at-work"
    run = site.start("drill", BACKUP_DRILL_COMMAND=shlex.join(["sh", "-c", f"touch {at_work}; sleep 60"]))
    while not at_work.exists():
        assert run.poll() is None

    run.send_signal(number)
    run.communicate(timeout=60)

    assert run.returncode == 128 + number
    assert scratch_left(site, database) == []


def test_a_signal_while_the_database_is_being_created_leaves_none(site: Site, database: Database) -> None:
    backed_up(site)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE DATABASE%' AND wait_event_type = 'Lock'"
    with psycopg.connect(database.server.url()) as holder:
        holder.execute("LOCK TABLE pg_catalog.pg_database IN SHARE ROW EXCLUSIVE MODE")
        run = site.start("drill")
        while execute(database.server.url(), waiting) != [(1,)]:
            assert run.poll() is None

        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=60)

    assert run.returncode == 143
    assert scratch_left(site, database) == []
    assert site.run("drill").status == 0


def test_a_connection_that_is_lost_ends_it_and_the_next_one_is_clean(
    site: Site, database: Database, tmp_path: Path
) -> None:
    backed_up(site)
    at_work = tmp_path / "at-work"
    run = site.start("drill", BACKUP_DRILL_COMMAND=shlex.join(["sh", "-c", f"touch {at_work}; sleep 2"]))
    while not at_work.exists():
        assert run.poll() is None

    with psycopg.connect(database.server.url(), autocommit=True) as session:
        session.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (database.owner,))
    run.communicate(timeout=60)

    assert run.returncode == 0  # it only had to drop the database, by another session
    assert scratch_left(site, database) == []


def test_a_drill_after_each_backup_names_what_it_would_be_stopped_by(site: Site, database: Database) -> None:
    database.execute(
        "CREATE TABLE berth (id serial PRIMARY KEY, down int GENERATED ALWAYS AS IDENTITY (INCREMENT -1));"
        "INSERT INTO berth (id) VALUES (7);"
        "CREATE TABLE fine (id serial PRIMARY KEY); INSERT INTO fine DEFAULT VALUES;"
        "CREATE MATERIALIZED VIEW later AS SELECT 1 WITH NO DATA"
    )

    done = site.run("backup", BACKUP_DRILL_AFTER_BACKUP="yes", BACKUP_DRILL_MAX_SECONDS="0.001")

    assert done.status == 3, done.output
    assert "Warning: the drill after the backup: the restore took " in done.stderr
    evidence = json.loads(max(site.backups.glob("safeharbor-drill-*.json")).read_text())
    late, *others = evidence["warnings"]
    assert "and the objective is 0.001 s (BACKUP_DRILL_MAX_SECONDS)" in late
    assert evidence["max_restore_seconds"] == 0.001 < evidence["restore_seconds"]
    assert others == [
        "the sequence public.berth_id_seq is at 1, and public.berth.id has 7: the next row gets a number that is taken",
    ]
    status = site.run("status", "--json").document
    assert (status["last_backup"]["exit_status"], status["last_drill"]["exit_status"]) == (3, 3)
    assert status["history"][0]["restore_seconds"] == evidence["restore_seconds"]
    assert (
        site.run("backup", "--output", str(site.backups / "pre-upgrade.tar"), BACKUP_DRILL_AFTER_BACKUP="yes").status
        == 0
    )
    assert len(list(site.backups.glob("safeharbor-drill-*.json"))) == 1
