from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from safeharbor_backup.errors import SettingsInvalid
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.model import Concern, Settings
from safeharbor_backup.settings.parsing import parse_duration
from safeharbor_backup.settings.table import SETTINGS
from safeharbor_backup.settings.upload_dirs import UploadDir, find_overlap, parse_dirs
from support.settings import settings_of

URL = "postgresql://app:s3cr3t@db/reef"


class SqlalchemyUrl:
    """As `sqlalchemy.URL` does, it hides its password from str()."""

    def __str__(self) -> str:
        return "postgresql://app:***@db/reef"

    def render_as_string(self, *, hide_password: bool) -> str:
        return str(self) if hide_password else URL


def test_with_nothing_set_everything_has_its_documented_default() -> None:
    settings = load_settings({})

    assert settings.backup_dir == Path("/backups")
    assert settings.upload_dirs == (UploadDir(Path("/data/uploads")),)
    assert settings.schedule == "0 0 3 * * *"
    assert settings.verify_schedule == "0 0 5 * * 0"
    assert settings.drill_schedule == "0 0 6 * * 0"
    assert settings.timezone == "UTC"
    assert settings.status_file is None
    assert (settings.retention_daily, settings.retention_weekly) == (7, 4)
    assert settings.dump_compression == "auto"
    assert settings.max_age_seconds == 26 * 3600
    assert settings.secret_key is None
    assert [problem.variable for problem in settings.problems] == ["BACKUP_DATABASE_URL"]


def test_an_empty_variable_is_an_unset_one() -> None:
    empties = dict.fromkeys((each.name for each in SETTINGS), "")

    assert load_settings({**empties, "DATABASE_URL": "", "UPLOAD_DIR": "  "}) == load_settings({})


@pytest.mark.parametrize(
    ("environ", "config", "password"),
    [
        ({"BACKUP_DATABASE_URL": URL}, {}, "s3cr3t"),
        ({"DATABASE_URL": URL}, {}, "s3cr3t"),
        ({}, {"SQLALCHEMY_DATABASE_URI": URL}, "s3cr3t"),
        ({}, {"SQLALCHEMY_DATABASE_URI": SqlalchemyUrl()}, "s3cr3t"),
        ({"DATABASE_URL": "postgresql://x:other@db/y"}, {"SQLALCHEMY_DATABASE_URI": URL}, "s3cr3t"),
        ({"BACKUP_DATABASE_URL": URL}, {"SQLALCHEMY_DATABASE_URI": "postgresql://x:other@db/y"}, "s3cr3t"),
        ({"BACKUP_DATABASE_URL": "", "DATABASE_URL": URL}, {"SQLALCHEMY_DATABASE_URI": None}, "s3cr3t"),
        ({"BACKUP_DATABASE_URL": URL, "DATABASE_URL": "postgresql://x:other@db/y"}, {}, "s3cr3t"),
    ],
)
def test_the_database_comes_from_the_first_place_that_names_one(
    environ: dict[str, str], config: dict[str, object], password: str
) -> None:
    settings = load_settings(environ, config)

    assert settings.problems == ()
    assert settings.database is not None
    assert (settings.database.get("dbname"), settings.database.password) == ("reef", password)


def test_what_the_app_adds_when_it_connects_is_taken_over() -> None:
    config = {
        "SQLALCHEMY_DATABASE_URI": URL,
        "SQLALCHEMY_ENGINE_OPTIONS": {"connect_args": {"sslmode": "verify-full"}, "pool_size": 5},
    }

    database = load_settings({}, config).database

    assert database is not None
    assert database.get("sslmode") == "verify-full"
    direct = load_settings({"BACKUP_DATABASE_URL": URL}, config).database
    assert direct is not None
    assert direct.get("sslmode") == ""


@pytest.mark.parametrize(
    ("environ", "config", "expected"),
    [
        ({"BACKUP_UPLOAD_DIR": "/a"}, {"UPLOAD_DIR": "/b"}, Path("/a")),
        ({}, {"UPLOAD_DIR": "/b", "UPLOAD_FOLDER": "/c"}, Path("/b")),
        ({}, {"UPLOAD_FOLDER": "/c"}, Path("/c")),
        ({}, {"UPLOAD_FOLDER": Path("/c")}, Path("/c")),
        ({"UPLOAD_DIR": "/d"}, {}, Path("/d")),
        ({"UPLOAD_DIR": "/d"}, {"UPLOAD_FOLDER": "/c"}, Path("/c")),
        ({}, {}, Path("/data/uploads")),
        ({"BACKUP_UPLOAD_DIR": "none"}, {"UPLOAD_DIR": "/b"}, None),
        ({"BACKUP_UPLOAD_DIR": "NONE"}, {}, None),
        ({"BACKUP_UPLOAD_DIR": "relative"}, {}, Path.cwd() / "relative"),
    ],
)
def test_the_uploads_come_from_the_first_place_that_names_them(
    environ: dict[str, str], config: dict[str, object], expected: Path | None
) -> None:
    assert [each.path for each in load_settings(environ, config).upload_dirs] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("name", "value", "concern"),
    [
        ("BACKUP_RETENTION_DAILY", "-1", Concern.RETENTION),
        ("BACKUP_RETENTION_DAILY", "seven", Concern.RETENTION),
        ("BACKUP_RETENTION_DAILY", "7.5", Concern.RETENTION),
        ("BACKUP_RETENTION_DAILY", "\u0667", Concern.RETENTION),
        ("BACKUP_RETENTION_WEEKLY", "1e3", Concern.RETENTION),
        ("BACKUP_RETENTION_WEEKLY", "9999999", Concern.RETENTION),
        ("BACKUP_RETENTION_WEEKLY", "0x4", Concern.RETENTION),
        ("BACKUP_SCHEDULE", "0 3 * * *", Concern.SCHEDULE),
        ("BACKUP_SCHEDULE", "nightly", Concern.SCHEDULE),
        ("BACKUP_VERIFY_SCHEDULE", "0 5 * * 0", Concern.SCHEDULE),
        ("BACKUP_VERIFY_SCHEDULE", "never", Concern.SCHEDULE),
        ("BACKUP_DRILL_SCHEDULE", "0 6 * * 0", Concern.SCHEDULE),
        ("BACKUP_TIMEZONE", "Mars/Phobos", Concern.SCHEDULE),
        ("BACKUP_TIMEZONE", "../UTC", Concern.SCHEDULE),
        ("BACKUP_STATUS_FILE", "/state/status", Concern.MONITORING),
        ("BACKUP_STATUS_FILE", "/backups/.safeharbor-restore.json", Concern.MONITORING),
        ("BACKUP_DUMP_COMPRESSION", "brotli", Concern.DUMP),
        ("BACKUP_DUMP_COMPRESSION", "zstd:3 --file=/etc/passwd", Concern.DUMP),
        ("BACKUP_MAX_AGE", "yesterday", Concern.MONITORING),
        ("BACKUP_MAX_AGE", "0", Concern.MONITORING),
        ("BACKUP_MAX_AGE", "-5h", Concern.MONITORING),
        ("BACKUP_CONNECT_TIMEOUT", "soon", Concern.DATABASE),
        ("BACKUP_LOCK_TIMEOUT", "0s", Concern.DATABASE),
        ("BACKUP_NETWORK_TIMEOUT", "x", Concern.DATABASE),
        ("BACKUP_DIR", "~nobody-of-that-name/backups", Concern.DIRECTORY),
        ("BACKUP_UPLOAD_DIR", "~nobody-of-that-name", Concern.UPLOADS),
        ("BACKUP_UPLOAD_DIR", "media=~nobody-of-that-name/media", Concern.UPLOADS),
        ("BACKUP_STATUS_FILE", "~nobody-of-that-name/s.json", Concern.MONITORING),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_what_was_expected(name: str, value: str, concern: Concern) -> None:
    settings = load_settings({"BACKUP_DATABASE_URL": URL, name: value})

    assert [(problem.variable, problem.concern) for problem in settings.problems] == [(name, concern)]
    with pytest.raises(SettingsInvalid) as caught:
        settings.require(concern)
    assert name in caught.value.message
    assert repr(value) in caught.value.message
    assert "expected" in caught.value.message


def test_a_backup_directory_that_cannot_be_used_is_not_taken_for_the_default_one() -> None:
    settings = load_settings({"BACKUP_DATABASE_URL": URL, "BACKUP_DIR": "~nobody-of-that-name/backups"})

    assert settings.backup_dir == Path.cwd() / "~nobody-of-that-name" / "backups"


@pytest.mark.parametrize(
    ("name", "value"), [("BACKUP_DRILL_DATABASE_URL", "mysql://app@db/reef"), ("BACKUP_DRILL_COMMAND", "check 'never")]
)
def test_what_may_hold_a_secret_is_named_without_its_value(name: str, value: str) -> None:
    settings = load_settings({"BACKUP_DATABASE_URL": URL, name: value})

    with pytest.raises(SettingsInvalid) as caught:
        settings.require(Concern.DRILL)

    assert name in caught.value.message
    assert value not in caught.value.message
    settings.require(Concern.DATABASE, Concern.SCHEDULE, Concern.RETENTION)  # a backup goes on


def test_a_command_is_taken_apart_as_a_shell_does() -> None:
    assert load_settings({"BACKUP_DRILL_COMMAND": "sh -c 'a | b'"}).drill_command == ("sh", "-c", "a | b")
    assert load_settings({}).drill_command == ()


def test_all_problems_are_told_at_once() -> None:
    settings = load_settings(
        {"BACKUP_RETENTION_DAILY": "x", "BACKUP_RETENTION_WEEKLY": "y", "BACKUP_SCHEDULE": "z", "DATABASE_URL": "q"}
    )

    with pytest.raises(SettingsInvalid) as caught:
        settings.require(Concern.DATABASE, Concern.RETENTION, Concern.SCHEDULE)

    assert len(caught.value.problems) == 4


def test_a_verb_is_not_stopped_by_a_setting_that_it_does_not_need() -> None:
    settings = load_settings({"BACKUP_DATABASE_URL": URL, "BACKUP_RETENTION_DAILY": "x"})

    settings.require(Concern.DATABASE, Concern.UPLOADS, Concern.DIRECTORY, Concern.DUMP)


@pytest.mark.parametrize(("daily", "weekly"), [("0", "0"), ("0", "00"), (" 0 ", "0")])
def test_to_keep_nothing_at_all_is_refused(daily: str, weekly: str) -> None:
    settings = load_settings({"BACKUP_RETENTION_DAILY": daily, "BACKUP_RETENTION_WEEKLY": weekly})

    assert settings.problems_in(Concern.RETENTION)


@pytest.mark.parametrize(("daily", "weekly"), [("0", "1"), ("1", "0"), ("0", ""), ("", "0"), ("999999", "999999")])
def test_to_keep_something_is_enough(daily: str, weekly: str) -> None:
    settings = load_settings({"BACKUP_RETENTION_DAILY": daily, "BACKUP_RETENTION_WEEKLY": weekly})

    assert settings.problems_in(Concern.RETENTION) == ()


@pytest.mark.parametrize(("name", "meant"), [("MONTHS", "MONTHLY"), ("YEARLEY", "YEARLY"), ("HOURS", "HOURLY")])
def test_a_retention_variable_that_does_not_exist_is_a_problem_that_names_the_right_one(name: str, meant: str) -> None:
    problems = load_settings({f"BACKUP_RETENTION_{name}": "12"}).problems_in(Concern.RETENTION)

    assert [problem.variable for problem in problems] == [f"BACKUP_RETENTION_{name}"]
    assert f"did you mean BACKUP_RETENTION_{meant}?" in problems[0].expected


def test_one_tier_is_enough_and_all_at_zero_is_a_problem() -> None:
    none = {"BACKUP_RETENTION_DAILY": "0", "BACKUP_RETENTION_WEEKLY": "0"}

    assert load_settings(none).problems_in(Concern.RETENTION)
    assert load_settings({**none, "BACKUP_RETENTION_YEARLY": "0"}).problems_in(Concern.RETENTION)
    assert not load_settings({**none, "BACKUP_RETENTION_HOURLY": "5"}).problems_in(Concern.RETENTION)


@pytest.mark.parametrize(
    "value", ["sqlite:///app.db", "mysql://app:s3cr3t@db/x", "app:s3cr3t@db/x", "host=db x=s3cr3t"]
)
def test_an_unusable_address_is_told_without_its_password(value: str) -> None:
    settings = load_settings({"DATABASE_URL": value})

    assert settings.database is None
    assert len(settings.problems) == 1
    assert "DATABASE_URL" in str(settings.problems[0])
    assert "s3cr3t" not in str(settings.problems[0]) + repr(settings)


def test_no_secret_is_in_what_is_printed_of_settings() -> None:
    settings = load_settings({"BACKUP_DATABASE_URL": URL, "SECRET_KEY": "hush-hush"})

    assert settings.secret_key == "hush-hush"
    assert "hush-hush" not in repr(settings)
    assert "s3cr3t" not in repr(settings)


def test_lists_are_separated_by_commas_or_lines_and_an_app_may_give_a_real_list() -> None:
    assert load_settings({"BACKUP_EXCLUDE": "cache/, *.tmp\n\n thumbs "}).exclude == ("cache/", "*.tmp", "thumbs")
    assert load_settings({}, {"BACKUP_EXCLUDE": ["a", "b"]}).exclude == ("a", "b")
    assert load_settings({"BACKUP_PG_BIN": "/a:/b:"}).pg_bin == (Path("/a"), Path("/b"))


def test_checks_can_be_turned_off_and_both_schedules_are_written_alike() -> None:
    assert load_settings({"BACKUP_VERIFY_SCHEDULE": "None"}).verify_schedule is None
    assert load_settings({"BACKUP_DRILL_SCHEDULE": "none"}).drill_schedule is None
    assert load_settings({"BACKUP_VERIFY_SCHEDULE": "@daily"}).verify_schedule == "0 0 0 * * *"
    assert load_settings({"BACKUP_TIMEZONE": " utc "}).timezone == "utc"


def test_a_sentinel_is_relative_to_the_backup_directory() -> None:
    assert load_settings({"BACKUP_DIR": "/b", "BACKUP_SENTINEL": ".mounted"}).sentinel == Path("/b/.mounted")
    assert load_settings({"BACKUP_DIR": "/b", "BACKUP_SENTINEL": "/m/x"}).sentinel == Path("/m/x")
    assert load_settings({}).sentinel is None


@pytest.mark.parametrize(
    "value", ["auto", "none", "0", "6", "gzip", "gzip:1", "lz4", "zstd:3", "ZSTD:19", "zstd:level=3,long"]
)
def test_any_compression_that_pg_dump_takes_is_taken(value: str) -> None:
    settings = load_settings({"BACKUP_DUMP_COMPRESSION": value})

    assert settings.dump_compression == value.lower()
    assert settings.problems_in(Concern.DUMP) == ()


def test_where_a_setting_came_from_is_known() -> None:
    settings = load_settings({"BACKUP_DIR": "/b"}, {"BACKUP_SCHEDULE": "@daily", "SQLALCHEMY_DATABASE_URI": URL})

    assert settings.origins["BACKUP_DIR"] == "the environment"
    assert settings.origins["BACKUP_SCHEDULE"] == "the app's configuration"
    assert settings.origins["BACKUP_DATABASE_URL"] == "the app's SQLALCHEMY_DATABASE_URI"


@pytest.mark.parametrize(
    ("environ", "config", "origin"),
    [
        ({"BACKUP_UPLOAD_DIR": "/u"}, {"UPLOAD_DIR": "/v"}, "the environment"),
        ({"UPLOAD_DIR": "/w"}, {"BACKUP_UPLOAD_DIR": "/u"}, "the app's configuration"),
        ({"UPLOAD_DIR": "/w"}, {"UPLOAD_DIR": "/v"}, "the app's UPLOAD_DIR"),
        ({"UPLOAD_DIR": "/w"}, {}, "UPLOAD_DIR in the environment"),
    ],
)
def test_where_the_uploads_directory_came_from_is_known(
    environ: dict[str, str], config: dict[str, object], origin: str
) -> None:
    assert load_settings(environ, config).origins["BACKUP_UPLOAD_DIR"] == origin


def test_what_looks_like_a_setting_of_ours_and_is_none_is_kept_by_name() -> None:
    settings = load_settings({"BACKUP_DIR": "/b", "BACKUP_DIRR": "/c", "OTHER": "1", "BACKUP_": ""})

    assert settings.unknown == ("BACKUP_", "BACKUP_DIRR")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45", 45),
        ("45s", 45),
        ("90m", 5400),
        ("26h", 93600),
        ("2d", 172800),
        ("1w", 604800),
        ("1d 12h", 129600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("0", 0),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "h", "-5h", "5 hours", "5x", "1h foo", "\u0665", "1,5h", "inf", "nan", "1e3", "1" * 60 + "x"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text) or "^$"):
        parse_duration(text)


def test_every_variable_of_the_table_has_its_meaning_and_appears_once() -> None:
    names = [each.name for each in SETTINGS]

    assert len(names) == len(set(names))
    assert all(variable.meaning.endswith(".") for variable in SETTINGS)


def test_settings_are_compared_by_value() -> None:
    assert load_settings({}) == load_settings({})
    assert settings_of() != settings_of(retention_daily=1)


def test_every_row_of_the_table_is_a_field_and_every_field_a_row() -> None:
    of_the_run = {"problems", "unknown", "origins", "given", "ignored_zone", "folders", "binds"}

    assert [each.name for each in fields(Settings) if each.name not in of_the_run] == [each.field for each in SETTINGS]


def test_what_is_secret_is_shown_neither_as_a_value_nor_in_a_problem() -> None:
    secret = {each.name for each in SETTINGS if each.is_secret}
    with_hint = {each.name for each in fields(Settings) if not each.repr}

    settings = load_settings(dict.fromkeys(secret, "'unusable:s3cret'\n\""))

    assert {each.field for each in SETTINGS if each.is_secret} >= with_hint
    assert "s3cret" not in "".join(str(each) for each in settings.problems)
    assert len(settings.problems) >= 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("media=/srv/media,static=/srv/app/static", {"media": "/srv/media", "static": "/srv/app/static"}),
        (" static = /srv/s , media=/srv/m,b ,", {"media": "/srv/m,b", "static": "/srv/s"}),
        ("/srv/a=b,c=d", {"": "/srv/a=b,c=d"}),
        ({"media": "/srv/media", "static": Path("/srv/s")}, {"media": "/srv/media", "static": "/srv/s"}),
    ],
)
def test_several_directories_of_uploads_have_names(text: str | dict[str, object], expected: dict[str, str]) -> None:
    environ, config = ({"BACKUP_UPLOAD_DIR": text}, {}) if isinstance(text, str) else ({}, {"BACKUP_UPLOAD_DIR": text})
    settings = load_settings(environ, config)

    assert {each.name: str(each.path) for each in settings.upload_dirs} == expected
    assert parse_dirs(settings.given["BACKUP_UPLOAD_DIR"]) == settings.upload_dirs


@pytest.mark.parametrize("text", ["media=/a,Media=/b", "me/dia=/a", "media=", "media=/a,=/b", ".x=/a"])
def test_a_name_that_cannot_be_one_is_a_problem_of_the_setting(text: str) -> None:
    (problem,) = load_settings({"BACKUP_UPLOAD_DIR": text}).problems_in(Concern.UPLOADS)

    assert "NAME=DIRECTORY" in str(problem)


def test_directories_that_are_one_or_in_each_other_are_found(tmp_path: Path) -> None:
    (tmp_path / "media" / "deep").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("media/deep")
    media, other = UploadDir(tmp_path / "media", "media"), UploadDir(tmp_path / "other", "other")

    assert find_overlap((media, other)) is None
    for path in ("media", "media/deep", "link", "media/not-yet"):
        inside = UploadDir(tmp_path / path, "x")
        assert find_overlap((other, inside, media)) == (inside, media)
