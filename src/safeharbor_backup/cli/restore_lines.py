"""What `restore` says: the plan, the result, what a recovery came to, and the questions that it asks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from safeharbor_backup.cli.streams import lost_output
from safeharbor_backup.text import show_bytes, typed

if TYPE_CHECKING:
    from safeharbor_backup.actions.restore.plan import RestorePlan
    from safeharbor_backup.actions.restore.recovered import Recovery
    from safeharbor_backup.actions.restore.result import RestoreResult
    from safeharbor_backup.cli.output import Output


def ask(output: Output, prompt: str, expected: str) -> bool:
    """Whether the operator typed exactly that; nobody at a terminal is a no."""
    if sys.stdin is None or not sys.stdin.isatty():  # it may be closed; decision 31
        output.line("There is no terminal to confirm at; --yes confirms.")
        return False
    output.ask(prompt)
    if lost_output():
        output.line("The question could not be shown; --yes confirms.")
        return False
    return sys.stdin.readline().rstrip("\n") == expected


def first_line(plan: RestorePlan) -> str:
    """What is restored from where."""
    to = [f"database {plan.database}"] if plan.database else []
    if plan.uploads:
        to.append(f"uploads {plan.uploads}")
    return f"Restoring {' and '.join(to)} from {plan.archive}"


def print_what_happens(output: Output, plan: RestorePlan) -> None:
    """What a dry run, the question and `--yes` all show: facts, losses, and how to go back."""
    for fact in plan.facts:
        output.result(f"  {fact}")
    for loss in plan.losses:
        output.result(f"  You would lose {loss}")
    for way in plan.ways_back:
        output.result(f"  {way}")
    for after in plan.afterwards:
        output.result(f"  Afterwards: {after}")


def print_plan(output: Output, plan: RestorePlan) -> None:
    """All that a dry run shows."""
    size = show_bytes(plan.upload_bytes)
    output.result(
        f"would restore {plan.tables} tables, {plan.upload_files} upload files (total {size}) from {plan.archive}"
    )
    if plan.database:
        output.result(f"  database: {plan.database}")
    if plan.uploads:
        output.result(f"  uploads: {plan.uploads}")
    print_what_happens(output, plan)
    for warning in plan.warnings:
        output.warning(warning)
    for problem in plan.problems:
        output.problem(problem.message, problem.hint)
    output.result("Nothing was changed.")


def print_result(output: Output, result: RestoreResult, *, quiet: bool) -> None:
    """What was restored, and how to go back."""
    output.result(f"restored {result.tables} tables and {result.upload_files} upload files from {result.archive}")
    for after in result.afterwards:
        output.line(f"Afterwards: {after}")
    if quiet:
        return
    if not result.keeps_previous:
        output.result("Nothing of the previous state is kept.")
        return
    if result.can_be_undone:
        output.result(f"To go back: {typed(f'restore --undo --id {result.id}')}")
    output.result(
        f"The previous {'state is' if result.can_be_undone else 'uploads are'} kept ({show_bytes(result.kept_bytes)}). "
        f"To free that: {typed(f'restore --discard-previous --id {result.id}')}"
    )


def print_recovery(output: Output, done: Recovery) -> None:
    """What an undo or a resume came to."""
    output.result(f"Restore {done.id}: {done.done.rstrip('.')}.")
    for warning in done.warnings:
        output.warning(warning)
    if done.can_be_undone:
        output.result(f"To take this back: {typed(f'restore --undo --id {done.id}')}")
    if done.again is not None:
        output.result(f"Its archive was {done.again.archive}.")
