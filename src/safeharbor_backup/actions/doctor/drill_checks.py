"""Columns that name uploads, and what drills that were killed have left behind."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from safeharbor_backup.actions.doctor.findings import Finding, fine, warning
from safeharbor_backup.actions.scratch_cleanup import scratch_parent
from safeharbor_backup.postgres.reference_values import find_unknown_references
from safeharbor_backup.postgres.scratch_database import find_left_scratch
from safeharbor_backup.uploads.drill_directory import find_left_directories

if TYPE_CHECKING:
    import psycopg

    from safeharbor_backup.settings.model import Settings


def check_references(settings: Settings, session: psycopg.Connection) -> list[Finding]:
    """Whether each column of BACKUP_UPLOAD_REFERENCES is there. Raises psycopg.Error."""
    unknown = find_unknown_references(session, settings.upload_references)
    if unknown:
        remedy = "Put it right in BACKUP_UPLOAD_REFERENCES; each backup ends with 3 until then."
        return [warning("references", each, remedy) for each in unknown]
    if not settings.upload_references:
        return [fine("references", "BACKUP_UPLOAD_REFERENCES names no columns that hold paths of uploads")]
    return [fine("references", f"{', '.join(settings.upload_references)}: each is there")]


def check_leftovers(settings: Settings, session: psycopg.Connection) -> list[Finding]:
    """What drills left on this server, and where their directories are. Raises psycopg.Error."""
    left = [f'the database "{name}"' for name in find_left_scratch(session)]
    with suppress(OSError):  # a directory that cannot be read is another check's
        left += [str(path) for path in find_left_directories(scratch_parent(settings))]
    if not left:
        return [fine("drills", "none left anything behind")]
    return [
        warning(
            "drills",
            f"a drill that was killed left {', '.join(left[:3])}{' and more' if len(left) > 3 else ''}",
            "The next backup or drill removes it: safeharbor drill",
        )
    ]
