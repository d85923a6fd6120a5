"""What a restore would meet at the server that it goes to: its role, extensions, slots, databases that are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.actions.doctor.check import UNREACHABLE, Check, Context, answered, unasked
from safeharbor_backup.actions.doctor.findings import Finding, failed, fine, not_checked, problem, warning
from safeharbor_backup.actions.restore.other_database_checks import require_same_server
from safeharbor_backup.actions.restore.role_checks import judge_target
from safeharbor_backup.actions.restore.unrecorded import find_unrecorded_databases
from safeharbor_backup.errors import CannotRestore, ExitStatus, SafeHarborError, one_line
from safeharbor_backup.postgres.addresses import names_beside, target_address
from safeharbor_backup.postgres.connection import bounded, connected
from safeharbor_backup.postgres.target import Target, target_connected
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.journal import Journal
from safeharbor_backup.text import ascii_safe, typed

if TYPE_CHECKING:
    from safeharbor_backup.actions.doctor.check import Answers, DatabaseInspection
    from safeharbor_backup.settings.extra_databases import ExtraDatabase
    from safeharbor_backup.settings.model import Settings


@dataclass(frozen=True, slots=True)
class _Reached:
    target: Target
    live: DatabaseInspection
    settings: Settings


def inspect_target(settings: Settings, live: DatabaseInspection) -> Answers:
    """What a restore beside the live database would meet at the server that it goes to."""
    if settings.problems_in(Concern.DATABASE, Concern.RESTORE):
        return unasked(_QUERIES, "the settings for it cannot be used")
    if live.unknown and settings.restore_database is None:
        return unasked(_QUERIES, UNREACHABLE)
    try:
        url, name = target_address(settings)
        with target_connected(url, name) as target, target.answering(), target.session.transaction():
            reached = _Reached(target, live, settings)
            return {query.name: query.ask(target.session, reached) for query in _QUERIES}
    except SafeHarborError as error:
        first, *others = _QUERIES
        lost = unasked(others, "the server to restore to cannot be reached")
        return {first.name: [failed(first.name, error)], **lost}


def _check_role(reached: _Reached) -> list[Finding]:
    target = reached.target
    refused = judge_target(target, target.find(target.name))
    if refused:
        return [warning("restore role", one_line(error.message), error.hint) for error in refused]
    what = "is a superuser" if target.is_superuser else "may create databases"
    return [fine("restore role", f'"{target.role}" {what}, so a restore is built beside the live database')]


def _check_extensions(reached: _Reached) -> list[Finding]:
    if reached.live.unknown:
        return [not_checked("extensions", UNREACHABLE)]
    target = reached.target
    return judge_extensions(reached.live.extensions, target.extensions(), is_superuser=target.is_superuser)


def judge_extensions(installed: tuple[str, ...], available: dict[str, bool], *, is_superuser: bool) -> list[Finding]:
    """Whether the role can create them again; `available` says which of them need no superuser."""
    missing = [name for name in installed if name not in available]
    if missing:
        return [
            problem(
                "extensions",
                f"the server to restore to has no {', '.join(missing)}",
                "Install the package with that extension on the database server.",
                ExitStatus.CANNOT_RESTORE,
            )
        ]
    untrusted = [name for name in installed if not available[name]]
    if untrusted and not is_superuser:
        return [
            warning(
                "extensions",
                f"only a superuser may create {', '.join(untrusted)}: a restore leaves it out, and what needs it fails",
                "RESTORE_DATABASE_URL with a superuser; or `--in-place` into a database that has it.",
            )
        ]
    return [
        fine("extensions", f"a restore can create {', '.join(installed)}" if installed else "the database needs none")
    ]


def _check_slots(reached: _Reached) -> list[Finding]:
    slots = reached.target.logical_slots(reached.target.name)
    if not slots:
        return [fine("logical slots", "the database has none")]
    return [
        warning(
            "logical slots",
            f"{', '.join(slots)}: after a restore they stay with the previous database and hold WAL there",
            f"After a restore: {typed('restore --discard-previous')}, soon; then create the slots again.",
        )
    ]


def _check_extras(reached: _Reached) -> list[Finding]:
    """Each database beside the main one; nothing if there is none."""
    settings = reached.settings
    if settings.problems_in(Concern.EXTRA_DATABASES):
        return [not_checked("extra databases", "BACKUP_EXTRA_DATABASES cannot be used")]
    found: list[Finding] = []
    for each in settings.extra_databases:
        if each.address is not None:
            found += _judge_extra(reached.target, each, settings)
    return found


def _judge_extra(target: Target, extra: ExtraDatabase, settings: Settings) -> list[Finding]:
    try:
        if extra.address is not None:
            with connected(bounded(extra.address, settings)) as session:
                database = session.info.dbname
            require_same_server(target, extra, settings)
    except CannotRestore as error:
        why = one_line(error.message)
        return [warning("extra databases", f"{extra.name}: a restore will refuse it. {why}", "Back it up by itself.")]
    except SafeHarborError as error:
        why = f"{extra.name} cannot be reached, so each backup fails: {one_line(error.message)}"
        return [problem("extra databases", why, error.hint, ExitStatus.DATABASE)]
    beside = target.beside(database)
    refused = judge_target(beside, beside.find(database))
    if refused:
        return [warning("extra databases", f"{extra.name}: {one_line(error.message)}", error.hint) for error in refused]
    return [fine("extra databases", f"{extra.name} can be reached, and exchanged together with the main one")]


def _check_kept(reached: _Reached) -> list[Finding]:
    if reached.settings.problems_in(Concern.EXTRA_DATABASES):
        return [not_checked("kept databases", "BACKUP_EXTRA_DATABASES cannot be used")]
    try:
        known = {record.id for record in Journal(reached.settings.backup_dir).read()}
    except (SafeHarborError, OSError) as error:
        return [not_checked("kept databases", f"the journal of restores cannot be read: {one_line(error)}")]
    found = find_unrecorded_databases(reached.target, known)
    for name in names_beside(reached.settings).values():
        found |= find_unrecorded_databases(reached.target.beside(name), known)
    if not found:
        return [fine("kept databases", "every database with the name of a kept state is in the journal")]
    names = ", ".join(f'"{ascii_safe(name)}" ({size:,} bytes)' for name, size in found.items())
    return [
        warning(
            "kept databases",
            f"not in the journal of restores: {names}",
            f"`{typed('restore --undo --id ID')}` shows what it would move, and asks; `{typed('restore')} "
            "--discard-previous --id ID` asks, then drops them. ID is the end of the name.",
        )
    ]


_QUERIES: tuple[Check[_Reached], ...] = (
    Check(
        "restore role",
        "the role may create a database and exchange it with the live one; nothing prepared is left in that",
        _check_role,
    ),
    Check(
        "extensions", "the role can create those that the database has, on the server to restore to", _check_extensions
    ),
    Check(
        "extra databases",
        "each one of BACKUP_EXTRA_DATABASES can be reached, is on the server to restore to, and may be exchanged",
        _check_extras,
    ),
    Check("logical slots", "the database has none; a restore leaves them with the previous one", _check_slots),
    Check(
        "kept databases",
        "no database has the name of what a restore keeps (`reef_before_…`) without being in the journal",
        _check_kept,
    ),
)
CHECKS: tuple[Check[Context], ...] = tuple(answered(query, lambda context: context.target) for query in _QUERIES)
