"""The databases beside the main one in a restore: where each goes, and what stands in its way.

All are exchanged in one transaction, so all must be on the server of the main one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.database_losses import compare_database
from safeharbor_backup.actions.restore.database_plan import look_at_database
from safeharbor_backup.actions.restore.findings import Findings
from safeharbor_backup.actions.restore.other_database_checks import (
    judge_names,
    left_out_by,
    require_same_server,
    why_not_configured,
)
from safeharbor_backup.errors import CannotRestore, SafeHarborError
from safeharbor_backup.postgres.addresses import names_beside
from safeharbor_backup.text import ascii_safe, plural, typed

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.actions.restore.database_plan import DatabasePlan
    from safeharbor_backup.actions.restore.request import OpenArchive, RestoreRequest
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.settings.model import Settings


@dataclass(frozen=True, slots=True)
class PlannedDatabase:
    """A database of the archive, seen as an archive of that alone, and what is done with it."""

    archive: OpenArchive
    plan: DatabasePlan


def names_of_others(settings: Settings, request: RestoreRequest) -> tuple[str, ...]:
    """The databases on the server that may be restored with the main one. Raises SettingsInvalid."""
    return () if request.without_others else tuple(names_beside(settings).values())


def hold_other_locks(target: Target, settings: Settings, wait_seconds: float) -> None:
    """Keep other restores away from the databases beside the main one too. Raises LockHeld, SettingsInvalid."""
    for name in names_beside(settings).values():
        target.beside(name).hold_restore_lock(wait_seconds)


def look_at_others(
    target: Target,
    archive: OpenArchive,
    settings: Settings,
    request: RestoreRequest,
    findings: Findings,
    *,
    exact: bool,
) -> tuple[PlannedDatabase, ...]:
    """Those that are restored with the main one, which `target` is for; everything in their way is a problem."""
    _, *views = archive.databases()
    if request.without_others:
        findings.facts += [
            f"{each.name} is left as it is: another database was named for the main one alone" for each in views
        ]
        return ()
    if request.others is not None:
        views = [each for each in views if each.name in request.others]
    findings.warnings += [
        f"the archive has no database {each.name}, which BACKUP_EXTRA_DATABASES names: it stays as it is"
        for each in settings.extra_databases
        if each.address is not None and each.name not in {view.name for view in views}
    ]
    refusal = why_not_configured(settings, views)
    if refusal is not None:
        findings.problems.append(refusal)
        return ()
    found = []
    names = names_beside(settings)
    for view in views:
        extra = settings.extra_database(view.name)
        if extra is None or extra.address is None:
            findings.facts.append(f"{view.name} is left as it is, as BACKUP_EXTRA_DATABASES says")
            continue
        inner = Findings()
        try:
            require_same_server(target, extra, settings, left_out_by(view))
            plan = _look(target.beside(names[view.name]), view, settings.pg_bin, request, inner, exact=exact)
            found.append(PlannedDatabase(view, plan))
        except SafeHarborError as error:
            inner.problems.append(error)
        _take_over(inner, view.name, findings)
    findings.problems += judge_names([target.name, *(each.plan.target.name for each in found)])
    if found and request.in_place:
        findings.problems.append(_not_in_place(archive, found))
    return tuple(found)


def _look(
    target: Target,
    view: OpenArchive,
    pg_bin: tuple[Path, ...],
    request: RestoreRequest,
    findings: Findings,
    *,
    exact: bool,
) -> DatabasePlan:
    manifest = view.manifest
    if manifest is not None:
        where = target.url.describe()
        findings.facts.append(f"{plural(len(manifest.tables), 'table')}, {plural(manifest.rows, 'row')}, to {where}")
        if manifest.database != target.name and not request.from_another:
            findings.problems.append(
                CannotRestore(
                    f'The archive\'s {view.name} is of the database "{ascii_safe(manifest.database)}", and '
                    f'BACKUP_EXTRA_DATABASES names "{ascii_safe(target.name)}" for it.',
                    hint=f"Choose another archive (`{typed('list')}`). If you mean this one: --from-another.",
                )
            )
    plan = look_at_database(target, view, pg_bin, request, findings)
    compare_database(plan, view, findings, exact=exact)
    return plan


def _take_over(inner: Findings, name: str, findings: Findings) -> None:
    """What was found of one database, as a part of all that was found."""
    findings.facts += [f"{name}: {each}" for each in inner.facts]
    findings.losses += [f"in {name}: {each}" for each in inner.losses]
    findings.warnings += [f"{name}: {each}" for each in inner.warnings]
    findings.afterwards += [f"{name}: {each}" for each in inner.afterwards]
    for error in inner.problems:
        error.message = f"{name}: {error.message}"
        error.args = (error.message,)
        findings.problems.append(error)


def _not_in_place(archive: OpenArchive, found: list[PlannedDatabase]) -> CannotRestore:
    names = ", ".join(each.archive.name for each in found)
    without = ",".join(f"{each.archive.name}=none" for each in found)
    return CannotRestore(
        f"--in-place restores one database in one transaction, and the archive {archive.path.name} has {names} beside "
        "the main one.",
        hint=f"Restore without --in-place, as a role with CREATEDB (RESTORE_DATABASE_URL). Or leave that as it is: "
        f"BACKUP_EXTRA_DATABASES={without}.",
    )
