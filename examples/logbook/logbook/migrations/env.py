"""How Alembic reaches the database: through the app, and only through it."""

from __future__ import annotations

from logging.config import fileConfig

from alembic import context
from flask import current_app

if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)

migrate = current_app.extensions["migrate"]


def print_migrations() -> None:
    """The migrations as SQL text (`flask db upgrade --sql`)."""
    url = migrate.db.engine.url.render_as_string(hide_password=False)
    context.configure(url=url, target_metadata=migrate.db.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def run_migrations() -> None:
    """The database at the asked revision, or unchanged: PostgreSQL's DDL is transactional."""
    with migrate.db.engine.connect() as connection:
        context.configure(connection=connection, target_metadata=migrate.db.metadata, **migrate.configure_args)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    print_migrations()
else:
    run_migrations()
