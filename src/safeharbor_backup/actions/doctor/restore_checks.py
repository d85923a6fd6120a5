"""What a restore would meet: the server and the role that it goes to, extensions, slots, room beside the live state."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeharbor_backup.actions.doctor.database_checks import UNREACHABLE
from safeharbor_backup.actions.doctor.findings import (
    Finding,
    attempt_query,
    failed,
    fine,
    not_checked,
    problem,
    warning,
)
from safeharbor_backup.actions.restore.database_plan import judge_target
from safeharbor_backup.actions.restore.dump_copy import lives_in_memory
from safeharbor_backup.actions.restore.plan import check_upload_room
from safeharbor_backup.actions.restore.unrecorded import find_unrecorded_databases
from safeharbor_backup.actions.restore.uploads_target import check_movable
from safeharbor_backup.errors import ExitStatus, SafeHarborError, StorageUnavailable, one_line
from safeharbor_backup.postgres.addresses import target_address
from safeharbor_backup.postgres.target import Target, target_connected
from safeharbor_backup.settings.min_free import show_room
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.journal import Journal
from safeharbor_backup.text import ascii_safe
from safeharbor_backup.uploads.collect import make_filter

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.actions.doctor.database_checks import Looked
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.settings.model import Settings

_NAMES = ("restore role", "extensions", "logical slots", "kept databases")


def look_at_target(settings: Settings, live: Looked) -> list[Finding]:
    """What a restore beside the live database would meet at the server that it goes to."""
    if settings.problems_in(Concern.DATABASE, Concern.RESTORE):
        return [not_checked(name, "the settings for it cannot be used") for name in _NAMES]
    if not live.is_reachable and settings.restore_database is None:
        return [not_checked(name, UNREACHABLE) for name in _NAMES]
    try:
        url, name = target_address(settings)
        with target_connected(url, name) as target, target.answering(), target.session.transaction():
            session = target.session
            return [
                *attempt_query("restore role", session, lambda: _check_role(target)),
                *attempt_query("extensions", session, lambda: _check_extensions(target, live)),
                *attempt_query("logical slots", session, lambda: _check_slots(target)),
                *attempt_query("kept databases", session, lambda: _check_kept(target, settings.backup_dir)),
            ]
    except SafeHarborError as error:
        rest = [not_checked(name, "the server to restore to cannot be reached") for name in _NAMES[1:]]
        return [failed("restore role", error), *rest]


def _check_role(target: Target) -> list[Finding]:
    live = target.find(target.name)
    refused = judge_target(target, live)
    if refused:
        return [warning("restore role", one_line(error.message), error.hint) for error in refused]
    what = "is a superuser" if target.is_superuser else "may create databases"
    return [fine("restore role", f'"{target.role}" {what}, so a restore is built beside the live database')]


def _check_extensions(target: Target, live: Looked) -> list[Finding]:
    if not live.is_reachable:
        return [not_checked("extensions", UNREACHABLE)]
    return judge_extensions(live.extensions, target.extensions(), is_superuser=target.is_superuser)


def judge_extensions(installed: tuple[str, ...], available: dict[str, bool], *, is_superuser: bool) -> list[Finding]:
    """Whether the role can create them anew; `available` tells of each whether it needs no superuser for that."""
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


def _check_slots(target: Target) -> list[Finding]:
    slots = target.logical_slots(target.name)
    if not slots:
        return [fine("logical slots", "the database has none")]
    return [
        warning(
            "logical slots",
            f"{', '.join(slots)}: after a restore they stay with the previous database and hold WAL there",
            "After a restore: safeharbor restore --discard-previous, soon; then make the slots anew.",
        )
    ]


def _check_kept(target: Target, directory: Path) -> list[Finding]:
    try:
        known = {record.id for record in Journal(directory).read()}
    except (SafeHarborError, OSError) as error:
        return [not_checked("kept databases", f"the journal of restores cannot be read: {one_line(error)}")]
    found = find_unrecorded_databases(target, known)
    if not found:
        return [fine("kept databases", "every database with the name of a kept state is in the journal")]
    names = ", ".join(f'"{ascii_safe(name)}" ({size:,} bytes)' for name, size in found.items())
    return [
        warning(
            "kept databases",
            f"the journal knows no restore that left {names}",
            "`safeharbor restore --undo --id ID` shows what it would move, and asks; `safeharbor restore "
            "--discard-previous --id ID` asks, then drops them. ID is the end of the name.",
        )
    ]


def check_uploads_target(settings: Settings, newest: Manifest | None) -> list[Finding]:
    """Whether uploads could be put beside the present ones and exchanged; what fails there can be mended before."""
    uploads = settings.upload_dir
    if uploads is None:
        return [fine("restore uploads", "the app has none")]
    if not uploads.is_dir():
        return [not_checked("restore uploads", "the uploads directory is missing")]
    try:
        check_movable(uploads, make_filter(settings.exclude))
        if newest is None:
            return [fine("restore uploads", f"{uploads} can be exchanged; for its size there is no archive to go by")]
        return [
            fine(
                "restore uploads",
                check_upload_room(uploads, newest.upload_bytes, newest.upload_files, settings.min_free),
            )
        ]
    except StorageUnavailable as error:
        return [warning("restore uploads", one_line(error.message), error.hint)]


def check_tmp_dir(settings: Settings, newest: Manifest | None) -> list[Finding]:
    """Whether several jobs can load a dump: they need a copy of it in a file."""
    directory = settings.tmp_dir or settings.backup_dir
    why = ""
    is_writable = os.access(directory, os.W_OK | os.X_OK)
    if not is_writable and settings.tmp_dir is None:
        return [not_checked("restore speed", "no file can be written in BACKUP_DIR")]
    if not is_writable:
        why = f"{directory} cannot be written"
    elif lives_in_memory(directory):
        why = f"{directory} is in memory"
    else:
        system = os.statvfs(directory)
        room = settings.min_free.room(system)
        if newest is not None and room is not None and room < newest.dump_size:
            free = show_room(directory, system, settings.min_free)
            why = f"{free}; a copy of the dump takes {newest.dump_size:,}"
    if why:
        return [
            warning(
                "restore speed",
                f"{why}: one job would load the dump, not several",
                "Name a directory on a disk with room for the dump in BACKUP_TMP_DIR.",
            )
        ]
    return [fine("restore speed", f"several jobs can load the dump; its copy goes to {directory}")]
