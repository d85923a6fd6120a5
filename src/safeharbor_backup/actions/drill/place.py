"""Where a drill builds its copy of the database: the server and the plan for it, and the removal at the end."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.actions.drill.server import (
    DrillServer,
    Kind,
    create_roles_and_tablespaces,
    drill_server,
    find_live,
    private_drill_server,
)
from safeharbor_backup.actions.restore.database_plan import choose_entries, read_dump
from safeharbor_backup.actions.restore.findings import Findings
from safeharbor_backup.actions.restore.other_database_checks import require_same_server, why_not_configured
from safeharbor_backup.actions.restore.staged_database import create_staged
from safeharbor_backup.actions.scratch_cleanup import remove_left_databases
from safeharbor_backup.errors import CannotRestore, SafeHarborError, one_line
from safeharbor_backup.postgres.addresses import is_database_named
from safeharbor_backup.postgres.create_drop import drop_database
from safeharbor_backup.postgres.entry_selection import without_subscriptions
from safeharbor_backup.postgres.scratch_database import hold_scratch
from safeharbor_backup.postgres.sessions import end_backend
from safeharbor_backup.postgres.target import target_connected
from safeharbor_backup.system.signals import signals_held
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import ExitStack

    from safeharbor_backup.actions.drill.report import Report
    from safeharbor_backup.actions.restore.database_plan import DatabasePlan
    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.actions.restore.staged_database import StagedDatabase
    from safeharbor_backup.postgres.contents import Needs
    from safeharbor_backup.postgres.properties import Properties
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings


@dataclass(frozen=True, slots=True)
class PlannedCopy:
    """A database of the archive, seen as an archive of that alone, and where and how its copy is made."""

    archive: OpenArchive
    server: DrillServer
    plan: DatabasePlan


def find_server(
    stack: ExitStack, settings: Settings, databases: Sequence[OpenArchive], report: Report, progress: Progress
) -> list[PlannedCopy]:
    """Where these databases of an archive, the main one first, can be restored, and how.

    It is a private server if the restore's own needs another role.

    Raises CannotRestore, as the restore would, if neither will do.
    """
    manifest = databases[0].manifest
    _warn_of_unknown(settings, databases[1:], report)
    server = stack.enter_context(drill_server(settings, manifest, progress))
    remove_left_databases(server.target, progress.note)
    try:
        return plan_copies(server, databases, report)
    except CannotRestore as refusal:
        private = private_drill_server(settings, manifest)
        if server.kind is not Kind.OWN or private is None:
            raise
        progress.note(f"{refusal.message} The drill uses a private server")
        try:
            other = stack.enter_context(private)
            plans = plan_copies(other, databases, report)
        except CannotRestore:
            raise refusal from None
        report.warnings.append(f"it would not restore on the server itself: {refusal.message}")
        return plans


def _warn_of_unknown(settings: Settings, databases: Sequence[OpenArchive], report: Report) -> None:
    """A copy needs no address, and a restore does. Where not even the main database is named, none is expected."""
    refusal = why_not_configured(settings, databases) if is_database_named(settings) else None
    if refusal is not None:
        status = int(refusal.exit_status)
        report.warnings.append(one_line(f"a restore would end with {status}: {refusal.message} {refusal.hint}"))


def plan_copies(server: DrillServer, databases: Sequence[OpenArchive], report: Report) -> list[PlannedCopy]:
    """How copies of these are made there. Raises what a restore there would meet."""
    servers = [(each, server if not each.name else _beside(server, each, report)) for each in databases]
    return [PlannedCopy(each, beside, plan_copy(beside, each, report)) for each, beside in servers]


def _beside(server: DrillServer, archive: OpenArchive, report: Report) -> DrillServer:
    """The same server for a database beside the main one, whose live one is known by the settings.

    The scratch database's name has no part of the name in the archive, which may be anything.
    """
    extra = server.settings.extra_database(archive.name)
    target = server.target.beside(archive.name)
    if server.kind is Kind.OWN and extra is not None and extra.address is not None:
        target = server.target.beside(extra.database or archive.name)
        try:
            require_same_server(server.target, extra, server.settings)
            return replace(server, target=target, live=find_live(target))
        except CannotRestore as refusal:
            report.warnings.append(f"{archive.name}: on the servers as they are it would not restore: {refusal}")
    return replace(server, target=target, live=None)


def plan_copy(server: DrillServer, archive: OpenArchive, report: Report) -> DatabasePlan:
    """How a copy of its database is made there. Raises what a restore there would meet."""
    which = f"{archive.name}: " if archive.name else ""
    findings = Findings()
    contents, needs = read_dump(server.target, archive, server.settings.pg_bin, findings)
    if server.kind is Kind.PRIVATE:
        create_roles_and_tablespaces(server.target, needs)
    if server.kind is Kind.COPY:
        _own_all_for_want_of_roles(server.target, needs, findings)
    bound = contents.bound_extensions
    findings.warnings += [f"left out: extension {name}, which can be in one database only" for name in bound]
    plan = choose_entries(server.target, contents, needs, server.live, findings, without=bound, accepts_open=True)
    findings.require_none()
    entries = without_subscriptions(plan.entries, plan.contents.toc)
    if len(entries) < len(plan.entries):
        findings.warnings.append("left out: subscriptions, which lead to another server")
    report.warnings += [f"{which}{each}" for each in findings.warnings]
    if not archive.name:
        report.describe_plan(plan)
        if archive.front is None:
            report.warnings.append("it was written by another implementation and carries no checksums to compare")
        report.warnings += archive.warnings
    return replace(plan, entries=tuple(entries))


def _own_all_for_want_of_roles(target: Target, needs: Needs, findings: Findings) -> None:
    """A laptop has no roles of the production's: a superuser then loads as any other role does, and owns all itself."""
    missing = target.missing_roles(needs.owners)
    if target.is_superuser and missing:
        target.is_superuser = False
        which = ascii_safe(", ".join(missing))
        findings.facts.append(f"the server has no role {which}: everything belongs to {target.role}")


def create_copy(
    server: DrillServer, archive: OpenArchive, plan: DatabasePlan, name: str, warn: Callable[[str], None]
) -> StagedDatabase:
    """The scratch database, empty. Raises CannotRestore."""
    try:
        return create_staged(plan, name, archive, adapt=_settings_only)
    except CannotRestore as error:
        if server.kind not in (Kind.PRIVATE, Kind.COPY) or plan.live is not None:
            raise
        # this machine may lack the locale of the database's own
        like = replace(server.target.template(), owner="", tablespace="pg_default")
        copy = create_staged(plan, name, archive, like=like, adapt=_settings_only)
        warn(f"it was restored with another locale: {error.message}")
        return copy


def _settings_only(properties: Properties) -> Properties:
    """The copy is nobody else's, bears our comment, and lives for minutes."""
    return replace(properties, grants=None, comment=None, connection_limit=-1, is_template=False)


@contextmanager
def dropped_at_the_end(target: Target, name: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Whatever is created under this name in the block is gone after it, or told."""
    hold_scratch(target, name)
    try:
        yield
    finally:
        with signals_held():
            _drop(target, name, warn)


def _drop(target: Target, name: str, warn: Callable[[str], None]) -> None:
    try:
        drop_database(target, name)
    except (SafeHarborError, psycopg.Error):
        try:  # the session may have been left in the middle of something, creating the database itself even
            with target_connected(target.url, target.name) as again:
                end_backend(again.session, target.session.info.backend_pid)
                drop_database(again, name)
        except (SafeHarborError, psycopg.Error) as error:
            warn(f'the scratch database "{name}" was not dropped: {one_line(error)}; the next drill tries again')
