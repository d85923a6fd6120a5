"""A harbour logbook: who came in, where they berthed, and what it looked like."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask
from flask_migrate import Migrate  # type: ignore[import-untyped]

from logbook import guard, seed, views
from logbook.models import db
from logbook.settings import read_settings

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
    app.cli.add_command(seed.seed_command)
    return app
