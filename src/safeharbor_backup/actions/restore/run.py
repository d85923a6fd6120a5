"""One restore from beginning to end: lock, plan, confirm; what follows is in `confirmed`."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from safeharbor_backup.actions.preflight import check_directory
from safeharbor_backup.actions.restore.confirmed import MOMENT_SECONDS, ConfirmedRestore
from safeharbor_backup.actions.restore.findings import Findings
from safeharbor_backup.actions.restore.kept import finish_removals
from safeharbor_backup.actions.restore.other_databases import hold_other_locks, names_of_others
from safeharbor_backup.actions.restore.plan import RestorePlan, check_request, draw_up_plan, require_nothing_pending
from safeharbor_backup.actions.restore.request import RestoreRequest, opened_for_restore
from safeharbor_backup.actions.steps import Steps
from safeharbor_backup.errors import RestorePending, SafeHarborError
from safeharbor_backup.postgres.addresses import target_address
from safeharbor_backup.postgres.target import target_connected
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.state.journal import Journal
from safeharbor_backup.system.lock import directory_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.actions.restore.result import RestoreResult
    from safeharbor_backup.progress import Progress
    from safeharbor_backup.settings.model import Settings


class NotConfirmed(SafeHarborError):
    """The operator did not say yes."""


def restore_archive(
    settings: Settings,
    request: RestoreRequest,
    confirm: Callable[[RestorePlan], bool],
    progress: Progress | None = None,
) -> RestoreResult:
    """Restore; `confirm` is asked once the plan is known, and gets to see it.

    Raises SafeHarborError: then the old state is live as a whole; RestorePending: then `--resume` or `--undo` is next.
    """
    try:
        return _restore(settings, request, confirm, progress or NoProgress())
    except SafeHarborError as error:
        if not error.intact and not isinstance(error, RestorePending):
            error.intact = "Nothing was changed."
        raise


def _restore(
    settings: Settings, request: RestoreRequest, confirm: Callable[[RestorePlan], bool], progress: Progress
) -> RestoreResult:
    settings.require(Concern.DIRECTORY)
    check_request(request, settings)
    check_directory(settings.backup_dir)
    with directory_lock(settings.backup_dir), ExitStack() as stack:
        Journal(settings.backup_dir).sweep()
        require_nothing_pending(settings.backup_dir)
        left = finish_removals(settings, Journal(settings.backup_dir))
        archive = stack.enter_context(opened_for_restore(request.archive))
        target = None
        if request.with_database:
            target = stack.enter_context(
                target_connected(*target_address(settings), names_of_others(settings, request))
            )
            if not target.is_pooled:  # a pooler would keep the lock when we are gone
                target.hold_restore_lock(MOMENT_SECONDS)
                if not request.without_others:
                    hold_other_locks(target, settings, MOMENT_SECONDS)
        findings = Findings()
        findings.warnings += left
        if archive.front is None:
            findings.warnings.append("it was written by another implementation and carries no checksums of its content")
        findings.warnings += archive.warnings
        plan = draw_up_plan(archive, settings, request, target, findings)
        findings.require_none()
        if not confirm(plan):
            raise NotConfirmed("Not confirmed.", intact="Nothing was changed.")
        return ConfirmedRestore(settings, request, archive, plan, Steps(progress)).carry_out()
