"""What is understood of an app's own configuration, and where its folders are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import URL

from safeharbor_backup.actions.app_data import describe_folders, find_missing_folders
from safeharbor_backup.actions.preflight import check_uploads
from safeharbor_backup.actions.prune import prune_archives
from safeharbor_backup.cli.app_loading import cannot_load
from safeharbor_backup.cli.without_app import find_fallback
from safeharbor_backup.errors import SettingsInvalid
from safeharbor_backup.settings.app_config import AppConfig
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.upload_dirs import UploadDir
from support.needs import missing
from support.runs import MAIN

if TYPE_CHECKING:
    from safeharbor_backup.settings.model import Settings

PARTS: dict[str, Any] = {
    "drivername": "postgresql+psycopg",
    "username": "app",
    "password": "s3/cr@t",
    "host": "db",
    "database": "reef",
}
OBJECT = URL.create(**PARTS)
STATS = "postgresql://db/stats"
SECRET = "postgresql://app:s3cr3t@db/reef"
TEXT = OBJECT.render_as_string(hide_password=False)


@pytest.mark.parametrize(
    "config",
    [
        {"SQLALCHEMY_DATABASE_URI": TEXT},
        {"SQLALCHEMY_DATABASE_URI": OBJECT},
        {"SQLALCHEMY_DATABASE_URI": {"url": TEXT, "pool_size": 5}},
        {"SQLALCHEMY_DATABASE_URI": {"url": OBJECT}},
        {"SQLALCHEMY_DATABASE_URI": {"url": PARTS}},
        {"SQLALCHEMY_DATABASE_URI": PARTS},
        {"SQLALCHEMY_ENGINES": {"default": TEXT, "other": "postgresql://elsewhere/x"}},
        {"SQLALCHEMY_ENGINES": {"default": OBJECT}},
        {"SQLALCHEMY_ENGINES": {"default": {"url": PARTS, "echo": True}}},
        {"SQLALCHEMY_BINDS": {None: TEXT, "other": "postgresql://elsewhere/x"}},
    ],
    ids=repr,
)
def test_the_address_is_understood_in_every_form_that_sqlalchemys_extensions_take(config: dict[str, Any]) -> None:
    settings = load_settings({}, config)

    assert settings.problems == ()
    assert settings.database is not None
    assert set(settings.database.parameters) == {("user", "app"), ("host", "db"), ("dbname", "reef")}
    assert settings.database.password == "s3/cr@t"
    assert settings.origins["BACKUP_DATABASE_URL"].startswith("the app's SQLALCHEMY_")


def test_what_an_engine_of_its_own_adds_to_its_address_counts() -> None:
    given = {"url": {**PARTS, "port": 5433, "query": {"sslmode": "require"}}, "connect_args": {"options": "-c x=y"}}

    database = load_settings({}, {"SQLALCHEMY_DATABASE_URI": given}).database

    assert database is not None
    assert [database.get(key) for key in ("port", "sslmode", "options")] == ["5433", "require", "-c x=y"]


@pytest.mark.parametrize("said", [{**PARTS, "drivername": "mysql"}, {"url": "mysql://u:s3/cr@t@db/x"}, {"echo": True}])
def test_an_address_that_cannot_be_used_is_named_by_its_setting_and_without_its_password(said: dict[str, Any]) -> None:
    (problem,) = load_settings({}, {"SQLALCHEMY_ENGINES": {"default": said}}).problems

    assert str(problem).startswith("SQLALCHEMY_ENGINES['default']: expected a")
    assert "cr@t" not in str(problem)


@pytest.mark.parametrize("scheme", ["postgis", "timescale", "pgsql", "psql", "postgresql+asyncpg", "postgis+psycopg2"])
def test_whatever_libraries_call_it_it_is_postgresql(scheme: str) -> None:
    database = load_settings({"DATABASE_URL": f"{scheme}://app@db/reef"}).database

    assert database is not None
    assert database.get("dbname") == "reef"


def project(tmp_path: Path) -> tuple[Path, Path, AppConfig]:
    root, instance = tmp_path / "shop", tmp_path / "instance"
    root.mkdir()
    instance.mkdir()
    return root, instance, AppConfig({"UPLOAD_FOLDER": "uploads"}, (root, instance))


def test_a_relative_folder_is_where_the_app_lies_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, instance, app = project(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "uploads").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)

    assert load_settings({}, app).upload_dirs == (UploadDir(root / "uploads"),)
    (instance / "uploads").mkdir()
    assert load_settings({}, app).upload_dirs == (UploadDir(instance / "uploads"),)
    assert load_settings({}, AppConfig({"BACKUP_DIR": "backups"}, app.roots)).backup_dir == root / "backups"


def test_of_two_folders_that_can_be_meant_none_is_taken(tmp_path: Path) -> None:
    root, instance, app = project(tmp_path)
    (root / "uploads").mkdir()
    (instance / "uploads").symlink_to(root / "uploads")
    assert load_settings({}, app).problems_in(Concern.UPLOADS) == ()  # one and the same
    (instance / "uploads").unlink()
    (instance / "uploads").mkdir()

    with pytest.raises(SettingsInvalid) as refused:
        load_settings({}, app).require(Concern.UPLOADS)

    assert f"both {root}/uploads and {instance}/uploads exist" in refused.value.message
    both = AppConfig({"UPLOAD_DIR": str(root / "uploads"), "UPLOAD_FOLDER": str(instance / "uploads")})
    (problem,) = load_settings({}, both).problems_in(Concern.UPLOADS)
    assert f"UPLOAD_DIR={root}/uploads and UPLOAD_FOLDER={instance}/uploads" in str(problem)
    assert load_settings({"BACKUP_UPLOAD_DIR": "/x"}, both).problems_in(Concern.UPLOADS) == ()


def test_where_nobody_knows_where_a_relative_folder_begins_an_absolute_one_is_asked_for() -> None:
    (problem,) = load_settings({}, {"UPLOAD_FOLDER": "uploads"}).problems_in(Concern.UPLOADS)

    assert str(problem).startswith("UPLOAD_FOLDER='uploads': expected an absolute path")


def test_several_directories_of_an_app_begin_where_it_lies(tmp_path: Path) -> None:
    root, _, app = project(tmp_path)
    (root / "media").mkdir()
    dirs = {"media": "media", "static": "/srv/static"}

    settings = load_settings({}, AppConfig({"BACKUP_UPLOAD_DIR": dirs}, app.roots))

    assert settings.upload_dirs == (UploadDir(root / "media", "media"), UploadDir(Path("/srv/static"), "static"))
    assert settings.given["BACKUP_UPLOAD_DIR"] == f"media={root / 'media'},static=/srv/static"


def refusal(environ: dict[str, str], app: AppConfig) -> SettingsInvalid:
    settings = load_settings(environ, app)
    assert settings.upload_dirs
    with pytest.raises(SettingsInvalid) as refused:
        check_uploads(settings)
    return refused.value


def test_uploads_that_are_not_there_are_sought_among_the_folders_of_the_configuration(tmp_path: Path) -> None:
    root, instance, _ = project(tmp_path)
    (root / "previews").mkdir()
    values = {
        "PREVIEW_FOLDER": root / "previews",
        "STORAGE_BACKENDS": {"default": f"fs:{instance}"},
        "LOG_DIR": "/var/log",
        "TEMPLATE_FOLDER": str(root),
        "BASE_DIR": str(tmp_path),
    }

    error = refusal({}, AppConfig(values, (root,)))

    assert "BACKUP_UPLOAD_DIR: expected the directory of the uploads; it is not set" in error.message
    assert f"PREVIEW_FOLDER={root}/previews, STORAGE_BACKENDS={instance}. " in error.hint
    assert f"BACKUP_UPLOAD_DIR={root}/previews" in error.hint
    assert "=none" not in error.hint
    assert "the app's UPLOAD_FOLDER is '/gone'" in refusal({}, AppConfig({"UPLOAD_FOLDER": "/gone"})).message
    assert "=none" not in refusal({"BACKUP_UPLOAD_DIR": "/x"}, AppConfig({"UPLOAD_FOLDER": "/gone"})).hint
    assert "BACKUP_UPLOAD_DIR=none" in refusal({}, AppConfig({"LOG_DIR": "/var/log"})).hint


def doctor_of(project: Path, *options: str, **variables: str) -> dict[str, Any]:
    """What `doctor` says of the settings of a Django project."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path), **variables}
    command = [sys.executable, "-c", MAIN, *options, "doctor", "--json"]
    done = subprocess.run(command, env=environment, cwd=project, capture_output=True, check=False, text=True)
    assert "s3cr3t" not in done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"error": done.stderr}
    return document


@pytest.mark.slow
def test_a_django_project_is_known_by_its_settings_and_nothing_else_of_it_is_imported(tmp_path: Path) -> None:
    if find_spec("django") is None:
        missing("Django is not installed; `scripts/bootstrap dev` installs it")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "settings.py").write_text(
        "from pathlib import Path\n"
        "print('of the project')\n"
        "BASE_DIR = Path(__file__).resolve().parent.parent\n"
        "INSTALLED_APPS = ['no_such_app']\n"
        "SECRET_KEY = 'x'\n"
        "MEDIA_ROOT = 'media'\n"
        "BACKUP_DIR = BASE_DIR / 'archives'\n"
        "DATABASES = {'default': {'ENGINE': 'django.contrib.gis.db.backends.postgis', 'NAME': 'reef', 'USER': 'app',\n"
        "    'PASSWORD': 's3cr3t', 'HOST': '127.0.0.1', 'PORT': 1, 'OPTIONS': {'sslmode': 'disable', 'pool': True}}}\n"
    )

    said = doctor_of(tmp_path, "--django", DJANGO_SETTINGS_MODULE="shop.settings")

    shown = {each["name"]: (each["value"], each["origin"]) for each in said["settings"]}
    assert shown["BACKUP_DATABASE_URL"] == ('"reef" on 127.0.0.1:1', "the app's DATABASES['default']")
    assert shown["BACKUP_UPLOAD_DIR"] == (str(tmp_path / "media"), "the app's MEDIA_ROOT")
    assert shown["BACKUP_DIR"][0] == str(tmp_path / "archives")
    unset = doctor_of(tmp_path, "--django")["error"]
    assert "DJANGO_SETTINGS_MODULE: expected the project's settings module" in unset
    broken = doctor_of(tmp_path, "--django", DJANGO_SETTINGS_MODULE="shop.nowhere")["error"]
    assert "the Django settings shop.nowhere cannot be loaded: ModuleNotFoundError" in broken


@pytest.mark.parametrize(
    ("values", "is_django"),
    [
        ({"SQLALCHEMY_DATABASE_URI": TEXT, "SQLALCHEMY_BINDS": {"stats": STATS, "files": "sqlite:///x"}}, False),
        ({"SQLALCHEMY_ENGINES": {"default": TEXT, "stats": {"url": STATS}, "files": "sqlite:///x"}}, False),
        ({"SQLALCHEMY_BINDS": {None: TEXT, "stats": {"url": STATS}, "files": {"url": "sqlite://"}}}, False),
        (
            {
                "DATABASES": {
                    "default": {"ENGINE": "django.db.backends.postgresql", "NAME": "reef"},
                    "stats": {"ENGINE": "django.db.backends.postgresql", "NAME": "stats", "HOST": "db"},
                    "files": {"ENGINE": "django.db.backends.sqlite3", "NAME": "x"},
                }
            },
            True,
        ),
    ],
)  # fmt: skip
def test_the_databases_beside_the_main_one_are_known(values: dict[str, Any], is_django: bool) -> None:
    stats, files = load_settings({}, AppConfig(values, is_django=is_django)).binds

    assert (stats.label, files.label) == ("bind:stats", "bind:files")
    assert stats.address is not None
    assert (stats.address.get("host"), stats.address.get("dbname")) == ("db", "stats")
    assert files.address is None
    assert "SQLite" in files.unusable or "sqlite" in files.unusable


def test_folders_of_the_app_that_hold_files_and_no_archive_has_are_found(tmp_path: Path) -> None:
    def filled(name: str) -> Path:
        place = tmp_path / name / "deep"
        place.mkdir(parents=True)
        (place / "file").write_text("x")
        return tmp_path / name

    uploads, instance = filled("uploads"), filled("instance")
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    (tmp_path / "key.pem").write_text("x")
    (tmp_path / "to-exports").symlink_to(filled("exports"))
    values = {
        "UPLOAD_FOLDER": str(uploads),
        "AVATAR_FOLDER": str(uploads / "deep"),  # it is in the archive
        "REPORT_DIR": "reports",  # relative, and not there
        "EXPORT_FOLDER": str(tmp_path / "to-exports"),
        "STORAGE_BACKENDS": {"one": {"base": str(filled("store"))}},
        "EMPTY_DIR": str(tmp_path / "empty"),
        "LOG_DIR": str(filled("logs")),
        "JWT_PRIVATE_KEY_PATH": "key.pem",
        "SECRET_KEY": "key.pem",
        "FONT_DIR": str(filled("fonts")),
        "HELP_DIR": str(filled("help")),
    }
    app = AppConfig(values, (tmp_path / "app", tmp_path), instance=instance)
    settings = load_settings({"BACKUP_IGNORE": f"FONT_DIR, {tmp_path}/help", "BACKUP_DIR": str(tmp_path / "b")}, app)

    found = find_missing_folders(settings)

    assert dict(found) == {
        "EXPORT_FOLDER": tmp_path / "to-exports",
        "STORAGE_BACKENDS": tmp_path / "store",
        "JWT_PRIVATE_KEY_PATH": tmp_path / "key.pem",
        "instance_path": instance,
    }
    assert describe_folders(found).startswith(
        "the app's configuration names 4 places with files that are in no archive"
    )


def test_a_folder_of_the_app_that_cannot_be_read_or_never_ends_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "fifo")
    values = {"LOOP_DIR": str(tmp_path / "loop"), "PIPE_DIR": str(tmp_path / "pipe"), "LONG_DIR": "/x" * 5000}

    assert find_missing_folders(load_settings({}, AppConfig(values))) == []


def test_without_the_app_nothing_is_pruned_by_defaults_that_it_may_have_changed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = cannot_load("the app", RuntimeError("no sea"))
    monkeypatch.setattr(sys, "argv", ["flask", "safeharbor", "restore", "--database-url", SECRET])

    find_fallback(failure, {"BACKUP_DIR": str(settings.backup_dir), "BACKUP_RETENTION_WEEKLY": "4"}, {})

    assert failure.fallback is not None
    with pytest.raises(SettingsInvalid, match="the app's retention settings"):
        prune_archives(failure.fallback)
    failure.fallback.require(Concern.DIRECTORY)
    assert "s3cr3t" not in failure.hint
    (misspelt,) = load_settings({}, {"BACKUP_RETENTION_MONTHS": 12}).problems_in(Concern.RETENTION)
    assert "did you mean BACKUP_RETENTION_MONTHLY?" in str(misspelt)


@pytest.mark.parametrize("said", ["from string 'postgres//u:s3cr3t@h/d'", SECRET, "dbname=x password='s3cr3t s3cr3t'"])
def test_what_an_app_says_of_its_failure_is_told_without_passwords(said: str) -> None:
    problem = cannot_load("the app", ValueError(f"{said} is odd")).problems[0]

    assert "s3cr3t" not in problem
    assert "is odd" in problem
