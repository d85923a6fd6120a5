"""Whether the role may build a database on the target server and put it in the place of the live one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore, DatabaseUnavailable, SafeHarborError
from safeharbor_backup.postgres.connection import connected
from safeharbor_backup.postgres.sessions import count_clients
from safeharbor_backup.postgres.wipe import find_strangers
from safeharbor_backup.text import plural

if TYPE_CHECKING:
    from safeharbor_backup.actions.restore.findings import Findings
    from safeharbor_backup.actions.restore.request import RestoreRequest
    from safeharbor_backup.postgres.target import Target, TargetDatabase


def check_role(target: Target, live: TargetDatabase | None, request: RestoreRequest, findings: Findings) -> None:
    """The role may do what the restore takes. Raises SafeHarborError, psycopg.Error."""
    where = target.url.describe()
    if request.in_place:
        if live is None:
            findings.problems.append(
                CannotRestore(f"{where} does not exist; --in-place needs a database to load into.", hint="")
            )
        elif not target.is_superuser:
            _check_strangers(target, findings)
        return
    findings.problems += judge_target(target, live)
    if live is None:
        findings.facts.append(f"{where} does not exist yet and will be created")
        return
    sessions = count_clients(target.session, live.name)
    if sessions:
        findings.facts.append(f"{plural(sessions, 'open session')} in {where} will be ended")
    slots = target.logical_slots(live.name)
    if slots:
        findings.facts.append(
            f"logical replication slots {', '.join(slots)} stay with the previous database and hold WAL until it is "
            "discarded"
        )


def judge_target(target: Target, live: TargetDatabase | None) -> list[SafeHarborError]:
    """What keeps a new database from being built there and swapped with `live`, if there is one."""
    where = target.url.describe()
    in_place = "`--in-place` loads into the existing database, without a way back."
    problems: list[SafeHarborError] = []
    if target.is_pooled:
        problems.append(
            DatabaseUnavailable(
                f"{where} is reached through a connection pooler, which would hand sessions to the wrong database.",
                hint=f"Set RESTORE_DATABASE_URL to the server itself. {in_place}",
            )
        )
    if target.is_inside:
        problems.append(
            DatabaseUnavailable(
                f'The role "{target.role}" may connect to no other database on the server, and a restore exchanges the '
                "states from another one.",
                hint=f'GRANT CONNECT ON DATABASE postgres TO "{target.role}"; see pg_hba.conf too. {in_place}',
            )
        )
    elif not target.may_create:
        problems.append(
            DatabaseUnavailable(
                f'The role "{target.role}" may not create databases.',
                hint=f'ALTER ROLE "{target.role}" CREATEDB; or RESTORE_DATABASE_URL with a role that may. {in_place}',
            )
        )
    if live is None:
        return problems
    if not live.is_ours and not target.is_superuser:
        problems.append(
            DatabaseUnavailable(
                f'{where} belongs to "{live.owner}", and "{target.role}" does not inherit from that role.',
                hint="Set RESTORE_DATABASE_URL to the owner, or to a superuser.",
            )
        )
    prepared = target.prepared_transactions(live.name)
    if prepared:
        problems.append(
            CannotRestore(
                f"{where} has prepared transactions: {', '.join(prepared)}.",
                hint="Finish each there: COMMIT PREPARED 'name'; or ROLLBACK PREPARED 'name';",
            )
        )
    return problems


def _check_strangers(target: Target, findings: Findings) -> None:
    with connected(target.url) as session:
        foreign_objects = find_strangers(session)
    if foreign_objects:
        findings.problems.append(
            CannotRestore(
                f"In {target.url.describe()} other roles own things that only they can remove: "
                f"{', '.join(foreign_objects[:3])}.",
                hint="Drop them or give them to the owner (REASSIGN OWNED BY …), or restore as a superuser.",
            )
        )
