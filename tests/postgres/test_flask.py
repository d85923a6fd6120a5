"""`flask safeharbor …` in small apps of all kinds, and in the sample app."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from support.postgres import PASSWORD, Database
from support.receivers import http_server
from support.runs import Outcome, Site, all_bins

LOGBOOK = Path(__file__).parents[2] / "examples" / "logbook"


def flask(site: Site, *arguments: str, **extra: str) -> Outcome:
    """Run `flask` as its user does."""
    environment = site.full_environment(extra)
    for name in ("BACKUP_DATABASE_URL", "BACKUP_UPLOAD_DIR"):
        if name not in extra:
            del environment[name]
    environment = {name: value for name, value in environment.items() if value != "unset"}
    done = subprocess.run(
        [Path(sys.executable).parent / "flask", *arguments],
        env=environment,
        cwd=site.root,
        capture_output=True,
        check=False,
    )
    outcome = Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert PASSWORD not in outcome.output
    return outcome


def write_app(site: Site, database: Database, extra: str = "") -> None:
    (site.root / "reef.py").write_text(
        "from flask import Flask\n"
        "app = Flask(__name__)\n"
        f"app.config.update(SQLALCHEMY_DATABASE_URI={database.url!r}, UPLOAD_FOLDER='uploads', SECRET_KEY='s')\n"
        f"{extra}\n"
    )


def test_an_apps_own_configuration_is_all_it_takes(site: Site, database: Database) -> None:
    write_app(site, database, "app.config['BACKUP_RETENTION_DAILY'] = 3")

    done = flask(site, "--app", "reef", "safeharbor", "backup")

    assert done.status == 0, done.output
    assert f"uploads {site.uploads}" in done.stdout
    assert flask(site, "--app", "reef", "safeharbor", "verify", "--latest").status == 0
    assert "daily 1 of 3" in flask(site, "--app", "reef", "safeharbor", "list").stdout
    assert flask(site, "--app", "reef", "safeharbor", "status").status == 0
    assert flask(site, "--app", "reef", "safeharbor", "prune", "--dry-run").status == 0


def test_an_app_with_a_group_of_our_name_keeps_its_commands(site: Site, database: Database) -> None:
    own = """
group = __import__("flask.cli").cli.AppGroup("safeharbor")
group.command("dive", help="Go down.")(lambda: print("down", __import__("flask").current_app.name))
group.command("list")(lambda: print("theirs"))
app.cli.add_command(group)
"""
    write_app(site, database, own)

    assert flask(site, "--app", "reef", "safeharbor", "dive") == Outcome(0, "down reef\n", "")
    assert "theirs" not in flask(site, "--app", "reef", "safeharbor", "list").output
    shown = flask(site, "--app", "reef", "safeharbor", "--help").stdout
    assert "Go down." in shown
    assert shown.count("  list ") == 1
    examined = flask(site, "--app", "reef", "safeharbor", "doctor").stdout
    assert "the app has commands of its own here: dive, list; list is Safe Harbor's" in examined


def test_an_app_whose_command_we_hide_is_told_so(site: Site, database: Database) -> None:
    write_app(site, database, 'app.cli.command("safeharbor")(lambda: print("down"))\n')

    examined = flask(site, "--app", "reef", "safeharbor", "doctor")

    assert "the app has a command `safeharbor` of its own, which Safe Harbor's commands hide" in examined.stdout
    assert "another name" in examined.stdout


def test_what_the_engine_adds_to_its_address_counts_too(site: Site, database: Database) -> None:
    (site.root / "reef.py").write_text(
        "from flask import Flask\n"
        "from sqlalchemy import URL\n"
        "def create_app():\n"
        "    app = Flask(__name__)\n"
        f"    url = URL.create('postgresql+psycopg', {database.owner!r}, {PASSWORD!r}, database={database.name!r})\n"
        "    app.config['SQLALCHEMY_DATABASE_URI'] = url\n"
        "    app.config['SQLALCHEMY_ENGINE_OPTIONS'] = {'connect_args': "
        f"{{'host': '127.0.0.1', 'port': {database.server.port}, 'sslmode': 'disable', 'prepare_threshold': None}}}}\n"
        "    app.config['UPLOAD_DIR'] = 'uploads'\n"
        "    return app\n"
    )

    done = flask(site, "--app", "reef:create_app", "safeharbor", "backup")

    assert done.status == 0, done.output
    assert f"127.0.0.1:{database.server.port}" in done.stdout


def test_doctor_tells_what_came_from_the_app(site: Site, database: Database) -> None:
    write_app(site, database, "app.config['BACKUP_RETENTION_DAILY'] = 3")

    done = flask(site, "--app", "reef", "safeharbor", "doctor", BACKUP_RETENTION_WEEKLY="1")

    assert done.status == 3, done.output  # its SECRET_KEY can be guessed
    origins = {line.split()[0]: line.rpartition("(")[2].rstrip(")") for line in done.stdout.splitlines()[:7]}
    assert origins["BACKUP_DATABASE_URL"] == "the app's SQLALCHEMY_DATABASE_URI"
    assert origins["BACKUP_UPLOAD_DIR"] == "the app's UPLOAD_FOLDER"
    assert origins["BACKUP_RETENTION_DAILY"] == "the app's configuration"
    assert origins["BACKUP_RETENTION_WEEKLY"] == "the environment"


def test_the_environment_wins_over_the_apps_configuration(site: Site, database: Database) -> None:
    write_app(site, database)

    done = flask(site, "--app", "reef", "safeharbor", "backup", BACKUP_UPLOAD_DIR="none")

    assert done.status == 0
    assert "uploads none" in done.stdout


def test_without_an_app_the_environment_is_enough_and_it_is_said_if_it_is_not(site: Site, database: Database) -> None:
    done = flask(site, "safeharbor", "backup", DATABASE_URL=database.url, UPLOAD_DIR=str(site.uploads))
    unset = flask(site, "safeharbor", "backup", UPLOAD_DIR=str(site.uploads))

    assert done.status == 0, done.output
    assert done.stderr == ""
    assert unset.status == 2, unset.output
    assert "No Flask app is named" in unset.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("raise RuntimeError('the sea is rough')", "the sea is rough"),
        ("import no_such_module", "no_such_module"),
        ("syntax error here", "reef"),
        ("nothing = 1", "reef"),
        ("raise SystemExit('no sea, no app')", "no sea, no app"),
    ],
)
def test_an_app_that_does_not_load_is_told_with_the_way_around(site: Site, content: str, words: str) -> None:
    (site.root / "reef.py").write_text(content)

    done = flask(site, "--app", "reef", "safeharbor", "backup")

    assert done.status == 2, done.output
    assert words in done.stderr
    assert "`safeharbor" in done.stderr
    assert "works without the app" in done.stderr
    helped = flask(site, "--app", "reef", "safeharbor", "--help")
    assert (helped.status, "backup" in helped.stdout) == (0, True), helped.output


def test_the_group_shows_itself_in_any_app_and_its_help_needs_none(site: Site) -> None:
    assert "safeharbor" in flask(site, "--help").stdout
    assert flask(site, "safeharbor", "--help").status == 0
    assert flask(site, "safeharbor", "backup", "--help").status == 0


def test_the_sample_apps_own_tests_pass(database: Database) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "tests"],
        cwd=LOGBOOK,
        env={
            **os.environ,
            "LOGBOOK_TEST_DATABASE_URL": database.server.url(),
            "PYTHONPATH": str(LOGBOOK),
            "PYTEST_ADDOPTS": "",
        },
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout.decode()[-3000:]
    assert b"skipped" not in done.stdout


def test_the_sample_app_is_backed_up_without_a_line_of_glue(database: Database, tmp_path: Path) -> None:
    site = Site(tmp_path, "")
    settings = {
        "DATABASE_URL": database.url,
        "UPLOAD_DIR": str(site.uploads),
        "SECRET_KEY": "test",
        "PYTHONPATH": str(LOGBOOK),
        "BACKUP_PG_BIN": all_bins(),
    }
    assert flask(site, "--app", "logbook", "db", "upgrade", **settings).status == 0
    assert flask(site, "--app", "logbook", "seed", "--entries", "2", "--photos-per-entry", "1", **settings).status == 0

    done = flask(site, "--app", "logbook", "safeharbor", "backup", **settings)

    assert done.status == 0, done.output
    photos = list(site.uploads.rglob("*.jpg"))
    listed = subprocess.run(["tar", "-tf", site.archives[0]], capture_output=True, check=True).stdout.decode()
    assert photos
    assert all(f"uploads/{path.relative_to(site.uploads)}" in listed for path in photos)
    own = [path.read_text() for path in LOGBOOK.rglob("*.py") if "tests" not in path.parts]
    mentions = [line for text in own for line in text.splitlines() if "safeharbor" in line]
    assert mentions == ["from safeharbor_backup.web import backups_page"]  # for its admin's page, and for no backup


ODD = b"two words\n\x1b[2J\xff'.jpg"


def test_the_admin_of_the_sample_app_takes_one_file_out_of_an_archive_by_a_command_of_its_page(
    database: Database, tmp_path: Path
) -> None:
    site = Site(tmp_path, "")
    state = site.root / "state" / "status.json"
    state.parent.mkdir()
    settings = {
        "DATABASE_URL": database.url,
        "UPLOAD_DIR": str(site.uploads),
        "SECRET_KEY": "test",
        "ADMIN_PASSWORD": "ahoy",
        "PYTHONPATH": str(LOGBOOK),
        "BACKUP_PG_BIN": all_bins(),
        "BACKUP_STATUS_FILE": str(state),
        "BACKUP_COMMAND": "safeharbor",
    }
    assert flask(site, "--app", "logbook", "db", "upgrade", **settings).status == 0
    assert flask(site, "--app", "logbook", "seed", "--entries", "3", "--photos-per-entry", "1", **settings).status == 0
    with open(os.path.join(os.fsencode(site.uploads), ODD), "wb") as file:
        file.write(b"what a name")
    done = flask(site, "--app", "logbook", "safeharbor", "backup", **settings)
    assert done.status == 0, done.output
    (name,) = (path.name for path in site.archives)
    program = (
        "import sys, logbook\n"
        "client = logbook.create_app().test_client()\n"
        "assert client.get(sys.argv[1]).status_code == 303\n"  # to the login
        "client.get('/admin/login')\n"
        "with client.session_transaction() as session: token = session['form_token']\n"
        "client.post('/admin/login', data={'form_token': token, 'password': 'ahoy'})\n"
        "assert 'href=\"archives/' in client.get('/admin/backups/').text\n"
        "print(client.get(sys.argv[1]).text)\n"
    )
    address = f"/admin/backups/archives/{name}"
    own = ("BACKUP_DATABASE_URL", "BACKUP_UPLOAD_DIR")  # the app has them
    environment = {key: value for key, value in site.full_environment(settings).items() if key not in own}

    shown = subprocess.run(
        [sys.executable, "-c", program, address], env=environment, cwd=site.root, capture_output=True, check=True
    ).stdout.decode()

    assert f'<p class="file">{name}</p>' in shown
    assert re.search(r'<b>public.photo</b></span>\s*<span class="n">3 rows</span>', shown)
    commands = [
        html.unescape(each) for each in re.findall(r"<pre><code>(safeharbor extract [^<]*)</code></pre>", shown)
    ]
    table = next(each for each in commands if "--table public.photo " in each)
    odd = next(each for each in commands if "two words" in each)
    assert odd.isprintable()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command in (table, odd):
        pasted = subprocess.run(
            ["bash", "-c", command], env={**environment, "PATH": path}, cwd=site.root, capture_output=True, check=False
        )
        assert pasted.returncode == 0, pasted.stderr
    with open(os.path.join(os.fsencode(site.backups), b"extracted", ODD), "rb") as file:
        assert file.read() == b"what a name"
    assert len((site.backups / "rows.csv").read_text().splitlines()) == 1 + 3
    assert flask(site, "--app", "logbook", "safeharbor", "backup", **settings).status == 0
    listed = flask(site, "--app", "logbook", "safeharbor", "list", **settings).stdout
    assert "2 other files, never touched: extracted, rows.csv" in listed


def test_what_the_restore_prints_can_be_pasted_where_it_was_typed(site: Site, database: Database) -> None:
    write_app(site, database)
    own = {"BACKUP_DIR": "./backups", "BACKUP_COMMAND": "unset"}
    assert flask(site, "--app", "reef", "safeharbor", "backup", **own).status == 0

    done = flask(site, "--app", "reef", "safeharbor", "restore", "--from", "latest", "--yes", **own)

    assert done.status == 0, done.output
    line = next(each for each in done.stdout.splitlines() if each.startswith("To go back: "))
    command = line.removeprefix("To go back: ")
    assert command.startswith(f"BACKUP_DIR={site.root}/backups ")
    assert "flask --app reef safeharbor restore --undo --id " in command
    environment = {**site.full_environment(), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name in ("BACKUP_DATABASE_URL", "BACKUP_UPLOAD_DIR", "BACKUP_DIR"):
        environment.pop(name, None)
    pasted = subprocess.run(["sh", "-c", command], env=environment, cwd=site.root, capture_output=True, check=False)
    assert pasted.returncode == 0, pasted.stderr


def write_needy_app(site: Site, database: Database, extra: str = "") -> None:
    """An app that reads its database while it is loaded, and has all its settings in its configuration."""
    write_app(site, database, f"app.config.update(BACKUP_RETENTION_DAILY=2, BACKUP_SCHEDULE='@daily'{extra})")
    with (site.root / "reef.py").open("a") as app:
        app.write(
            "import psycopg\n"
            f"with psycopg.connect({database.url!r}) as session: session.execute('SELECT 1 FROM needed')\n"
        )


def test_an_app_that_needs_its_database_is_not_needed_to_restore_it(site: Site, database: Database) -> None:
    database.execute("CREATE TABLE needed AS SELECT 1 AS a")
    write_needy_app(site, database)
    assert flask(site, "--app", "reef", "safeharbor", "backup").status == 0
    known = (site.backups / ".safeharbor" / "settings.json").read_text()
    assert PASSWORD not in known
    database.execute("DROP TABLE needed")
    (site.uploads / "new.txt").write_text("x")

    for command in (["list"], ["verify", "--latest"], ["status"], ["prune", "--dry-run"], ["list", "--json"]):
        done = flask(site, "--app", "reef", "safeharbor", *command)
        assert done.status == 0, done.output
        assert "the Flask app reef cannot be loaded: UndefinedTable" in done.stderr
        assert "uses what the backup of 20" in done.stderr
    assert "daily 1 of 2" in flask(site, "--app", "reef", "safeharbor", "prune", "--dry-run").stdout
    asked = flask(site, "--app", "reef", "safeharbor", "restore", "--from", "latest", "--yes", HOME=str(site.root))
    assert asked.status == 2
    line = next(each for each in asked.stderr.splitlines() if "type: " in each).partition("type: ")[2]
    assert line.startswith("BACKUP_DATABASE_URL=postgresql://")
    assert line.endswith("safeharbor restore --from latest --yes")
    environment = {**site.full_environment(), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name in ("BACKUP_DATABASE_URL", "BACKUP_UPLOAD_DIR", "BACKUP_DIR"):
        environment.pop(name, None)
    pasted = line.replace("PASSWORD@", f"{quote(PASSWORD, safe='')}@")
    restored = subprocess.run(["sh", "-c", pasted], env=environment, cwd=site.root, capture_output=True, check=False)
    assert restored.returncode == 0, restored.stderr
    assert database.execute("SELECT a FROM needed") == [(1,)], restored.stdout
    assert not (site.uploads / "new.txt").exists()
    assert flask(site, "--app", "reef", "safeharbor", "doctor", "--json").stdout.startswith("{")


def test_an_app_that_cannot_be_loaded_is_a_backup_that_failed(site: Site, database: Database) -> None:
    write_app(site, database)
    assert flask(site, "--app", "reef", "safeharbor", "backup").status == 0
    (site.root / "reef.py").write_text("import sys\nsys.exit('Set SECRET_KEY')\n")
    with http_server() as check:
        published = {
            "BACKUP_STATUS_FILE": str(site.root / "status.json"),
            "BACKUP_METRICS_FILE": str(site.root / "a.prom"),
        }
        own = {**published, "BACKUP_PING_URL": f"http://127.0.0.1:{check.port}/check"}

        done = flask(site, "--app", "reef", "safeharbor", "backup", "--quiet", **own)

        assert done.status == 2
        assert "the Flask app reef cannot be loaded: SystemExit: Set SECRET_KEY" in done.stderr
        assert check.paths == ["/check/start", "/check/2"]
    assert '"failed"' in (site.root / "status.json").read_text()
    assert (site.root / "a.prom").exists()
    status = flask(site, "--app", "reef", "safeharbor", "status")
    assert status.status == 1
    assert "cannot be loaded" in status.stdout


def test_what_others_could_have_written_is_not_gone_by(site: Site, database: Database) -> None:
    write_app(site, database)
    assert flask(site, "--app", "reef", "safeharbor", "backup").status == 0
    (site.root / "reef.py").write_text("raise ImportError('gone')\n")
    known = site.backups / ".safeharbor" / "settings.json"
    known.chmod(0o666)

    done = flask(site, "--app", "reef", "safeharbor", "restore", "--from", "latest", "--yes")

    assert done.status == 2
    asked = "BACKUP_DATABASE_URL=postgresql://USER:PASSWORD@HOST/DATABASE BACKUP_UPLOAD_DIR=/path/of/uploads "
    assert asked in done.stderr


def test_uploads_that_are_elsewhere_than_last_time_are_a_warning(site: Site, database: Database) -> None:
    write_app(site, database)
    assert flask(site, "--app", "reef", "safeharbor", "backup").status == 0
    other = site.root / "other"
    other.mkdir()

    done = flask(site, "--app", "reef", "safeharbor", "backup", BACKUP_UPLOAD_DIR=str(other))

    assert done.status == 3
    assert f"it was {site.uploads}, now it is {other}" in done.stderr
    assert "it was" not in flask(site, "--app", "reef", "safeharbor", "backup", BACKUP_UPLOAD_DIR=str(other)).output


@pytest.mark.parametrize(
    "thread",
    [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()",
        "import concurrent.futures, time\nconcurrent.futures.ThreadPoolExecutor().submit(time.sleep, 600)",
    ],
    ids=["thread", "executor"],
)
def test_a_thread_of_the_app_does_not_keep_a_command_that_has_ended(
    site: Site, database: Database, thread: str
) -> None:
    write_app(site, database, f"{thread}\nprint('loaded')")

    done = flask(site, "--app", "reef", "safeharbor", "status", "--json")

    assert done.status == 0, done.output
    assert json.loads(done.stdout)["schema"] == 1
    assert "loaded" in done.stderr
    assert flask(site, "--app", "reef", "safeharbor", "restore", "--from", "nothing").status == 2


@pytest.mark.parametrize("library", ["eventlet", "gevent.monkey"])
def test_an_app_that_has_patched_the_standard_library_is_backed_up_and_restored(
    site: Site, database: Database, library: str
) -> None:
    write_app(site, database)
    app = site.root / "reef.py"
    patch = "eventlet.monkey_patch()" if library == "eventlet" else "gevent.monkey.patch_all()"
    app.write_text(f"import warnings\nwarnings.simplefilter('ignore')\nimport {library}\n{patch}\n{app.read_text()}")

    done = flask(site, "--app", "reef", "safeharbor", "backup")

    assert done.status == 0, done.output
    database.execute("DROP TABLE photo")
    restored = flask(site, "--app", "reef", "safeharbor", "restore", "--from", "latest", "--yes")
    assert restored.status == 0, restored.output
    assert database.execute("SELECT count(*) FROM photo") == [(10,)]
