"""Whose archive it is, beside what it is to replace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore, SafeHarborError
from safeharbor_backup.postgres.connection import bounded
from safeharbor_backup.postgres.target import target_connected
from safeharbor_backup.text import ascii_safe, typed

if TYPE_CHECKING:
    from safeharbor_backup.actions.restore.findings import Findings
    from safeharbor_backup.actions.restore.request import OpenArchive, RestoreRequest
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.settings.model import Settings

_WHERE = ("host", "hostaddr", "port", "service")


def judge_origin(
    archive: OpenArchive, settings: Settings, request: RestoreRequest, target: Target | None, findings: Findings
) -> None:
    """An archive of another database than the configured one is a problem, unless it is asked for."""
    if target is not None:
        _judge_server(settings, target, findings)
    if request.from_another:
        return
    name = target.name if target is not None else settings.database_name
    if archive.manifest is None:
        findings.warnings.append("its database is not known: it has no manifest")
    elif name and archive.manifest.database != name:
        of = ascii_safe(archive.manifest.database)
        findings.problems.append(
            CannotRestore(
                f'The archive is of the database "{of}", and the target is of "{ascii_safe(name)}".',
                hint=f"Choose another archive (`{typed('list')}`). If you mean this one: --from-another.",
            )
        )


def _judge_server(settings: Settings, target: Target, findings: Findings) -> None:
    """RESTORE_DATABASE_URL is another role on the same server, or another way there; not another target."""
    here, there = settings.restore_database, settings.database
    if here is None or there is None or all(here.get(key) == there.get(key) for key in _WHERE):
        return
    try:
        with target_connected(bounded(there, settings), target.name) as configured:
            other = configured.system_identifier()
    except SafeHarborError:
        findings.warnings.append(
            "whether RESTORE_DATABASE_URL leads to the server of BACKUP_DATABASE_URL is not known: the latter cannot "
            "be reached"
        )
        return
    if "" not in (other, target.system_identifier()) and other != target.system_identifier():
        findings.problems.append(
            CannotRestore(
                "RESTORE_DATABASE_URL leads to another server than BACKUP_DATABASE_URL.",
                hint="It is for another role on the same server. To restore elsewhere, name that with --database-url "
                "and --upload-dir.",
            )
        )
