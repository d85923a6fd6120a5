"""Deletes the archives that retention gives up, and says why each of the others stays."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor.catalog import State, find_candidates, look_at
from safeharbor.errors import translate_os_error
from safeharbor.guards import judge_identity, judge_shortfall, read_adopted, write_adopted
from safeharbor.lock import directory_lock, is_being_read
from safeharbor.publish import fsync_directory
from safeharbor.retention import Verdict, judge_archives, orders_disagree
from safeharbor.settings import Concern

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor.archive.manifest import Manifest
    from safeharbor.retention import Candidate
    from safeharbor.settings import Settings


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What would be deleted, and what makes it less than the contract says."""

    verdicts: tuple[Verdict, ...]
    warnings: tuple[str, ...]

    @property
    def doomed(self) -> list[str]:
        """The names to delete."""
        return [verdict.name for verdict in self.verdicts if not verdict.keep]


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was deleted (or, in a dry run, would be) and what stays, with reasons. Size in bytes."""

    verdicts: tuple[Verdict, ...]
    deleted: tuple[str, ...]
    freed_bytes: int
    warnings: tuple[str, ...]


def prune_archives(settings: Settings, *, dry_run: bool = False, adopt: bool = False) -> PruneResult:
    """Apply retention to the backup directory.

    `adopt` declares the newest archive the new normal, whatever database it is of and however small it is.
    Raises SettingsInvalid, LockHeld, StorageUnavailable.
    """
    settings.require(Concern.RETENTION, Concern.SCHEDULE, Concern.DIRECTORY)
    if dry_run:
        plan = plan_prune(settings, adopt=adopt)
        return PruneResult(plan.verdicts, tuple(plan.doomed), _total(settings.backup_dir, plan.doomed), plan.warnings)
    find_candidates(settings.backup_dir)  # a missing directory is told before its lock
    with directory_lock(settings.backup_dir):
        if adopt:
            _adopt(settings.backup_dir)
        return prune_under_lock(settings, adopt=adopt)


def prune_under_lock(settings: Settings, *, just_written: str = "", adopt: bool = False) -> PruneResult:
    """The same for a caller that holds the directory's lock; `just_written` stays in any case."""
    plan = plan_prune(settings, just_written=just_written, adopt=adopt)
    verdicts = {verdict.name: verdict for verdict in plan.verdicts}
    warnings = list(plan.warnings)
    deleted, freed = [], 0
    for name in plan.doomed:
        size, why_not = _delete(settings.backup_dir / name)
        if not why_not:
            deleted.append(name)
            freed += size
            continue
        verdicts[name] = Verdict(name, True, (why_not,))
        if why_not != _IN_USE:
            warnings.append(f"{name} was not deleted: {why_not}")
    if deleted:
        try:
            fsync_directory(settings.backup_dir)
        except OSError as error:
            warnings.append(f"the deletions may come back after a power cut: {error.strerror}")
    return PruneResult(tuple(verdicts.values()), tuple(deleted), freed, tuple(warnings))


def plan_prune(settings: Settings, *, just_written: str = "", adopt: bool = False) -> PrunePlan:
    """What retention says of every archive; touches nothing. Raises StorageUnavailable."""
    candidates = find_candidates(settings.backup_dir)
    newest, earlier = _newest_two(settings.backup_dir, candidates, just_written)
    hold, remedy = "", ""
    if newest is not None and not adopt:
        other = judge_identity(newest, earlier, read_adopted(settings.backup_dir))
        short = judge_shortfall(newest, None if other else earlier)
        hold = other or short
        remedy = (
            "give each application its own BACKUP_DIR, or, if they belong together, run `safeharbor prune --adopt`"
            if other
            else "find out why; if it is right, `safeharbor prune --adopt` accepts it"
        )
    verdicts = judge_archives(
        candidates,
        settings.retention_daily,
        settings.retention_weekly,
        protected={just_written: "just written"} if just_written else {},
        hold=f"nothing is deleted: {hold}" if hold else "",
    )
    warnings = [f"nothing was pruned: {hold}; {remedy}"] if hold else []
    if not hold and orders_disagree(candidates):
        warnings.append(
            "the archives' names and modification times contradict each other, as after a copy that lost the times; "
            "only what both orders give up is pruned. `touch -d` or `cp -a` puts the times right"
        )
    return PrunePlan(tuple(verdicts), tuple(warnings))


_IN_USE = "it is being read"


def _newest_two(
    directory: Path, candidates: list[Candidate], just_written: str
) -> tuple[Manifest | None, Manifest | None]:
    """The manifests of the newest archive (`just_written`, if given) and of the one before it, where they have one."""
    names = sorted((candidate.name for candidate in candidates), reverse=True)
    newest = just_written or (names[0] if names else "")
    earlier = [name for name in names if name != newest]
    found = []
    for name in [newest, *earlier[:1]]:
        entry = look_at(directory / name) if name else None
        found.append(entry.manifest if entry is not None and entry.state is State.COMPLETE else None)
    return found[0], found[1] if len(found) > 1 else None


def _adopt(directory: Path) -> None:
    databases = read_adopted(directory)
    for candidate in find_candidates(directory):
        manifest = look_at(directory / candidate.name).manifest
        if manifest is not None:
            databases.add(manifest.identity)
    try:
        write_adopted(directory, databases)
    except OSError as error:
        raise translate_os_error(error, "remembering the adoption") from error


def _delete(path: Path) -> tuple[int, str]:
    """The size of what was deleted, or why it was not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return _unlink(path)  # not ours to read, and so not to lock; perhaps to delete
    except OSError as error:
        return 0, error.strerror or str(error)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return 0, "it is not a regular file any more"
        if is_being_read(descriptor):
            return 0, _IN_USE
        return _unlink(path)
    finally:
        os.close(descriptor)


def _unlink(path: Path) -> tuple[int, str]:
    try:
        size = os.lstat(path).st_size
        os.unlink(path)
    except OSError as error:
        return 0, error.strerror or str(error)
    return size, ""


def _total(directory: Path, names: list[str]) -> int:
    return sum(os.lstat(directory / name).st_size for name in names)
