"""What an archive is made from, opened: the snapshot with the tools for it, and the archive to share blocks with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.actions.app_data import AppData, find_missing
from safeharbor_backup.actions.backup.dump_part import DumpSource
from safeharbor_backup.actions.preflight import estimate_uploads, require_space
from safeharbor_backup.postgres.client_tools import choose_client_tools, find_client_tools, what_a_newer_client_costs
from safeharbor_backup.postgres.connection import pin_to_host
from safeharbor_backup.postgres.dump import choose_compression
from safeharbor_backup.postgres.snapshot import open_snapshot

if TYPE_CHECKING:
    from contextlib import ExitStack

    import psycopg

    from safeharbor_backup.actions.backup.plan import BackupPlan
    from safeharbor_backup.actions.steps import Steps
    from safeharbor_backup.uploads.sharing import Sharing

_USUAL_DUMP_PART = 5  # a compressed dump is about so small a part of its database


@dataclass(frozen=True, slots=True)
class Sources:
    """All that is read, and what the app has beside it. `until_dumped` holds the snapshot: closing it gives it back."""

    dump: DumpSource
    until_dumped: ExitStack
    sharing: Sharing
    app_data: AppData
    upload_bytes: int  # of the archive, by a walk

    @property
    def dump_bytes(self) -> int:
        """A guess where there is no earlier dump to estimate from."""
        return self.dump.properties.size_bytes // _USUAL_DUMP_PART


def open_sources(
    plan: BackupPlan, session: psycopg.Connection, until_dumped: ExitStack, sharing: Sharing, steps: Steps
) -> Sources:
    """Everything that can fail before something is written. `sharing` is what would be shared if there is space.

    Raises ToolFailed, StorageUnavailable, DatabaseUnavailable.
    """
    settings = plan.settings
    url = pin_to_host(plan.address, session)
    major = session.info.server_version // 10000
    tools = choose_client_tools(find_client_tools(settings.pg_bin), major)
    if costs := what_a_newer_client_costs(tools, major):
        steps.warn(costs)
    compression = choose_compression(settings.dump_compression, tools)
    app_data = find_missing(settings, session)
    steps.warn(*map(str, app_data.databases))
    if news := app_data.news(plan.previous):
        steps.progress.note(news)
    uploads = estimate_uploads(plan.uploads, plan.is_excluded, sharing)
    snapshot = until_dumped.enter_context(open_snapshot(url, settings.lock_timeout_seconds))
    properties = snapshot.properties()
    steps.warn(*(f"{each.text}. {each.remedy}" for each in snapshot.damage(steps.progress.note)))
    sharing, warning = require_space(
        settings.min_free, plan.directory, properties.size_bytes, plan.previous, uploads, sharing
    )
    if warning:
        steps.warn(warning)
    dump = DumpSource(url, tools, compression, session, snapshot, properties)
    return Sources(dump, until_dumped, sharing, app_data, uploads.whole)
