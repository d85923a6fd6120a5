"""What `restore --json` prints: a structure for each of the things that it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from safeharbor_backup.cli.documents import Moment
from safeharbor_backup.system.documents import Count
from safeharbor_backup.text import iso_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeharbor_backup.actions.restore.plan import RestorePlan
    from safeharbor_backup.actions.restore.recovered import Recovery
    from safeharbor_backup.actions.restore.result import RestoreResult


class RestoreDocument(Struct, frozen=True, kw_only=True):
    """A restore that was done."""

    schema: int = 1
    done: Literal["restore"] = "restore"
    id: str
    archive: str
    tables: Count
    rows: Count | None
    upload_files: Count
    upload_bytes: Count
    seconds: dict[str, float]
    keeps_previous: bool
    can_be_undone: bool
    kept_bytes: Count
    afterwards: tuple[str, ...]
    warnings: tuple[str, ...]


class RestoreProblem(Struct, frozen=True, kw_only=True):
    """What stands in the way, and what to do."""

    error: str
    hint: str
    exit_status: int


class RestorePlanDocument(Struct, frozen=True, kw_only=True):
    """What a restore would do (`--dry-run`), and the status that it would end with."""

    schema: int = 1
    done: Literal["dry-run"] = "dry-run"
    archive: str
    taken_at: Moment | None
    tables: Count
    upload_files: Count
    upload_bytes: Count
    database: str
    uploads: str
    facts: tuple[str, ...]
    losses: tuple[str, ...]
    ways_back: tuple[str, ...]
    afterwards: tuple[str, ...]
    warnings: tuple[str, ...]
    problems: tuple[RestoreProblem, ...]
    exit_status: int


class RecoveryDocument(Struct, frozen=True, kw_only=True):
    """An undo, or a restore that was finished; `state` says what is live."""

    schema: int = 1
    done: Literal["undo", "resume"]
    id: str
    state: str
    can_be_undone: bool
    warnings: tuple[str, ...]


class DiscardDocument(Struct, frozen=True, kw_only=True):
    """The restores whose previous states were deleted, by id, and dropped databases that the journal did not know."""

    schema: int = 1
    done: Literal["discard"] = "discard"
    ids: tuple[str, ...]
    databases: tuple[str, ...]


def describe_result(result: RestoreResult) -> RestoreDocument:
    """The document of a restore."""
    return RestoreDocument(
        id=result.id,
        archive=str(result.archive),
        tables=result.tables,
        rows=result.rows,
        upload_files=result.upload_files,
        upload_bytes=result.upload_bytes,
        seconds=result.seconds,
        keeps_previous=result.keeps_previous,
        can_be_undone=result.can_be_undone,
        kept_bytes=result.kept_bytes,
        afterwards=tuple(result.afterwards),
        warnings=tuple(result.warnings),
    )


def describe_plan(plan: RestorePlan) -> RestorePlanDocument:
    """The document of a dry run."""
    return RestorePlanDocument(
        archive=str(plan.archive),
        taken_at=iso_time(plan.taken_at) if plan.taken_at is not None else None,
        tables=plan.tables,
        upload_files=plan.upload_files,
        upload_bytes=plan.upload_bytes,
        database=plan.database,
        uploads="none" if plan.uploads == "None" else plan.uploads,
        facts=plan.facts,
        losses=plan.losses,
        ways_back=plan.ways_back,
        afterwards=plan.afterwards,
        warnings=plan.warnings,
        problems=tuple(
            RestoreProblem(error=each.message, hint=each.hint, exit_status=int(each.exit_status))
            for each in plan.problems
        ),
        exit_status=int(plan.exit_status),
    )


def describe_recovery(recovery: Recovery, *, is_undo: bool) -> RecoveryDocument:
    """The document of an undo or a resume."""
    return RecoveryDocument(
        done="undo" if is_undo else "resume",
        id=recovery.id,
        state=recovery.done,
        can_be_undone=recovery.can_be_undone,
        warnings=tuple(recovery.warnings),
    )


def describe_discarded(ids: Sequence[str], databases: Sequence[str] = ()) -> DiscardDocument:
    """The document of what was deleted."""
    return DiscardDocument(ids=tuple(ids), databases=tuple(databases))
