"""The database that a restore or a drill builds: made empty beside the live one, as that is or as the archive says."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from psycopg import sql

from safeharbor_backup.actions.restore.loader import Loader
from safeharbor_backup.actions.restore.recorded_database import database_in_manifest, properties_in_manifest
from safeharbor_backup.postgres.connection import connected
from safeharbor_backup.postgres.create_drop import create_beside, drop_database
from safeharbor_backup.postgres.properties import Properties, read_properties, replay_properties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from safeharbor_backup.actions.restore.database_plan import DatabasePlan
    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.postgres.target import Target, TargetDatabase


@dataclass(frozen=True, slots=True)
class StagedDatabase:
    """The database `name`, made like `like`; it gets its `properties` when `loader` has filled it.

    `archive` is that of this database alone.
    """

    target: Target
    name: str
    like: TargetDatabase
    properties: Properties
    loader: Loader
    archive: OpenArchive

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection]:
        """A session in it as the role that owns what is in it. Raises DatabaseUnavailable, psycopg.Error."""
        with connected(self.loader.url) as session:
            if self.loader.role:
                session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self.loader.role)))
            yield session

    def make_anew(self) -> None:
        """Empty it again; it keeps the comment that it has. Raises CannotRestore, DatabaseUnavailable."""
        mark = replace(self.properties.while_loading, comment=read_properties(self.target, self.name).comment)
        drop_database(self.target, self.name)
        create_beside(self.target, self.name, self.like)
        replay_properties(self.target, self.name, mark)

    def complete(self) -> list[str]:
        """Give it what would have hindered the load; warnings of what the server refuses. Raises psycopg.Error."""
        refused = replay_properties(self.target, self.name, self.properties)
        return [f"not carried over to the new database: {what}" for what in refused]


def create_staged(
    plan: DatabasePlan,
    name: str,
    archive: OpenArchive,
    *,
    like: TargetDatabase | None = None,
    adapt: Callable[[Properties], Properties] = lambda properties: properties,
) -> StagedDatabase:
    """Create it, empty, as the live one is, or the archive says, or as `like`.

    `adapt` says which of that database's properties it gets. If this fails: it is dropped by the caller, and nothing
    live has changed.
    """
    target = plan.target
    like = like or plan.live or database_in_manifest(target, archive.manifest)
    create_beside(target, name, like)
    is_of_another = not target.is_superuser and plan.live is not None and plan.live.owner != target.role
    role = plan.live.owner if is_of_another and plan.live is not None else ""
    properties = adapt(_properties_of(plan, archive))
    replay_properties(target, name, properties.while_loading)
    url = target.url.with_database(name).with_options(properties.placeholders)
    loader = Loader(archive.dump, plan, url, target.is_superuser, role)
    return StagedDatabase(target, name, like, properties, loader, archive)


def _properties_of(plan: DatabasePlan, archive: OpenArchive) -> Properties:
    """Those of the live database, or of the one that the archive is of."""
    if plan.live is not None:
        return read_properties(plan.target, plan.live.name)
    return properties_in_manifest(archive.manifest)
