"""What an archive is made from, opened: the snapshots with the tools for them, and the archive to share blocks with."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.app_data import AppData, find_missing
from safeharbor_backup.actions.archive_space import estimate_uploads, require_space
from safeharbor_backup.actions.backup.dump_part import DumpSource
from safeharbor_backup.errors import SettingsInvalid
from safeharbor_backup.postgres.client_tools import choose_client_tools, find_client_tools, what_a_newer_client_costs
from safeharbor_backup.postgres.connection import answering, bounded, idle_session, pin_to_host
from safeharbor_backup.postgres.dump import choose_compression
from safeharbor_backup.postgres.snapshot import open_snapshot
from safeharbor_backup.settings.extra_databases import is_same_server

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg

    from safeharbor_backup.actions.backup.plan import BackupPlan
    from safeharbor_backup.actions.steps import Steps
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.postgres.client_tools import ClientTools
    from safeharbor_backup.postgres.snapshot import DatabaseProperties, Snapshot
    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.uploads.sharing import Sharing

_USUAL_DUMP_PART = 5  # a compressed dump is about so small a part of its database


@dataclass(frozen=True, slots=True)
class OtherSource:
    """A database beside the main one, its name in the archive, and when its snapshot was taken.

    `until_dumped` holds the snapshot: closing it gives it back.
    """

    name: str
    snapshot_at: datetime
    dump: DumpSource
    until_dumped: ExitStack

    def dump_bytes(self, previous: Manifest | None) -> int:
        """How large its dump will be: as in the previous archive, otherwise a guess."""
        known = {each.name: each.dump_bytes for each in previous.databases} if previous is not None else {}
        return known.get(self.name, self.dump.properties.size_bytes // _USUAL_DUMP_PART)


@dataclass(frozen=True, slots=True)
class Sources:
    """All that is read, and what the app has beside it. `until_dumped` holds the snapshot: closing it gives it back."""

    dump: DumpSource
    until_dumped: ExitStack
    others: tuple[OtherSource, ...]
    sharing: Sharing
    app_data: AppData
    upload_bytes: int  # of the archive, by a walk

    @property
    def dump_bytes(self) -> int:
        """A guess where there is no earlier dump to estimate from."""
        return self.dump.properties.size_bytes // _USUAL_DUMP_PART


def open_sources(
    plan: BackupPlan,
    session: psycopg.Connection,
    until_dumped: ExitStack,
    until_written: ExitStack,
    sharing: Sharing,
    steps: Steps,
) -> Sources:
    """Everything that can fail before something is written. `sharing` is what would be shared if there is space.

    `until_written` holds the sessions of databases beside the main one. Raises ToolFailed, StorageUnavailable,
    DatabaseUnavailable, SettingsInvalid.
    """
    settings = plan.settings
    tools = _choose_tools(session, settings.pg_bin, steps, "")
    compression = choose_compression(settings.dump_compression, tools)
    app_data = find_missing(settings, session)
    steps.warn(*map(str, app_data.databases))
    if news := app_data.news(plan.previous):
        steps.progress.note(news)
    uploads = estimate_uploads(plan.uploads, plan.is_excluded, sharing)
    url = pin_to_host(plan.address, session)
    snapshot = until_dumped.enter_context(open_snapshot(url, settings.lock_timeout_seconds))
    dump = DumpSource(url, tools, compression, session, snapshot, _look_at(snapshot, steps, ""))
    others = [
        _open_other(each.name, bounded(each.address, settings), until_written, settings, steps)
        for each in settings.extra_databases
        if each.address is not None
    ]
    _require_different(dump, others)
    steps.warn(*_elsewhere(dump, others, settings))
    sizes = {each.name: each.dump.properties.size_bytes for each in others}
    sharing, warning = require_space(
        settings.min_free, plan.directory, dump.properties.size_bytes, plan.previous, uploads, sharing, sizes
    )
    if warning:
        steps.warn(warning)
    if others:
        steps.progress.note(
            f"{', '.join(sizes)} {'has a snapshot of its own' if len(sizes) == 1 else 'have snapshots of their own'}, "
            "taken just after that of the main database: what is written meanwhile may be in one and not in another"
        )
    return Sources(dump, until_dumped, tuple(others), sharing, app_data, uploads.whole)


def _open_other(
    name: str, address: DatabaseUrl, until_written: ExitStack, settings: Settings, steps: Steps
) -> OtherSource:
    """A database beside the main one. Errors of other databases do not end its session or its snapshot."""
    opened, until_dumped = ExitStack(), ExitStack()
    for stack in (opened, until_dumped):
        until_written.callback(stack.close)
    session = opened.enter_context(idle_session(address))
    with answering(session, address):
        tools = _choose_tools(session, settings.pg_bin, steps, f"{name}: ")
        compression = choose_compression(settings.dump_compression, tools)
        url = pin_to_host(address, session)
        snapshot = until_dumped.enter_context(open_snapshot(url, settings.lock_timeout_seconds))
        source = DumpSource(url, tools, compression, session, snapshot, _look_at(snapshot, steps, f"{name}: "))
    return OtherSource(name, datetime.now(UTC), source, until_dumped)


def _choose_tools(session: psycopg.Connection, pg_bin: tuple[Path, ...], steps: Steps, which: str) -> ClientTools:
    """The tools that dump this database; `which` begins each warning."""
    major = session.info.server_version // 10000
    tools = choose_client_tools(find_client_tools(pg_bin), major)
    if costs := what_a_newer_client_costs(tools, major):
        steps.warn(f"{which}{costs}")
    return tools


def _look_at(snapshot: Snapshot, steps: Steps, which: str) -> DatabaseProperties:
    """The database, of whose damage is warned; `which` begins each warning."""
    properties = snapshot.properties()
    steps.warn(*(f"{which}{each.text}. {each.remedy}" for each in snapshot.damage(steps.progress.note)))
    return properties


def _require_different(main: DumpSource, others: list[OtherSource]) -> None:
    """Raises SettingsInvalid if two addresses lead to one database."""
    seen = {_identity(main): "BACKUP_DATABASE_URL"}
    for each in others:
        before = seen.setdefault(_identity(each.dump), each.name)
        if before != each.name:
            raise SettingsInvalid([f"BACKUP_EXTRA_DATABASES: expected other databases; {each.name} is {before}'s"])


def _elsewhere(main: DumpSource, others: list[OtherSource], settings: Settings) -> list[str]:
    """That a restore will refuse the archive, since one of its databases is on another server than the main one."""
    (server, _), addresses = _identity(main), {each.name: each.address for each in settings.extra_databases}
    mains = [each for each in (settings.database, settings.restore_database) if each is not None]
    found = []
    for each in others:
        address = addresses[each.name]
        is_near = address is None or any(is_same_server(address, one) for one in mains)
        if not is_near and _identity(each.dump)[0] != server and each.name not in settings.ignore:
            found.append(
                f"{each.name}: a restore would end with 8: it is on another server than the main database, and "
                f"databases are exchanged in one transaction. Give it an installation of its own; "
                f"BACKUP_IGNORE={each.name} silences this"
            )
    return found


def _identity(source: DumpSource) -> tuple[str, str]:
    """Which cluster and database; where the server does not tell its number, its address stands for that."""
    info, properties = source.session.info, source.properties
    return properties.system_identifier or f"{info.hostaddr or info.host}:{info.port}", properties.name
