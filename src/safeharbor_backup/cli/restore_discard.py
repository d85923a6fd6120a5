"""`restore --discard-previous`: what restores have kept is shown, asked about and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.kept import discard_previous as discard_kept_states
from safeharbor_backup.actions.restore.kept import discard_unrecorded, list_kept, list_unrecorded
from safeharbor_backup.cli.command import exit_with
from safeharbor_backup.cli.restore_documents import describe_discarded
from safeharbor_backup.cli.restore_lines import ask
from safeharbor_backup.errors import ExitStatus, SafeHarborError, one_line
from safeharbor_backup.text import ascii_safe, plural, show_bytes, typed

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.actions.restore.lost_stage import Abandoned
    from safeharbor_backup.actions.restore.unrecorded import Unrecorded
    from safeharbor_backup.cli.run import Run
    from safeharbor_backup.settings.model import Settings


def _discard_unrecorded(run: Run, settings: Settings, found: Unrecorded, *, yes: bool, as_json: bool) -> None:
    say = run.output.line if as_json else run.output.result
    for stage in found.stages:
        say(f"{ascii_safe(str(stage))} is left as it is, since anybody could have made it. Look at it, then delete it.")
    if not found.databases:
        if as_json:
            run.output.document(describe_discarded(()))
        return
    names = ", ".join(f'"{name}"' for name in found.databases)
    if not yes and not ask(run.output, f"Type 'discard' to drop {names} for ever:", "discard"):
        run.output.line("Not confirmed. Nothing was changed.")
        exit_with(ExitStatus.FAILED)
        return
    done = discard_unrecorded(settings, found)
    if as_json:
        run.output.document(describe_discarded((), found.databases))
    else:
        run.output.result(f"dropped {plural(len(done), 'database')}")


def discard(run: Run, settings: Settings, restore_id: str, abandoned: Abandoned, *, yes: bool, as_json: bool) -> None:
    """Show what restores keep, ask, and delete it."""
    say = run.output.line if as_json else run.output.result
    kept = [record for record in list_kept(settings) if restore_id in ("", record.id)]
    try:
        unrecorded = list_unrecorded(settings)
    except (SafeHarborError, OSError) as error:
        unrecorded = []
        say(f"Could not look for kept states that are not in the journal: {one_line(error)}.")
    for found in unrecorded:
        say(f"Restore {found.id} is not in the journal, but these have its id: {found.describe()}")
    chosen = next((found for found in unrecorded if found.id == restore_id), None)
    if chosen is not None:
        _discard_unrecorded(run, settings, chosen, yes=yes, as_json=as_json)
        return
    if not kept:
        say("No restore in the journal keeps a previous state.")
        if unrecorded:
            say("`--id ID` deletes the databases of one of them, after asking.")
        if as_json:
            run.output.document(describe_discarded(()))
        return
    for record in kept:
        size = show_bytes(record.kept_database_bytes + record.kept_uploads_bytes)
        say(f"{record.id}: restore of {record.archive} at {record.started_at}, keeps {size}")
    if not yes and not ask(run.output, "Type 'discard' to delete what they keep for ever:", "discard"):
        run.output.line("Not confirmed. Nothing was changed.")
        exit_with(ExitStatus.FAILED)
        return
    # by their ids: one that came in while the operator was asked was not agreed to
    warnings: list[str] = []

    def warn(text: str) -> None:
        run.output.warning(text)
        warnings.append(text)

    done = [gone for record in kept for gone in discard_kept_states(settings, record.id, abandoned, warn)]
    if as_json:
        run.output.document(describe_discarded([gone.id for gone in done]))
    else:
        say(f"discarded {plural(len(done), 'kept state')}")
    _say_still_there(settings, {gone.id for gone in done}, warn)
    if warnings:
        exit_with(ExitStatus.WARNINGS)


def _say_still_there(settings: Settings, ids: set[str], warn: Callable[[str], None]) -> None:
    """Warn of each database that has the name of a state which is discarded: its record had been without it."""
    try:
        found = [each for each in list_unrecorded(settings) if each.id in ids and each.databases]
    except (SafeHarborError, OSError):
        return  # this was said before, and `doctor` looks again
    for each in found:
        names = ", ".join(f'database "{name}"' for name in each.databases)
        again = typed(f"restore --discard-previous --id {each.id}")
        warn(f"of restore {each.id} there is still: {names}. `{again}` drops what is there, after asking")
