"""A file of settings, secrets in files of their own, and what is said of settings that have no effect."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from safeharbor_backup.cli.env_file import env_line, load_env_file, read_env_file
from safeharbor_backup.errors import SettingsInvalid
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.table import SETTINGS
from support.commands import run_inside

if TYPE_CHECKING:
    from safeharbor_backup.settings.model import Settings

ROOT = Path(__file__).parents[2]
URL = "postgresql://app:s3cr3t@db/reef"
ADDRESSES = [each.name for each in SETTINGS if each.name.endswith("DATABASE_URL")]


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_the_file_is_read_as_compose_reads_its_env(tmp_path: Path) -> None:
    path = written(
        tmp_path / "backup.env",
        "# a comment\nexport A=plain # another\nB='${HOME} $x'\nC=\"two\\nlines\"\nD=pa#ss\nE=\nF\n"
        "L=#1\nM=a=#b\nN=it's\"#1\n"
        "G=${A}-$OUTSIDE-${NOT_SET:-instead}-$$5\nH = # nothing\nI=\"a \\$b\" # quoted\n J='two\nlines'\r\nK=b\\c",
    )

    assert read_env_file(path, {"OUTSIDE": "out"}) == {
        "A": "plain", "B": "${HOME} $x", "C": "two\nlines", "D": "pa#ss", "E": "", "G": "plain-out-instead-$5",
        "H": "", "I": "a $b", "J": "two\nlines", "K": "b\\c", "L": "#1", "M": "a=#b", "N": "it's\"#1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('A=1\nB="s3cr3t\n', "line 2: expected NAME=value"),
        ("A=s3cr3t$unset\n", "line 1: A has a $ that names no variable"),
        ("A='s3cr3t'b\n", "line 1: expected NAME=value"),
        ("A B=s3cr3t", "line 1: expected NAME=value"),
        ("A=s3cr3t$\n", "line 1: A has a $ that names no variable"),
        ("A=1\nB=s3cr3t\0\n", "line 2: expected NAME=value, as in Compose's .env; it has a NUL"),
    ],
)
def test_what_it_cannot_mean_is_named_by_its_line_and_shown_to_nobody(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path / "backup.env", text)

    with pytest.raises(SettingsInvalid) as refused:
        read_env_file(path, {})

    assert f"{path}, {said}" in refused.value.message
    assert "s3cr3t" not in refused.value.message + refused.value.hint


def test_the_environment_goes_before_the_file_and_an_empty_variable_is_an_unset_one(tmp_path: Path) -> None:
    path = written(tmp_path / "backup.env", f"BACKUP_DATABASE_URL={URL}\nBACKUP_DIR=/a\nBACKUP_SCHEDULE=@daily\n")
    environ = {"BACKUP_DIR": "/b", "BACKUP_SCHEDULE": "", "SAFEHARBOR_ENV_FILE": path}

    origins = load_env_file(None, environ, has_app=True)

    settings = load_settings(environ, None, origins)
    assert (settings.backup_dir, settings.schedule) == (Path("/b"), "0 0 0 * * *")
    assert settings.origins["BACKUP_DATABASE_URL"] == f"the file {path}"
    assert settings.origins["BACKUP_DIR"] == "the environment"
    other = written(tmp_path / "other.env", "BACKUP_DIR=/c\n")
    assert load_env_file(other, {"SAFEHARBOR_ENV_FILE": path}, has_app=False) == {"BACKUP_DIR": f"the file {other}"}


def test_without_an_app_a_users_own_file_is_found(tmp_path: Path) -> None:
    own = tmp_path / ".config" / "safeharbor" / "backup.env"
    own.parent.mkdir(parents=True)
    values = ["plain", "it's", "a 'b' \"$c\" \\d `e`", "two\nlines", 'only "$HOME"', "'"]
    own.write_text("".join(env_line(f"BACKUP_{number}", value) for number, value in enumerate(values)))
    found = {"HOME": str(tmp_path)}

    origins = load_env_file(None, found, has_app=False)

    assert [found[f"BACKUP_{number}"] for number in range(len(values))] == values
    assert set(origins.values()) == {f"the file {own}"}
    assert load_env_file(None, {"HOME": str(tmp_path)}, has_app=True) == {}


def test_every_command_takes_the_file(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("BACKUP_", "SAFEHARBOR_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BACKUP_DIR", "")  # and what the command puts there is taken back
    path = written(tmp_path / "backup.env", f"BACKUP_DIR={settings.backup_dir}\n")

    assert f"There is no archive in {settings.backup_dir}." in run_inside("--env-file", path, "list").stdout
    missing = run_inside("--env-file", "/no/such/file", "list")
    assert missing.exit_code == 2
    assert "/no/such/file: expected a file of settings that can be read; No such file" in missing.stderr
    monkeypatch.setenv("SAFEHARBOR_ENV_FILE", path)
    empty = run_inside("--env-file", "", "list")  # what "$FILE" is where nobody has set it
    assert (empty.exit_code, empty.stdout) == (2, "")
    assert "--env-file: expected a file of settings; its name is empty" in empty.stderr


@pytest.mark.parametrize("name", [*ADDRESSES, "DATABASE_URL"])
def test_an_address_may_be_in_a_file_of_its_own(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "secret", f"{URL}\n")
    others = {"DATABASE_URL": URL} if name not in ("BACKUP_DATABASE_URL", "DATABASE_URL") else {}

    settings = load_settings({f"{name}_FILE": path, **others})

    field = next((each.field for each in SETTINGS if each.name == name), "database")
    assert getattr(settings, field).password == "s3cr3t"
    assert settings.problems == ()
    assert settings.unknown == ()


@pytest.mark.parametrize("kind", ["missing", "empty", "directory", "pipe", "both"])
def test_a_file_that_cannot_be_the_secret_stops_the_run_and_nothing_takes_its_place(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    environ = {"BACKUP_DATABASE_URL_FILE": str(path), "DATABASE_URL": "postgresql://wrong@db/other"}
    if kind == "empty":
        path.write_text("\n")
    elif kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "both":
        path.write_text(URL)
        environ["BACKUP_DATABASE_URL"] = URL

    settings = load_settings(environ, {"SQLALCHEMY_DATABASE_URI": "postgresql://wrong@db/third"})

    assert settings.database is None
    (problem,) = settings.problems_in(Concern.DATABASE)
    assert "BACKUP_DATABASE_URL_FILE" in str(problem)
    assert "s3cr3t" not in str(problem)


def test_a_misspelt_setting_is_a_warning_of_every_command(
    configured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_EXCLUDES", "x")
    monkeypatch.setenv("BACKUP_OF_ANOTHER_PROGRAM", "x")
    monkeypatch.setenv("RESTORE_DATABASE_URI", "x")

    for command in (["list"], ["verify", "--latest"], ["prune", "--dry-run"], ["status"]):
        done = run_inside(*command)
        assert (
            "Warning: BACKUP_EXCLUDES is not a setting and has no effect; did you mean BACKUP_EXCLUDE?" in done.stderr
        )
        assert (
            "RESTORE_DATABASE_URI is not a setting and has no effect; did you mean RESTORE_DATABASE_URL" in done.stderr
        )
        assert "ANOTHER" not in done.stderr


@pytest.mark.parametrize(
    ("environ", "ignored"),
    [({"TZ": "Asia/Tokyo"}, "Asia/Tokyo"), ({"TZ": "UTC"}, ""), ({"TZ": "Asia/Tokyo", "BACKUP_TIMEZONE": "UTC"}, "")],
)
def test_a_zone_that_does_not_count_is_known(environ: dict[str, str], ignored: str) -> None:
    assert load_settings(environ).ignored_zone == ignored


def test_composes_secrets_take_the_place_of_the_variables() -> None:
    stack = yaml.safe_load((ROOT / "compose.yaml").read_text())
    secrets = yaml.safe_load((ROOT / "deploy" / "docker" / "secrets.yaml").read_text())

    assert set(secrets["services"]) <= set(stack["services"])
    for name, service in secrets["services"].items():
        variables = service["environment"]
        for variable, value in variables.items():
            base = variable.removesuffix("_FILE")
            assert (value == "") is (variable == base)
            assert variables[f"{base}_FILE"].removeprefix("/run/secrets/") in service["secrets"]
            assert base in stack["services"][name]["environment"]
        assert set(service["secrets"]) <= set(secrets["secrets"])
