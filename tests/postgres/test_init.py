"""`init`: from an app to the first backup, drilled; and the README's own commands, typed."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from safeharbor_backup.cli.env_file import read_env_file
from support.postgres import PASSWORD, Database
from support.runs import Outcome, Site, all_bins

ROOT = Path(__file__).parents[2]
SHOP = """
import os
from pathlib import Path

import psycopg
from flask import Flask, abort, request, send_from_directory

app = Flask(__name__)
app.config.update(SQLALCHEMY_DATABASE_URI={url!r}, UPLOAD_FOLDER="uploads")
FOLDER = Path(__file__).parent / "uploads"


def connect():
    return psycopg.connect(app.config["SQLALCHEMY_DATABASE_URI"], autocommit=True)


@app.get("/")
def entries():
    with connect() as session:
        rows = session.execute("SELECT id, remark FROM entry ORDER BY id").fetchall()
    return {{"entries": [{{"id": number, "remark": remark}} for number, remark in rows]}}


@app.post("/")
def add():
    with connect() as session:
        session.execute("INSERT INTO entry VALUES (%s, %s)", (request.form["id"], request.form["remark"]))
    return "", 204


@app.post("/photos/<name>")
def upload(name):
    (FOLDER / os.path.basename(name)).write_bytes(request.get_data())
    return "", 204


@app.get("/photos/<path:name>")
def photo(name):
    if not (FOLDER / name).is_file():
        abort(404)
    return send_from_directory(FOLDER, name)
"""


class Newcomer:
    """Somebody who has an app, and types what the README says into a shell, at a terminal."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.home = site.root / "home"
        self.home.mkdir()
        self.typed: list[str] = []

    def type(self, command: str, *answers: str) -> Outcome:
        """Type a command and the answers to its questions; one without answers has no terminal."""
        self.typed.append(command)
        environment = self.site.full_environment(
            {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(self.home)}
        )
        for name in ("BACKUP_DATABASE_URL", "BACKUP_UPLOAD_DIR", "BACKUP_DIR", "XDG_CONFIG_HOME"):
            environment.pop(name, None)
        leader, follower = pty.openpty() if answers else (-1, subprocess.DEVNULL)
        if answers:
            os.write(leader, "".join(f"{answer}\n" for answer in answers).encode())
        done = subprocess.run(
            ["bash", "-c", command], env=environment, cwd=self.site.root, stdin=follower, capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        if answers:
            os.close(leader)
            os.close(follower)
        assert PASSWORD not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def newcomer(site: Site) -> Newcomer:
    site.backups.rmdir()
    return Newcomer(site)


def of_readme(heading: str) -> list[str]:
    """The commands of the first block below a heading, without their comments."""
    text = (ROOT / "README.md").read_text().split(f"\n## {heading}\n", 1)[1]
    block = re.search(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    return [line.partition(" #")[0].strip() for line in block[1].splitlines() if line.strip()]


def test_a_newcomer_gets_to_the_first_restore_by_what_the_readme_says(newcomer: Newcomer, database: Database) -> None:
    site = newcomer.site
    (site.root / "yourapp.py").write_text(SHOP.format(url=database.url))
    install, init = of_readme("Back up your Flask app")
    assert install.startswith("pip install ")  # what is under test is installed
    settings = f"--settings-file {newcomer.home}/.config/safeharbor/backup.env"  # tests may run as root

    done = newcomer.type(f"{init} {settings}", str(site.backups), "cron")

    assert done.status == 0, done.output
    assert "(the app's UPLOAD_FOLDER)" in done.stdout
    assert "0 3 * * *   " in done.stdout
    assert "restores: 2 tables with 510 rows, 10 uploads" in done.stdout
    assert (site.backups.stat().st_mode & 0o777, len(site.archives)) == (0o700, 1)
    database.execute("DROP TABLE photo; DELETE FROM entry")
    (site.uploads / "2026" / "7.jpg").unlink()
    look, restore = of_readme("In an emergency")[:2]
    export = f"export SAFEHARBOR_ENV_FILE={newcomer.home}/.config/safeharbor/backup.env; "
    assert newcomer.type(export + look).status == 0
    assert newcomer.type(export + restore, "restore").status == 0
    assert database.execute("SELECT count(*) FROM photo") == [(10,)]
    assert (site.uploads / "2026" / "7.jpg").exists()
    assert len(["pip install", *newcomer.typed]) <= 5


def test_a_django_project_without_a_terminal(newcomer: Newcomer, database: Database) -> None:
    site = newcomer.site
    (site.root / "config").mkdir()
    (site.root / "config" / "settings.py").write_text(
        "from urllib.parse import urlsplit, unquote\n"
        f"at = urlsplit({database.url!r})\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': at.path[1:], 'HOST': at.hostname,"
        " 'PORT': at.port, 'USER': at.username, 'PASSWORD': unquote(at.password)}}\n"
        f"MEDIA_ROOT = {str(site.uploads)!r}\nSECRET_KEY = 'only-here'\n"
    )
    django = "DJANGO_SETTINGS_MODULE=config.settings safeharbor --django init --settings-file b.env"

    refused = newcomer.type(django)

    assert refused.status == 2
    assert "--backup-dir: expected the directory for the archives" in refused.stderr
    assert not (site.root / "b.env").exists()
    done = newcomer.type(f"{django} --backup-dir backups --schedule compose")
    assert done.status == 0, done.output
    assert f"- {site.backups}:/backups" in done.stdout
    assert (site.root / "b.env").stat().st_mode & 0o777 == 0o600
    assert set(read_env_file(str(site.root / "b.env"), {})) >= {
        "BACKUP_DATABASE_URL",
        "BACKUP_UPLOAD_DIR",
        "BACKUP_DIR",
    }
    database.execute("DROP TABLE photo")
    assert newcomer.type("safeharbor --env-file b.env restore --from latest --yes").status == 0
    assert database.execute("SELECT count(*) FROM photo") == [(10,)]
    again = newcomer.type(f"{django} --backup-dir other")
    assert again.status == 2
    assert "b.env exists" in again.stderr
    assert not (site.root / "other").exists()


def test_a_role_that_cannot_restore_gets_the_line_to_type_and_timers_get_its_places(
    newcomer: Newcomer, database: Database
) -> None:
    site = newcomer.site
    database.execute(f'ALTER ROLE "{database.owner}" NOCREATEDB', superuser=True)
    (site.root / "app.py").write_text(
        "from flask import Flask\napp = Flask(__name__)\n"
        f"app.config.update(SQLALCHEMY_DATABASE_URI={database.url!r}, BACKUP_RETENTION_DAILY=9,\n"
        f"    BACKUP_PG_BIN={all_bins()!r}, SQLALCHEMY_BINDS={{'stats': {database.superuser_url!r} + '_stats'}})\n"
    )

    done = newcomer.type(
        "safeharbor init --upload-dir uploads --backup-dir backups --settings-file etc/b.env --schedule systemd"
        " --no-drill"
    )

    assert done.status == 3, done.output
    assert f'ALTER ROLE "{database.owner}" CREATEDB' in done.stderr
    assert "stats" in done.stderr  # a database of the app that is in no archive
    assert read_env_file(str(site.root / "etc" / "b.env"), {})["BACKUP_RETENTION_DAILY"] == "9"
    unit = (site.root / "etc" / "systemd" / "safeharbor-backup.service").read_text()
    assert f"\nEnvironmentFile={site.root}/etc/b.env\n" in unit
    assert f"\nExecStart={Path(sys.executable).parent}/safeharbor backup --quiet\n" in unit
    assert f"\nReadWritePaths={site.backups}\n" in unit
    assert "reef" not in unit
    assert "%i" not in unit
    assert len(site.archives) == 1


def test_answers_that_no_backup_could_use_change_nothing(newcomer: Newcomer, database: Database) -> None:
    site = newcomer.site
    (site.root / "app.py").write_text("raise RuntimeError('the sea is rough')\n")
    command = "safeharbor init --settings-file etc/b.env --backup-dir backups"

    rough = newcomer.type(command)
    closed = newcomer.type(f"{command} --database-url postgresql://127.0.0.1:1/x --upload-dir uploads")
    inside = newcomer.type(f"{command} --database-url '{database.superuser_url}' --upload-dir .")

    assert (rough.status, closed.status, inside.status) == (2, 6, 2), rough.output + closed.output + inside.output
    assert "the sea is rough" in rough.stderr
    assert "init --database-url ADDRESS --upload-dir DIR" in rough.stderr
    assert not site.backups.exists()
    assert not (site.root / "etc").exists()


def test_what_starts_runs_has_the_program_where_a_systems_python_installs_it(newcomer: Newcomer) -> None:
    root = newcomer.site.root
    python, program = root / "usr" / "bin" / "python3", root / "local" / "bin" / "safeharbor"
    for each in (python, program):
        each.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    program.write_text(f"#!{python}\nfrom safeharbor_backup.cli.main import main; main()\n")
    program.chmod(0o755)
    imported = ":".join(each for each in sys.path if each)
    database_url = newcomer.site.environment["BACKUP_DATABASE_URL"]

    done = newcomer.type(
        f"PYTHONPATH={imported} {program} init --database-url {database_url} --upload-dir none --backup-dir backups"
        " --settings-file b.env --schedule cron --no-drill"
    )

    assert done.status == 0, done.output
    assert f"   {program} --env-file {root}/b.env backup --quiet" in done.stdout
    assert f"\n$ {program} --env-file {root}/b.env backup\n" in done.stdout
    assert f"\nTo restore it: {program} --env-file {root}/b.env restore --from latest\n" in done.stdout
