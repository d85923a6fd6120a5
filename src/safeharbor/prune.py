"""Deletes the archives that retention gives up, and says why each of the others stays."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor.catalog import find_candidates, look_at
from safeharbor.errors import translate_os_error
from safeharbor.guards import Adopted, judge_identity, judge_shortfall, read_adopted, write_adopted
from safeharbor.lock import directory_lock, is_being_read
from safeharbor.publish import fsync_directory, when_closed
from safeharbor.retention import Verdict, judge_archives, orders_disagree
from safeharbor.settings import Concern

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safeharbor.archive.manifest import Manifest
    from safeharbor.catalog import CatalogEntry
    from safeharbor.retention import Candidate
    from safeharbor.settings import Settings

    Look = Callable[[Path], CatalogEntry | None]


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
            _remember(settings.backup_dir)
        return prune_under_lock(settings)


def prune_under_lock(settings: Settings, *, just_written: str = "") -> PruneResult:
    """The same for a caller that holds the directory's lock; `just_written` stays in any case."""
    plan = plan_prune(settings, just_written=just_written)
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


def plan_prune(
    settings: Settings,
    *,
    just_written: str = "",
    adopt: bool = False,
    upcoming: Candidate | None = None,
    look: Look = look_at,
) -> PrunePlan:
    """What retention says of every archive; touches nothing. Raises StorageUnavailable.

    `upcoming` is an archive that is not there yet, but will be when this is done, and like the newest that is. `look`
    tells what is in an archive, for a caller that knows it already.
    """
    directory = settings.backup_dir
    candidates = find_candidates(directory)
    judged = candidates if upcoming is None else [*candidates, upcoming]
    adopted = adopt_all(directory, candidates) if adopt else read_adopted(directory)
    protected = {just_written: "just written"} if just_written else {}

    def judge(hold: str = "") -> list[Verdict]:
        return judge_archives(
            judged, settings.retention_daily, settings.retention_weekly, protected=protected, hold=hold
        )

    newest, earlier = _newest_two(directory, candidates, just_written, look)
    manifest = newest.manifest if newest is not None else None
    if newest is None or manifest is None:
        return PrunePlan(tuple(judge()), _disorder(candidates))
    of_others = judge_identity(manifest, earlier, adopted)
    if of_others:
        hold = f"the archive before is {of_others}"
        return PrunePlan(tuple(judge(f"nothing is deleted: {hold}")), (f"nothing was pruned: {hold}; {_PARTING}",))
    short = (
        ""
        if newest.name in adopted.archives
        else judge_shortfall(manifest, _usual(directory, candidates, newest, adopted, look))
    )
    if short:
        remedy = "find out why; if it is right, `safeharbor prune --adopt` accepts it"
        return PrunePlan(tuple(judge(f"nothing is deleted: {short}")), (f"nothing was pruned: {short}; {remedy}",))
    strangers = {
        verdict.name: why
        for verdict in judge()
        if not verdict.keep and (why := judge_identity(manifest, _manifest_of(directory / verdict.name, look), adopted))
    }
    protected |= {name: f"it is {why}" for name, why in strangers.items()}
    warnings = _disorder(candidates)
    if strangers:
        which = "1 archive is" if len(strangers) == 1 else f"{len(strangers)} archives are"
        warnings = (f"{which} not pruned: {next(iter(strangers.values()))}; {_PARTING}", *warnings)
    return PrunePlan(tuple(judge()), warnings)


_PARTING = "give each application its own BACKUP_DIR, or, if they belong together, run `safeharbor prune --adopt`"


def _disorder(candidates: list[Candidate]) -> tuple[str, ...]:
    if not orders_disagree(candidates):
        return ()
    return (
        "the archives' names and modification times contradict each other, as after a copy that lost the times; "
        "only what both orders give up is pruned. `touch -d` or `cp -a` puts the times right",
    )


_IN_USE = "it is being read"


def _newest_two(
    directory: Path, candidates: list[Candidate], just_written: str, look: Look
) -> tuple[CatalogEntry | None, Manifest | None]:
    """The newest archive (`just_written`, if given), and the manifest of the one before it, if it has one."""
    names = sorted((candidate.name for candidate in candidates), reverse=True)
    newest = just_written or (names[0] if names else "")
    earlier = next((name for name in names if name != newest), "")
    return look(directory / newest) if newest else None, _manifest_of(directory / earlier, look) if earlier else None


def _usual(
    directory: Path, candidates: list[Candidate], newest: CatalogEntry, adopted: Adopted, look: Look
) -> Manifest | None:
    """The last archive before `newest` that was not itself short, to measure it by; None if there is none.

    Measured by the archive before alone, a loss would be noticed for one night, and the next would prune what is
    still good. What was adopted is where counting begins anew, also when that archive is pruned one day.
    """
    since = max(adopted.archives, default="")
    usual: Manifest | None = None
    for name in sorted(candidate.name for candidate in candidates):
        manifest = _manifest_of(directory / name, look) if name >= since and name != newest.name else None
        if manifest is None or newest.manifest is None or judge_identity(newest.manifest, manifest, adopted):
            continue
        if name == since or not judge_shortfall(manifest, usual):
            usual = manifest
    return usual


def _manifest_of(path: Path, look: Look = look_at) -> Manifest | None:
    entry = look(path)
    return entry.manifest if entry is not None else None


def adopt_all(directory: Path, candidates: list[Candidate]) -> Adopted:
    """What is adopted already, and all databases that have archives here, and the newest archive."""
    before = read_adopted(directory)
    manifests = [_manifest_of(directory / candidate.name) for candidate in candidates]
    identities = {manifest.identity for manifest in manifests if manifest is not None}
    newest = max((candidate.name for candidate in candidates), default="")
    # an earlier acceptance is overtaken by this one
    return Adopted(before.databases | identities, frozenset({newest} if newest else ()))


def _remember(directory: Path) -> None:
    try:
        write_adopted(directory, adopt_all(directory, find_candidates(directory)))
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
        deleted = _unlink(path)
    finally:
        os.close(descriptor)
    if deleted == (0, os.strerror(errno.EBUSY)):  # some shares remove no open file, ours or somebody else's
        return _unlink(path, when_closed)
    return deleted


def _at_once(action: Callable[[], None]) -> None:
    action()


def _unlink(path: Path, do: Callable[[Callable[[], None]], None] = _at_once) -> tuple[int, str]:
    try:
        size = os.lstat(path).st_size
        do(lambda: os.unlink(path))
    except OSError as error:
        return 0, error.strerror or str(error)
    return size, ""


def _total(directory: Path, names: list[str]) -> int:
    return sum(os.lstat(directory / name).st_size for name in names)
