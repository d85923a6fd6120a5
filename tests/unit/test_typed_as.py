"""What people are told to type is written as the run was started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import pytest
from flask import Flask
from flask.cli import FlaskGroup, ScriptInfo

from safeharbor_backup.cli.lazy import DJANGO, IN_FLASK, SOURCE_KEY, STANDALONE
from safeharbor_backup.cli.typed_as import describe_start
from safeharbor_backup.errors import ArchiveRejected
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.text import type_commands_as, typed


def context_of(source: str, program: str = "safeharbor", group: dict[str, str] | None = None) -> click.Context:
    root = click.Context(click.Group(program), info_name=program)
    root.meta[SOURCE_KEY] = source
    root.params.update(group or {})
    return click.Context(click.Command("backup"), parent=root, info_name="backup")


@pytest.mark.parametrize(
    ("source", "environ", "group", "expected"),
    [
        (STANDALONE, {}, {}, "safeharbor"),
        (STANDALONE, {"BACKUP_DIR": "/b"}, {"env_file": "/etc/my app.env"}, "safeharbor --env-file '/etc/my app.env'"),
        (STANDALONE, {"SAFEHARBOR_ENV_FILE": "/e"}, {}, "safeharbor --env-file /e"),
        (
            DJANGO,
            {"DJANGO_SETTINGS_MODULE": "shop.settings"},
            {},
            "DJANGO_SETTINGS_MODULE=shop.settings safeharbor --django",
        ),
        (
            IN_FLASK,
            {"BACKUP_COMMAND": "docker compose exec backups safeharbor"},
            {},
            "docker compose exec backups safeharbor",
        ),
    ],
)
def test_a_command_begins_as_this_one(
    source: str, environ: dict[str, str], group: dict[str, str], expected: str
) -> None:
    assert describe_start(context_of(source, group=group), environ, "safeharbor", load_settings(environ)) == expected


def test_inside_an_app_what_only_the_environment_has_is_typed_again_and_no_secret() -> None:
    context = context_of(IN_FLASK, "flask")
    context.obj = ScriptInfo(app_import_path="shop:make()")
    environ = {"BACKUP_DIR": "/srv/my backups", "BACKUP_DATABASE_URL": "postgresql://app:s3cr3t@db/reef"}
    settings = load_settings(environ, {"BACKUP_UPLOAD_DIR": "/u"})

    assert describe_start(context, environ, "flask", settings) == (
        "BACKUP_DIR='/srv/my backups' flask --app 'shop:make()' safeharbor"
    )
    own = context_of(IN_FLASK, "shop-cli")
    own.obj = FlaskGroup(create_app=lambda: Flask("shop")).make_context("shop-cli", ["routes"]).obj
    assert describe_start(own, {}, "shop-cli") == "shop-cli safeharbor"


def test_a_program_that_no_shell_would_find_is_typed_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "safeharbor"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    assert describe_start(context_of(STANDALONE), {}, str(program)) == str(program)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert describe_start(context_of(STANDALONE), {}, str(program)) == "safeharbor"
    module = describe_start(context_of(STANDALONE), {}, "/x/safeharbor_backup/__main__.py")
    assert module == f"{sys.executable} -m safeharbor_backup"


def test_errors_follow() -> None:
    try:
        type_commands_as("docker compose exec backups safeharbor")
        assert typed("list") == "docker compose exec backups safeharbor list"
        assert "`docker compose exec backups safeharbor list` shows" in ArchiveRejected("no").hint
    finally:
        type_commands_as("safeharbor")
