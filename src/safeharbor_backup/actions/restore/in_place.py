"""A restore into the database that is there: wiped and loaded in one transaction, whose commit is the restore.

For roles that may not create databases, and for hosts without room. Its database cannot be undone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg

from safeharbor_backup.actions.restore.loader import own_search_path, table_of_contents
from safeharbor_backup.actions.restore.rows_check import compare_rows
from safeharbor_backup.actions.restore.swap_errors import interrupted, translated
from safeharbor_backup.actions.restore.views_check import judge_views
from safeharbor_backup.errors import RestorePending, SafeHarborError, translate_os_error
from safeharbor_backup.postgres.checks_aside import PUT_BACK, SET_ASIDE
from safeharbor_backup.postgres.connection import connected
from safeharbor_backup.postgres.database_swap import bring_to_disk
from safeharbor_backup.postgres.in_place_load import loading_in_place
from safeharbor_backup.postgres.load_failures import LoadFailed
from safeharbor_backup.postgres.order import Pass, order_entries
from safeharbor_backup.postgres.rows import analyze_tables
from safeharbor_backup.state.restore_parts import Side
from safeharbor_backup.system.signals import signals_held

if TYPE_CHECKING:
    from safeharbor_backup.actions.restore.database_plan import DatabasePlan
    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.actions.restore.swap import Swap
    from safeharbor_backup.postgres.in_place_load import InPlaceLoad
    from safeharbor_backup.postgres.order import Order
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.state.restore_record import RestoreRecord

_ROLLBACK_SECONDS = 5.0
BESIDE = (
    "Without `--in-place`, as a role with CREATEDB (RESTORE_DATABASE_URL) or into another database "
    "(--database-url), `--accept-broken` restores everything else."
)


def load_in_place(
    plan: DatabasePlan,
    lock_timeout_seconds: float,
    swap: Swap,
    archive: OpenArchive,
    progress: Progress,
) -> tuple[int | None, list[str]]:
    """How many rows were loaded, and warnings, once the transaction is committed and the uploads are swapped.

    If this fails before the commit: the transaction is rolled back, the uploads are put back, the stage is removed.
    """
    target = plan.target
    try:
        rows = _load_and_swap(swap, archive, plan, lock_timeout_seconds, progress)
    except BaseException as error:
        with signals_held():
            _after_failure(swap, target, error)
        rows = archive.manifest.rows if archive.manifest is not None else None
    progress.step("committed")
    swap.settle()
    progress.step("settled")
    warnings: list[str] = []
    try:
        with connected(target.url) as session:
            session.execute("SET statement_timeout = 0")
            for note in analyze_tables(session):
                progress.note(note)
            warnings += judge_views(session, archive.manifest, progress.note)
    except (SafeHarborError, OSError) as error:
        warnings.append(f"the restore is done, but ANALYZE is still to be run: {translated(error, 'ANALYZE')}")
    return rows, warnings


def _load_and_swap(
    swap: Swap, archive: OpenArchive, plan: DatabasePlan, lock_timeout_seconds: float, progress: Progress
) -> int | None:
    """In one transaction, whose commit ends it; in a second one, more tolerantly, if rows could not be loaded."""
    target = plan.target
    for is_last in (False, True):
        with loading_in_place(
            plan.contents.tools,
            target.url,
            is_superuser=target.is_superuser,
            server_major=target.major,
            lock_timeout_seconds=lock_timeout_seconds,
        ) as load:
            transaction = load.begin()
            bring_to_disk(target.session)  # or the id could be given to another one after a crash
            swap.begin_in_place(transaction)
            progress.step("transaction begun")
            progress.phase("load")
            load.wipe()
            order = order_entries(plan.entries, plan.contents.toc)
            definitions, data = order.definitions(plan.contents.toc)
            _load_entries(load, archive, plan, definitions)
            try:
                (_load_tolerantly if is_last else _load)(load, archive, plan, order, data)
            except LoadFailed as error:
                if is_last or error.is_final:
                    raise
                progress.note(f"{error.message} It is loaded again, all rows before the constraints")
                continue
            load.execute(plan.statements)
            progress.step("loaded")
            rows = compare_rows(load.count_rows(), archive.manifest) if archive.manifest is not None else None
            with signals_held():
                swap.bring_in_uploads(Side.NEW)
                progress.step("uploads swapped")
            load.commit()  # a signal may end the wait for it: the server is asked what came of it
            return rows
    raise AssertionError  # the last one returns or raises


def _load(load: InPlaceLoad, archive: OpenArchive, plan: DatabasePlan, order: Order, data: tuple[str, ...]) -> None:
    """What comes after the definitions."""
    later = [entry for each in Pass if each is not Pass.DATA for entry in order.passes[each]]
    _load_entries(load, archive, plan, (*data, *later))


def _load_tolerantly(
    load: InPlaceLoad, archive: OpenArchive, plan: DatabasePlan, order: Order, data: tuple[str, ...]
) -> None:
    """The same, as a staged restore does it the second time."""
    load.execute([SET_ASIDE])
    patch = own_search_path(plan.contents.toc)
    later = [entry for each in (Pass.RULES, Pass.PRIVILEGES, Pass.VIEWS) for entry in order.passes[each]]
    _load_entries(load, archive, plan, (*data, *later), patch)
    load.execute([PUT_BACK])
    _load_entries(load, archive, plan, order.passes[Pass.EVENT_TRIGGERS])


def _load_entries(
    load: InPlaceLoad,
    archive: OpenArchive,
    plan: DatabasePlan,
    entries: tuple[str, ...],
    patch: tuple[int, bytes] | None = None,
) -> None:
    if not entries:
        return
    with table_of_contents(entries) as listed:
        load.load(
            archive.dump,
            listed,
            keep_owners=plan.target.is_superuser,
            keep_privileges=plan.keep_privileges,
            patch=patch,
        )


def is_committed(target: Target, record: RestoreRecord) -> bool:
    """Whether the one transaction of a restore in place was committed, or was rolled back.

    A server that has never heard of it lost it in a crash, before anything of it was on the disk. Raises RestorePending
    if it still runs after some seconds.
    """
    if not record.transaction:
        return False
    query = "SELECT pg_catalog.pg_xact_status(%s::xid8)"
    deadline = time.monotonic() + _ROLLBACK_SECONDS
    with connected(target.url) as session:
        while True:
            try:
                row = session.execute(query, (record.transaction,)).fetchone()
            except psycopg.errors.InvalidParameterValue:  # it is "in the future"
                return False
            status = row[0] if row is not None else None
            if status != "in progress" or time.monotonic() > deadline:
                break
            time.sleep(0.1)  # the server is rolling it back
    if status == "in progress":
        raise RestorePending(f"The transaction {record.transaction} of the restore {record.id} is still running.")
    return status == "committed"


def _after_failure(swap: Swap, target: Target, error: BaseException) -> None:
    """Put the uploads back if the transaction was not committed. Returns if it was; raises the error if not."""
    try:
        if is_committed(target, swap.record):
            swap.bring_in_uploads(Side.NEW)
            return
        swap.bring_in_uploads(Side.OLD)
        swap.remove_stage()
    except Exception as second:  # nothing that nobody foresaw may hide what is to be typed now
        raise interrupted(error, second, swap.record) from error
    if isinstance(error, SafeHarborError):
        if isinstance(error, LoadFailed) and not error.hint:
            error.hint = BESIDE
        error.intact = "The transaction was rolled back: the live database and uploads are as they were."
        raise error
    if isinstance(error, OSError):
        raise translate_os_error(error, "restoring in place") from error
    raise error
