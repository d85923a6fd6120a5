"""The journal's record of a restore that begins."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.postgres.side_names import new_id
from safeharbor_backup.state.restore_parts import DatabasePart, UploadsPart
from safeharbor_backup.state.restore_record import Phase, RestoreRecord
from safeharbor_backup.uploads.estimate import estimate_size

if TYPE_CHECKING:
    from safeharbor_backup.actions.restore.plan import RestorePlan
    from safeharbor_backup.actions.restore.request import RestoreRequest


def new_record(plan: RestorePlan, request: RestoreRequest) -> RestoreRecord:
    """As the plan has it; nothing is done yet. Raises psycopg.Error."""
    parts = [
        DatabasePart(each.plan.target.name, each.archive.name, had_database=each.plan.live is not None)
        for each in plan.database_parts
    ]
    target = plan.database_part.target if plan.database_part is not None else None
    live = [each.plan.live for each in plan.database_parts if each.plan.live is not None]
    return RestoreRecord(
        id=new_id(),
        started_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        archive=str(plan.archive),
        phase=Phase.STAGING,
        in_place=request.in_place and request.with_database,
        keep_previous=request.keep_previous,
        accepts_broken=request.accepts_broken,
        accepts_open=request.accepts_open,
        jobs=plan.jobs,
        server=target.system_identifier() if target is not None else "",
        database=parts[0].database if parts else "",
        had_database=not parts or parts[0].had_database,
        others=tuple(parts[1:]),
        uploads=tuple(UploadsPart(os.fspath(each.path), each.name) for each in plan.upload_dirs),
        kept_database_bytes=0 if request.in_place else sum(each.size for each in live),
        kept_uploads_bytes=estimate_size(plan.upload_dirs, None).whole,
        slots=sum(len(target.logical_slots(each.name)) for each in live) if target is not None else 0,
    )
