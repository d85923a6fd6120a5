"""The databases beside the main one in a restore: where each goes, and what stands in its way.

All are exchanged in one transaction, so all must be on the server of the main one.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from safeharbor_backup.actions.restore.database_losses import compare_database
from safeharbor_backup.actions.restore.database_plan import look_at_database
from safeharbor_backup.actions.restore.findings import Findings
from safeharbor_backup.errors import CannotRestore, SafeHarborError, SettingsInvalid, one_line
from safeharbor_backup.postgres.addresses import names_beside
from safeharbor_backup.postgres.connection import bounded
from safeharbor_backup.postgres.side_names import side_database
from safeharbor_backup.postgres.target import target_connected
from safeharbor_backup.settings.extra_databases import is_same_server
from safeharbor_backup.settings.model import Concern, Settings
from safeharbor_backup.text import ascii_safe, plural, typed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safeharbor_backup.actions.restore.database_plan import DatabasePlan
    from safeharbor_backup.actions.restore.request import OpenArchive, RestoreRequest
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.settings.extra_databases import ExtraDatabase

_ID = "0" * 12


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
            require_same_server(target, extra, settings, _left_out(view))
            plan = _look(target.beside(names[view.name]), view, settings.pg_bin, request, inner, exact=exact)
            found.append(PlannedDatabase(view, plan))
        except SafeHarborError as error:
            inner.problems.append(error)
        _take_over(inner, view.name, findings)
    findings.problems += _require_apart([target.name, *(each.plan.target.name for each in found)])
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


def require_same_server(target: Target, extra: ExtraDatabase, settings: Settings, hint: str = "") -> None:
    """Raises CannotRestore if the database is on another server than the main one, or that cannot be told."""
    address = extra.address
    mains = [each for each in (settings.database, settings.restore_database) if each is not None]
    if address is None or any(is_same_server(address, main) for main in mains):
        return
    try:
        with target_connected(bounded(address, settings), extra.database or target.name) as other:
            if _server(other) == _server(target):
                return
    except SafeHarborError as error:
        raise CannotRestore(
            f"Whether {extra.name} is on the server of the main database is not known: {one_line(error)}",
            hint=f"See that its address in BACKUP_EXTRA_DATABASES is right. {hint}".rstrip(),
        ) from error
    raise CannotRestore(
        f"It is on another server ({address.describe()}) than {target.url.describe()}: databases are exchanged in one "
        "transaction, which only one server can do.",
        hint=hint,
    )


def _server(target: Target) -> str:
    """What tells its cluster from others: its number, or its address where it does not tell that."""
    info = target.session.info
    return target.system_identifier() or f"{info.hostaddr or info.host}:{info.port}"


def _require_apart(names: list[str]) -> list[SafeHarborError]:
    """A problem if the names that two databases have while they are not live would be the same."""
    beside = [side_database(name, "restore", _ID) for name in names]
    if len(set(beside)) == len(beside):
        return []
    shown = ", ".join(f'"{ascii_safe(name)}"' for name in names)
    return [
        CannotRestore(
            f"Of {shown}, two have names that begin with the same 42 bytes, or are one database: they cannot be told "
            "apart once they are set aside.",
            hint="Rename one, and correct BACKUP_EXTRA_DATABASES.",
        )
    ]


def _not_in_place(archive: OpenArchive, found: list[PlannedDatabase]) -> CannotRestore:
    names = ", ".join(each.archive.name for each in found)
    without = ",".join(f"{each.archive.name}=none" for each in found)
    return CannotRestore(
        f"--in-place restores one database in one transaction, and the archive {archive.path.name} has {names} beside "
        "the main one.",
        hint=f"Restore without --in-place, as a role with CREATEDB (RESTORE_DATABASE_URL). Or leave that as it is: "
        f"BACKUP_EXTRA_DATABASES={without}.",
    )


def why_not_configured(settings: Settings, databases: Sequence[OpenArchive]) -> SafeHarborError | None:
    """The error of a restore if these databases of an archive have no address: it says how to give one to each."""
    problems = settings.problems_in(Concern.EXTRA_DATABASES)
    if problems and databases:
        return SettingsInvalid([str(each) for each in problems])
    unknown = [each for each in databases if settings.extra_database(each.name) is None]
    if not unknown:
        return None
    names = ", ".join(each.name for each in unknown)
    places = ",".join(
        f"{each.name}=postgresql://USER:PASSWORD@HOST/{quote(each.manifest.database if each.manifest else '', safe='')}"
        for each in unknown
    )
    return CannotRestore(
        f"The archive has the {'database' if len(unknown) == 1 else 'databases'} {names} beside the main one, which "
        "BACKUP_EXTRA_DATABASES does not name.",
        hint=f"Say where each goes: BACKUP_EXTRA_DATABASES={places}, beside what it has. {_left_out(unknown[0])}",
    )


def _left_out(view: OpenArchive) -> str:
    member = f"databases/{view.name}.dump"
    return (
        f"BACKUP_EXTRA_DATABASES={view.name}=none leaves that one as it is; "
        f"`{typed(f'extract {shlex.quote(str(view.path))} {member} --to DIR')}` takes its dump out, for pg_restore."
    )
