"""Settings: read once, from any mapping, with every problem named at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from click import ClickException

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask import Flask

DEFAULT_UPLOAD_LIMIT_MB = 64
DEVELOPMENT_KEY = "only for development"


class SettingsError(ClickException):
    """The environment does not describe an app that can run.

    A ClickException, so that `flask` prints the message alone and not a traceback.
    """

    exit_code = 2


def read_settings(environment: Mapping[str, str], overrides: Mapping[str, Any], app: Flask) -> dict[str, Any]:
    """Flask's configuration. An empty variable is an unset one: Compose passes empties."""
    given = {name: value.strip() for name, value in environment.items() if value.strip()}
    problems: list[str] = []
    for name in ("DATABASE_URL", "SECRET_KEY"):  # as Compose's secrets are given
        if name not in given and (file := given.get(f"{name}_FILE")):
            try:
                given[name] = Path(file).read_text().strip()
            except OSError as error:
                problems.append(f"{name}_FILE is {file!r}: {error.strerror}")

    database = given.get("DATABASE_URL")
    if database is None and "SQLALCHEMY_DATABASE_URI" not in overrides:
        problems.append("DATABASE_URL is not set; expected postgresql://user:password@host/database")
    elif database is not None:
        database = with_psycopg_driver(database)
        if database is None:
            problems.append("DATABASE_URL is not a postgres:// or postgresql:// URL")

    secret = given.get("SECRET_KEY")
    if secret is None and (app.debug or app.testing):
        secret = DEVELOPMENT_KEY
    if secret is None and "SECRET_KEY" not in overrides:
        problems.append(
            "SECRET_KEY is not set; expected a long random text, as printed by"
            " `python3 -c 'import secrets; print(secrets.token_hex(32))'`"
        )

    limit = given.get("UPLOAD_LIMIT_MB", str(DEFAULT_UPLOAD_LIMIT_MB))
    if not (limit.isascii() and limit.isdigit() and int(limit) > 0):
        problems.append(f"UPLOAD_LIMIT_MB is {limit!r}; expected a whole number of megabytes above zero")
        limit = str(DEFAULT_UPLOAD_LIMIT_MB)

    if problems:
        raise SettingsError("The logbook cannot start: " + " | ".join(problems))

    uploads = Path(given.get("UPLOAD_DIR") or Path(app.instance_path).parent / "uploads")
    return {
        "SQLALCHEMY_DATABASE_URI": database,
        # A restore ends every session of the old database; the ping replaces such connections.
        "SQLALCHEMY_ENGINE_OPTIONS": {"pool_pre_ping": True, "connect_args": {"connect_timeout": 5}},
        "SECRET_KEY": secret,
        "ADMIN_PASSWORD": given.get("ADMIN_PASSWORD"),
        "UPLOAD_DIR": str(uploads.absolute()),
        "MAX_CONTENT_LENGTH": int(limit) * 1024 * 1024,
        "SESSION_COOKIE_NAME": "logbook",
        "SESSION_COOKIE_SAMESITE": "Lax",
        **overrides,
    }


def with_psycopg_driver(url: str) -> str | None:
    """The same URL for SQLAlchemy with psycopg 3, or None if it is not PostgreSQL's."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgres", "postgresql", "postgresql+psycopg"}:
        return None
    return f"postgresql+psycopg://{rest}"
