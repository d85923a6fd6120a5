"""A harbour logbook: who came in, where they berthed, and what it looked like."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask
from flask_migrate import Migrate  # type: ignore[import-untyped]

from logbook import guard, seed, views
from logbook.admin import admin, admin_or_login
from logbook.models import db
from logbook.settings import read_settings
from safeharbor_backup.web import backups_page

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["create_app"]

migrate = Migrate(db=db, directory=Path(__file__).parent / "migrations")


def create_app(overrides: Mapping[str, Any] | None = None) -> Flask:
    """The application, configured from the environment and then from `overrides` (tests use those).

    Raises SettingsError if a needed variable is missing or has a value that cannot work.
    """
    app = Flask(__name__)
    given = dict(overrides or {})
    app.testing = bool(given.get("TESTING"))
    app.config.update(read_settings(os.environ, given, app))

    db.init_app(app)
    migrate.init_app(app)
    guard.protect(app)
    app.register_blueprint(views.pages)
    app.register_blueprint(admin)
    # the sidecar's healthcheck renews the state each minute
    backups = backups_page(access=admin_or_login, unknown_after=timedelta(minutes=10))
    app.register_blueprint(backups, url_prefix="/admin/backups")
    app.cli.add_command(seed.seed_command)
    return app
