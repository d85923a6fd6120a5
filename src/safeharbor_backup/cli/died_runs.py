"""What a command does about earlier runs that died without a word: it says so, remembers them, and alerts, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.actions.alerts.messages import Guidance, tell_end
from safeharbor_backup.cli.attempt import renew_files
from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.state.at_work import find_dead, settle_dead
from safeharbor_backup.state.history import Outcome, is_in_place, read_history, remember_outcome
from safeharbor_backup.text import show_time

if TYPE_CHECKING:
    from safeharbor_backup.cli.output import Output
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.state.at_work import AtWork

_STATUS = 137  # 128 and SIGKILL: what a shell would have shown
_REASON = "it was killed (`kill -9`, or there was no memory left), or the machine went down"
_ADVICE = Guidance(
    "Older archives are untouched.", "See what ended it (`dmesg` shows a lack of memory), then run it again."
)


def tell_of_died_runs(settings: Settings, output: Output) -> None:
    """Say which runs died, put them into the history, and alert. What hinders that is left for the next command."""
    try:
        if not is_in_place(settings):
            return
    except OSError:  # the run itself meets it, and says so
        return
    try:
        dead, is_settled = settle_dead(settings.backup_dir), True
    except OSError:  # a directory that is read-only for us
        dead, is_settled = find_dead(settings.backup_dir), False
    for run in dead:
        output.warning(f"The {run.command} that began at {show_time(run.started_at)} died: {_REASON}.")
        if is_settled:
            _settle(settings, run, output)
    if dead and is_settled:
        renew_files(settings, output)


def _settle(settings: Settings, run: AtWork, output: Output) -> None:
    outcome = Outcome(run.command, run.started_at, 0.0, _STATUS, f"{run.command} died: {_REASON}")
    history = read_history(settings.backup_dir)
    try:
        remember_outcome(settings, outcome)
    except (SafeHarborError, OSError) as error:
        output.warning(f"the run was not recorded in the history: {error}")
    for warning in tell_end(settings, outcome, _ADVICE, run_id=run.id, history=history):
        output.warning(warning)
